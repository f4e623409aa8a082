"""What a trial is expected to add to the front, and what a new trial would be: the price of its epochs.

Added hypervolume is an area: how far a final score is above the front at its size and at every larger one. Sizes are
places in the order of the sizes seen at the first rung, so the area is in scores times the share of these trials; the
sizes from the largest of them up to the whole encoder weigh `beyond` times as much as all of them together. A final
score is the score at a rung plus one of the gains of Finished trials since that rung, all equally likely.

A new trial is one of those seen at the first rung, all equally likely, and the best use of its epochs is known: the
share of new trials that is trained on is the one that adds most an epoch (the marginal value theorem; Charnov 1976).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qrlora_search.values.knowledge import Knowledge, Pair

Numbers = NDArray[np.float64]


def quantiles(values: Sequence[float], most: int) -> Numbers:
    """Returns at most so many of rising values: all, or quantiles at equal distances."""
    if len(values) <= most:
        return np.asarray(values, dtype=np.float64)
    return np.asarray([values[(2 * place + 1) * len(values) // (2 * most)] for place in range(most)], dtype=np.float64)


@dataclass(frozen=True)
class Landscape:
    """The front above the sizes seen. pairs: (size, score) at the first rung, rising, shape (N,). starts: the place in
    this order where each stretch of the front begins, and the far end. levels: the score to be beaten on each stretch,
    rising, shape (K,).
    """

    pairs: Sequence[Pair]
    starts: Numbers
    levels: Numbers

    @cached_property
    def _areas(self) -> Numbers:
        """Returns the area under the front up to each start, shape (K + 1,)."""
        return np.concatenate([[0.0], np.cumsum(self.levels * np.diff(self.starts))])

    def place(self, size: int) -> float:
        """Returns how many of the trials seen are smaller."""
        return float(bisect_left(self.pairs, (size, -np.inf)))

    def added(self, places_P: Numbers, scores_PG: Numbers) -> Numbers:
        """Returns the mean area that trials would add to the front, shape (P,), in scores times the share of trials.

        places: where each stands in the order of sizes, shape (P,). scores: their possible ends, shape (P, G).
        """
        places_P1 = places_P[:, None]
        ends_PG = np.maximum(self.starts[np.searchsorted(self.levels, scores_PG)], places_P1)
        under_PG = np.interp(ends_PG, self.starts, self._areas) - np.interp(places_P1, self.starts, self._areas)
        added_P: Numbers = (scores_PG * (ends_PG - places_P1) - under_PG).mean(axis=1) / len(self.pairs)
        return added_P


def landscape_of(known: Knowledge, pairs: Sequence[Pair], beyond: float) -> Landscape:
    """Returns the landscape above these (size, score) at the first rung, of which there is at least one."""
    control = known.last_control
    floor = control.score if control is not None else min(score for _, score in pairs)
    members = [one for one in known.front if one.score > floor]
    starts = [0.0, *(float(bisect_left(pairs, (one.parameters, -np.inf))) for one in members)]
    return Landscape(
        pairs,
        np.asarray([*starts, len(pairs) * (1 + beyond)]),
        np.asarray([floor, *(one.score for one in members)]),
    )


def new_trial(front: Landscape, gains_G: Numbers, seen: int, first: int, epochs: int) -> float:
    """Returns what a new trial adds an epoch at the best use of its epochs.

    seen: of at most so many trials at the first rung, evenly spread over their sizes. first: that rung's epoch.
    epochs: of a trial trained to its end.
    """
    number = min(seen, len(front.pairs))
    chosen = [front.pairs[(2 * place + 1) * len(front.pairs) // (2 * number)] for place in range(number)]
    places_P = np.asarray([front.place(size) for size, _ in chosen])
    scores_PG = np.asarray([score for _, score in chosen])[:, None] + gains_G
    added_P = np.sort(front.added(places_P, scores_PG))[::-1]
    trained_on_P = np.arange(1, number + 1)
    return float((np.cumsum(added_P) / (number * first + trained_on_P * (epochs - first))).max())
