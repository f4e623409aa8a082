"""Searches on the same examples: fronts, areas under one reference, and what only one of them reaches."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from qrlora_search.app.compare_view import FrontPoint, Group, OnlyPoint, PairLine, SearchLine
from qrlora_search.app.trial_files import TrialsView, TrialView
from qrlora_search.describe.tasks import Task, find_task
from qrlora_search.values.comparing import Floats, areas, example_weights, percentile_interval
from qrlora_search.values.fronts import front
from qrlora_search.values.intervals import Statistic, paired_difference, score_interval, statistic
from qrlora_search.values.packing import unpack
from qrlora_search.values.states import FinishedTrial


@dataclass(frozen=True)
class Compared:
    """A search under the name it is called by in a comparison."""

    name: str
    view: TrialsView

    @property
    def task(self) -> Task:
        """Returns the search's task."""
        return find_task(self.view.plan.task)

    @cached_property
    def control(self) -> float:
        """Returns the better control's score on the selection split."""
        labels = unpack(self.view.labels)
        return max(_score(self.task.statistic, labels, unpack(packed)) for packed in self.view.controls.values())

    @property
    def finished(self) -> list[TrialView]:
        """Returns its Finished trials."""
        return [one for one in self.view.trials if one.state == "finished"]


def by_task(searches: Iterable[Compared]) -> dict[str, list[Compared]]:
    """Returns the searches by their task's title."""
    groups: dict[str, list[Compared]] = {}
    for one in searches:
        groups.setdefault(one.view.plan.title, []).append(one)
    return groups


def _score(kind: Statistic, labels_N: Floats, predictions_N: Floats) -> float:
    return float(statistic(kind, labels_N, predictions_N, np.ones((1, len(labels_N))))[0])


class Examples:
    """One search on its examples: scores and resamples of its front and of its better control."""

    def __init__(self, search: Compared, weights_BN: Floats) -> None:
        self.search, self.kind = search, search.task.statistic
        self.labels_N, self.weights_BN = unpack(search.view.labels), weights_BN
        controls = {name: unpack(packed) for name, packed in search.view.controls.items()}
        self.control_name, self.control_N = max(controls.items(), key=lambda one: self.score(one[1]))
        self.control = search.control
        by_number = {one.trial: one for one in search.finished}
        trials = [FinishedTrial(one.trial, one.curve[-1].score, one.parameters) for one in by_number.values()]
        self.front = [by_number[one.trial] for one in front(trials, self.control)]
        self.predictions = [unpack(one.packed) for one in self.front]

    def score(self, predictions_N: Floats) -> float:
        """Returns the score of predictions on all examples."""
        return _score(self.kind, self.labels_N, predictions_N)

    def resampled(self, predictions_N: Floats) -> Floats:
        """Returns the score of predictions on each resample, shape (B,)."""
        return statistic(self.kind, self.labels_N, predictions_N, self.weights_BN)

    def areas(self, reference_B: Floats, exact: float) -> tuple[float, Floats]:
        """Returns the front's area above a reference, and the same on each resample. Its own control is the front's
        point of 0 parameters: where it is above the reference, it covers area, too.
        """
        parameters, encoder = [0, *(one.parameters for one in self.front)], self.search.view.plan.encoder.parameters
        scores = np.array([[self.control, *(one.curve[-1].score for one in self.front)]])
        value = float(areas(scores, parameters, np.array([exact]), encoder)[0])
        drawn_BM = np.column_stack([self.resampled(one) for one in (self.control_N, *self.predictions)])
        return value, areas(drawn_BM, parameters, reference_B, encoder)

    def point(self, index: int) -> FrontPoint:
        """Returns a member of the front with its interval."""
        one = self.front[index]
        interval = score_interval(self.kind, self.labels_N, self.predictions[index])
        return FrontPoint(
            trial=one.trial, words=one.words, parameters=one.parameters, score=one.curve[-1].score,
            low=interval.low, high=interval.high,
        )  # fmt: skip

    def best_within(self, parameters: int) -> tuple[str, Floats]:
        """Returns the best of the front (or the control) of at most so many parameters, in words, and its results."""
        fits = [index for index, one in enumerate(self.front) if one.parameters <= parameters]
        if not fits:
            return f"its control ({self.control_name})", self.control_N
        return f"trial {self.front[fits[-1]].trial}, {self.front[fits[-1]].parameters} parameters", self.predictions[
            fits[-1]
        ]


def compare_group(searches: list[Compared]) -> Group:
    """Returns searches of one task on the same examples side by side; the reference is the lowest control."""
    weights = example_weights(len(unpack(searches[0].view.labels)))
    sides = [Examples(one, weights) for one in searches]
    lowest = min(sides, key=lambda one: one.control)
    reference_B = lowest.resampled(lowest.control_N)
    found = [side.areas(reference_B, lowest.control) for side in sides]
    pairs = [_pair((sides[a], *found[a]), (sides[b], *found[b])) for a, b in combinations(range(len(sides)), 2)]
    plan = searches[0].view.plan
    return Group(
        task=plan.task, title=plan.title, stand_in=plan.stand_in, objective=searches[0].task.objective,
        n=weights.shape[1], reference=lowest.control,
        reference_parameters=sorted({one.view.plan.encoder.parameters for one in searches}),
        searches=[_line(side, *areas_of) for side, areas_of in zip(sides, found, strict=True)], pairs=pairs,
    )  # fmt: skip


def _line(side: Examples, value: float, drawn_B: Floats) -> SearchLine:
    plan, (low, high) = side.search.view.plan, percentile_interval(drawn_B)
    return SearchLine(
        name=side.search.name, search_id=side.search.view.search_id, model=plan.model.name, seed=plan.seed,
        finished=len(side.search.finished), control=side.control,
        front=[side.point(index) for index in range(len(side.front))], hypervolume=value, low=low, high=high,
    )  # fmt: skip


def _pair(first: tuple[Examples, float, Floats], second: tuple[Examples, float, Floats]) -> PairLine:
    (one, value, drawn), (other, other_value, other_drawn) = first, second
    p, q = (side.search.view.plan.encoder.parameters for side in (one, other))
    only = [*_only(one, other), *_only(other, one)]
    names = {"first": one.search.name, "second": other.search.name, "only": only}
    if p != q:
        reason = f"models of P = {p:,} and {q:,} parameters: their areas end at different sizes and are not compared"
        return PairLine(difference=None, low=None, high=None, reason=reason, **names)  # type: ignore[arg-type]
    low, high = percentile_interval(drawn - other_drawn)
    return PairLine(difference=value - other_value, low=low, high=high, reason="", **names)  # type: ignore[arg-type]


def _only(one: Examples, other: Examples) -> list[OnlyPoint]:
    """Returns the members of one front whose score nothing of the other reaches at their size or below it."""
    points = []
    for trial, predictions in zip(one.front, one.predictions, strict=True):
        words, theirs = other.best_within(trial.parameters)
        if one.score(predictions) <= other.score(theirs):
            continue
        interval = paired_difference(one.kind, one.labels_N, predictions, theirs)
        points.append(
            OnlyPoint(
                of=one.search.name, trial=trial.trial, parameters=trial.parameters, words=trial.words,
                score=trial.curve[-1].score, against=words, difference=interval.value, low=interval.low,
                high=interval.high,
            )
        )  # fmt: skip
    return points
