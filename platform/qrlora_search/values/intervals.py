"""How sure a score is: bootstrap over examples, for one set of predictions and for paired differences.

Two statistics cover the eight tasks: the mean of correctness (accuracy), and the correlation of predictions with
labels, which is Pearson's for a regression and Matthews' for two classes coded 0 and 1 (the phi coefficient).
Examples with equal (label, predictions) are one cell of a multinomial, so resampling costs cells, not examples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Statistic = Literal["mean", "correlation"]
Floats = NDArray[np.float64]

RESAMPLES = 2000
_BLOCK = 4_000_000
_LEAST_BEYOND = 10


@dataclass(frozen=True)
class Interval:
    """A value with its standard error and 95 % percentile interval over n examples."""

    value: float
    error: float
    low: float
    high: float
    n: int


def statistic(kind: Statistic, labels_N: Floats, predictions_N: Floats, weights_BN: Floats) -> Floats:
    """Returns the statistic for every row of example weights, shape (B,). An undefined correlation is 0."""
    total = weights_BN.sum(axis=1)
    if kind == "mean":
        share: Floats = weights_BN @ (labels_N == predictions_N).astype(np.float64) / total
        return share
    x, y = labels_N - labels_N.mean(), predictions_N - predictions_N.mean()
    moments = weights_BN @ np.column_stack([x, y, x * x, y * y, x * y]) / total[:, None]
    mean_x, mean_y = moments[:, 0], moments[:, 1]
    variance = (moments[:, 2] - mean_x**2) * (moments[:, 3] - mean_y**2)
    defined = variance > 1e-24
    result: Floats = np.where(
        defined, (moments[:, 4] - mean_x * mean_y) / np.sqrt(np.where(defined, variance, 1.0)), 0.0
    )
    return result


def resampled(
    kind: Statistic, labels_N: Floats, columns: Sequence[Floats], seed: int
) -> tuple[list[float], list[Floats]]:
    """Returns, for every column of predictions, its value and its resampled values on the same resamples."""
    cells, counts = np.unique(np.column_stack([labels_N, *columns]), axis=0, return_counts=True)
    random, n = np.random.default_rng(seed), len(labels_N)
    block = max(1, min(RESAMPLES, _BLOCK // len(cells)))
    drawn: list[list[Floats]] = [[] for _ in columns]
    for start in range(0, RESAMPLES, block):
        weights = random.multinomial(n, counts / n, size=min(block, RESAMPLES - start)).astype(np.float64)
        for column in range(len(columns)):
            drawn[column].append(statistic(kind, cells[:, 0], cells[:, 1 + column], weights))
    whole = counts[None, :].astype(np.float64)
    values = [float(statistic(kind, cells[:, 0], cells[:, 1 + c], whole)[0]) for c in range(len(columns))]
    return values, [np.concatenate(parts) for parts in drawn]


def interval_of(value: float, drawn_B: Floats, n: int) -> Interval:
    """Returns a value over n examples with the spread of its resampled values."""
    low, high = np.quantile(drawn_B, [0.025, 0.975])
    return Interval(value, float(drawn_B.std(ddof=1)), float(low), float(high), n)


def score_interval(kind: Statistic, labels_N: Floats, predictions_N: Floats, seed: int = 0) -> Interval:
    """Returns the score of one set of predictions with its interval over examples."""
    values, drawn = resampled(kind, labels_N, [predictions_N], seed)
    return interval_of(values[0], drawn[0], len(labels_N))


def paired_difference(
    kind: Statistic, labels_N: Floats, predictions_N: Floats, baseline_N: Floats, seed: int = 0
) -> Interval:
    """Returns score(predictions) - score(baseline) with its interval, both scored on the same resampled examples."""
    values, drawn = resampled(kind, labels_N, [predictions_N, baseline_N], seed)
    return interval_of(values[0] - values[1], drawn[0] - drawn[1], len(labels_N))


def two_sided_p(kind: Statistic, labels_N: Floats, predictions_N: Floats, baseline_N: Floats, seed: int = 0) -> float:
    """Returns the p-value that belongs to `paired_difference`'s interval: twice the smaller tail of the resampled
    differences at 0, at least 2 / (resamples + 1). Below 0.05 where the 95 % interval excludes 0.
    """
    _, drawn = resampled(kind, labels_N, [predictions_N, baseline_N], seed)
    difference_B = drawn[0] - drawn[1]
    tail = min(int((difference_B <= 0).sum()), int((difference_B >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(difference_B) + 1))


def swap_p(kind: Statistic, labels_N: Floats, predictions_N: Floats, baseline_N: Floats, seed: int = 0) -> float:
    """Returns the two-sided p-value of two sets of predictions that could be swapped example by example.

    Of a mean it is exact: the binomial tail of the examples that one side alone has right (McNemar 1947). Of a
    correlation examples are swapped at random; where fewer than ten draws are as far out, by the normal tail of what
    was drawn, and never below what that many differing examples can tell.
    """
    if kind == "mean":
        right, other = predictions_N == labels_N, baseline_N == labels_N
        ours, theirs = int((right & ~other).sum()), int((other & ~right).sum())
        return min(1.0, 2 * _fair_tail(min(ours, theirs), ours + theirs))
    columns = np.column_stack([labels_N, predictions_N, baseline_N]).astype(np.float64)
    cells, counts = np.unique(columns - columns.mean(axis=0), axis=0, return_counts=True)
    label, x, y = cells.T
    differ = predictions_N != baseline_N
    if not differ.any():
        return 1.0
    more = np.column_stack([y - x, y * y - x * x, label * (y - x)])
    ours_3, theirs_3 = (counts @ np.column_stack([one, one * one, label * one]) for one in (x, y))
    spread = float(counts @ (label * label))

    def correlations(sums_B3: Floats) -> Floats:
        variance = sums_B3[:, 1] / len(labels_N) - (sums_B3[:, 0] / len(labels_N)) ** 2
        below = np.sqrt(np.where(variance > 1e-24, variance, 1.0) * spread / len(labels_N))
        return np.where(variance > 1e-24, sums_B3[:, 2] / len(labels_N) / below, 0.0)

    def differences(swapped_BC: Floats) -> Floats:
        moved_B3 = swapped_BC @ more
        return correlations(ours_3 + moved_B3) - correlations(theirs_3 - moved_B3)

    random, drawn = np.random.default_rng(seed), []
    block = max(1, min(RESAMPLES, _BLOCK // len(cells)))
    for start in range(0, RESAMPLES, block):
        shape = (min(block, RESAMPLES - start), len(counts))
        drawn.append(differences(random.binomial(counts, 0.5, size=shape).astype(np.float64)))
    found, drawn_B = abs(float(differences(np.zeros((1, len(counts))))[0])), np.concatenate(drawn)
    beyond = int((np.abs(drawn_B) >= found - 1e-12).sum())
    if beyond >= _LEAST_BEYOND:
        return (beyond + 1) / (RESAMPLES + 1)
    wide = float(np.sqrt((drawn_B**2).mean()))
    if wide == 0:
        return 1.0
    return min(1.0, max(math.erfc(found / wide / math.sqrt(2)), 2.0 * 0.5 ** int(differ.sum())))


def _fair_tail(most: int, tosses: int) -> float:
    """Returns the probability of at most so many heads in tosses of a fair coin."""
    ways = total = 1
    for heads in range(most):
        ways = ways * (tosses - heads) // (heads + 1)
        total += ways
    return total / (1 << tosses)
