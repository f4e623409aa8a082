"""The stopping rule for two objectives: a pure function of what is known at a rung.

In this order:

1. A trial at chance level, or clearly below the control, stops, whatever its size.
2. Of the rest, one that dominates all others at this rung goes on.
3. One whose best case (its score here plus what trials have gained from here to their end) does not reach the front at
   its size stops.
4. One that is low among the trials of similar or smaller size, by its non-dominated rank among them, stops, unless it
   is the best of its neighbourhood: so every range of sizes keeps someone.

Sizes enter by order alone. Ranks are of raw scores; a deficit under one paired standard error on the shared examples
stops nobody.
"""

import math
import statistics
from bisect import bisect_right
from dataclasses import dataclass
from itertools import islice

from qrlora_search.values.knowledge import Knowledge, Pair, Rung, Seen
from qrlora_search.values.states import Decision

_TIE = 1e-9
"""Differences below this are differences of rounding."""


@dataclass(frozen=True)
class StoppingRule:
    """Settings of the rule.

    rungs: epochs at which trials are compared. neighbours: how many of the next smaller (or equally large) trials a
    trial is compared with; fewer than `fewest` decide nothing. share: a trial goes on while its non-dominated rank
    is within this share of the ranks among them. around: how many trials on either side make its neighbourhood. curves:
    so many Finished trials before gains are believed. optimism: the quantile of the gains that makes a best case.
    errors: a deficit under so many paired standard errors stops nobody. control_errors: so many below the control are
    clearly below it. deviations: a trial not yet started may at best score so many standard deviations above
    the mean of the Finished trials nearest in size.
    """

    rungs: tuple[int, ...]
    neighbours: int = 12
    fewest: int = 4
    share: float = 0.35
    around: int = 2
    curves: int = 5
    optimism: float = 0.9
    errors: float = 1.0
    control_errors: float = 2.0
    deviations: float = 3.0


def decide(rule: StoppingRule, epoch: int, one: Seen, known: Knowledge) -> Decision:
    """Returns whether a trial stops at this epoch, and why. `known` may hold the trial's own report or not."""
    if epoch not in rule.rungs:
        return Decision(stop=False, reason=f"epoch {epoch} is no rung")
    rung = known.rungs.get(epoch) or Rung()
    hopeless = _hopeless(rule, epoch, one, known)
    if hopeless:
        return Decision(stop=True, reason=f"{hopeless} at epoch {epoch}")
    if _dominates_all(one, rung):
        return Decision(stop=False, reason=f"no known trial is smaller or scores higher at epoch {epoch}")
    best_case = _best_case(rule, one, known, rung)
    if best_case is not None and best_case.stop:
        return best_case
    low = _low_rank(rule, one, known, rung)
    reasons = [f"{low.reason} at epoch {epoch}"] + ([best_case.reason] if best_case is not None else [])
    return Decision(stop=low.stop, reason="; ".join(reasons))


def worth_starting(rule: StoppingRule, parameters: int, known: Knowledge) -> Decision:
    """Returns whether a trial of this size could enter the front at its most optimistic, before it is trained.

    Its most optimistic score: the mean of the Finished trials nearest in size, `neighbours` of them in all and at least
    8, plus `deviations` standard deviations of a further one. They were let to their end, so they flatter it.
    """
    nearest = known.finals_around(parameters, rule.neighbours // 2)
    bar = known.bar(parameters)
    if bar is None or len(nearest) < 8:
        return Decision(stop=False, reason="too few trials of this size are Finished")
    spread = statistics.stdev(nearest) * math.sqrt(1 + 1 / len(nearest))
    best = statistics.fmean(nearest) + rule.deviations * spread
    what = f"best case {best:.3f} before training {{}} {bar.score:.3f} at {bar.parameters} parameters"
    if best < bar.score - _TIE:
        return Decision(stop=True, reason=what.format("<"))
    return Decision(stop=False, reason=what.format(">="))


def _hopeless(rule: StoppingRule, epoch: int, one: Seen, known: Knowledge) -> str:
    """Returns the ground on which a trial of any size stops, or an empty text.

    The control is what models without adapter reach in as many epochs: a head that is trained on rises, too.
    Where the control itself is not told apart from chance, chance tells nothing of a trial either.
    """
    control = known.control_at(epoch)
    if control is None:
        return "at chance level" if one.score <= known.chance + _TIE else ""
    deficit = control.score - one.score
    if deficit > max(rule.control_errors * known.paired_error(one, control), _TIE):
        return f"{one.score:.3f}, clearly below the control's {control.score:.3f},"
    if control.score <= known.chance + rule.control_errors * known.own_error(control) + _TIE:
        return ""
    at_chance = one.score <= known.chance + rule.errors * known.own_error(one) + _TIE
    return f"{one.score:.3f}, at chance level," if at_chance else ""


def _dominates_all(one: Seen, rung: Rung) -> bool:
    return not rung.pairs or (one.parameters <= rung.pairs[0][0] and one.score >= rung.scores[-1])


def _best_case(rule: StoppingRule, one: Seen, known: Knowledge, rung: Rung) -> Decision | None:
    """Returns what domination by Finished trials says, or None where too little is known."""
    bar = known.bar(one.parameters)
    if bar is None or len(rung.gains) < rule.curves:
        return None
    best = one.score + rung.gains[min(len(rung.gains) - 1, int(rule.optimism * len(rung.gains)))]
    what = f"best case {best:.3f} {{}} {bar.score:.3f} at {bar.parameters} parameters"
    if best >= bar.score - _TIE:
        return Decision(stop=False, reason=what.format(">="))
    if bar.score - one.score < max(rule.errors * known.paired_error(one, bar), _TIE):
        return Decision(stop=False, reason=what.format("<") + ", but its score here is within the noise of it")
    return Decision(stop=True, reason=what.format("<"))


def _low_rank(rule: StoppingRule, one: Seen, known: Knowledge, rung: Rung) -> Decision:
    """Returns what the comparison with trials of similar or smaller size says."""
    near = islice(rung.up_to(one.parameters), rule.neighbours + 1)
    peers = [pair for pair in near if pair != one.pair][: rule.neighbours]
    higher = sorted((pair for pair in peers if pair[1] >= one.score), key=lambda pair: pair[1])
    words = f"below {len(higher)} of {len(peers)} trials of similar or smaller size"
    if len(peers) < rule.fewest:
        return Decision(stop=False, reason=f"only {len(peers)} trials of similar or smaller size")
    if not _is_low(rule, one.score, peers):
        return Decision(stop=False, reason=words)
    around = [*peers[: rule.around], *islice(rung.above(one.parameters), rule.around)]
    if around and all(score < one.score for _, score in around):
        return Decision(stop=False, reason=f"{words}, but the best of its neighbourhood")
    above = next(pair for pair in higher if not _is_low(rule, math.nextafter(pair[1], math.inf), peers))
    if above[1] - one.score < max(rule.errors * known.paired_error(one, rung.holder(above)), _TIE):
        return Decision(stop=False, reason=f"{words}, but within the noise of them")
    return Decision(stop=True, reason=words)


def _is_low(rule: StoppingRule, score: float, peers: list[Pair]) -> bool:
    rank, last = rank_below(score, peers)
    return rank > rule.share * last


def rank_below(score: float, peers: list[Pair]) -> tuple[int, int]:
    """Returns the non-dominated rank, 0 for the front, of a trial no smaller than any of its peers, and the last rank
    among these peers, or its own where that is later.

    In two dimensions a rank is the length of the longest chain of trials that dominate one another in turn: the
    longest run of scores that do not rise while sizes do not fall, found with one bisection a peer (Schensted 1961).
    """
    ends: list[float] = []  # minus the highest score that a chain of each length can end with
    own = 0
    for _, value in sorted(peers, key=lambda pair: (pair[0], -pair[1])):
        place = bisect_right(ends, -value)
        ends[place : place + 1] = [-value]
        if value >= score:
            own = max(own, place + 1)
    return own, max(len(ends) - 1, own)
