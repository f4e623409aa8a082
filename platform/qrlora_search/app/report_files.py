"""Writes a front view as files: front.json, front.csv, front.png, front.html. Each appears whole or not at all."""

import csv
import io
import json
import os
import re
from pathlib import Path

from qrlora_search.app.front_view import VERSION, FrontView
from qrlora_search.values.errors import UserError
from qrlora_search.values.faults import passing


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that a reader, or a crash, sees the old one or the new one, never a part.

    It is on disk when this returns, so that what the record says of it afterwards holds after a loss of power, too.
    """
    draft, kind = path.with_name(f".{path.name}.{os.getpid()}"), re.sub(r"\d", "", path.name)
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        passing(f"before:{kind}")
        draft.replace(path)
        _to_disk(path.parent)
        passing(f"after:{kind}")
    finally:
        draft.unlink(missing_ok=True)


def _to_disk(folder: Path) -> None:
    """Has a folder's names on disk, where the system can open one."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def drop_drafts(folder: Path) -> None:
    """Removes what `write_atomically` left in a folder when it was killed; nobody else may be writing there."""
    for draft in folder.glob(".*"):
        if re.fullmatch(r"\..+\.\d+", draft.name):
            draft.unlink(missing_ok=True)


def front_csv(view: FrontView) -> str:
    """Returns the front as CSV: the controls first, then the members, one line each."""
    report = view.plan.counts.report
    header = [
        "kind",
        "trial",
        "kept",
        "data",
        "parameters",
        "head_parameters",
        "adapts",
        "tau",
        "learning_rate",
        "head",
    ]
    header += ["confirmed", "selected_on", "probability", f"brought_in_{view.objective}"]
    header += ["selection_n", f"selection_{view.objective}", "selection_low", "selection_high"]
    for split in report:
        header += [f"{split}_n", f"{split}_{view.objective}", f"{split}_low", f"{split}_high"]
        header += [f"{split}_minus_control", f"{split}_minus_control_low", f"{split}_minus_control_high"]
    rows: list[list[object]] = []
    data = view.plan.data.kind
    for control in view.controls:
        row: list[object] = [f"control {control.kind}", "", "", data, 0, control.head_parameters, "", "", "", ""]
        row += ["", view.selected_on, "", ""]
        rows.append(row + _scores(view, control.selection, control.report, {}))
    for one in view.members:
        row = ["member", one.trial, one.kept, data, one.parameters, one.head_parameters, one.words]
        row += [one.tau, one.learning_rate, one.head]
        row += [one.confirmed, view.selected_on, one.probability, one.first.score]
        differences = {difference.split: difference for difference in one.against_control}
        rows.append(row + _scores(view, one.selection, one.report, differences))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def _scores(view: FrontView, selection: object, report: list, differences: dict) -> list[object]:  # type: ignore[type-arg]
    cells: list[object] = [selection.n, selection.score, selection.low, selection.high]  # type: ignore[attr-defined]
    by_split = {score.split: score for score in report}
    for split in view.plan.counts.report:
        score, difference = by_split.get(split), differences.get(split)
        cells += [score.n, score.score, score.low, score.high] if score else [""] * 4
        cells += [difference.difference, difference.low, difference.high] if difference else [""] * 3
    return cells


def write_front(view: FrontView, folder: Path) -> list[Path]:
    """Writes the view's files into a folder and returns their paths."""
    from qrlora_search.app.draw_html import front_html
    from qrlora_search.app.draw_png import front_png

    contents = {
        "front.json": view.model_dump_json(indent=1).encode(),
        "front.csv": front_csv(view).encode(),
        "front.png": front_png(view),
        "front.html": front_html(view).encode(),
    }
    for name, content in contents.items():
        write_atomically(folder / name, content)
    return [folder / name for name in contents]


def read_front(folder: Path) -> FrontView:
    """Returns the view that `write_front` wrote; one of an earlier version is built anew from the folder's record.

    Raises UserError where the file is of another version and there is no record beside it, or is none of ours.
    """
    file = folder / "front.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["version"] == VERSION:
            return FrontView.model_validate(content)
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{str(file)!r} is no front of a search; name a folder that --output made") from None
    if content["version"] == 1 and (folder / "record.db").is_file():
        from qrlora_search.app.reading import read_search
        from qrlora_search.app.views.building import build_front_view

        history, _ = read_search(folder, "front.json of")
        return build_front_view(history, history.outcome, history.seconds)
    raise UserError(
        f"{str(file)!r} is of version {content['version']}, this program reads {VERSION}; "
        "read it in the search's output folder, beside its record.db, or search again"
    )
