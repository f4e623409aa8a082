"""How sure a score is that was repeated over seeds: bootstrap over seeds and over examples at once.

Every seed is scored on the same examples. A resample draws seeds with replacement and, for all of them alike, examples
with replacement; its value is the mean over the drawn seeds. With one seed it is the bootstrap over examples alone.
Both levels are resampled because both vary: another warm-up, other examples. Differences are paired: the same seeds and
examples on both sides.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qrlora_search.values.intervals import RESAMPLES, Interval, Statistic, interval_of, statistic

Floats = NDArray[np.float64]
_BLOCK = 200


def _drawn(
    kind: Statistic, labels_N: Floats, sides: Sequence[Sequence[Floats]], seed: int
) -> tuple[list[float], list[Floats]]:
    """Returns, for every side (predictions by seed), its mean score and its resampled mean scores."""
    random, n, seeds = np.random.default_rng(seed), len(labels_N), len(sides[0])
    drawn: list[list[Floats]] = [[] for _ in sides]
    for start in range(0, RESAMPLES, _BLOCK):
        rows = min(_BLOCK, RESAMPLES - start)
        weights = random.multinomial(n, np.full(n, 1 / n), size=rows).astype(np.float64)
        shares = random.multinomial(seeds, np.full(seeds, 1 / seeds), size=rows) / seeds
        for side, predictions in enumerate(sides):
            scores = np.stack([statistic(kind, labels_N, one, weights) for one in predictions])
            drawn[side].append((shares.T * scores).sum(axis=0))
    whole = np.ones((1, n))
    values = [float(np.mean([statistic(kind, labels_N, one, whole)[0] for one in side])) for side in sides]
    return values, [np.concatenate(parts) for parts in drawn]


def score_over_seeds(kind: Statistic, labels_N: Floats, predictions: Sequence[Floats], seed: int = 0) -> Interval:
    """Returns the mean score over seeds with its 95 % interval. predictions: one array (N,) a seed."""
    values, drawn = _drawn(kind, labels_N, [predictions], seed)
    return interval_of(values[0], drawn[0], len(labels_N))


def difference_over_seeds(
    kind: Statistic, labels_N: Floats, predictions: Sequence[Floats], baseline: Sequence[Floats], seed: int = 0
) -> Interval:
    """Returns the mean difference over seeds with its 95 % interval, paired by seed and by example.

    Raises ValueError where the two sides have not the same seeds.
    """
    return difference_and_p(kind, labels_N, predictions, baseline, seed)[0]


def difference_and_p(
    kind: Statistic, labels_N: Floats, predictions: Sequence[Floats], baseline: Sequence[Floats], seed: int = 0
) -> tuple[Interval, float]:
    """Returns `difference_over_seeds`, and the p-value that belongs to its interval: twice the smaller tail of the
    resampled differences at 0, at least 2 / (resamples + 1).
    """
    if len(predictions) != len(baseline):
        raise ValueError(f"{len(predictions)} seeds on one side and {len(baseline)} on the other cannot be paired")
    values, drawn = _drawn(kind, labels_N, [predictions, baseline], seed)
    difference_B = drawn[0] - drawn[1]
    tail = min(int((difference_B <= 0).sum()), int((difference_B >= 0).sum()))
    interval = interval_of(values[0] - values[1], difference_B, len(labels_N))
    return interval, min(1.0, 2 * (tail + 1) / (len(difference_B) + 1))
