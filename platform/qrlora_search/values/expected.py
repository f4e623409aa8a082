"""What a trial is expected to add to the front, and what a new trial would be: the price of its epochs.

Added hypervolume is an area: how far a final score is above the front at its size and at every larger one. Sizes are
places in the order of the trials seen at the first rung (of many, so many that are evenly spread in that order), so the
area is in scores times the share of these trials; the sizes from the largest of them up to the whole encoder weigh
`beyond` times as much as all of them together. A final score is the score at a rung plus one of the gains of Finished
trials since that rung, all equally likely.

A new trial is one of those seen at the first rung, all equally likely, and the best use of its epochs is known: the
share of new trials that is trained on is the one that adds most an epoch (the marginal value theorem; Charnov 1976).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qrlora_search.values.knowledge import Knowledge, Pair

Numbers = NDArray[np.float64]


def quantiles(values: Sequence[float], most: int) -> Numbers:
    """Returns at most so many (two at least) of rising values: all, or from the lowest to the highest at equal
    distances, so that the best case is one.
    """
    if len(values) <= most:
        return np.asarray(values, dtype=np.float64)
    places = (place * (len(values) - 1) // (most - 1) for place in range(most))
    return np.asarray([values[place] for place in places], dtype=np.float64)


def sample(pairs: Sequence[Pair], own: tuple[int, Pair] | None, most: int) -> list[Pair]:
    """Returns at most so many of rising (size, score), at equal distances. own: a place and what stands there, too."""
    number = len(pairs) + (own is not None)
    kept = min(most, number)
    places = ((2 * place + 1) * number // (2 * kept) for place in range(kept))
    if own is None:
        return [pairs[place] for place in places]
    at, pair = own
    return [pairs[place] if place < at else pair if place == at else pairs[place - 1] for place in places]


@dataclass(frozen=True)
class Landscape:
    """The front above the trials seen. sizes_S, scores_S: of these at the first rung, sizes rising. starts: the place
    in this order where each stretch of the front begins, and the far end, (K + 1,). levels: the score to be beaten on
    each stretch, rising, (K,).
    """

    sizes_S: NDArray[np.int64]
    scores_S: Numbers
    starts: Numbers
    levels: Numbers

    @cached_property
    def _areas(self) -> Numbers:
        """Returns the area under the front up to each start, shape (K + 1,)."""
        return np.concatenate([[0.0], np.cumsum(self.levels * np.diff(self.starts))])

    def added(self, sizes_P: NDArray[np.int64], ends_PG: Numbers) -> Numbers:
        """Returns the mean area that trials of these sizes add to the front, shape (P,).

        ends: their possible final scores, shape (P, G).
        """
        places_P1 = np.searchsorted(self.sizes_S, sizes_P).astype(np.float64)[:, None]
        until_PG = np.maximum(self.starts[np.searchsorted(self.levels, ends_PG)], places_P1)
        under_PG = np.interp(until_PG, self.starts, self._areas) - np.interp(places_P1, self.starts, self._areas)
        added_P: Numbers = (ends_PG * (until_PG - places_P1) - under_PG).mean(axis=1) / len(self.sizes_S)
        return added_P


def landscape_of(known: Knowledge, seen: Sequence[Pair], beyond: float) -> Landscape:
    """Returns the landscape above these (size, score) of the first rung, rising, of which there is at least one."""
    sizes_S, scores_S = np.array([size for size, _ in seen]), np.array([score for _, score in seen])
    control = known.last_control
    floor = control.score if control is not None else float(scores_S.min())
    members = [one for one in known.front if one.score > floor]
    starts = np.searchsorted(sizes_S, [one.parameters for one in members])
    return Landscape(
        sizes_S, scores_S, np.concatenate([[0.0], starts, [len(seen) * (1 + beyond)]]),
        np.array([floor, *(one.score for one in members)]),
    )  # fmt: skip


def new_trial(front: Landscape, gains_G: Numbers, first: int, epochs: int) -> float:
    """Returns what a new trial adds an epoch at the best use of its epochs.

    gains: since the first rung. first: that rung's epoch. epochs: of a trial trained to its end.
    """
    added_S = np.sort(front.added(front.sizes_S, front.scores_S[:, None] + gains_G))[::-1]
    number = len(added_S)
    return float((np.cumsum(added_S) / (number * first + np.arange(1, number + 1) * (epochs - first))).max())
