"""Searches on the same examples: fronts, areas under one reference, and what only one of them reaches."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from qrlora_search.app.compare_view import FrontPoint, Group, OnlyPoint, PairLine, SearchLine
from qrlora_search.app.trial_files import TrialsView, TrialView
from qrlora_search.describe.tasks import Task, find_task
from qrlora_search.record.history import HEAD_ONLY
from qrlora_search.values.comparing import Floats, area_interval, areas, example_weights, percentile_interval
from qrlora_search.values.fronts import front
from qrlora_search.values.intervals import Statistic, statistic
from qrlora_search.values.packing import unpack
from qrlora_search.values.repeated import levelled, vary, vary_level, warm_ups_of
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


@dataclass(frozen=True)
class Member:
    """A point of a front. runs: predictions, shape (N,), by training. kept: coefficients, None for all. warm_ups: which
    one each training stands on; empty for the search's own.
    """

    trial: int
    kept: int | None
    words: str
    parameters: int
    runs: list[Floats]
    warm_ups: Sequence[int] = ()


class Side:
    """One search on the group's examples: its front and its better control, with scores and resamples.

    confirmed: by further seeds; else by the scores that brought members in. scores_P: of control and members, means
    over trainings. drawn_PB: what they might have been, over the group's resamples of examples, over seeds and, where
    the search has several, over warm-ups.
    """

    def __init__(self, search: Compared, weights_BN: Floats, confirmed: bool) -> None:
        self.search, self.kind, view = search, search.task.statistic, search.view
        self.labels_N, self.weights_BN = unpack(view.labels), weights_BN
        again = (view.confirmed_controls or {}) if confirmed else {}
        packed = {name: again.get(name) or [packed] for name, packed in view.controls.items()}
        found = {name: [unpack(one) for one in runs] for name, runs in packed.items()}
        self.grounds = found["warm-up"]
        on = {"warm-up": list(range(len(self.grounds))), "head-only": view.head_warm_ups if confirmed else []}
        controls = {name: (runs, on[name]) for name, runs in found.items()}
        self.control_name, control = max(controls.items(), key=lambda one: float(np.mean(self._scores(*one[1]))))
        self.front = self._confirmed() if confirmed else self._raw(float(np.mean(self._scores(*control))))
        trained = [control, *((one.runs, one.warm_ups) for one in self.front)]
        scores = [self._scores(*one) for one in trained]
        self.scores_P = np.array([np.mean(each) for each in scores])
        self.drawn_PB = np.array([np.mean(self._resamples(*one), axis=0) for one in trained])
        groups: dict[int, list[int]] = {}
        for place, one in enumerate(self.front, 1):
            groups.setdefault(one.trial, []).append(place)
        if self.control_name == "head-only":
            groups[HEAD_ONLY] = [0]
        varied = [trained[place][1] for places in groups.values() for place in places]
        vary(self.drawn_PB, groups, scores, _number(view.search_id), warm_ups_of(varied, len(self.grounds)))
        same_warm_ups = _number("".join(packed["warm-up"]))  # their level is one unknown, and no difference has it
        vary_level(self.drawn_PB, [self._score(one) for one in self.grounds], same_warm_ups)

    @property
    def control(self) -> float:
        """Returns the better control's score."""
        return float(self.scores_P[0])

    def _score(self, predictions_N: Floats) -> float:
        return _score(self.kind, self.labels_N, predictions_N)

    def _resampled(self, predictions_N: Floats) -> Floats:
        return statistic(self.kind, self.labels_N, predictions_N, self.weights_BN)

    def _scores(self, runs: Sequence[Floats], warm_ups: Sequence[int]) -> list[float]:
        return levelled([self._score(one) for one in runs], warm_ups, [self._score(one) for one in self.grounds])

    def _resamples(self, runs: Sequence[Floats], warm_ups: Sequence[int]) -> list[Floats]:
        return levelled(
            [self._resampled(one) for one in runs], warm_ups, [self._resampled(one) for one in self.grounds]
        )

    def _confirmed(self) -> list[Member]:
        return [
            Member(
                one.trial, one.kept, one.words, one.parameters, [unpack(packed) for packed in one.runs], one.warm_ups
            )
            for one in self.search.view.confirmed or []
        ]

    def _raw(self, control: float) -> list[Member]:
        """Returns the front by the scores that brought members in, derived adapters among them."""
        members = [
            *(Member(one.trial, None, one.words, one.parameters, [unpack(one.packed)]) for one in self.search.finished),
            *(
                Member(one.trial, one.kept, one.words, one.parameters, [unpack(one.packed)])
                for one in self.search.view.derived
            ),
        ]
        by_point = {(one.trial, one.kept): one for one in members}
        found = [FinishedTrial(one.trial, self._score(one.runs[0]), one.parameters, kept=one.kept) for one in members]
        return [by_point[one.trial, one.kept] for one in front(found, control)]

    def areas(self, reference_B: Floats, exact: float) -> tuple[float, Floats]:
        """Returns the front's area above a reference, and the same on each resample. Its own control is the front's
        point of 0 parameters: where it is above the reference, it covers area, too.
        """
        parameters, encoder = [0, *(one.parameters for one in self.front)], self.search.view.plan.encoder.parameters
        value = float(areas(self.scores_P[None], parameters, np.array([exact]), encoder)[0])
        return value, areas(self.drawn_PB.T, parameters, reference_B, encoder)

    def point(self, place: int) -> FrontPoint:
        """Returns a member of the front, from 0, with its interval."""
        one, (low, high) = self.front[place], percentile_interval(self.drawn_PB[place + 1])
        return FrontPoint(
            trial=one.trial, kept=one.kept, seeds=len(one.runs), words=one.words, parameters=one.parameters,
            score=float(self.scores_P[place + 1]), low=low, high=high,
        )  # fmt: skip

    def best_within(self, parameters: int) -> tuple[str, int]:
        """Returns the best of the front (or the control) of at most so many parameters: in words, and its place."""
        fits = [place for place, one in enumerate(self.front, 1) if one.parameters <= parameters]
        if not fits:
            return f"its control ({self.control_name})", 0
        return f"trial {self.front[fits[-1] - 1].trial}, {self.front[fits[-1] - 1].parameters} parameters", fits[-1]


def _number(text: str) -> int:
    """Returns a seed that belongs to a text: the further seeds of two searches vary independently, the level of equal
    warm-ups alike.
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def compare_group(searches: list[Compared]) -> Group:
    """Returns searches of one task on the same examples side by side; the reference is the lowest control.

    Like is compared with like: confirmed fronts where every search has one, else raw ones.
    """
    weights = example_weights(len(unpack(searches[0].view.labels)))
    unconfirmed = [one.name for one in searches if one.view.confirmed is None]
    sides = [Side(one, weights, confirmed=not unconfirmed) for one in searches]
    lowest = min(sides, key=lambda one: one.control)
    reference_B = lowest.drawn_PB[0]
    found = [side.areas(reference_B, lowest.control) for side in sides]
    pairs = [_pair((sides[a], *found[a]), (sides[b], *found[b])) for a, b in combinations(range(len(sides)), 2)]
    plan = searches[0].view.plan
    return Group(
        task=plan.task, title=plan.title, stand_in=plan.stand_in, objective=searches[0].task.objective,
        n=weights.shape[1], confirmed=not unconfirmed, unconfirmed=unconfirmed, reference=lowest.control,
        reference_parameters=sorted({one.view.plan.encoder.parameters for one in searches}),
        searches=[_line(side, *areas_of) for side, areas_of in zip(sides, found, strict=True)], pairs=pairs,
    )  # fmt: skip


def _line(side: Side, value: float, drawn_B: Floats) -> SearchLine:
    plan, (low, high) = side.search.view.plan, area_interval(value, drawn_B)
    control_low, control_high = percentile_interval(side.drawn_PB[0])
    return SearchLine(
        name=side.search.name, search_id=side.search.view.search_id, model=plan.model.name, seed=plan.seed,
        finished=len(side.search.finished), control=side.control,
        control_low=control_low, control_high=control_high, warm_ups=len(side.grounds),
        front=[side.point(index) for index in range(len(side.front))], hypervolume=value, low=low, high=high,
    )  # fmt: skip


def _pair(first: tuple[Side, float, Floats], second: tuple[Side, float, Floats]) -> PairLine:
    (one, value, drawn), (other, other_value, other_drawn) = first, second
    p, q = (side.search.view.plan.encoder.parameters for side in (one, other))
    only = [*_only(one, other), *_only(other, one)]
    names = {"first": one.search.name, "second": other.search.name, "only": only}
    if p != q:
        reason = f"models of P = {p:,} and {q:,} parameters: their areas end at different sizes and are not compared"
        return PairLine(difference=None, low=None, high=None, reason=reason, **names)  # type: ignore[arg-type]
    low, high = percentile_interval(drawn - other_drawn)
    return PairLine(difference=value - other_value, low=low, high=high, reason="", **names)  # type: ignore[arg-type]


def _only(one: Side, other: Side) -> list[OnlyPoint]:
    """Returns the members of one front whose score nothing of the other reaches at their size or below it."""
    points = []
    for place, member in enumerate(one.front, 1):
        words, theirs = other.best_within(member.parameters)
        difference = float(one.scores_P[place] - other.scores_P[theirs])
        if difference <= 0:
            continue
        low, high = percentile_interval(one.drawn_PB[place] - other.drawn_PB[theirs])
        points.append(
            OnlyPoint(
                of=one.search.name, trial=member.trial, parameters=member.parameters, words=member.words,
                score=float(one.scores_P[place]), against=words, difference=difference, low=low, high=high,
            )
        )  # fmt: skip
    return points
