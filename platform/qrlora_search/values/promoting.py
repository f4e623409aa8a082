"""Which stopped trial is taken up again when no new one is to start: a pure function of what is known by then.

What was stopped early was judged by few curves. At the end more are known: the trial that is expected to add most to
the front an epoch, by the rule's own measure (`expected`), goes on from where it was stopped, as long as its best case
is above the front at its size.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from qrlora_search.values.expected import landscape_of, quantiles, sample
from qrlora_search.values.knowledge import Knowledge, Seen
from qrlora_search.values.stopping import StoppingRule

_TIE = 1e-12
"""An expectation below this is one of rounding."""


@dataclass(frozen=True)
class Promotion:
    """A stopped trial that is to go on. epoch: after which it was stopped. adds: expected, an epoch."""

    trial: int
    epoch: int
    adds: float
    reason: str


def most_promising(rule: StoppingRule, stopped: Iterable[tuple[int, Seen]], known: Knowledge) -> Promotion | None:
    """Returns the stopped trial that is to go on, of equal ones the first, or None where none may enter the front.

    stopped: (epoch, trial as it was seen then). At epochs with fewer Finished trials than `rule.curves` nothing is
    known of gains, and none is taken up.
    """
    first = min(rule.rungs, default=0)
    by_epoch: dict[int, list[Seen]] = {}
    for epoch, one in stopped:
        by_epoch.setdefault(epoch, []).append(one)
    if first not in known.rungs:
        return None
    front = landscape_of(known, sample(known.rungs[first].pairs, None, rule.seen), rule.beyond)
    found = []
    for epoch, group in by_epoch.items():
        gains = known.rungs[epoch].gains if epoch in known.rungs else []
        if len(gains) < rule.curves:
            continue
        group.sort(key=lambda one: one.trial)
        sizes_P = np.array([one.parameters for one in group])
        ends_PG = np.array([[one.score] for one in group]) + quantiles(gains, rule.gains)
        adds_P = front.added(sizes_P, ends_PG) / max(1, rule.epochs - epoch)
        place = int(adds_P.argmax())
        one, best = group[place], float(ends_PG[place, -1])
        if adds_P[place] > _TIE:
            found.append(Promotion(one.trial, epoch, float(adds_P[place]), _words(one, best, adds_P[place], known)))
    return max(found, key=lambda one: (one.adds, -one.trial), default=None)


def _words(one: Seen, best: float, adds: float, known: Knowledge) -> str:
    bar = known.bar(one.parameters)
    above = "" if bar is None else f" > {bar.score:.3f} at {bar.parameters} parameters"
    return f"most promising of the stopped: best case {best:.3f}{above}; expected to add {adds:.2g} an epoch"
