"""What the events of a record add up to: the state of a search."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from qrlora_search.describe.configuration import Configuration, configuration_from_json
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.protocols import Event, Parameters
from qrlora_search.record.confirmation import Confirmation, ReportLine, Scored
from qrlora_search.values.states import FinishedTrial, TrialState

HEAD_ONLY = -1
"""The number of the head-only control, which is trained like a trial but proposed by nobody."""

ALL_FAILED = "every trial failed"
"""So begins the outcome of a search in which nothing ever finished or was stopped."""

TIME_LIMIT = "time limit"
AS_ASKED = frozenset({"complete", TIME_LIMIT})
"""Outcomes of a search that spent what it was given: trials, or time."""


@dataclass
class TrialHistory:
    """Everything known of one proposal. state None: not ended. duplicate_of: the trial that answered it. retries: why
    its worker was lost, each time that it was ordered again for that; uncounted: how many on nodes found unfit.
    promoted: after which epochs it was stopped and then taken up again, and why.
    """

    number: int
    configuration: Configuration
    proposal: Parameters = field(default_factory=dict)
    started: bool = False
    reports: list[ReportLine] = field(default_factory=list)
    state: TrialState | None = None
    reason: str = ""
    duplicate_of: int | None = None
    refused: bool = False
    retries: list[str] = field(default_factory=list)
    uncounted: int = 0
    promoted: dict[int, str] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """Returns the newest score, or None."""
        return self.reports[-1].score if self.reports else None


@dataclass
class History:
    """The state of a search.

    threads: of one trial, as the engine gave them last; preparation_s: core- or GPU-seconds before the trials.
    started, ended: how many count against the budget, and how they ended; live: started trials that have not ended;
    promotions: how often a stopped one was taken up again. They are kept as events arrive, since trials can be 100,000.
    used_up: budget and largest size with which the space was; unused: so many proposals in a row have needed no trial.
    delivered: the sinks have all of an ended search. failures: why trials failed, in this order; forgiven: how many
    had when the search last ended since all had failed.
    """

    plan: SearchPlan | None = None
    search_id: str = ""
    opened_at: str = ""
    trials: dict[int, TrialHistory] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    scored: dict[tuple[int | None, str], Scored] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)
    outcome: str = ""
    seconds: float = 0.0
    started: int = 0
    ended: dict[TrialState, int] = field(default_factory=lambda: dict.fromkeys(TrialState, 0))
    live: dict[int, TrialHistory] = field(default_factory=dict)
    promotions: int = 0
    used_up: tuple[int, int | None] | None = None
    unused: int = 0
    delivered: bool = False
    failures: list[str] = field(default_factory=list)
    forgiven: int = 0
    confirmation: Confirmation = field(default_factory=Confirmation)
    threads: int = 1
    versions: dict[str, str] = field(default_factory=dict)
    preparation_s: float = 0.0

    def apply(self, event: Event) -> None:
        """Takes the next event. Raises ValueError on a kind that is not known: the record is from a newer version."""
        owner: History | Confirmation = self
        name = f"_on_{event.kind}"
        if event.kind.startswith("confirm_"):
            owner, name = self.confirmation, f"on_{event.kind.removeprefix('confirm_')}"
        handler = getattr(owner, name, None)
        if handler is None:
            raise ValueError(f"event {event.sequence} is of the unknown kind {event.kind!r}")
        handler(event.trial, event.data)

    @property
    def searched(self) -> list[TrialHistory]:
        """Returns the trials that count against the budget: started, and proposed by the sampler."""
        return [trial for number, trial in sorted(self.trials.items()) if trial.started and number != HEAD_ONLY]

    def in_state(self, state: TrialState) -> list[TrialHistory]:
        """Returns the trials counted against the budget that ended so."""
        return [trial for trial in self.searched if trial.state == state]

    def finished(self) -> list[FinishedTrial]:
        """Returns the trials that may enter a front."""
        head = self.plan.encoder.head_parameters if self.plan else 0
        return [
            FinishedTrial(
                trial=one.number,
                score=one.reports[-1].score,
                parameters=one.configuration.parameters,
                head_parameters=head if one.configuration.head == "trained" else 0,
            )
            for one in self.in_state(TrialState.FINISHED)
        ]

    def _on_opened(self, _: int | None, data: dict[str, Any]) -> None:
        self.plan = SearchPlan.model_validate(data["plan"])
        self.search_id, self.opened_at = data["search_id"], data["at"]

    def _on_resumed(self, _: int | None, data: dict[str, Any]) -> None:
        self.plan = SearchPlan.model_validate(data["plan"])
        self.outcome, self.delivered = "", False

    def _on_prepared(self, _: int | None, data: dict[str, Any]) -> None:
        self.made, self.labels = list(data["made"]), dict(data["labels"])

    def _on_engine(self, _: int | None, data: dict[str, Any]) -> None:
        self.threads, self.versions = int(data["threads"]), dict(data.get("versions", {}))
        self.preparation_s += float(data["preparation_s"])

    def _on_scored(self, trial: int | None, data: dict[str, Any]) -> None:
        self.scored[trial, data["split"]] = Scored(data["metrics"], data["packed"], data["loss"])

    def _on_proposed(self, trial: int | None, data: dict[str, Any]) -> None:
        number = _numbered(trial)
        configuration = configuration_from_json(data["configuration"])
        self.trials[number] = TrialHistory(number, configuration, dict(data["proposal"]))

    def _on_refused(self, trial: int | None, data: dict[str, Any]) -> None:
        one = self.trials[_numbered(trial)]
        one.refused, one.reason = True, data["reason"]
        self.unused += 1

    def _on_duplicate(self, trial: int | None, data: dict[str, Any]) -> None:
        one = self.trials[_numbered(trial)]
        one.duplicate_of, one.reason = int(data["of"]), f"the same as trial {data['of']}"
        self.unused += 1

    def _on_derived(self, trial: int | None, data: dict[str, Any]) -> None:
        scored = Scored(data["metrics"], data["packed"], data["loss"])
        self.confirmation.derived[_numbered(trial), int(data["kept"]), data["split"]] = scored

    def _on_started(self, trial: int | None, _: dict[str, Any]) -> None:
        one = self.trials[_numbered(trial)]
        self.confirmation.closed = False
        if not one.started and one.number != HEAD_ONLY:
            self.started += 1
        one.started, self.unused = True, 0
        self.live[one.number] = one

    def _on_report(self, trial: int | None, data: dict[str, Any]) -> None:
        line, reports = ReportLine(**data), self.trials[_numbered(trial)].reports
        del reports[line.epoch - 1 :]  # older records: a trial that was taken up again began anew
        reports.append(line)

    def _on_decision(self, trial: int | None, data: dict[str, Any]) -> None:
        line = self.trials[_numbered(trial)].reports[-1]
        line.decision, line.stop = data["reason"], data["stop"]

    def _on_retried(self, trial: int | None, data: dict[str, Any]) -> None:
        one = self.trials[_numbered(trial)]
        one.retries.append(data["reason"])
        one.uncounted += not data.get("counted", True)

    def _on_used_up(self, _: int | None, data: dict[str, Any]) -> None:
        self.used_up, self.unused = (data["budget"], data["max_params"]), 0

    def _on_promoted(self, trial: int | None, data: dict[str, Any]) -> None:
        one = self.trials[_numbered(trial)]
        if one.state is not None:
            self.ended[one.state] -= 1
        one.state, one.reason = None, ""
        one.promoted[len(one.reports)] = data["reason"]
        self.live[one.number] = one
        self.promotions += 1

    def _on_ended(self, trial: int | None, data: dict[str, Any]) -> None:
        one = self.trials[_numbered(trial)]
        if one.state is None and one.number != HEAD_ONLY:
            self.ended[TrialState(data["state"])] += 1
        if data["state"] == TrialState.FAILED:
            self.failures.append(data["reason"])
        one.state, one.reason = TrialState(data["state"]), data["reason"]
        self.live.pop(one.number, None)

    def _on_closed(self, _: int | None, data: dict[str, Any]) -> None:
        self.outcome, self.seconds = data["outcome"], self.seconds + data["seconds"]
        if self.outcome.startswith(ALL_FAILED):
            self.forgiven = len(self.failures)

    def _on_delivered(self, _: int | None, _data: dict[str, Any]) -> None:
        self.delivered = True


def _numbered(trial: int | None) -> int:
    if trial is None:
        raise ValueError("this event must name a trial")
    return trial


def history_of(events: Iterable[Event]) -> History:
    """Returns the state that events add up to."""
    history = History()
    for event in events:
        history.apply(event)
    return history
