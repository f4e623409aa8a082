"""The search itself: proposals become trials, reports become decisions, and all of it goes to the record first.

The loop is what engines drive. It holds no state of its own but the history that the record adds up to.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Protocol

from qrlora_search.app.deciding import Judge
from qrlora_search.app.phases import Interruptible
from qrlora_search.describe.configuration import Configuration
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.proposals import head_only
from qrlora_search.describe.protocols import Parameters, Sampler, TrialOrder
from qrlora_search.method.checkpoint import report_in
from qrlora_search.record.events import Record
from qrlora_search.record.history import ALL_FAILED, HEAD_ONLY, History, TrialHistory
from qrlora_search.values.promoting import Promotion
from qrlora_search.values.states import Decision, Report, TrialState

MOST_UNUSED = 500
"""So many proposals in a row that start nothing (duplicates, refusals) end the search: the space is used up."""

MOST_RETRIES = 3
"""So often a trial is ordered again when its worker was lost; then it is the trial that kills its workers."""

FIRST_FAILURES = 5
"""So many failures, and nothing that ever finished or was stopped, end the search; fewer where no more will start."""

Canonical = Callable[[Parameters], Configuration]


class TrialFiles(Protocol):
    """Where the weights of trials are kept, and what those that have not ended go on from."""

    def keep(self, trial: int, report: Report) -> None:
        """Keeps what a report carries besides numbers."""

    def checkpoint(self, trial: int) -> bytes:
        """Returns the newest checkpoint of a trial, or nothing."""

    def ended(self, trial: int) -> None:
        """Takes the news that a trial goes on no more."""

    def stopped(self, trial: int) -> bool:
        """Takes the news that a trial was stopped; returns whether a checkpoint is kept for it to go on from."""


class SearchLoop(Interruptible):
    """A `TrialDriver`: asks the sampler, answers duplicates from the record, applies the stopping rule."""

    def __init__(
        self,
        plan: SearchPlan,
        record: Record,
        history: History,
        sampler: Sampler,
        canonical: Canonical,
        files: TrialFiles,
    ) -> None:
        super().__init__()
        self.plan, self.record, self.history, self.sampler = plan, record, history, sampler
        self.canonical, self.files = canonical, files
        self.judge = Judge(plan, history)
        self.used_up = False
        self.appended = self.trained = 0
        self.promising: tuple[int, Promotion | None] = (-1, None)
        self.taken_up: set[int] = set()
        self.untold: set[int] = set()
        self.lock = threading.RLock()
        self.by_identity: dict[str, int] = {}
        self.waiting: dict[int, list[int]] = {}
        self.again: list[int] = []
        self._take_up()

    def _take_up(self) -> None:
        """Makes the loop's own state from the history; unfinished trials and unanswered proposals go on first."""
        self.used_up = self.history.used_up == self._limits
        for number, trial in sorted(self.history.trials.items()):
            if number != HEAD_ONLY:
                self.trained += min(trial.promoted, default=len(trial.reports))
            if trial.promoted:
                self.taken_up.add(number)
                self.untold |= {number} if trial.state is None else set()
            if trial.state is TrialState.STOPPED and number != HEAD_ONLY:
                self._set_aside(trial)
            if trial.duplicate_of is not None:
                if self.history.trials[trial.duplicate_of].state is None:
                    self.waiting.setdefault(trial.duplicate_of, []).append(number)
            elif not trial.refused:
                if trial.started:
                    self.by_identity[trial.configuration.identity] = number
                if trial.state is None:
                    self.again.append(number)
        self._end_where_all_failed()

    @property
    def _limits(self) -> tuple[int, int | None]:
        """Returns what may change from run to run and let a space that was used up have more."""
        return self.plan.budget, self.plan.max_params

    @property
    def _promotes(self) -> bool:
        """Returns whether stopped trials are taken up again at all."""
        training = self.plan.space.training
        return bool(training.rungs) and training.promotion > 0

    def _set_aside(self, one: TrialHistory) -> None:
        """Keeps a stopped trial, where it may be taken up again: with its checkpoint, and within the limits."""
        if not self._promotes:
            self.files.ended(one.number)
            return
        limit = self.plan.max_params
        if self.files.stopped(one.number) and (limit is None or one.configuration.parameters <= limit):
            self.judge.stopped(one)

    @property
    def exhausted(self) -> bool:
        """Returns whether no further trial will start."""
        with self.lock:
            return (self._no_more and not self.again and self._settled) or self.interrupted

    @property
    def _no_more(self) -> bool:
        """Returns whether nothing more is proposed."""
        return self.used_up or self.history.started >= self.plan.budget

    @property
    def _settled(self) -> bool:
        """Returns whether no stopped trial will be taken up again; what still runs may yet be stopped."""
        return not self._promotes or (not self.history.live and self._promotion is None)

    def next_trial(self) -> TrialOrder | None:
        """Returns the next trial to start: first a resumed one, then the head-only control, then proposals."""
        with self.lock:
            if self.interrupted:
                return None
            order = self._again()
            if order is not None:
                return order
            if "trained" in self.plan.space.head.modes and HEAD_ONLY not in self.history.trials:
                control = head_only(self.plan.space, self.plan.space.training.batch_sizes[0])
                self._append("proposed", {"proposal": {}, "configuration": control.to_json()}, HEAD_ONLY)
                return self._start(HEAD_ONLY)
            order = None if self._no_more else self._propose()
            return order or self._promote()

    def _again(self) -> TrialOrder | None:
        """Returns the next trial that began before, as far as it still has to be trained, or None."""
        while self.again:
            number = self.again.pop(0)
            one = self.history.trials[number]
            if not one.started:
                if number != HEAD_ONLY and self._answered(number):
                    continue
                return self._start(number)
            if one.reports:
                self._judged(number)
            order = self._order(number)
            ahead = report_in(order)
            if one.state is None and ahead is not None and ahead.epoch == len(one.reports) + 1:
                self.reported(number, ahead)  # the driver died after it kept the checkpoint, before it recorded this
            if one.state is None:
                return self._start(number)
        return None

    def _propose(self) -> TrialOrder | None:
        while self.history.unused < MOST_UNUSED:  # what came before a kill counts
            number, proposal = self.sampler.ask()
            configuration = self.canonical(proposal)
            data = {"proposal": proposal, "configuration": configuration.to_json()}
            self._append("proposed", data, number)
            if not self._answered(number):
                return self._start(number)
        self.used_up = True
        budget, most = self._limits
        self.history.apply(self.record.append("used_up", {"budget": budget, "max_params": most}))
        self._end_where_all_failed()
        return None

    @property
    def _promotion(self) -> Promotion | None:
        """Returns the stopped trial that is taken up again next, worked out once after each event."""
        if self.promising[0] != self.appended:
            self.promising = (self.appended, self.judge.most_promising(self._epochs_left()))
        return self.promising[1]

    def _epochs_left(self) -> int:
        """Returns how many epochs stopped trials may still train: a share of what was trained without these."""
        spent = 0
        for number in self.taken_up:
            one = self.history.trials[number]
            spent += (one.configuration.epochs if one.state is None else len(one.reports)) - min(one.promoted)
        return int(self.plan.space.training.promotion * self.trained) - spent

    def _promote(self) -> TrialOrder | None:
        """Returns a stopped trial that is taken up again from its checkpoint, or None."""
        one = self._promotion if self._promotes else None
        if one is None:
            return None
        self.judge.waiting.take(one)
        self.taken_up.add(one.trial)
        self._append("promoted", {"after_epoch": one.epoch, "reason": one.reason}, one.trial)
        return self._start(one.trial)

    def _answered(self, number: int) -> bool:
        """Returns whether a proposal needs no trial: refused for its size, or the same as an earlier one."""
        configuration = self.history.trials[number].configuration
        refusal = self._refusal(configuration.parameters)
        if refusal:
            self._append("refused", {"reason": refusal}, number)
            self.sampler.tell(number, TrialState.STOPPED, None, configuration.parameters)
            return True
        earlier = self.by_identity.get(configuration.identity)
        if earlier is not None:
            self._answer(number, earlier)
        return earlier is not None

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
        order = self._order(number)
        kept = report_in(order)
        self._append("started", {} if kept is None else {"after_epoch": kept.epoch}, number)
        self.by_identity[order.configuration.identity] = number
        return order

    def _order(self, number: int) -> TrialOrder:
        one = self.history.trials[number]
        content = self.files.checkpoint(number) if one.started else b""
        return TrialOrder(number, one.configuration, self.plan.seed, content)

    def reported(self, trial: int, report: Report) -> Decision:
        """Takes a report: its files, then to the record, to the rule, and the decision to the record.

        An epoch that the record has, trained once more after a loss, changes nothing in it.
        """
        with self.lock:
            one = self.history.trials[trial]
            if one.state is not None:
                return Decision(stop=True, reason=one.reason)
            self.files.keep(trial, report)
            if report.epoch <= len(one.reports):
                return Decision(stop=self.interrupted, reason=f"epoch {report.epoch} is in the record")
            data = {name: value for name, value in asdict(report).items() if name not in {"weights", "checkpoint"}}
            self._append("report", data, trial)
            self.trained += trial != HEAD_ONLY and not one.promoted
            self.judge.note(trial, one.reports[-1])
            return self._judged(trial)

    def _judged(self, trial: int) -> Decision:
        """Returns what follows from a trial's newest report; what of it is not in the record yet goes there."""
        one = self.history.trials[trial]
        line = one.reports[-1]
        if line.epoch >= one.configuration.epochs:
            return self._finish(trial, TrialState.FINISHED, f"all {line.epoch} epochs")
        if trial == HEAD_ONLY:
            return Decision(stop=self.interrupted, reason="the control is never stopped")
        if not line.decision:
            decision = self.judge.decide(trial, line)
            self._append("decision", {"stop": decision.stop, "reason": decision.reason}, trial)
        if line.stop and line.epoch not in one.promoted:
            return self._finish(trial, TrialState.STOPPED, line.decision)
        if self.interrupted:
            return Decision(stop=True, reason=self.ending)
        return Decision(stop=False, reason=line.decision)

    def failed(self, trial: int, reason: str) -> None:
        """Takes the news that a trial failed; the search goes on."""
        with self.lock:
            if self.history.trials[trial].state is None:
                self._finish(trial, TrialState.FAILED, reason)
                self._end_where_all_failed()

    def lost(self, trial: int, reason: str, *, counted: bool = True) -> None:
        """Takes the news that a trial's worker was lost: it goes on from its checkpoint, up to three times."""
        with self.lock:
            one = self.history.trials[trial]
            if one.state is not None or self.interrupted:
                return
            if counted and len(one.retries) - one.uncounted >= MOST_RETRIES:
                self.failed(trial, f"lost its worker {MOST_RETRIES + 1} times, the last time: {reason}")
                return
            self._append("retried", {"reason": reason, "retry": len(one.retries) + 1, "counted": counted}, trial)
            self.again.append(trial)

    def _end_where_all_failed(self) -> None:
        """Ends the search where all that was tried failed: more of the same would be waste. One that ended so before
        gets as many new tries, while its budget lasts.
        """
        ended, over = self.history.ended, self._no_more and not self.history.live
        failures = self.history.failures[0 if over else self.history.forgiven :]
        if not failures or ended[TrialState.FINISHED] or ended[TrialState.STOPPED]:
            return
        if over or len(failures) >= min(FIRST_FAILURES, self.plan.budget):
            alike = Counter(re.sub(r"[\d.]+", "#", one) for one in failures)
            shape, count = alike.most_common(1)[0]
            cause = next(one for one in failures if re.sub(r"[\d.]+", "#", one) == shape)
            self.interrupt(f"{ALL_FAILED} ({count} of {len(failures)} like this: {cause})")

    def _finish(self, trial: int, state: TrialState, reason: str) -> Decision:
        self._append("ended", {"state": str(state), "reason": reason}, trial)
        one = self.history.trials[trial]
        if state is TrialState.STOPPED:
            self._set_aside(one)
        else:
            self.files.ended(trial)
        if state is TrialState.FINISHED:
            self.judge.finished(trial)
        if trial != HEAD_ONLY:
            before = one.promoted and trial not in self.untold  # when it was stopped, and it is asked no more
            told = [] if before else [trial]
            for number in (*told, *self.waiting.pop(trial, [])):
                self.sampler.tell(number, state, one.score, one.configuration.parameters)
        return Decision(stop=True, reason=reason)

    def _append(self, kind: str, data: dict[str, object], trial: int) -> None:
        self.appended += 1
        self.history.apply(self.record.append(kind, data, trial))
