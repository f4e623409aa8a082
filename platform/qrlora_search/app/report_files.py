"""Writes a front view as files: front.json, front.csv, front.png, front.html. Each appears whole or not at all."""

import csv
import io
import os
import re
from pathlib import Path

from qrlora_search.app.front_view import FrontView
from qrlora_search.values.faults import passing


def write_atomically(path: Path, content: bytes) -> None:
    """Writes a file so that a reader, or a crash, sees the old one or the new one, never a part."""
    draft, kind = path.with_name(f".{path.name}.{os.getpid()}"), re.sub(r"\d", "", path.name)
    try:
        draft.write_bytes(content)
        passing(f"before:{kind}")
        draft.replace(path)
        passing(f"after:{kind}")
    finally:
        draft.unlink(missing_ok=True)


def front_csv(view: FrontView) -> str:
    """Returns the front as CSV: the controls first, then the members, one line each."""
    report = view.plan.counts.report
    header = ["kind", "trial", "data", "parameters", "head_parameters", "adapts", "tau", "learning_rate", "head"]
    header += ["selection_n", f"selection_{view.objective}", "selection_low", "selection_high"]
    for split in report:
        header += [f"{split}_n", f"{split}_{view.objective}", f"{split}_low", f"{split}_high"]
        header += [f"{split}_minus_control", f"{split}_minus_control_low", f"{split}_minus_control_high"]
    rows: list[list[object]] = []
    data = view.plan.data.kind
    for control in view.controls:
        row: list[object] = [f"control {control.kind}", "", data, 0, control.head_parameters, "", "", "", ""]
        rows.append(row + _scores(view, control.selection, control.report, {}))
    for one in view.members:
        row = ["member", one.trial, data, one.parameters, one.head_parameters, one.words]
        row += [one.tau, one.learning_rate, one.head]
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
    """Returns the view that `write_front` wrote."""
    return FrontView.model_validate_json((folder / "front.json").read_text(encoding="utf-8"))
