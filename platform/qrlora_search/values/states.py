"""How a trial ends, and what one report of it holds."""

import math
from dataclasses import dataclass, field
from enum import StrEnum


class TrialState(StrEnum):
    """The end of a trial; a trial without one is still running, or was interrupted."""

    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True)
class Report:
    """One epoch of one trial, as the worker sends it.

    epoch: 1 for the first. score: the task's objective on the selection split, higher is better. loss: mean held-out
    loss there. seconds: this epoch; in it, states_s found or made constant states and scoring_s scored. packed:
    predictions on the selection split (see `packing`). metrics: every metric of the task by name. weights: the adapter
    (and head, where it trains) as safetensors bytes, or empty. checkpoint: what the trial goes on from, or empty.
    """

    epoch: int
    score: float
    loss: float
    seconds: float
    packed: str
    metrics: dict[str, float] = field(default_factory=dict)
    weights: bytes = b""
    checkpoint: bytes = b""
    states_s: float = 0.0
    scoring_s: float = 0.0


@dataclass(frozen=True)
class Decision:
    """What the stopping rule says of a report, with its reason in words."""

    stop: bool
    reason: str


@dataclass(frozen=True)
class FinishedTrial:
    """A trial trained to its last epoch: the only kind of trial that a front accepts.

    trial: its number. score: objective on the selection split. parameters: trained adapter parameters. head_parameters:
    trained head parameters, counted apart.
    """

    trial: int
    score: float
    parameters: int
    head_parameters: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for a score that is not finite: such a trial failed, it did not finish."""
        if not math.isfinite(self.score):
            raise ValueError(f"trial {self.trial} cannot be finished: its score is {self.score}")
