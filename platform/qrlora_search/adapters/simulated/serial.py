"""An engine in this process: trials in turns, an epoch each. For tests and tiny searches."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from qrlora_search.describe.protocols import TrialDriver, TrialOrder
from qrlora_search.values.states import Report


class Steps(Protocol):
    """A trial in training."""

    def step(self) -> Report:
        """Trains one more epoch and returns its report; raises where the trial fails."""


@dataclass(frozen=True)
class SerialEngine:
    """Runs up to `concurrency` trials in turns. begin: makes a trial. failures: errors that are a trial's
    own; any other error is a fault of the program and ends the run.
    """

    begin: Callable[[TrialOrder], Steps]
    failures: tuple[type[Exception], ...]
    concurrency: int = 1

    def run(self, driver: TrialDriver) -> None:
        """Runs trials until the driver is exhausted and all have ended, or it is interrupted."""
        running: list[tuple[int, Steps]] = []
        while not driver.interrupted:
            while len(running) < self.concurrency and (order := driver.next_trial()) is not None:
                running.append((order.trial, self.begin(order)))
            if not running:
                if driver.exhausted:
                    return
                continue
            trial, steps = running.pop(0)
            try:
                report = steps.step()
            except self.failures as error:
                driver.failed(trial, str(error))
                continue
            if not driver.reported(trial, report).stop:
                running.append((trial, steps))
