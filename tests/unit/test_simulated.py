"""The virtual clock: what an epoch takes, one that failed or was lost too."""

from dataclasses import dataclass, field

import pytest

from qrlora_search.adapters.simulated.engine import SimulatedEngine
from qrlora_search.adapters.simulated.families import make_family
from qrlora_search.describe.protocols import Decision, TrialOrder
from qrlora_search.values.states import Report


class EndsError(Exception):
    """An epoch's end. seconds: what it took, if it is known."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__("diverged: on purpose")
        if seconds is not None:
            self.seconds = seconds


class OwnError(EndsError):
    """A trial's own failure."""


class GoneError(EndsError):
    """A worker that is gone."""


def order(trial: int) -> TrialOrder:
    return TrialOrder(trial, make_family("steady", 0, 1).curves[0].configuration, 0)


@dataclass
class Fails:
    """A trial with epochs of 2 s that ends with an error in one of them."""

    error: Exception
    at: int
    epoch: int = 0

    def step(self) -> Report:
        self.epoch += 1
        if self.epoch == self.at:
            raise self.error
        return Report(self.epoch, 0.5, 0.5, 2.0, "cxx")


@dataclass
class Log:
    """A driver that gives out some trials and notes what it hears."""

    left: list[TrialOrder]
    heard: list[tuple[str, int]] = field(default_factory=list)
    interrupted: bool = False

    @property
    def exhausted(self) -> bool:
        return not self.left

    def next_trial(self) -> TrialOrder | None:
        return self.left.pop(0) if self.left else None

    def reported(self, trial: int, report: Report) -> Decision:
        self.heard.append((f"epoch {report.epoch}", trial))
        return Decision(report.epoch == 3, "")

    def failed(self, trial: int, reason: str) -> None:
        self.heard.append(("failed", trial))

    def lost(self, trial: int, reason: str, *, counted: bool = True) -> None:
        self.heard.append(("lost", trial))


@pytest.mark.parametrize(
    ("seconds", "at", "ends"),
    [(1.0, 2, 3.0), (None, 2, 4.0), (7.0, 1, 7.0), (None, 1, 0.0)],
    ids=["known", "as the epoch before", "in the first epoch", "in the first epoch, not known"],
)
@pytest.mark.parametrize(("error", "word"), [(OwnError, "failed"), (GoneError, "lost")])
def test_an_epoch_that_ends_with_an_error_takes_its_time(seconds, at, ends, error, word):
    log = Log([order(0)])
    engine = SimulatedEngine(lambda one: Fails(error(seconds), at), (OwnError,), losses=(GoneError,))
    engine.run(log)
    assert log.heard[-1] == (word, 0)
    assert engine.clock() == ends


def test_a_failure_is_heard_at_its_time_and_its_place_is_free_no_earlier():
    log = Log([order(0), order(1), order(2)])

    def begin(one):
        return Fails(OwnError(5.0), 2 if one.trial == 0 else 99)

    SimulatedEngine(begin, (OwnError,), concurrency=2).run(log)
    assert log.heard == [
        ("epoch 1", 0), ("epoch 1", 1), ("epoch 2", 1), ("epoch 3", 1),  # trial 0 fails at 2 + 5 s, trial 1 ends at 6
        ("failed", 0), ("epoch 1", 2), ("epoch 2", 2), ("epoch 3", 2),
    ]  # fmt: skip
