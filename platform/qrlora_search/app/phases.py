"""Several drivers one after the other behind one run of an engine, so that its workers are kept."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from qrlora_search.describe.protocols import Clock, TrialDriver, TrialOrder
from qrlora_search.record.history import TIME_LIMIT
from qrlora_search.values.states import Decision, Report

APART = 10**9
"""The numbers of each driver's trials begin so far from the last one's."""


class Phase(TrialDriver, Protocol):
    """A driver that can be told to end."""

    def interrupt(self, why: str) -> None:
        """Ends as soon as it can."""


class Interruptible:
    """What drivers share that can be told to end: by a word, or by a deadline. ending: why, empty while it goes on."""

    def __init__(self) -> None:
        self.ending = ""
        self.deadline: tuple[Clock, float] | None = None

    def set_deadline(self, clock: Clock, at: float) -> None:
        """Ends at a time of this clock: running trainings end at their next report, unfinished."""
        self.deadline = (clock, at)

    def interrupt(self, why: str) -> None:
        """Ends as soon as it can; running trainings stay unfinished and are taken up by a resume."""
        self.ending = self.ending or why

    @property
    def interrupted(self) -> bool:
        """Returns whether it is to end now."""
        if self.deadline is not None and self.deadline[0]() >= self.deadline[1]:
            self.interrupt(TIME_LIMIT)
        return bool(self.ending)


class InTurn:
    """A `TrialDriver`: the next phase begins when the one before is exhausted and its trials have ended.

    A phase that ends by itself, by its time limit for one, does not end the next.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        self.phases, self.place = list(phases), 0
        self.live: set[int] = set()
        self.ended = ""
        self.lock = threading.RLock()

    def interrupt(self, why: str) -> None:
        """Ends the run: no further phase begins. why: kept as `ended`."""
        self.ended = why
        for phase in self.phases:
            phase.interrupt(why)

    @property
    def _last(self) -> bool:
        return self.place == len(self.phases) - 1

    @property
    def interrupted(self) -> bool:
        """Returns whether the run is to end now."""
        return bool(self.ended) or (self._last and self.phases[-1].interrupted)

    @property
    def exhausted(self) -> bool:
        """Returns whether no further trial of any phase will start."""
        with self.lock:
            while not self._last and not self.ended and not self.live and self.phases[self.place].exhausted:
                self.place += 1
            return bool(self.ended) or (self._last and self.phases[-1].exhausted)

    def next_trial(self) -> TrialOrder | None:
        """Returns the next trial of the phase that runs, under a number of its own."""
        with self.lock:
            order = None if self.exhausted else self.phases[self.place].next_trial()
            if order is None and not self._last and not self.live and not self.exhausted:
                order = self.phases[self.place].next_trial()  # the one before has just found itself exhausted
            if order is None:
                return None
            number = order.trial + self.place * APART
            self.live.add(number)
            return replace(order, trial=number)

    def _owner(self, trial: int) -> tuple[Phase, int]:
        place = (trial + 1) // APART  # -1 is the head-only control, of the first phase
        return self.phases[place], trial - place * APART

    def reported(self, trial: int, report: Report) -> Decision:
        """Takes an epoch's report to its phase."""
        with self.lock:
            phase, number = self._owner(trial)
            decision = phase.reported(number, report)
            if decision.stop:
                self.live.discard(trial)
            return decision

    def lost(self, trial: int, reason: str, *, counted: bool = True) -> None:
        """Takes the news that a trial's worker was lost to its phase, which may order the trial again."""
        with self.lock:
            phase, number = self._owner(trial)
            self.live.discard(trial)
            phase.lost(number, reason, counted=counted)

    def failed(self, trial: int, reason: str) -> None:
        """Takes the news that a trial failed to its phase."""
        with self.lock:
            phase, number = self._owner(trial)
            self.live.discard(trial)
            phase.failed(number, reason)
