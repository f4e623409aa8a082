"""The stopping rule for two objectives: a pure function of what is known at a rung.

In this order:

1. A trial at chance level, or clearly below the control, stops, whatever its size.
2. Of the rest, one that dominates all others at this rung goes on.
3. While few curves are known: one that is low among the trials of similar or smaller size, by its non-dominated rank
   among them, stops.
4. Then: one stops whose epochs are better spent on a new trial, by the hypervolume that each is expected to add to the
   front of Finished trials (`expected`), unless none of the trials of similar or smaller size dominates it here and its
   best case reaches what it must beat.
5. The best of a neighbourhood goes on all the same: so every range of sizes keeps someone.

Sizes enter by order alone; of similar size are the next ones in order. Ranks are of raw scores; noise only withholds a
stop: none stops who is not behind the best trial of smaller or similar size, or what it must beat in the end, by one
paired standard error on the shared examples at this very epoch.
"""

import math
import statistics
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np

from qrlora_search.values.expected import landscape_of, new_trial, quantiles, sample
from qrlora_search.values.knowledge import Knowledge, Pair, Rung, Seen, nearest
from qrlora_search.values.states import Decision

_TIE = 1e-9
"""Differences below this are differences of rounding."""
MOST_ALIKE = 32
"""So many trials with equal size and score are looked at."""
LEAST_FINISHED = 8
"""So many Finished trials of about a size say what a further one of it may score."""


@dataclass(frozen=True)
class StoppingRule:
    """Settings of the rule.

    rungs: epochs at which trials are compared. epochs: of a trial trained to its end. neighbours: how many of the next
    smaller (or equally large) trials a trial is ranked among; fewer than `fewest` decide nothing. As many of the next
    larger ones are of similar size, too. share: while few curves are known a trial goes on if its non-dominated rank is
    within this share of the ranks among them. around: how many trials on either side make its neighbourhood. curves: so
    many Finished trials before gains are believed. beyond: what the sizes above all trials weigh (`expected`). gains,
    seen: so many of the gains (two at least) and so many trials at the first rung stand for all. errors: a trial that
    is not behind by so many paired standard errors does not stop. control_errors: so many below the control are clearly
    below it. deviations: a trial not yet started may at best score so many standard deviations above the mean of the
    Finished trials nearest in size.
    """

    rungs: tuple[int, ...]
    epochs: int
    neighbours: int = 12
    fewest: int = 4
    share: float = 0.35
    around: int = 2
    curves: int = 5
    beyond: float = 1.0
    gains: int = 16
    seen: int = 128
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
    peers = _peers(rule, one, rung)
    verdict = _expected(rule, epoch, one, known, peers) or _low_rank(rule, epoch, one, peers)
    if not verdict.stop:
        return verdict
    around = [
        *rung.best_of_sizes(one.parameters, rule.around, larger=False, without=one.pair),
        *rung.best_of_sizes(one.parameters, rule.around, larger=True),
    ]
    if around and all(score < one.score for _, score in around):
        return Decision(stop=False, reason=f"{verdict.reason}, but the best of its neighbourhood")
    ahead = _ahead(rule, epoch, one, known)
    if ahead is None:
        return Decision(stop=False, reason=f"{verdict.reason}, but within the noise of the best of such trials")
    by = f"{_name(ahead)} is ahead by {ahead.score - one.score:.3f} here"
    return Decision(stop=True, reason=f"{verdict.reason}; {by}")


def worth_starting(rule: StoppingRule, parameters: int, known: Knowledge) -> Decision:
    """Returns whether a trial of this size could enter the front at its most optimistic, before it is trained.

    Its most optimistic score: the mean of the Finished trials nearest in size, `neighbours` of them in all and at least
    `LEAST_FINISHED`, plus `deviations` standard deviations of a further one. They were let to their end, so they
    flatter it. A deficit within the paired error of the best of them to what is to be beaten refuses nobody.
    """
    near = known.finals_around(parameters, rule.neighbours // 2, LEAST_FINISHED)
    bar = known.bar(parameters)
    if bar is None or len(near) < LEAST_FINISHED:
        return Decision(stop=False, reason="too few trials of this size are Finished")
    scores = [score for _, score in near]
    spread = statistics.stdev(scores) * math.sqrt(1 + 1 / len(scores))
    best = statistics.fmean(scores) + rule.deviations * spread
    what = f"best case {best:.3f} before training {{}} {bar.score:.3f} at {bar.parameters} parameters"
    if best >= bar.score - _TIE:
        return Decision(stop=False, reason=what.format(">="))
    noise = known.paired_error(known.finished[max(near, key=lambda pair: (pair[1], -pair[0]))], bar)
    if bar.score - best <= rule.errors * noise:
        return Decision(stop=False, reason=what.format("<") + ", but within the noise")
    return Decision(stop=True, reason=what.format("<"))


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
    at_chance = at_chance and deficit > max(rule.errors * known.paired_error(one, control), _TIE)
    return f"{one.score:.3f}, at chance level," if at_chance else ""


def _dominates_all(one: Seen, rung: Rung) -> bool:
    return not rung.pairs or (one.parameters <= rung.pairs[0][0] and one.score >= rung.scores[-1])


def _peers(rule: StoppingRule, one: Seen, rung: Rung) -> list[Pair]:
    return nearest(rung.pairs, one.parameters, rule.neighbours, without=one.pair)


def _words(epoch: int, one: Seen, peers: list[Pair]) -> str:
    higher, level = (sum(score > one.score for _, score in peers), sum(score == one.score for _, score in peers))
    equal = f", level with {level}," if level else ""
    return f"below {higher}{equal} of {len(peers)} trials of similar or smaller size at epoch {epoch}"


def _name(ahead: Seen) -> str:
    if ahead.parameters == 0:
        return "the control"
    return f"trial {ahead.trial}, of {ahead.parameters} parameters,"


def _low_rank(rule: StoppingRule, epoch: int, one: Seen, peers: list[Pair]) -> Decision:
    """Returns what the comparison with trials of similar or smaller size says."""
    if len(peers) < rule.fewest:
        return Decision(stop=False, reason=f"only {len(peers)} trials of similar or smaller size at epoch {epoch}")
    rank, last = rank_below(one.score, peers)
    return Decision(stop=rank > rule.share * last, reason=_words(epoch, one, peers))


def _expected(rule: StoppingRule, epoch: int, one: Seen, known: Knowledge, peers: list[Pair]) -> Decision | None:
    """Returns whether the trial's epochs are better spent on a new one, or None where too little is known."""
    first, gains = min(rule.rungs), known.rungs[epoch].gains if epoch in known.rungs else []
    if len(gains) < rule.curves or first not in known.rungs:
        return None
    start = known.rungs[first]
    place = bisect_left(start.pairs, one.pair)
    own = epoch == first and start.pairs[place : place + 1] != [one.pair]
    front = landscape_of(known, sample(start.pairs, (place, one.pair) if own else None, rule.seen), rule.beyond)
    ends_G = one.score + quantiles(gains, rule.gains)
    left = max(1, rule.epochs - epoch)
    adds = float(front.added(np.array([one.parameters]), ends_G[None])[0]) / left
    new = new_trial(front, quantiles(start.gains, rule.gains), first, rule.epochs)
    bar = known.bar(one.parameters)
    words, dominated = _words(epoch, one, peers), any(score >= one.score for _, score in peers)
    if bar is not None:
        lost = bool(ends_G[-1] < bar.score - _TIE)
        dominated = dominated or lost
        words += f"; best case {ends_G[-1]:.3f} {'<' if lost else '>='} {bar.score:.3f} at {bar.parameters} parameters"
    words += f"; expected to add {adds:.2g} an epoch to the front, a new trial {new:.2g}"
    if not dominated:
        return Decision(stop=False, reason=f"{words}, but none of them equals it")
    return Decision(stop=adds <= 0.0 or adds < new - _TIE, reason=words)


def _ahead(rule: StoppingRule, epoch: int, one: Seen, known: Knowledge) -> Seen | None:
    """Returns the best of the trials of smaller or similar size, or what the trial must beat in the end, where it is
    ahead beyond noise at this epoch. Of several with equal size and score all must be (of very many, the first).
    """
    rung = known.rungs.get(epoch) or Rung()
    larger = max(
        rung.best_of_sizes(one.parameters, rule.neighbours, larger=True), key=lambda pair: pair[1], default=None
    )
    ahead = [rung.holders(pair, MOST_ALIKE) for pair in (rung.best(one.parameters), larger) if pair is not None]
    bar = known.bar(one.parameters)
    if bar is not None:
        then = known.control_at(epoch) if bar.parameters == 0 else rung.seen.get(bar.trial)
        ahead += [] if then is None else [[then]]
    for some in ahead:
        noise = max(rule.errors * max(known.paired_error(one, each) for each in some), _TIE)
        if some[0].score - one.score > noise:
            return some[0]
    return None


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
