"""The front as plain, versioned data: what console, files, MLflow and dashboards all draw.

Built from the record alone. Membership is decided on the selection split; the report split is shown beside it.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qrlora_search.describe.plan import Frozen, SearchPlan
from qrlora_search.describe.tasks import Task, find_task
from qrlora_search.record.history import HEAD_ONLY, History, Scored, TrialHistory
from qrlora_search.values.fronts import front, hypervolume
from qrlora_search.values.intervals import Interval, paired_difference, score_interval
from qrlora_search.values.packing import unpack
from qrlora_search.values.states import TrialState


class ScoreView(Frozen):
    """A score on one split over n examples, with its standard error and 95 % interval over examples."""

    split: str
    n: int
    score: float
    error: float
    low: float
    high: float
    metrics: dict[str, float]


class DifferenceView(Frozen):
    """Member minus the better control on the same examples, with its 95 % interval."""

    split: str
    n: int
    difference: float
    low: float
    high: float

    @property
    def told_apart(self) -> bool:
        """Returns whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


class ControlView(Frozen):
    """A model without adapter: `warm-up` as it is, or `head-only`, whose head was trained like a trial's."""

    kind: Literal["warm-up", "head-only"]
    head_parameters: int
    selection: ScoreView
    report: list[ScoreView]


class MemberView(Frozen):
    """One member of the front."""

    trial: int
    parameters: int
    head_parameters: int
    words: str
    tau: float | None
    ranks: list[tuple[int, str, int]]
    learning_rate: float
    batch_size: int
    epochs: int
    head: str
    selection: ScoreView
    report: list[ScoreView]
    against_control: list[DifferenceView]
    adapter: str


class PointView(Frozen):
    """One trial as a point of a plot: its size, its newest score on the selection split, and how it ended."""

    trial: int
    parameters: int
    score: float | None
    epochs: int
    state: str
    words: str
    reason: str


class HypervolumeView(Frozen):
    """Area in score x log10(1 + parameters), quoted with its split and reference."""

    value: float
    split: Literal["selection"] = "selection"
    reference_score: float
    reference_parameters: int


class FrontView(Frozen):
    """Everything a picture or a table of a search needs. counts: trials by state, duplicates and refusals."""

    version: Literal[1] = 1
    search_id: str
    title: str
    stand_in: bool
    task: str
    objective: str
    outcome: str
    seconds: float
    plan: SearchPlan
    controls: list[ControlView]
    members: list[MemberView]
    points: list[PointView]
    hypervolume: HypervolumeView
    counts: dict[str, int]
    notes: list[str]

    @property
    def better_control(self) -> ControlView:
        """Returns the control with the higher score on the selection split."""
        return max(self.controls, key=lambda one: one.selection.score)


def better_control_score(history: History) -> tuple[int | None, float]:
    """Returns the better control on the selection split (None: the warmed-up model; else HEAD_ONLY) and its score."""
    objective = find_task(_plan(history).task).objective
    best: int | None = None
    score = history.scored[None, "selection"].metrics[objective]
    head_only = history.trials.get(HEAD_ONLY)
    if head_only is not None and head_only.state is TrialState.FINISHED and (head_only.score or -1.0) > score:
        best, score = HEAD_ONLY, head_only.reports[-1].score
    return best, score


def members_of(history: History) -> list[int]:
    """Returns the trials on the front, smallest first: the ones worth scoring on the report split."""
    return [one.trial for one in front(history.finished(), better_control_score(history)[1])]


def build_front_view(history: History, outcome: str, seconds: float) -> FrontView:
    """Returns the view of a search whose control is scored; report scores are blank until the end has scored them."""
    plan = _plan(history)
    task = find_task(plan.task)
    best, score = better_control_score(history)
    finished = history.finished()
    volume = HypervolumeView(
        value=hypervolume(finished, score, plan.encoder.parameters),
        reference_score=score,
        reference_parameters=plan.encoder.parameters,
    )
    controls = [_control(history, task, None)]
    if (HEAD_ONLY, "selection") in history.scored:
        controls.append(_control(history, task, HEAD_ONLY))
    return FrontView(
        search_id=history.search_id,
        title=plan.title,
        stand_in=plan.stand_in,
        task=task.name,
        objective=task.objective,
        outcome=outcome,
        seconds=seconds,
        plan=plan,
        controls=controls,
        members=[_member(history, task, number, best) for number in members_of(history)],
        points=[_point(one) for one in history.searched],
        hypervolume=volume,
        counts=_counts(history),
        notes=_notes(plan),
    )


def _plan(history: History) -> SearchPlan:
    if history.plan is None:
        raise ValueError("a front needs the search's plan")
    return history.plan


def labels_of(history: History, split: str) -> NDArray[np.float64]:
    """Returns the labels of a split, from the record."""
    return unpack(history.labels[split])


def score_view(history: History, task: Task, split: str, scored: Scored) -> ScoreView:
    """Returns a score with its interval over examples."""
    interval = score_interval(task.statistic, labels_of(history, split), unpack(scored.packed))
    return ScoreView(
        split=split,
        n=interval.n,
        score=scored.metrics[task.objective],
        error=interval.error,
        low=interval.low,
        high=interval.high,
        metrics=scored.metrics,
    )


def _control(history: History, task: Task, number: int | None) -> ControlView:
    plan = _plan(history)
    return ControlView(
        kind="warm-up" if number is None else "head-only",
        head_parameters=0 if number is None else plan.encoder.head_parameters,
        selection=score_view(history, task, "selection", history.scored[number, "selection"]),
        report=_reports(history, task, number),
    )


def _reports(history: History, task: Task, number: int | None) -> list[ScoreView]:
    splits = [split for split in task.report_splits if (number, split) in history.scored]
    return [score_view(history, task, split, history.scored[number, split]) for split in splits]


def _member(history: History, task: Task, number: int, control: int | None) -> MemberView:
    one, configuration = history.trials[number], history.trials[number].configuration
    tau = one.proposal.get("tau")
    newest = one.reports[-1]
    selection = history.scored.get((number, "selection"), Scored(newest.metrics, newest.packed, newest.loss))
    splits = [split for split in task.report_splits if {(number, split), (control, split)} <= history.scored.keys()]
    return MemberView(
        trial=number,
        parameters=configuration.parameters,
        head_parameters=_plan(history).encoder.head_parameters if configuration.head == "trained" else 0,
        words=configuration.words,
        tau=None if tau is None else float(tau),
        ranks=[(rank.layer, rank.matrix, rank.rank) for rank in configuration.ranks],
        learning_rate=configuration.learning_rate,
        batch_size=configuration.batch_size,
        epochs=configuration.epochs,
        head=configuration.head,
        selection=score_view(history, task, "selection", selection),
        report=_reports(history, task, number),
        against_control=[_difference(history, task, split, number, control) for split in splits],
        adapter=f"front/trial-{number:05d}.safetensors",
    )


def _difference(history: History, task: Task, split: str, number: int, control: int | None) -> DifferenceView:
    ours, theirs = (unpack(history.scored[key, split].packed) for key in (number, control))
    interval: Interval = paired_difference(task.statistic, labels_of(history, split), ours, theirs)
    return DifferenceView(split=split, n=interval.n, difference=interval.value, low=interval.low, high=interval.high)


def _point(one: TrialHistory) -> PointView:
    return PointView(
        trial=one.number,
        parameters=one.configuration.parameters,
        score=one.score,
        epochs=len(one.reports),
        state=str(one.state) if one.state is not None else "unfinished",
        words=one.configuration.words,
        reason=one.reason,
    )


def _counts(history: History) -> dict[str, int]:
    counts = {str(state): len(history.in_state(state)) for state in TrialState}
    return counts | {
        "unfinished": sum(one.state is None for one in history.searched),
        "duplicates": sum(one.duplicate_of is not None for one in history.trials.values()),
        "refused": sum(one.refused for one in history.trials.values()),
    }


def _notes(plan: SearchPlan) -> list[str]:
    notes = [
        "Members are chosen on the selection split, whose scores therefore flatter them; "
        "the report split fed no decision.",
        "Intervals are over examples, for this one warm-up and seed; variation between warm-ups is not in them.",
        "Parameters are the adapter's; the warm-up trained every weight of the model first.",
    ]
    if plan.stand_in:
        notes.insert(0, "STAND-IN: the data are generated and not GLUE; the scores say nothing about the real task.")
    return notes
