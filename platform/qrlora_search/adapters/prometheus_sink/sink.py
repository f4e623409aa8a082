"""Metrics of a running search for Prometheus, served on the loopback address. Off unless a port is asked for.

It reads the record in order, from its beginning, so counters go on where an interrupted search is taken up again.
"""

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.protocols import Event
from qrlora_search.record.history import History
from qrlora_search.record.standing import Sparing, control_score, standing_of
from qrlora_search.values.errors import UserError
from qrlora_search.values.states import TrialState

HOST = "127.0.0.1"
_LAST = {"confirm_planned", "closed"}
"""Kinds after which no trial comes for a while, so that what is not told then stays untold."""


class MetricsSink:
    """A `Sink` that serves metrics at http://127.0.0.1:PORT/metrics until it is closed. Raises UserError where the port
    cannot be used.
    """

    def __init__(self, port: int) -> None:
        self.history, self.applied, self.sparing = History(), 0, Sparing()
        self.registry = CollectorRegistry()
        self.trials = self._gauge("trials", "Trials by state; `running` are started and not ended", ["state"])
        self.epochs = Counter("qrlora_epochs", "Epochs of trials and of the head-only control", registry=self.registry)
        self.failures = Counter("qrlora_failures", "Trials that failed", registry=self.registry)
        self.hypervolume = self._gauge("hypervolume", "Area of the raw front, selection split, above the control")
        self.front_size = self._gauge("front_size", "Trials on the raw front")
        self.best = self._gauge("best_score", "Highest score on the selection split, the control's without a front")
        self.spent = self._gauge("spent_seconds", "Seconds of all epochs of trials")
        self.saved = self._gauge("saved_seconds", "Seconds of epochs that stopping spared, at each trial's own speed")
        self.budget = self._gauge("budget", "Configurations to start")
        self.control = self._gauge("control_score", "The better control's score on the selection split")
        labels = ["search", "task", "model", "data", "selected_on"]
        self.info = self._gauge("search_info", "1; data is STAND-IN where it was generated", labels)
        try:
            self.server, self.thread = start_http_server(port, addr=HOST, registry=self.registry)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"--metrics-port {port} cannot be used: {reason}; choose another") from None

    def _gauge(self, name: str, words: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(f"qrlora_{name}", words, labels or [], registry=self.registry)

    def take(self, event: Event) -> None:
        """Takes one event, once."""
        if event.sequence <= self.applied:
            return
        packed: dict[str, Any] = {"packed": ""} if "packed" in event.data else {}
        self.history.apply(Event(event.sequence, event.trial, event.kind, {**event.data, **packed}))
        self.applied = event.sequence
        if event.kind == "report":
            self.epochs.inc()
        if event.kind == "ended" and event.data["state"] == TrialState.FAILED:
            self.failures.inc()
        if event.kind in {"opened", "resumed"} and self.history.plan is not None:
            self._describe(self.history.plan)
        if event.kind in {"opened", "scored", "started", "promoted", "ended", *_LAST}:
            self._stand(last=event.kind in _LAST)

    def _describe(self, plan: SearchPlan) -> None:
        self.budget.set(plan.budget)
        data = "STAND-IN" if plan.stand_in else plan.data.kind
        self.info.labels(self.history.search_id, plan.task, plan.model.name, data, plan.space.selection.on).set(1)

    def _stand(self, last: bool = False) -> None:
        """Sets where the search stands; of a large one not at each event, but where no trial comes for a while."""
        for state, count in self.history.ended.items():
            self.trials.labels(str(state)).set(count)
        self.trials.labels("running").set(self.history.started - sum(self.history.ended.values()))
        if (None, "selection") not in self.history.scored or not (last or self.sparing.due):
            return
        with self.sparing.taking():
            standing = standing_of(self.history)
        self.hypervolume.set(standing.hypervolume)
        self.front_size.set(len(standing.members))
        self.best.set(standing.best)
        self.control.set(control_score(self.history))
        self.spent.set(standing.spent_s)
        self.saved.set(standing.saved_s)

    def close(self) -> None:
        """Gives the port back."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(5)
