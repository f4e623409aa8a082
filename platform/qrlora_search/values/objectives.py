"""The two objectives, and the one place where a sign is flipped.

A search raises a task's score and lowers the number of trained parameters. Everything that compares trials works on
*losses*: shape (n, 2), both columns lower is better.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def size_axis(parameters: ArrayLike) -> NDArray[np.float64]:
    """Returns log10(1 + parameters): the size axis of every plot, of the hypervolume and of the sampler."""
    return np.log10(1.0 + np.asarray(parameters, dtype=np.float64))


def losses(scores: ArrayLike, parameters: ArrayLike) -> NDArray[np.float64]:
    """Returns the two objectives to be minimised, shape (n, 2): minus the score, log10(1 + parameters)."""
    return np.column_stack([-np.asarray(scores, dtype=np.float64), size_axis(parameters)])
