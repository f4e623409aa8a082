"""Which stopped trial is taken up again when no new one is to start: a pure function of what is known by then.

What was stopped early was judged by few curves. At the end more are known: the trial that is expected to add most to
the front an epoch, by the rule's own measure (`expected`), goes on from where it was stopped, as long as its best case
is above the front at its size.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field

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
    parameters: int
    adds: float
    reason: str


@dataclass
class Stopped:
    """The stopped trials that may go on. Of one size stopped at one epoch the one with the highest score, of equal ones
    the first, comes before the others in any case, so that it alone is looked at.
    """

    _waiting: dict[tuple[int, int], list[tuple[float, int]]] = field(default_factory=dict)

    def add(self, epoch: int, one: Seen) -> None:
        """Notes a trial as it was when it was stopped."""
        heapq.heappush(self._waiting.setdefault((epoch, one.parameters), []), (-one.score, one.trial))

    def take(self, one: Promotion) -> None:
        """Takes out a trial that `most_promising` chose."""
        place = one.epoch, one.parameters
        heapq.heappop(self._waiting[place])
        if not self._waiting[place]:
            del self._waiting[place]

    def first(self) -> Iterator[tuple[int, Seen]]:
        """Yields (epoch, trial), of each epoch and size the one that comes first."""
        for (epoch, parameters), waiting in self._waiting.items():
            yield epoch, Seen(waiting[0][1], parameters, -waiting[0][0])


def most_promising(rule: StoppingRule, stopped: Stopped, known: Knowledge, epochs: int) -> Promotion | None:
    """Returns the stopped trial that is to go on, of equal ones the first, or None where none may enter the front.

    epochs: so many may be trained; a trial that has more left is not chosen. At epochs with fewer Finished trials than
    `rule.curves` nothing is known of gains, and none is taken up.
    """
    first = min(rule.rungs, default=0)
    if first not in known.rungs:
        return None
    by_epoch: dict[int, list[Seen]] = {}
    for epoch, one in stopped.first():
        if rule.epochs - epoch <= epochs and epoch in known.rungs and len(known.rungs[epoch].gains) >= rule.curves:
            by_epoch.setdefault(epoch, []).append(one)
    front = landscape_of(known, sample(known.rungs[first].pairs, None, rule.seen), rule.beyond)
    found = []
    for epoch, group in by_epoch.items():
        group.sort(key=lambda one: one.trial)
        sizes_P = np.array([one.parameters for one in group])
        ends_PG = np.array([[one.score] for one in group]) + quantiles(known.rungs[epoch].gains, rule.gains)
        adds_P = front.added(sizes_P, ends_PG) / max(1, rule.epochs - epoch)
        place = int(adds_P.argmax())
        if adds_P[place] > _TIE:
            one, adds = group[place], float(adds_P[place])
            why = _words(one, float(ends_PG[place, -1]), adds, known)
            found.append(Promotion(one.trial, epoch, one.parameters, adds, why))
    return max(found, key=lambda one: (one.adds, -one.trial), default=None)


def _words(one: Seen, best: float, adds: float, known: Knowledge) -> str:
    bar = known.bar(one.parameters)
    above = "" if bar is None else f" > {bar.score:.3f} at {bar.parameters} parameters"
    return f"most promising of the stopped: best case {best:.3f}{above}; expected to add {adds:.2g} an epoch"
