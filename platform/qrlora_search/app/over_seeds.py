"""How sure a score is that was repeated over seeds, each scored on the same examples.

What a mean over S seeds may be off by has two parts: what seeds differ by, with what each seed makes of single examples
(the variance between seeds over S), and what the examples do to all seeds alike. The second is the bootstrap variance
of the mean over examples, less the part that is each seed's own and in the first already. Their sum is held against
Student's t with the degrees of freedom of Welch and Satterthwaite: S - 1 where seeds differ most, more where examples
do. Differences are paired: the same seeds and examples on both sides. With one seed all is over examples alone.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from qrlora_search.values.intervals import (
    RESAMPLES,
    Interval,
    Statistic,
    paired_difference,
    score_interval,
    statistic,
    two_sided_p,
)

Floats = NDArray[np.float64]
_BLOCK = 200


def _scores(
    kind: Statistic, labels_N: Floats, predictions: Sequence[Floats], weights_BN: Floats
) -> NDArray[np.float64]:
    """Returns each seed's score for every row of example weights, (S, B)."""
    return np.stack([statistic(kind, labels_N, one, weights_BN) for one in predictions])


def _drawn(kind: Statistic, labels_N: Floats, sides: Sequence[Sequence[Floats]], seed: int) -> tuple[Floats, Floats]:
    """Returns by seed the score, or the first side's minus the second's: as it is, (S,), and resampled, (S, B)."""
    random, n, parts = np.random.default_rng(seed), len(labels_N), list[Floats]()
    for rows in [1, *([_BLOCK] * (RESAMPLES // _BLOCK))]:
        drawn = np.ones((1, n)) if rows == 1 else random.multinomial(n, np.full(n, 1 / n), size=rows)
        weights = drawn.astype(np.float64)
        first, *other = (_scores(kind, labels_N, side, weights) for side in sides)
        parts.append(first - other[0] if other else first)
    return parts[0][:, 0], np.concatenate(parts[1:], axis=1)


def combined(values_S: Floats, drawn_SB: Floats, n: int) -> tuple[Interval, float]:
    """Returns the mean over two seeds or more with its 95 % interval, and the two-sided p-value that it is 0.

    values_S: by seed. drawn_SB: by seed and resample of the n examples, the same resample for all seeds.
    """
    seeds, value = len(values_S), float(values_S.mean())
    between = float(values_S.var(ddof=1)) / seeds
    each, together = float(drawn_SB.var(axis=1, ddof=1).mean()), float(drawn_SB.mean(axis=0).var(ddof=1))
    variance = between + max(0.0, together - (each - together) / (seeds - 1))
    if variance <= 0:
        return Interval(value, 0.0, value, value, n), 1.0 if value == 0 else 0.0
    error = math.sqrt(variance)
    freedom = (seeds - 1) * (variance / between) ** 2 if between > 0 else math.inf
    half = float(t.ppf(0.975, freedom)) * error
    return Interval(value, error, value - half, value + half, n), float(2 * t.sf(abs(value) / error, freedom))


def score_over_seeds(kind: Statistic, labels_N: Floats, predictions: Sequence[Floats], seed: int = 0) -> Interval:
    """Returns the mean score over seeds with its 95 % interval. predictions: one array (N,) a seed."""
    if len(predictions) == 1:
        return score_interval(kind, labels_N, predictions[0], seed)
    return combined(*_drawn(kind, labels_N, [predictions], seed), len(labels_N))[0]


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
    """Returns `difference_over_seeds`, and the two-sided p-value that belongs to its interval."""
    if len(predictions) != len(baseline):
        raise ValueError(f"{len(predictions)} seeds on one side and {len(baseline)} on the other cannot be paired")
    if len(predictions) == 1:
        sides = (labels_N, predictions[0], baseline[0])
        return paired_difference(kind, *sides, seed), two_sided_p(kind, *sides, seed)
    return combined(*_drawn(kind, labels_N, [predictions, baseline], seed), len(labels_N))
