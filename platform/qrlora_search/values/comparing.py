"""Several fronts on the same examples: their areas under one reference, resampled together."""

import numpy as np
from numpy.typing import NDArray

from qrlora_search.values.intervals import RESAMPLES
from qrlora_search.values.objectives import size_axis

Floats = NDArray[np.float64]


def example_weights(n: int, seed: int = 0, resamples: int = RESAMPLES) -> Floats:
    """Returns how often each of n examples is drawn in each bootstrap resample, shape (resamples, n)."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)


def areas(scores_BM: Floats, parameters_M: list[int], reference_B: Floats, encoder_parameters: int) -> Floats:
    """Returns the hypervolume of M members for each of B resamples, shape (B,).

    The same staircase as `fronts.hypervolume`: score x log10(1 + parameters) above reference_B and left of
    encoder_parameters. Members keep their places; where a resample ranks them otherwise, the higher smaller one counts.
    """
    area, reached = np.zeros(len(reference_B)), reference_B.astype(np.float64)
    right = float(size_axis(encoder_parameters))
    for member in sorted(range(len(parameters_M)), key=lambda one: parameters_M[one]):
        width = max(0.0, right - float(size_axis(parameters_M[member])))
        higher = np.maximum(reached, scores_BM[:, member])
        area += (higher - reached) * width
        reached = higher
    return area


def area_interval(value: float, drawn_B: Floats) -> tuple[float, float]:
    """Returns the 95 % interval of a front's area, from its resamples.

    A front takes the best of its members, so chance raises its area, and raises a resample's once more: where members
    all but coincide the resamples lie too high. So the lower end is the lower of the percentile's and of the basic
    bootstrap's (2 value - upper end; Davison and Hinkley, Bootstrap Methods and their Application, 5.2), at least 0.
    The resamples of two areas on the same examples rise alike: of their difference `percentile_interval` holds.
    """
    low, high = percentile_interval(drawn_B)
    return max(0.0, min(low, 2 * value - high)), high


def percentile_interval(drawn_B: Floats) -> tuple[float, float]:
    """Returns the 95 % percentile interval of resampled values."""
    low, high = np.quantile(drawn_B, [0.025, 0.975])
    return float(low), float(high)
