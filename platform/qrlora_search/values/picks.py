"""Which member of a front one would take: the knee, the smallest within one standard error of the best, and others."""

from collections.abc import Sequence

import numpy as np

from qrlora_search.values.objectives import size_axis


def knee(sizes: Sequence[int], scores: Sequence[float], control: float) -> int:
    """Returns the place of the member farthest above the straight line from the control to the best member.

    Axes: log10(1 + parameters), score. The line begins at the control (0 parameters), so that a front of one member
    has a knee (Satopaa et al. 2011, Finding a "Kneedle" in a Haystack). Raises ValueError for an empty front.
    """
    last = best(scores)
    width, rise = float(size_axis(sizes[last])), scores[last] - control
    above = [
        (score - control) / rise - float(size_axis(size)) / width if rise > 0 else 0.0
        for size, score in zip(sizes, scores, strict=True)
    ]
    return int(np.argmax(above))


def best(scores: Sequence[float]) -> int:
    """Returns the place of the highest score; raises ValueError for an empty front."""
    return int(np.argmax(scores))


def best_under(sizes: Sequence[int], scores: Sequence[float], most: int) -> int | None:
    """Returns the place of the highest score among members of at most so many parameters, or None."""
    allowed = [place for place, size in enumerate(sizes) if size <= most]
    return max(allowed, key=lambda place: scores[place]) if allowed else None


def one_standard_error(sizes: Sequence[int], scores: Sequence[float], errors: Sequence[float]) -> int:
    """Returns the place of the smallest member whose score is at most the best one's standard error below it.

    Breiman, Friedman, Olshen and Stone (1984), Classification and Regression Trees, section 3.4.3.
    """
    top = best(scores)
    within = [place for place, score in enumerate(scores) if score >= scores[top] - errors[top]]
    return min(within, key=lambda place: sizes[place])


def smallest_better(sizes: Sequence[int], lows: Sequence[float]) -> int | None:
    """Returns the place of the smallest member whose difference to the control has its interval above 0, or None."""
    better = [place for place, low in enumerate(lows) if low > 0]
    return min(better, key=lambda place: sizes[place]) if better else None
