"""Builds the view of a search from its record alone."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qrlora_search.app.front_view import FrontView, HypervolumeView, PointView
from qrlora_search.app.trust_words import confirmation_line, curse_lines, derived_lines
from qrlora_search.app.views.billing import bill_view
from qrlora_search.app.views.candidates import Standing
from qrlora_search.app.views.choosing import pick_views
from qrlora_search.app.views.importance import importance_views
from qrlora_search.app.views.members import MemberViews, control_views
from qrlora_search.app.views.trust import UNCONFIRMED, confirmation_view, marks_of, notes_of
from qrlora_search.record.confirmation import Point
from qrlora_search.record.history import History
from qrlora_search.values.comparing import area_interval, areas, percentile_interval
from qrlora_search.values.fronts import front, hypervolume
from qrlora_search.values.repeated import Repeated
from qrlora_search.values.states import FinishedTrial, TrialState


def build_front_view(history: History, outcome: str, seconds: float) -> FrontView:
    """Returns the view of a search whose control is scored; report scores are blank until the end has scored them.

    Raises ValueError where the record has no plan.
    """
    standing = Standing(history)
    plan, task = standing.plan, standing.task
    members = MemberViews(standing).views()
    view = FrontView(
        search_id=history.search_id,
        title=plan.title if standing.is_confirmed else f"{plan.title}, {UNCONFIRMED}",
        marks=marks_of(standing),
        stand_in=plan.stand_in,
        selected_on=plan.space.selection.on,
        task=task.name,
        objective=task.objective,
        outcome=outcome,
        seconds=seconds,
        plan=plan,
        controls=control_views(standing),
        members=members,
        points=list(_points(standing)),
        confirmation=confirmation_view(standing, members),
        picks=pick_views(members, standing.control_score(standing.better_control)),
        importance=importance_views(history),
        bill=bill_view(history, plan),
        hypervolume=_hypervolume(standing),
        counts=_counts(history),
        notes=notes_of(standing),
    )
    trust = [confirmation_line(view), *curse_lines(view), *derived_lines(view)]
    return view.model_copy(update={"trust": trust})


def _hypervolume(standing: Standing) -> HypervolumeView:
    whole, score = standing.plan.encoder.parameters, standing.control_score(standing.better_control)
    drawn, points = standing.selection, [*standing.control_points, *standing.contenders]
    value, drawn_B = _area(standing, drawn, points, standing.members)
    low, high = area_interval(value, drawn_B)
    return HypervolumeView(
        value=value,
        low=low,
        high=high,
        n=drawn.n,
        reference_score=score,
        reference_parameters=whole,
        raw=hypervolume(standing.raw_front(), standing.raw_control, whole),
        without_derived=hypervolume(standing.raw_front(with_derived=False), standing.raw_control, whole),
        derived=_derived_add(standing),
    )


def _area(
    standing: Standing, drawn: Repeated, points: list[Point], members: list[FinishedTrial]
) -> tuple[float, NDArray[np.float64]]:
    """Returns the area of members above the better control, and what it might have been. points: that were drawn."""
    whole, reference = standing.plan.encoder.parameters, points.index(standing.better_control)
    places, sizes = [points.index(one.point) for one in members], [one.parameters for one in members]
    value = areas(drawn.values_P[None, places], sizes, drawn.values_P[[reference]], whole)
    return float(value[0]), areas(drawn.draws_PB[places].T, sizes, drawn.draws_PB[reference], whole)


def _derived_add(standing: Standing) -> tuple[float, float, float] | None:
    """Returns what parts of trials add to the area by further seeds, and its 95 % interval."""
    if not standing.is_confirmed or not standing.whole or all(kept is None for _, kept in standing.confirmed):
        return None
    points = list(dict.fromkeys([*standing.control_points, *standing.confirmed, *standing.whole]))
    drawn = standing.repeated(points, "selection")
    ends = [
        FinishedTrial(one[0], float(drawn.values_P[points.index(one)]), standing.parameters(one))
        for one in standing.whole
    ]
    alone = front(ends, standing.control_score(standing.better_control))
    with_B = _area(standing, drawn, points, standing.members)
    without_B = _area(standing, drawn, points, alone)
    low, high = percentile_interval(with_B[1] - without_B[1])
    return with_B[0] - without_B[0], low, high


def _points(standing: Standing) -> Iterator[PointView]:
    for one in standing.history.searched:
        yield PointView(
            trial=one.number,
            parameters=one.configuration.parameters,
            score=one.score,
            epochs=len(one.reports),
            state=str(one.state) if one.state is not None else "unfinished",
            words=one.configuration.words,
            reason=one.reason,
        )
    for point in standing.derived():
        trial = standing.history.trials[point.trial]
        yield PointView(
            trial=point.trial,
            parameters=point.parameters,
            score=point.score,
            epochs=len(trial.reports),
            state="derived",
            words=f"largest {point.kept} of {trial.configuration.parameters}: {trial.configuration.words}",
            reason="not trained: the largest coefficients of a Finished trial",
            kept=point.kept,
        )


def _counts(history: History) -> dict[str, int]:
    counts = {str(state): len(history.in_state(state)) for state in TrialState}
    return counts | {
        "unfinished": sum(one.state is None for one in history.searched),
        "duplicates": sum(one.duplicate_of is not None for one in history.trials.values()),
        "refused": sum(one.refused for one in history.trials.values()),
        "derived": sum(split == "selection" for _, _, split in history.confirmation.derived),
    }
