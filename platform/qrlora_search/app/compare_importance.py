"""What buys accuracy per parameter in every task: the importance of settings, task by task and in the mean."""

from collections.abc import Iterable

from qrlora_search.app.compare_fronts import Compared, by_task
from qrlora_search.app.compare_view import ImportanceLine
from qrlora_search.app.front_view import ImportanceView
from qrlora_search.app.views.importance import settings_of, views_over

_MORE = {"batch size": "batch_size", "head": "head"}
"""Settings by the names that a proposal has for them."""


def compare_importance(searches: Iterable[Compared]) -> list[ImportanceLine]:
    """Returns every setting of each question, the most important in the mean first; none where no task has enough."""
    found = {task: _views(group) for task, group in by_task(searches).items()}
    lines = []
    for question, views in enumerate(zip(*found.values(), strict=True)):
        known = {task: view for task, view in zip(found, views, strict=True) if view.settings}
        names = dict.fromkeys(one.setting for view in known.values() for one in view.settings)
        some = [_line(name, known, {task: found[task][question].n for task in found}) for name in names]
        lines += sorted(some, key=lambda line: -line.mean)
    return lines


def _views(group: list[Compared]) -> list[ImportanceView]:
    """Returns a task's importances: the trials of all its searches, each score as its gain over its own control."""
    rows, gains, sizes = [], [], []
    for search in group:
        depth = search.view.plan.encoder.layers
        for one in search.finished:
            if not one.ranks:
                continue
            places = [(layer, matrix) for layer, matrix, _ in one.ranks]
            row = settings_of(places, depth, one.proposal, one.method, one.learning_rate) | {"method": one.method}
            more = {name: one.proposal[key] for name, key in _MORE.items() if key in one.proposal}
            rows.append(row | {name: value if isinstance(value, str) else float(value) for name, value in more.items()})
            gains.append(one.curve[-1].score - search.control)
            sizes.append(one.parameters)
    return views_over(rows, gains, sizes)


def _line(name: str, known: dict[str, ImportanceView], counts: dict[str, int]) -> ImportanceLine:
    own = {task: {one.setting: one for one in view.settings}.get(name) for task, view in known.items()}
    shares = {task: one.share if one is not None else 0.0 for task, one in own.items()}
    return ImportanceLine(
        question=next(iter(known.values())).question,
        setting=name,
        shares={task: shares.get(task) for task in counts},
        lows={task: one.low if (one := own.get(task)) else None for task in counts},
        highs={task: one.high if (one := own.get(task)) else None for task in counts},
        counts=counts,
        mean=sum(shares.values()) / len(shares),
    )
