"""Stopping rules behind one small interface, each one's own code where it has any: ours, Ray's, Syne Tune's."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np

from qrlora_search.adapters.simulated.curves import Curves
from qrlora_search.values.knowledge import Knowledge, Seen
from qrlora_search.values.objectives import size_axis
from qrlora_search.values.packing import unpack
from qrlora_search.values.paired import Examples, Results
from qrlora_search.values.promoting import Stopped, most_promising
from qrlora_search.values.states import Report
from qrlora_search.values.stopping import StoppingRule, decide, worth_starting

RUNGS = (1, 2, 3)


class Table:
    """A table of curves with the compact results of every report, made once."""

    def __init__(self, curves: Curves) -> None:
        self.curves = curves
        self.examples = Examples(curves.statistic, curves.labels_N)
        self.control = Seen(-1, 0, curves.control.score, self.results(curves.control))
        labels = np.unique(curves.labels_N, return_counts=True)[1]
        self.chance = 0.0 if curves.statistic == "correlation" else float(labels.max()) / len(curves.labels_N)
        if len(labels) == 1:
            self.chance = 0.5  # synthetic: an answer is right or wrong, and labels say nothing
        self._results: dict[tuple[str, int], Results] = {}

    def results(self, report: Report) -> Results:
        """Return the compact results of a report."""
        return self.examples.results(unpack(report.packed))

    def seen(self, trial: int, place: int, report: Report) -> Seen:
        """Return what a rule sees of configuration `place` at a report, as a trial of that number."""
        one = self.curves.curves[place].configuration
        key = (one.identity, report.epoch)
        if key not in self._results:
            self._results[key] = self.results(report)
        return Seen(trial, one.parameters, report.score, self._results[key])


class Policy(Protocol):
    """Decides for one search."""

    def refuses(self, parameters: int) -> bool:
        """Return whether a trial of this size is not started."""

    def stops(self, epoch: int, one: Seen) -> bool:
        """Take a report before the last epoch and return whether the trial stops."""

    def finished(self, epoch: int, one: Seen) -> None:
        """Take a trial's last report."""

    def promotes(self) -> tuple[int, int] | None:
        """Return a stopped trial that is to go on where no new one starts, and after which epoch it was stopped."""


class NoStopping:
    """Every trial is trained to its end."""

    def __init__(self, table: Table) -> None:
        pass

    def refuses(self, parameters: int) -> bool:
        return False

    def stops(self, epoch: int, one: Seen) -> bool:
        return False

    def finished(self, epoch: int, one: Seen) -> None:
        pass

    def promotes(self) -> tuple[int, int] | None:
        return None


class Ours(NoStopping):
    """The product's rule."""

    def __init__(self, table: Table, **changes: Any) -> None:
        self.rule = replace(StoppingRule(RUNGS, table.curves.epochs), **changes)
        self.known = Knowledge(table.examples, table.control, table.chance)

    def refuses(self, parameters: int) -> bool:
        return worth_starting(self.rule, parameters, self.known).stop

    def stops(self, epoch: int, one: Seen) -> bool:
        self.known.add(epoch, one)
        return decide(self.rule, epoch, one, self.known).stop

    def finished(self, epoch: int, one: Seen) -> None:
        self.known.add(epoch, one)
        self.known.finish(one)


class Promoting(Ours):
    """The product's rule, and its promotion: where no new trial starts the most promising of the stopped goes on, as
    long as these train no more than a share of the epochs of all others.
    """

    def __init__(self, table: Table, promotion: float = 0.2, **changes: Any) -> None:
        super().__init__(table, **changes)
        self.promotion, self.trained, self.spent = promotion, 0, 0
        self.waiting = Stopped()
        self.taken: dict[int, int] = {}
        self.reserved: dict[int, int] = {}

    def _count(self, epoch: int, one: Seen, over: bool) -> None:
        if one.trial not in self.taken:
            self.trained += 1
        elif over:
            self.reserved.pop(one.trial)
            self.spent += epoch - self.taken[one.trial]

    def stops(self, epoch: int, one: Seen) -> bool:
        stop = super().stops(epoch, one)
        self._count(epoch, one, stop)
        if stop:
            self.waiting.add(epoch, one)
        return stop

    def finished(self, epoch: int, one: Seen) -> None:
        super().finished(epoch, one)
        self._count(epoch, one, True)

    def promotes(self) -> tuple[int, int] | None:
        left = int(self.promotion * self.trained) - self.spent - sum(self.reserved.values())
        found = most_promising(self.rule, self.waiting, self.known, left)
        if found is None:
            return None
        self.waiting.take(found)
        if found.trial in self.taken:
            self.spent -= found.epoch - self.taken[found.trial]
        self.taken.setdefault(found.trial, found.epoch)
        self.reserved[found.trial] = self.rule.epochs - self.taken[found.trial]
        return found.trial, found.epoch


class RayAsha(NoStopping):
    """Ray Tune's ASHAScheduler on the score, driven as an object. Its rungs are epochs 1, 2 and 4, by factor 2; by its
    own default, 4, they are 1 and 4.
    """

    def __init__(self, table: Table, factor: int = 2) -> None:
        from ray.tune.schedulers import ASHAScheduler

        self.scheduler = ASHAScheduler(
            time_attr="epoch", metric="score", mode="max", max_t=table.curves.epochs, reduction_factor=factor
        )
        self.trials: dict[int, Any] = {}

    def stops(self, epoch: int, one: Seen) -> bool:
        if one.trial not in self.trials:
            self.trials[one.trial] = SimpleNamespace(trial_id=str(one.trial))
            self.scheduler.on_trial_add(None, self.trials[one.trial])
        result = {"epoch": epoch, "score": one.score}
        return bool(self.scheduler.on_trial_result(None, self.trials[one.trial], result) == "STOP")


class SyneTuneMoasha(NoStopping):
    """Syne Tune's MOASHA from its own package, factor 2; its own default is 3, with rungs at 1 and 3.

    corrected: with ranks where it takes an order for ranks.
    """

    def __init__(self, table: Table, corrected: bool = False, factor: int = 2) -> None:
        from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA
        from syne_tune.optimizer.schedulers.multiobjective.multiobjective_priority import NonDominatedPriority

        class Ranks(NonDominatedPriority):
            def priority_unsafe(self, objectives: Any) -> Any:
                order_i = super().priority_unsafe(objectives)
                rank_i = np.empty(len(order_i), dtype=int)
                rank_i[order_i] = np.arange(len(order_i))
                return rank_i

        self.scheduler = MOASHA(
            {}, metrics=["loss", "size"], time_attr="epoch", max_t=table.curves.epochs, reduction_factor=factor,
            multiobjective_priority=Ranks() if corrected else None,
        )  # fmt: skip
        self.trials: dict[int, Any] = {}

    def stops(self, epoch: int, one: Seen) -> bool:
        if one.trial not in self.trials:
            self.trials[one.trial] = SimpleNamespace(trial_id=one.trial)
            self.scheduler.on_trial_add(self.trials[one.trial])
        result = {"epoch": epoch, "loss": -one.score, "size": float(size_axis(one.parameters))}
        return bool(self.scheduler.on_trial_result(self.trials[one.trial], result) == "STOP")


class Oracle(NoStopping):
    """No rule that can be: it knows each trial's final score and trains on only what enters the front of those so far.

    It does not know the trials to come, so it is no bound of what could be known.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.known = Knowledge(control=table.control)
        self.finals = {
            (one.configuration.parameters, one.reports[0].score): one.reports[-1].score
            for one in table.curves.curves
            if one.reports and not one.fails_at
        }
        self.doomed: set[int] = set()

    def stops(self, epoch: int, one: Seen) -> bool:
        if epoch > 1:
            return one.trial in self.doomed
        bar = self.known.bar(one.parameters)
        final = self.finals.get((one.parameters, one.score), -1.0)
        return bar is not None and final <= bar.score

    def finished(self, epoch: int, one: Seen) -> None:
        self.known.finish(one)


def make_rules() -> dict[str, Any]:
    """Return every rule by name, as a maker from a table."""
    return {
        "no stopping": NoStopping,
        "ours": Ours,
        "ours, nothing refused": lambda table: Ours(table, deviations=1e9),
        "ours, ranks alone": lambda table: Ours(table, curves=10**9),
        "ours, expectation alone": lambda table: Ours(table, fewest=10**9, around=0),
        "ours, noise ignored": lambda table: Ours(table, errors=0.0),
        "Ray ASHA on the score": RayAsha,
        "Ray ASHA on the score, factor 4": lambda table: RayAsha(table, factor=4),
        "Syne Tune MOASHA": SyneTuneMoasha,
        "Syne Tune MOASHA, factor 3": lambda table: SyneTuneMoasha(table, factor=3),
        "Syne Tune MOASHA, ranks corrected": lambda table: SyneTuneMoasha(table, corrected=True),
        "oracle (knows every end, no rule)": Oracle,
    }
