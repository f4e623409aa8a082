"""What every engine must do, checked through a driver that keeps account of what the engine does."""

from dataclasses import dataclass, field

from qrlora_search.describe.configuration import AdaptedMatrix, Configuration
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.values.states import Decision, Report

EPOCHS = 3


def order(trial: int, rank: int = 4, learning_rate: float = 0.01) -> TrialOrder:
    """Return an order for a tiny model."""
    ranks = (AdaptedMatrix(1, "q", rank), AdaptedMatrix(2, "v", rank))
    return TrialOrder(trial, Configuration(ranks, learning_rate, 8, EPOCHS, "frozen", 0.0, 0.0), seed=trial)


@dataclass
class Accountant:
    """A `TrialDriver` that hands out orders and notes everything. stop_at: {trial: epoch} it stops itself."""

    orders: list[TrialOrder]
    stop_at: dict[int, int] = field(default_factory=dict)
    interrupt_after: int = 10**9
    started: list[int] = field(default_factory=list)
    reports: dict[int, list[Report]] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    losses: dict[int, list[str]] = field(default_factory=dict)
    live: set[int] = field(default_factory=set)
    most_live: int = 0

    def next_trial(self) -> TrialOrder | None:
        if not self.orders:
            return None
        one = self.orders.pop(0)
        self.started.append(one.trial)
        self.live.add(one.trial)
        self.most_live = max(self.most_live, len(self.live))
        return one

    @property
    def exhausted(self) -> bool:
        return not self.orders

    @property
    def interrupted(self) -> bool:
        return sum(map(len, self.reports.values())) >= self.interrupt_after

    def reported(self, trial: int, report: Report) -> Decision:
        assert trial in self.live, "a report of a trial that is not running"
        self.reports.setdefault(trial, []).append(report)
        stop = report.epoch >= self.stop_at.get(trial, EPOCHS)
        if stop:
            self.live.discard(trial)
        return Decision(stop, "as told")

    def failed(self, trial: int, reason: str) -> None:
        self.failures.setdefault(trial, reason)
        self.live.discard(trial)

    def lost(self, trial: int, reason: str, *, counted: bool = True) -> None:
        self.losses.setdefault(trial, []).append(reason)
        self.live.discard(trial)
