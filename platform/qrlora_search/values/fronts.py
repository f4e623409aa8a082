"""Pareto fronts, non-dominated ranks and hypervolume, on losses (n, 2), both columns lower is better."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qrlora_search.values.objectives import losses, size_axis
from qrlora_search.values.states import FinishedTrial


def dominates(losses_M2: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns a matrix (n, n): row i, column j says whether i is nowhere worse than j and somewhere better."""
    no_worse = (losses_M2[:, None, :] <= losses_M2[None, :, :]).all(axis=2)
    better = (losses_M2[:, None, :] < losses_M2[None, :, :]).any(axis=2)
    return np.asarray(no_worse & better)


def ranks(losses_M2: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the non-dominated rank of every row, 0 for the front; equal rows share a rank.

    Raises ValueError on a value that is not finite: a failed trial has no place among ranks.
    """
    if not np.isfinite(losses_M2).all():
        raise ValueError("ranks need finite objectives")
    beaten_by = dominates(losses_M2)
    rank = np.full(len(losses_M2), -1, dtype=np.int64)
    level = 0
    while (rank < 0).any():
        left = rank < 0
        rank[left & ~beaten_by[left].any(axis=0)] = level
        level += 1
    return rank


def front(trials: Sequence[FinishedTrial], control_score: float) -> list[FinishedTrial]:
    """Returns the trials that neither another trial nor the zero-parameter control beats, smallest first.

    Of trials equal in both objectives the earliest stands for all. control_score is on the same split as the scores;
    where there are several controls, the better one. Raises TypeError for anything but a FinishedTrial.
    """
    if not all(isinstance(trial, FinishedTrial) for trial in trials):
        raise TypeError("a front takes trials that were trained to their end, as FinishedTrial")
    kept: list[FinishedTrial] = []
    best = control_score
    for trial in sorted(trials, key=lambda one: (one.parameters, -one.score, one.trial, one.kept is not None)):
        if trial.score > best:
            kept.append(trial)
            best = trial.score
    return kept


def hypervolume(members: Sequence[FinishedTrial], control_score: float, encoder_parameters: int) -> float:
    """Returns the area in score x log10(1 + parameters) that the members cover.

    The reference is the control's score (which itself adds 0) and P = encoder_parameters, the trainable count of the
    whole encoder, so that full fine-tuning fits. Closed form: the sum of the steps of the staircase.
    """
    area, reached = 0.0, control_score
    right = float(size_axis(encoder_parameters))
    for member in front(members, control_score):
        width = right - float(size_axis(member.parameters))
        if width > 0:
            area += (member.score - reached) * width
            reached = member.score
    return area


def pareto_ranks(scores: Sequence[float], parameters: Sequence[int]) -> NDArray[np.int64]:
    """Returns the rank of each trial by (score up, parameters down), shape (n,)."""
    return ranks(losses(scores, parameters))
