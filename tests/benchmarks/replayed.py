"""One search replayed on the virtual clock: a policy stops, a picker chooses among the recorded configurations."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from tests.benchmarks.rules import Policy, Table

from qrlora_search.adapters.simulated.curves import Replay, ReplayedFailureError
from qrlora_search.adapters.simulated.engine import SimulatedEngine
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.values.fronts import front, hypervolume
from qrlora_search.values.objectives import size_axis
from qrlora_search.values.states import Decision, FinishedTrial, Report, TrialState

Pick = Callable[[], int | None]
Tell = Callable[[int, TrialState, float | None], None]


@dataclass
class Replayed:
    """A `TrialDriver`. pick: the place of the next configuration, or None. epochs: the most that may be trained.

    steps: (epochs trained, hypervolume) after each Finished trial. places and trained: each trial's configuration and
    epochs.
    """

    table: Table
    policy: Policy
    pick: Pick
    epochs: int
    tell: Tell = lambda place, state, score: None
    used: int = 0
    started: int = 0
    refused: int = 0
    over: bool = False
    finished: list[FinishedTrial] = field(default_factory=list)
    steps: list[tuple[int, float]] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)
    trained: dict[int, int] = field(default_factory=dict)
    resume: dict[int, int] = field(default_factory=dict)

    @property
    def exhausted(self) -> bool:
        return self.over or self.interrupted

    @property
    def interrupted(self) -> bool:
        return self.used >= self.epochs

    def next_trial(self) -> TrialOrder | None:
        while not self.exhausted:
            place = self.pick()
            if place is None:
                self.over = True
                break
            configuration = self.table.curves.curves[place].configuration
            if self.policy.refuses(configuration.parameters):
                self.refused += 1
                self.tell(place, TrialState.STOPPED, None)
                continue
            self.started += 1
            self.places[self.started] = place
            return TrialOrder(self.started, configuration, 0)
        promoted = None if self.interrupted else self.policy.promotes()
        if promoted is None:
            return None
        trial, self.resume[promoted[0]] = promoted
        return TrialOrder(trial, self.table.curves.curves[self.places[trial]].configuration, 0)

    def reported(self, trial: int, report: Report) -> Decision:
        self.used += 1
        self.trained[trial] = report.epoch
        place = self.places[trial]
        seen = self.table.seen(trial, place, report)
        if report.epoch < self.table.curves.epochs:
            stop = self.policy.stops(report.epoch, seen)
            if stop:
                self.tell(place, TrialState.STOPPED, report.score)
            return Decision(stop, "")
        self.policy.finished(report.epoch, seen)
        self.finished.append(FinishedTrial(trial, report.score, seen.parameters))
        control, whole = self.table.control.score, self.table.curves.encoder_parameters
        self.steps.append((self.used, hypervolume(self.finished, control, whole)))
        self.tell(place, TrialState.FINISHED, report.score)
        return Decision(True, "")

    def failed(self, trial: int, reason: str) -> None:
        self.used += 1  # the epoch in which it failed was paid for
        self.tell(self.places[trial], TrialState.FAILED, None)

    def lost(self, trial: int, reason: str, *, counted: bool = True) -> None:
        raise RuntimeError(f"a replayed trial has no worker to lose: {reason}")

    def run(self, concurrency: int) -> "Replayed":
        """Run to the end and return itself."""
        SimulatedEngine(self._begin, (ReplayedFailureError,), concurrency).run(self)
        return self

    def _begin(self, order: TrialOrder) -> Replay:
        trial = self.table.curves.begin(order)
        trial.epoch = self.resume.pop(order.trial, 0)
        return trial

    def at(self, epochs: int) -> float:
        """Return the hypervolume after so many epochs."""
        return max((volume for used, volume in self.steps if used <= epochs), default=0.0)

    def reaches(self, volume: float) -> int | None:
        """Return the epochs after which a hypervolume is reached, or None."""
        return next((used for used, reached in self.steps if reached >= volume - 1e-12), None)

    def distance(self) -> float:
        """Return the mean distance (IGD+; Ishibuchi et al. 2015) from the full front to what was found.

        Axes: score in units of the full front's rise over the control, log10 size in units of its whole range.
        """
        table = self.table
        whole = [
            FinishedTrial(place, one.reports[-1].score, one.configuration.parameters)
            for place, one in enumerate(table.curves.curves)
            if not one.fails_at
        ]
        full = front(whole, table.control.score)
        if not full:
            return 0.0
        rise = max(one.score for one in full) - table.control.score
        width = float(size_axis(max(one.parameters for one in full)))
        found = front(self.finished, table.control.score)
        points = [(0.0, table.control.score), *((float(size_axis(one.parameters)), one.score) for one in found)]
        gaps = []
        for target in full:
            size = float(size_axis(target.parameters))
            away = [
                np.hypot(max(0.0, target.score - score) / rise, max(0.0, other - size) / width)
                for other, score in points
            ]
            gaps.append(min(away))
        return float(np.mean(gaps))


def in_order(order: Sequence[int]) -> Pick:
    """Return a picker that takes places in a fixed order."""
    left = iter(order)
    return lambda: next(left, None)
