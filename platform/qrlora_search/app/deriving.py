"""Smaller adapters from Finished trials on or near the front: cut, scored on the selection split, recorded."""

import math
from collections.abc import Callable, Iterator

from qrlora_search.app.scoring import Scorer, Wanted
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.method.subsets import halvings, has_subsets
from qrlora_search.record.confirmation import Point
from qrlora_search.record.events import Record
from qrlora_search.record.history import History
from qrlora_search.values.fronts import front
from qrlora_search.values.states import FinishedTrial


def points_to_derive(plan: SearchPlan, history: History) -> Iterator[Point]:
    """Yields what is to be derived: halvings of the Finished trials by non-dominated rank, smallest first.

    At most `[derived] trials` of them, so that the cost is bounded: each point is one pass over the selection split.
    """
    left = [one for one in history.finished() if has_subsets(history.trials[one.trial].configuration)]
    near: list[FinishedTrial] = []
    while left and len(near) < plan.space.derived.trials:
        rank = front(left, -math.inf)  # peeled off one by one: all ranks of very many trials would take their square
        near += rank
        taken = {one.trial for one in rank}
        left = [one for one in left if one.trial not in taken]
    for one in near[: plan.space.derived.trials]:
        for count in halvings(one.parameters, plan.space.derived.halvings):
            yield one.trial, count


def derive(plan: SearchPlan, record: Record, history: History, scorer: Scorer, stop: Callable[[], bool]) -> None:
    """Scores what is to be derived and was not yet, and records it. stop: whether to derive no more."""
    for trial, kept in points_to_derive(plan, history):
        if kept is None or (trial, kept, "selection") in history.confirmation.derived:
            continue
        if stop():
            return
        one = history.trials[trial]
        if scorer.weights.path(trial).is_file():
            data = {"kept": kept, **scorer.score(Wanted(one, kept), "selection")}
            history.apply(record.append("derived", data, trial))
