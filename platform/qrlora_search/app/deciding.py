"""The stopping rule at work: the history of a search becomes what is known, reports become decisions."""

from dataclasses import replace

import numpy as np

from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.tasks import Task, find_task
from qrlora_search.record.confirmation import ReportLine
from qrlora_search.record.history import HEAD_ONLY, History, TrialHistory
from qrlora_search.values.knowledge import Knowledge, Seen
from qrlora_search.values.packing import unpack
from qrlora_search.values.paired import Examples
from qrlora_search.values.promoting import Promotion, Stopped, most_promising
from qrlora_search.values.states import Decision, TrialState
from qrlora_search.values.stopping import StoppingRule, decide, worth_starting


class Judge:
    """Keeps what is known of a search up to date and applies the rule to it; it changes nothing in the history."""

    def __init__(self, plan: SearchPlan, history: History) -> None:
        self.rule = StoppingRule(rungs=plan.space.training.rungs, epochs=plan.space.training.epochs)
        self.task, self.history, self.waiting = find_task(plan.task), history, Stopped()
        self.known = Knowledge(chance=chance_level(self.task, history))
        if "selection" in history.labels:
            self.known.examples = Examples(self.task.statistic, unpack(history.labels["selection"]))
        scored = history.scored.get((None, "selection"))
        if scored is not None:
            self.known.control = self._seen(None, scored.metrics[self.task.objective], scored.packed)
        for number, trial in sorted(history.trials.items()):  # what is known does not depend on the order of facts
            for line in trial.reports:
                self.note(number, line)
            if trial.state is TrialState.FINISHED:
                self.finished(number)

    def note(self, trial: int, line: ReportLine) -> None:
        """Takes a report of a trial that is under the rule; what no rung asks for is not kept."""
        if trial != HEAD_ONLY and line.epoch in self.rule.rungs:
            self.known.add(line.epoch, self._seen(self.history.trials[trial], line.score, line.packed))

    def finished(self, trial: int) -> None:
        """Takes the news that a trial was trained to its end, or that the head-only control was."""
        one = self.history.trials[trial]
        if trial == HEAD_ONLY:  # its head is no part of the adapter's size
            seen = {line.epoch: self._seen(one, line.score, line.packed) for line in one.reports}
            self.known.head_only = {epoch: replace(each, parameters=0) for epoch, each in seen.items()}
        else:
            self.known.finish(self._seen(one, one.reports[-1].score, one.reports[-1].packed))

    def decide(self, trial: int, line: ReportLine) -> Decision:
        """Returns whether a trial stops at its newest report, and why."""
        return decide(
            self.rule, line.epoch, self._seen(self.history.trials[trial], line.score, line.packed), self.known
        )

    def worth_starting(self, parameters: int) -> Decision:
        """Returns whether a trial of this size is started: without rungs every one is, and trained to its end."""
        if not self.rule.rungs:
            return Decision(stop=False, reason="there are no rungs")
        return worth_starting(self.rule, parameters, self.known)

    def stopped(self, one: TrialHistory) -> None:
        """Takes the news that a trial was stopped and may be taken up again."""
        if one.reports:
            self.waiting.add(len(one.reports), Seen(one.number, one.configuration.parameters, one.reports[-1].score))

    def most_promising(self, epochs: int) -> Promotion | None:
        """Returns the stopped trial that is to be taken up again, of those with at most so many epochs left."""
        return most_promising(self.rule, self.waiting, self.known, epochs)

    def _seen(self, trial: TrialHistory | None, score: float, packed: str) -> Seen:
        examples = self.known.examples
        results = None if examples is None else examples.results(unpack(packed))
        if trial is None:
            return Seen(HEAD_ONLY, 0, score, results)
        return Seen(trial.number, trial.configuration.parameters, score, results)


def chance_level(task: Task, history: History) -> float:
    """Returns the score of a constant answer on the selection split: 0 for a correlation, else the largest class."""
    if task.statistic == "correlation":
        return 0.0
    if "selection" not in history.labels:
        return float("-inf")
    labels = unpack(history.labels["selection"])
    return float(np.unique(labels, return_counts=True)[1].max()) / len(labels)
