"""The search itself: proposals become trials, reports become decisions, and all of it goes to the record first.

The loop is what engines drive. It holds no state of its own but the history that the record adds up to.
"""

import threading
from collections.abc import Callable
from dataclasses import asdict

from qrlora_search.app.deciding import Judge
from qrlora_search.describe.configuration import Configuration
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.proposals import head_only
from qrlora_search.describe.protocols import Clock, Parameters, Sampler, TrialOrder
from qrlora_search.record.events import Record
from qrlora_search.record.history import HEAD_ONLY, History
from qrlora_search.values.states import Decision, Report, TrialState

MOST_UNUSED = 500
"""So many proposals in a row that start nothing (duplicates, refusals) end the search: the space is used up."""

Canonical = Callable[[Parameters], Configuration]
KeepWeights = Callable[[int, bytes], None]


class SearchLoop:
    """A `TrialDriver`: asks the sampler, answers duplicates from the record, applies the stopping rule."""

    def __init__(
        self,
        plan: SearchPlan,
        record: Record,
        history: History,
        sampler: Sampler,
        canonical: Canonical,
        keep_weights: KeepWeights,
    ) -> None:
        self.plan, self.record, self.history, self.sampler = plan, record, history, sampler
        self.canonical, self.keep_weights = canonical, keep_weights
        self.judge = Judge(plan, history)
        self.used_up = False
        self.ending = ""
        self.deadline: tuple[Clock, float] | None = None
        self.lock = threading.RLock()
        self.by_identity: dict[str, int] = {}
        self.waiting: dict[int, list[int]] = {}
        self.again: list[int] = []
        self._take_up()

    def _take_up(self) -> None:
        for number, trial in sorted(self.history.trials.items()):
            if trial.duplicate_of is not None:
                if self.history.trials[trial.duplicate_of].state is None:
                    self.waiting.setdefault(trial.duplicate_of, []).append(number)
            elif not trial.refused:
                self.by_identity[trial.configuration.identity] = number
                if trial.state is None:
                    self.again.append(number)

    def set_deadline(self, clock: Clock, at: float) -> None:
        """Ends the search at a time of this clock: running trials end at their next report, unfinished."""
        self.deadline = (clock, at)

    def interrupt(self, why: str) -> None:
        """Ends the search as soon as it can; running trials stay unfinished and can be taken up by a resume."""
        self.ending = self.ending or why

    @property
    def interrupted(self) -> bool:
        """Returns whether the search is to end now."""
        if self.deadline is not None and self.deadline[0]() >= self.deadline[1]:
            self.interrupt("time limit")
        return bool(self.ending)

    @property
    def exhausted(self) -> bool:
        """Returns whether no further trial will start."""
        full = self.history.started >= self.plan.budget and not self.again
        return self.used_up or full or self.interrupted

    def next_trial(self) -> TrialOrder | None:
        """Returns the next trial to start: first a resumed one, then the head-only control, then proposals."""
        with self.lock:
            if self.interrupted:
                return None
            if self.again:
                return self._start(self.again.pop(0))
            if "trained" in self.plan.space.head.modes and HEAD_ONLY not in self.history.trials:
                control = head_only(self.plan.space, self.plan.space.training.batch_sizes[0])
                self._append("proposed", {"proposal": {}, "configuration": control.to_json()}, HEAD_ONLY)
                return self._start(HEAD_ONLY)
            if self.exhausted:
                return None
            return self._propose()

    def _propose(self) -> TrialOrder | None:
        for _ in range(MOST_UNUSED):
            number, proposal = self.sampler.ask()
            configuration = self.canonical(proposal)
            data = {"proposal": proposal, "configuration": configuration.to_json()}
            self._append("proposed", data, number)
            refusal = self._refusal(configuration.parameters)
            if refusal:
                self._append("refused", {"reason": refusal}, number)
                self.sampler.tell(number, TrialState.STOPPED, None, configuration.parameters)
                continue
            earlier = self.by_identity.get(configuration.identity)
            if earlier is not None:
                self._answer(number, earlier)
                continue
            self.by_identity[configuration.identity] = number
            return self._start(number)
        self.used_up = True
        return None

    def _refusal(self, parameters: int) -> str:
        """Returns why a trial of this size is not started, or an empty text."""
        limit = self.plan.max_params
        if limit is not None and parameters > limit:
            return f"{parameters} parameters are over the limit of {limit}"
        before = self.judge.worth_starting(parameters)
        return before.reason if before.stop else ""

    def _answer(self, number: int, earlier: int) -> None:
        self._append("duplicate", {"of": earlier}, number)
        trial = self.history.trials[earlier]
        if trial.state is None:
            self.waiting.setdefault(earlier, []).append(number)
        else:
            self.sampler.tell(number, trial.state, trial.score, trial.configuration.parameters)

    def _start(self, number: int) -> TrialOrder:
        self._append("started", {}, number)
        return TrialOrder(number, self.history.trials[number].configuration, self.plan.seed)

    def reported(self, trial: int, report: Report) -> Decision:
        """Takes a report: to the record, to the rule, and the decision to the record."""
        with self.lock:
            one = self.history.trials[trial]
            data = {name: value for name, value in asdict(report).items() if name != "weights"}
            if report.weights:
                self.keep_weights(trial, report.weights)
            self._append("report", data, trial)
            self.judge.note(trial, one.reports[-1])
            if report.epoch >= one.configuration.epochs:
                return self._finish(trial, TrialState.FINISHED, f"all {report.epoch} epochs")
            if trial == HEAD_ONLY:
                return Decision(stop=self.interrupted, reason="the control is never stopped")
            decision = self.judge.decide(trial, one.reports[-1])
            self._append("decision", {"stop": decision.stop, "reason": decision.reason}, trial)
            if decision.stop:
                return self._finish(trial, TrialState.STOPPED, decision.reason)
            if self.interrupted:
                return Decision(stop=True, reason=self.ending)
            return decision

    def failed(self, trial: int, reason: str) -> None:
        """Takes the news that a trial failed; the search goes on."""
        with self.lock:
            if self.history.trials[trial].state is None:
                self._finish(trial, TrialState.FAILED, reason)

    def _finish(self, trial: int, state: TrialState, reason: str) -> Decision:
        self._append("ended", {"state": str(state), "reason": reason}, trial)
        one = self.history.trials[trial]
        if state is TrialState.FINISHED:
            self.judge.finished(trial)
        if trial != HEAD_ONLY:
            for number in (trial, *self.waiting.pop(trial, [])):
                self.sampler.tell(number, state, one.score, one.configuration.parameters)
        return Decision(stop=True, reason=reason)

    def _append(self, kind: str, data: dict[str, object], trial: int) -> None:
        self.history.apply(self.record.append(kind, data, trial))
