"""From tau to a rank: the two rules of the paper (arXiv 2508.21810), on the diagonal of R of a column-pivoted QR."""

import numpy as np
from numpy.typing import NDArray


def energy_rank(diagonal_D: NDArray[np.floating], tau: float) -> int:
    """Returns the smallest r with sum_{i<=r} R_ii^2 / sum_i R_ii^2 >= tau, at least 1; it rises with tau.

    diagonal_D: |R_ii|, not increasing. A matrix of zeros has rank 1.
    """
    energy = np.cumsum(np.square(diagonal_D.astype(np.float64)))
    if energy[-1] <= 0:
        return 1
    enough = int(np.searchsorted(energy / energy[-1], tau - 1e-12)) + 1
    return min(enough, len(diagonal_D))


def threshold_rank(diagonal_D: NDArray[np.floating], tau: float) -> int:
    """Returns the number of |R_ii| > tau |R_11|, at least 1; it falls with tau."""
    return max(1, int(np.count_nonzero(diagonal_D > tau * diagonal_D[0])))


def rank_for(rule: str, diagonal_D: NDArray[np.floating], tau: float) -> int:
    """Returns the rank by the named rule, `energy` or `threshold`."""
    return energy_rank(diagonal_D, tau) if rule == "energy" else threshold_rank(diagonal_D, tau)
