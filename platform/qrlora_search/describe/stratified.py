"""A sampler that spreads over sizes: it chooses a size first, then what to adapt at that size.

Methods take turns. Sizes come from a van der Corput sequence over log size, so that every range is visited alike, but
for what was refused before training: where such a size is the nearest that was tried, another is drawn. What is adapted
comes from the trials nearest in size, Finished or Stopped: the best of a few of them, with a change or two;
some proposals are drawn at random. tau, or the rank, is then solved for the size. This is MAP-Elites with size as the
behaviour (Mouret and Clune, arXiv 1504.04909), in the space of what is trained rather than of how it is written down.
"""

import math

import numpy as np

from qrlora_search.describe.protocols import Parameters
from qrlora_search.describe.settings import Settings
from qrlora_search.describe.tried import Seen, Tried
from qrlora_search.values.states import TrialState

_NEAREST = 6
_RANDOM_SHARE = 0.25
_BEST_SHARE = 0.7
_TRIES = 6
_OTHER_SIZES = 8
"""So many sizes are looked at where the one whose turn it is was refused."""
_LEARNED_FROM = {TrialState.FINISHED, TrialState.STOPPED}
_CLOSE = 0.1
"""A size within a tenth of the target is close enough."""


class Stratified:
    """A `Proposer`. random_first: so many trials before it learns from them."""

    def __init__(self, settings: Settings, random_first: int, seed: int) -> None:
        self.settings, self.random_first, self.seed = settings, random_first, seed

    def propose(self, number: int, tried: Seen, again: int = 0) -> Parameters:
        """Returns parameters near the size whose turn it is. again: counts further tries for the same number."""
        random = np.random.default_rng([self.seed, number, again])
        methods = self.settings.methods
        method, turn = methods[number % len(methods)], number // len(methods)
        low, high = math.log(self.settings.spans[method].low), math.log(self.settings.spans[method].high)
        jitter = float(random.normal(0, 0.02)) if again else 0.0
        mine = [one for one in tried.trials if one.parameters["method"] == method]
        scored = [one for one in mine if one.score is not None and one.state in _LEARNED_FROM]
        refused = [one.size for one in mine if one.score is None and one.state is TrialState.STOPPED]
        place = min(1.0, max(0.0, van_der_corput(turn) + jitter))
        target = math.exp(low + place * (high - low))
        for _ in range(_OTHER_SIZES):
            if not _was_refused(target, refused, scored):
                break
            target = math.exp(low + float(random.random()) * (high - low))
        best, off = self._settings_near(method, target, scored, random)
        for _ in range(_TRIES):
            if off < _CLOSE:
                break
            other, distance = self._settings_near(method, target, scored, random)
            if distance < off:
                best, off = other, distance
        return best

    def _settings_near(
        self, method: str, target: float, scored: list[Tried], random: np.random.Generator
    ) -> tuple[Parameters, float]:
        if len(scored) < self.random_first or random.random() < _RANDOM_SHARE:
            return self.settings.at_size(self.settings.draw(random, {"method": method}), target)
        nearest = sorted(scored, key=lambda one: (abs(math.log(one.size / target)), one.number))[:_NEAREST]
        best = max(nearest, key=lambda one: (one.score or 0.0, -one.number))
        parent = best if random.random() < _BEST_SHARE else nearest[int(random.integers(len(nearest)))]
        return self.settings.at_size(self.settings.change(parent.parameters, random), target)


def _was_refused(target: float, refused: list[int], scored: list[Tried]) -> bool:
    """Returns whether of all that was tried what is nearest in log size was refused, and nearer than any trial."""

    def away(size: float) -> float:
        return abs(math.log(size / target))

    return min(map(away, refused), default=math.inf) < min((away(one.size) for one in scored), default=math.inf)


def van_der_corput(number: int) -> float:
    """Returns the number's place in (0, 1) in the base-2 van der Corput sequence: its digits mirrored at the point."""
    place, unit = 0.0, 0.5
    number += 1
    while number:
        place += unit * (number & 1)
        number, unit = number >> 1, unit / 2
    return place
