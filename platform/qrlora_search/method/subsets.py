"""A smaller adapter from a trained one, without training: the coefficients with the largest effect are kept."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from qrlora_search.describe.configuration import DIAGONAL, AdaptedMatrix, Configuration, Matrix
from qrlora_search.method.bases import FACTORS_OF
from qrlora_search.method.workbench import Materials

Arrays = Mapping[str, NDArray[np.generic]]
Directions = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Q (O, D) and Rt (D, I) of one projection."""


def has_subsets(configuration: Configuration) -> bool:
    """Returns whether a trial's coefficients can be kept in part; the factors of LoRA have no such subsets."""
    return configuration.method in DIAGONAL and configuration.parameters > 1


def halvings(parameters: int, times: int) -> list[int]:
    """Returns the half of a number of coefficients, the half of that, and so on; at least 1, each once."""
    return list(dict.fromkeys(count for step in range(1, times + 1) if (count := parameters >> step) >= 1))


def keep_largest(
    configuration: Configuration, tensors: Arrays, factors: Callable[[int, Matrix], Directions], count: int
) -> tuple[Configuration, dict[str, NDArray[np.generic]]]:
    """Returns the configuration and the tensors of the `count` coefficients with the largest effect.

    The effect of a coefficient is |lambda_i| |q_i| |rt_i|, the Frobenius norm of what it adds to its weight. Exactly
    `count` are kept, of all matrices together; of equal ones the earlier. A matrix that keeps none is not adapted. A
    trained head stays. Raises ValueError for a count that is not below the whole, or a method without coefficients.
    """
    if not has_subsets(configuration) or not 0 < count < configuration.parameters:
        raise ValueError(f"{count} of {configuration.parameters} coefficients of {configuration.method} cannot be kept")
    lam, places, effects, start = np.asarray(tensors["lambda"], dtype=np.float32), [], [], 0
    for one in configuration.ranks:
        mine = slice(start, start + one.rank)
        start += one.rank
        chosen = np.asarray(tensors["directions"])[mine] if "directions" in tensors else np.arange(one.rank)
        q_OD, rt_DI = factors(one.layer, one.matrix)
        norms = np.linalg.norm(q_OD[:, chosen], axis=0) * np.linalg.norm(rt_DI[chosen], axis=1)
        places.append(chosen.astype(np.int64))
        effects.append(np.abs(lam[mine]) * norms)
    kept = np.sort(np.argsort(-np.concatenate(effects), kind="stable")[:count])
    owner = np.repeat(np.arange(len(configuration.ranks)), [one.rank for one in configuration.ranks])[kept]
    ranks = tuple(
        AdaptedMatrix(one.layer, one.matrix, int((owner == place).sum()))
        for place, one in enumerate(configuration.ranks)
        if (owner == place).any()
    )
    rest: dict[str, NDArray[np.generic]] = {
        name: array for name, array in tensors.items() if name not in {"lambda", "directions"}
    }
    return replace(configuration, ranks=ranks, directions="largest"), {
        **rest,
        "lambda": lam[kept],
        "directions": np.concatenate(places)[kept],
    }


def keep_largest_of(
    materials: Materials, configuration: Configuration, weights: bytes, count: int
) -> tuple[Configuration, bytes]:
    """Returns what `keep_largest` keeps of a trial's weights, as safetensors bytes again."""
    bases = materials.factors(FACTORS_OF[configuration.method])
    smaller, tensors = keep_largest(
        configuration, load(weights), lambda layer, kind: (bases[layer, kind].q_OD, bases[layer, kind].rt_DI), count
    )
    return smaller, save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
