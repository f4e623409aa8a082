"""Who gets how much of a budget: a floor for all, the rest where fronts still grow. Whole units, nothing lost."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def in_parts(amount: int, weights: Sequence[float], seed: int) -> list[int]:
    """Returns `amount` divided in proportion to weights, in whole units that add up to it (largest remainders).

    Equal remainders are ordered by the seed. Weights that are all 0 count as equal. Raises ValueError for a negative
    one, or without any.
    """
    given = np.asarray(weights, dtype=np.float64)
    if not len(given) or (given < 0).any() or not np.isfinite(given).all():
        raise ValueError("weights are finite and not negative, and there is at least one")
    if given.sum() == 0:
        given = np.ones_like(given)
    exact = amount * given / given.sum()
    parts: NDArray[np.int64] = np.floor(exact + 1e-9).astype(np.int64)
    ties = np.random.default_rng(seed).permutation(len(given))
    order = np.lexsort((ties, -(exact - parts).round(9)))
    parts[order[: amount - int(parts.sum())]] += 1
    return [int(part) for part in parts]


def growth(before: float | None, now: float) -> float:
    """Returns how much a front grew in its last round, relative to its size: (now - before) / now.

    1 where it was not measured before; 0 where it is still empty after a round, or did not grow.
    """
    if before is None:
        return 1.0
    return max(0.0, now - before) / now if now > 0 else 0.0


def allot(amount: int, shares: Sequence[float], growths: Sequence[float], floor: float, seed: int) -> list[int]:
    """Returns what each search gets of a round: `floor` of it by shares alone, the rest by share x growth.

    Where nothing grows, all of it goes by shares.
    """
    by_share = np.asarray(shares, dtype=np.float64) / sum(shares)
    grown = by_share * np.asarray(growths, dtype=np.float64)
    if grown.sum() == 0:
        grown = by_share
    weights = floor * by_share + (1 - floor) * grown / grown.sum()
    return in_parts(amount, weights.tolist(), seed)
