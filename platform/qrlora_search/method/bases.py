"""Column-pivoted QR bases of frozen weights (arXiv 2508.21810).

Legend: O outputs, I inputs, D = min(O, I), R kept rank. torch stores a Linear weight as (O, I).
"""

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from qrlora_search.describe.configuration import Method

Floats = NDArray[np.float32]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Basis:
    """The factors of one weight W: W = q @ rt with the permutation undone.

    q_OD: orthonormal columns. rt_DI: rows of R with its columns put back where W has them. diagonal_D: |R_ii|, not
    increasing. The first r columns and rows are the basis of rank r.
    """

    q_OD: Floats
    rt_DI: Floats
    diagonal_D: Floats


def pivoted_qr(weight_OI: NDArray[np.floating]) -> Basis:
    """Returns the basis of a weight: W[:, p] = Q R by LAPACK's geqp3, then Rt[:, p] = R.

    Low-precision weights are raised to float32 first. Raises ValueError on values that are not finite.
    """
    weight = np.asarray(weight_OI, dtype=np.float32)
    if not np.isfinite(weight).all():
        raise ValueError("a weight with values that are not finite cannot be factorised")
    q_OD, r_DI, permutation_I = scipy.linalg.qr(weight, mode="economic", pivoting=True, check_finite=False)
    rt_DI = np.empty_like(r_DI)
    rt_DI[:, permutation_I] = r_DI
    return Basis(np.ascontiguousarray(q_OD), np.ascontiguousarray(rt_DI), np.abs(np.diagonal(r_DI)).copy())


def svd(weight_OI: NDArray[np.floating]) -> Basis:
    """Returns the singular vectors of a weight as a basis, W = q diag(diagonal) rt, orthonormal on both sides."""
    weight = np.asarray(weight_OI, dtype=np.float32)
    if not np.isfinite(weight).all():
        raise ValueError("a weight with values that are not finite cannot be factorised")
    u_OD, values_D, vt_DI = scipy.linalg.svd(weight, full_matrices=False, check_finite=False)
    return Basis(np.ascontiguousarray(u_OD), np.ascontiguousarray(vt_DI), values_D.copy())


def random_basis(weight_OI: NDArray[np.floating]) -> Basis:
    """Returns random orthonormal directions of a weight's shape, drawn from a seed that is a hash of the weight."""
    weight = np.ascontiguousarray(weight_OI, dtype=np.float32)
    random = np.random.default_rng(np.frombuffer(hashlib.sha256(weight.data).digest(), dtype=np.uint32))
    size = min(weight.shape)
    left, right = (np.linalg.qr(random.normal(size=(side, size)))[0] for side in weight.shape)
    return Basis(left.astype(np.float32), np.ascontiguousarray(right.T, dtype=np.float32), np.ones(size, np.float32))


FACTORISATIONS: dict[str, Callable[[NDArray[np.floating]], Basis]] = {
    "qr": pivoted_qr,
    "svd": svd,
    "random": random_basis,
}
FACTORS_OF: dict[Method, str] = {
    "qr-lora": "qr",
    "svd-diagonal": "svd",
    "svd-lora": "svd",
    "random-basis": "random",
}
"""Which factorisation a method needs besides the pivoted QR, whose spectra make the ranks of all; LoRA needs none."""


def factorise(
    weights: Mapping[Key, NDArray[np.floating]], workers: int, how: Callable[[NDArray[np.floating]], Basis] = pivoted_qr
) -> dict[Key, Basis]:
    """Returns the basis of each weight. workers: weights at a time, a thread each: LAPACK's own threads gain little."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1), ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        return dict(zip(weights, pool.map(how, weights.values()), strict=True))


def delta(basis: Basis, coefficients_R: NDArray[np.floating]) -> Floats:
    """Returns dW = Q_r diag(lambda) Rt_r, shape (O, I), for the first r directions."""
    rank = len(coefficients_R)
    product: Floats = (basis.q_OD[:, :rank] * coefficients_R.astype(np.float32)) @ basis.rt_DI[:rank]
    return product
