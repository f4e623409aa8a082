"""Smaller adapters from Finished trials on or near the front: cut, scored on the selection split, recorded."""

from collections.abc import Iterator

from qrlora_search.app.scoring import Scorer, Wanted
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.method.subsets import halvings, has_subsets
from qrlora_search.record.confirmation import Point
from qrlora_search.record.events import Record
from qrlora_search.record.history import History
from qrlora_search.values.fronts import pareto_ranks


def points_to_derive(plan: SearchPlan, history: History) -> Iterator[Point]:
    """Yields what is to be derived: halvings of the Finished trials of the lowest non-dominated ranks, smallest first.

    At most `[derived] trials` of them, so that the cost is bounded: each point is one pass over the selection split.
    """
    finished = [one for one in history.finished() if has_subsets(history.trials[one.trial].configuration)]
    ranks: list[int] = (
        pareto_ranks([one.score for one in finished], [one.parameters for one in finished]).tolist() if finished else []
    )
    order = sorted(zip(ranks, finished, strict=True), key=lambda pair: (pair[0], pair[1].parameters, pair[1].trial))
    for _, one in order[: plan.space.derived.trials]:
        for count in halvings(one.parameters, plan.space.derived.halvings):
            yield one.trial, count


def derive(plan: SearchPlan, record: Record, history: History, scorer: Scorer) -> None:
    """Scores what is to be derived and was not yet, and records it."""
    for trial, kept in points_to_derive(plan, history):
        if kept is None or (trial, kept, "selection") in history.confirmation.derived:
            continue
        one = history.trials[trial]
        if scorer.weights.path(trial).is_file():
            data = {"kept": kept, **scorer.score(Wanted(one, kept), "selection")}
            history.apply(record.append("derived", data, trial))
