"""The contracts between the search and what it uses: engine, sampler, sink, clock.

There are no user callbacks: an extension is a new implementation that passes the contract tests of its protocol.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from qrlora_search.describe.configuration import Configuration
from qrlora_search.values.states import Decision, Report, TrialState

Parameters = dict[str, str | int | float]


@dataclass(frozen=True)
class TrialOrder:
    """A trial to be trained: its number, what to train, and the seed of its batch order.

    checkpoint: of this trial, from a report of it, to go on from; empty to begin. warm_up: which of the plan's warm-ups
    it stands on, 0 for the search's own.
    """

    trial: int
    configuration: Configuration
    seed: int
    checkpoint: bytes = b""
    warm_up: int = 0


class TrialDriver(Protocol):
    """The search, as an engine sees it."""

    def next_trial(self) -> TrialOrder | None:
        """Returns the next trial to start, or None where none is to start now (see `exhausted`)."""

    @property
    def exhausted(self) -> bool:
        """Returns whether no further trial will ever start."""

    @property
    def interrupted(self) -> bool:
        """Returns whether the search is to end now; running trials stay unfinished."""

    def reported(self, trial: int, report: Report) -> Decision:
        """Takes one epoch's report and returns whether the trial goes on."""

    def failed(self, trial: int, reason: str) -> None:
        """Takes the news that a trial failed by itself, with its reason."""

    def lost(self, trial: int, reason: str, *, counted: bool = True) -> None:
        """Takes the news that a trial's worker was lost, which is not the trial's fault; it may be ordered again.

        counted: whether it is one of the few retries of a trial; it is not where its node was found unfit, which is
        then used no more.
        """


class Engine(Protocol):
    """Runs trials until the driver has no more. It decides nothing."""

    def run(self, driver: TrialDriver) -> None:
        """Runs trials side by side; returns when the driver is exhausted and all have ended, or it is interrupted."""


class Sampler(Protocol):
    """Proposes parameters of the space and learns from how trials ended."""

    def ask(self) -> tuple[int, Parameters]:
        """Returns the number of a new proposal and its parameters."""

    def tell(self, number: int, state: TrialState, score: float | None, parameters: int) -> None:
        """Takes the end of a proposal. A Stopped one may have a score, at the epoch where it stopped."""


class Sink(Protocol):
    """Follows the record in order. It cannot change a search, and seeing an event twice does no harm."""

    def take(self, event: "Event") -> None:
        """Takes one event. Raises where the event was not stored; it is offered again later."""

    def close(self) -> None:
        """Ends the sink: nothing it opened stays open."""


@dataclass(frozen=True)
class Event:
    """One row of the record. sequence: its place, from 1. trial: None for events of the whole search."""

    sequence: int
    trial: int | None
    kind: str
    data: dict[str, object]


Clock = Callable[[], float]
