"""An engine in this process with a virtual clock: trials side by side, in the order in which their epochs would end.

For tests, for replays of recorded learning curves, and for searches of a size that no machine here could run.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from qrlora_search.describe.protocols import TrialDriver, TrialOrder
from qrlora_search.values.states import Report


class Steps(Protocol):
    """A trial in training."""

    def step(self) -> Report:
        """Trains one more epoch and returns its report; raises where the trial fails."""


@dataclass(order=True)
class _Epoch:
    """An epoch in training, and when it ends; of those that end together the one that began first comes first."""

    ends: float
    begun: int
    trial: int = field(compare=False)
    steps: Steps = field(compare=False)
    report: Report = field(compare=False)


@dataclass
class SimulatedEngine:
    """Runs up to `concurrency` trials. An epoch takes its report's `seconds` on the virtual clock.

    begin: makes a trial. failures: errors that are a trial's own. losses: errors that say that its worker is gone. Any
    other error is a fault of the program and ends the run. now: seconds on the virtual clock.
    """

    begin: Callable[[TrialOrder], Steps]
    failures: tuple[type[Exception], ...]
    concurrency: int = 1
    losses: tuple[type[Exception], ...] = ()
    now: float = 0.0
    running: list[_Epoch] = field(default_factory=list)
    begun: int = 0

    def clock(self) -> float:
        """Returns seconds on the virtual clock."""
        return self.now

    def run(self, driver: TrialDriver) -> None:
        """Runs trials until the driver is exhausted and all have ended, or it is interrupted."""
        self.running = []
        while not driver.interrupted:
            while len(self.running) < self.concurrency and (order := driver.next_trial()) is not None:
                self._train(driver, order.trial, self.begin(order))
            if not self.running:
                if driver.exhausted:
                    return
                continue
            epoch = heapq.heappop(self.running)
            self.now = epoch.ends
            if not driver.reported(epoch.trial, epoch.report).stop:
                self._train(driver, epoch.trial, epoch.steps)

    def _train(self, driver: TrialDriver, trial: int, steps: Steps) -> None:
        """Trains one epoch; its report waits for its time."""
        try:
            report = steps.step()
        except self.failures as error:
            driver.failed(trial, str(error))
            return
        except self.losses as error:
            driver.lost(trial, str(error))
            return
        self.begun += 1
        heapq.heappush(self.running, _Epoch(self.now + report.seconds, self.begun, trial, steps, report))
