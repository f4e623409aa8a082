"""A search's front as the next sweep needs it: the view, and the best member's predictions on the report split.

It is a copy: the search's own folder may be deepened or pruned later.
"""

from pathlib import Path

from qrlora_search.app.front_view import FrontView
from qrlora_search.app.reading import read_search
from qrlora_search.app.report_files import read_front, write_atomically
from qrlora_search.app.views.candidates import WARM_UP, Standing
from qrlora_search.describe.plan import Frozen
from qrlora_search.record.confirmation import Point, Scored
from qrlora_search.values.errors import UserError

FOLDER = "fronts"


class Best(Frozen):
    """The member with the highest score on the selection split, or the better control where the front is empty.

    report: packed predictions by report split; empty where the search did not end and so was not scored.
    """

    parameters: int
    words: str
    score: float
    report: dict[str, str]


class Snapshot(Frozen):
    """One front with what it takes to compare it. labels: packed, by report split."""

    key: str
    inputs: dict[str, str]
    view: FrontView
    best: Best
    labels: dict[str, str]


def _own(standing: Standing, point: Point, split: str) -> Scored | None:
    """Returns what a point's own adapter scored on a split, the warm-up itself included."""
    return standing.history.scored.get((None, split)) if point == WARM_UP else standing.own(point, split)


def take_snapshot(key: str, inputs: dict[str, str], output: Path) -> Snapshot:
    """Returns the snapshot of a search's output."""
    history, _ = read_search(output, "the sweep's")
    view = read_front(output)
    standing = Standing(history)
    point, score = standing.better_control, view.better_control.selection.score
    words, parameters = "the control, without adapter", 0
    if view.members:
        best = max(view.members, key=lambda one: one.selection.score)
        point, score, words, parameters = (best.trial, best.kept), best.selection.score, best.words, best.parameters
    found = {split: _own(standing, point, split) for split in view.plan.counts.report}
    report = {split: scored.packed for split, scored in found.items() if scored is not None}
    labels = {split: packed for split, packed in history.labels.items() if split != "selection"}
    best_view = Best(parameters=parameters, words=words, score=score, report=report)
    return Snapshot(key=key, inputs=inputs, view=view, best=best_view, labels=labels)


def save_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Writes a snapshot into a sweep's folder."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FOLDER / f"{snapshot.key}.json", snapshot.model_dump_json().encode())


def load_snapshot(folder: Path, key: str) -> Snapshot | None:
    """Returns the snapshot of a search in a sweep's folder, or None where there is none."""
    path = folder / FOLDER / f"{key}.json"
    if not path.is_file():
        return None
    try:
        return Snapshot.model_validate_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not readable: {str(error).splitlines()[0]}; remove it") from None
