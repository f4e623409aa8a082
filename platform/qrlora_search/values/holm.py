"""Several tests at once: Holm's step-down (Holm, Scand. J. Statist. 6, 1979), which holds the error of the family."""

from collections.abc import Sequence


def holm_levels(p_values: Sequence[float], level: float) -> list[float | None]:
    """Returns, for each test in the given order, the level at which it was rejected, or None where it was not.

    The tests are taken by rising p; the i-th of m is held against level / (m - i), and the first that is not below it
    ends the rejections.
    """
    levels: list[float | None] = [None] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for place, index in enumerate(order):
        held_against = level / (len(order) - place)
        if p_values[index] > held_against:
            break
        levels[index] = held_against
    return levels
