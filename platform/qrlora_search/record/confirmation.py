"""What the record says of confirmation: members trained again with further seeds, and adapters derived from trials."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from qrlora_search.values.states import TrialState

Point = tuple[int, int | None]
"""A trial, and how many of its coefficients are kept: None for all of them."""


@dataclass
class ReportLine:
    """One epoch of one trial, as kept in the record."""

    epoch: int
    score: float
    loss: float
    seconds: float
    packed: str
    metrics: dict[str, float]
    states_s: float = 0.0
    scoring_s: float = 0.0
    decision: str = ""
    stop: bool = False


@dataclass(frozen=True)
class Scored:
    """Predictions of the control or an adapter on one split."""

    metrics: dict[str, float]
    packed: str
    loss: float


@dataclass
class ConfirmRun:
    """One further training of a trial's configuration. warm_up: which one it stands on, 0 for the search's own.
    scored: of its adapter by (kept, split).
    """

    number: int
    trial: int
    seed: int
    warm_up: int = 0
    reports: list[ReportLine] = field(default_factory=list)
    state: TrialState | None = None
    reason: str = ""
    scored: dict[tuple[int | None, str], Scored] = field(default_factory=dict)


@dataclass
class Confirmation:
    """Further trainings and derived adapters.

    candidates: the raw front when confirmation began, smallest first. allowed: epochs. seeds: those that may be used.
    rounds: the trials of each round that has begun, by its seed's place. closed: whether it has ended, and no trial was
    started since. derived: scores by (trial, kept, split). controls:
    what the further warm-ups score without adapter, by (warm-up, split). lost: epochs that were trained once more.
    losses: how often each further training lost its worker and was ordered again, but for nodes found unfit.
    """

    candidates: list[Point] = field(default_factory=list)
    allowed: int = 0
    seeds: list[int] = field(default_factory=list)
    rounds: dict[int, list[int]] = field(default_factory=dict)
    runs: dict[int, ConfirmRun] = field(default_factory=dict)
    closed: bool = False
    reason: str = ""
    derived: dict[tuple[int, int, str], Scored] = field(default_factory=dict)
    controls: dict[tuple[int, str], Scored] = field(default_factory=dict)
    lost: list[ReportLine] = field(default_factory=list)
    losses: Counter[int] = field(default_factory=Counter)

    def runs_of(self, trial: int) -> list[ConfirmRun]:
        """Returns the further trainings of a trial that ended, by seed."""
        ended = [run for run in self.runs.values() if run.trial == trial and run.state is not None]
        return sorted(ended, key=lambda run: run.seed)

    def scores_of(self, point: Point, split: str) -> list[tuple[int, Scored]]:
        """Returns what the further trainings of a point scored on a split, by seed, with their warm-ups."""
        trial, kept = point
        return [(run.warm_up, run.scored[kept, split]) for run in self.runs_of(trial) if (kept, split) in run.scored]

    @property
    def epochs(self) -> int:
        """Returns how many epochs were trained, without those of killed trainings: a kill may not change the front."""
        return sum(len(run.reports) for run in self.runs.values())

    def on_planned(self, _: int | None, data: dict[str, Any]) -> None:
        """Takes which points are confirmed, and with what."""
        self.candidates = [(trial, kept) for trial, kept in data["candidates"]]
        self.allowed, self.seeds, self.closed = data["epochs"], list(data["seeds"]), False
        self.rounds = {}

    def on_round(self, _: int | None, data: dict[str, Any]) -> None:
        """Takes what a round trains, in its order."""
        self.rounds[int(data["round"])] = list(data["trials"])

    def on_started(self, trial: int | None, data: dict[str, Any]) -> None:
        """Takes the start of a further training, or that it goes on after an epoch, 0 for its beginning."""
        number, warm_up, epoch = int(data["run"]), int(data.get("warm_up", 0)), int(data.get("epoch", 0))
        before = self.runs[number].reports if number in self.runs else []
        self.lost += before[epoch:]
        run = ConfirmRun(number, -1 if trial is None else trial, int(data["seed"]), warm_up, before[:epoch])
        self.runs[number] = run

    def on_report(self, _: int | None, data: dict[str, Any]) -> None:
        """Takes an epoch of a further training."""
        line = dict(data)
        self.runs[int(line.pop("run"))].reports.append(ReportLine(**line))

    def on_retried(self, _: int | None, data: dict[str, Any]) -> None:
        """Takes that a further training lost its worker and goes on."""
        self.losses[int(data["run"])] += bool(data["counted"])

    def on_ended(self, _: int | None, data: dict[str, Any]) -> None:
        """Takes the end of a further training."""
        run = self.runs[int(data["run"])]
        run.state, run.reason = TrialState(data["state"]), data["reason"]

    def on_scored(self, _: int | None, data: dict[str, Any]) -> None:
        """Takes the score of a further training's adapter, or of its largest coefficients."""
        scored = Scored(data["metrics"], data["packed"], data["loss"])
        self.runs[int(data["run"])].scored[data["kept"], data["split"]] = scored

    def on_control(self, _: int | None, data: dict[str, Any]) -> None:
        """Takes the score of a further warm-up without adapter."""
        self.controls[int(data["warm_up"]), data["split"]] = Scored(data["metrics"], data["packed"], data["loss"])

    def on_closed(self, _: int | None, data: dict[str, Any]) -> None:
        """Takes the end of confirmation."""
        self.closed, self.reason = True, data["reason"]
