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
    outcome: Report | Exception = field(compare=False)
    seconds: float = field(compare=False)


@dataclass
class SimulatedEngine:
    """Runs up to `concurrency` trials. An epoch takes its report's `seconds` on the virtual clock.

    One that ends with an error takes the error's `seconds`, or where it has none those of the trial's epoch before.

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
                self._train(order.trial, self.begin(order), 0.0)
            if not self.running:
                if driver.exhausted:
                    return
                continue
            epoch = heapq.heappop(self.running)
            self.now = epoch.ends
            if isinstance(epoch.outcome, self.failures):
                driver.failed(epoch.trial, str(epoch.outcome))
            elif isinstance(epoch.outcome, Exception):
                driver.lost(epoch.trial, str(epoch.outcome))
            elif not driver.reported(epoch.trial, epoch.outcome).stop:
                self._train(epoch.trial, epoch.steps, epoch.seconds)

    def _train(self, trial: int, steps: Steps, before_s: float) -> None:
        """Trains one epoch; what came of it waits for its time. before_s: what the trial's epoch before took."""
        outcome: Report | Exception
        try:
            outcome = steps.step()
            seconds = outcome.seconds
        except (*self.failures, *self.losses) as error:
            outcome = error
            seconds = float(getattr(error, "seconds", before_s))
        self.begun += 1
        heapq.heappush(self.running, _Epoch(self.now + seconds, self.begun, trial, steps, outcome, seconds))
