"""Using an export: predictions of given texts as JSON lines, and its scores on a task's data."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy.special import softmax

from qrlora_search.app.adapted import Adapted
from qrlora_search.describe.tasks import Task, find_task
from qrlora_search.method.metrics import compute_metrics
from qrlora_search.method.sources import find_data
from qrlora_search.method.workbench import predictions_of
from qrlora_search.values.errors import UserError
from qrlora_search.values.packing import unpack

MARGIN = 1e-4
"""Below this margin between the two highest logits a class may turn with the last bits of a sum."""


def read_texts(task: Task, given: Sequence[str], file: str | None) -> list[list[str]]:
    """Returns columns of texts from arguments, a file, or the standard input (`-`, or nothing given)."""
    if given and file is not None:
        raise UserError("texts and --file exclude each other; give one of them")
    width = len(task.texts)
    if given:
        if len(given) % width:
            raise UserError(
                f"{len(given)} text(s) given: {task.name} reads {width} at a time ({', '.join(task.texts)})"
            )
        return [list(given[place::width]) for place in range(width)]
    if file is None or file == "-":
        lines = sys.stdin.read().splitlines()
    else:
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"--file {file!r} cannot be read: {error}; name a text file in UTF-8") from None
    rows = [_row(task, line, number) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise UserError("there is no text to predict: give texts, --file, or lines on the standard input")
    return [list(column) for column in zip(*rows, strict=True)]


def _row(task: Task, line: str, number: int) -> list[str]:
    if line.lstrip().startswith("{"):
        try:
            content = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"line {number} is no JSON: {error}") from None
        missing = [name for name in task.texts if not isinstance(content.get(name), str)]
        if missing:
            raise UserError(f"line {number} has no text {missing[0]!r}; {task.name} reads {', '.join(task.texts)}")
        return [content[name] for name in task.texts]
    parts = line.split("\t")
    if len(parts) != len(task.texts):
        raise UserError(
            f"line {number} has {len(parts)} column(s) between tabs; {task.name} reads {', '.join(task.texts)}"
        )
    return parts


def prediction_lines(adapted: Adapted, texts: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields a JSON line for each example: its texts, then the label with each class's probability, or the value."""
    task = adapted.task
    logits = adapted.logits(texts).astype(np.float64)
    for row, values in zip(zip(*texts, strict=True), logits, strict=True):
        line: dict[str, Any] = dict(zip(task.texts, row, strict=True))
        if task.regression:
            line["value"] = round(float(values[0]), 6)
        else:
            line["label"] = task.labels[int(values.argmax())]
            line["probabilities"] = {
                name: round(float(share), 6) for name, share in zip(task.labels, softmax(values), strict=True)
            }
        yield json.dumps(line, ensure_ascii=False)


def evaluate(adapted: Adapted, task_name: str | None, data: str, console: Console) -> bool:
    """Prints the scores on the report splits, and whether they are those that the search recorded.

    Returns False where predictions differ from the recorded ones on the same data by more than rounding.
    """
    task = adapted.task
    if task_name is not None and find_task(task_name).name != task.name:
        raise UserError(f"--task {task_name!r}: this adapter was trained for {task.name}; leave --task out")
    rows = find_data(data, task)
    stand_in = " (STAND-IN data, not GLUE)" if rows.source.kind == "stand-in" else ""
    same = rows.source.fingerprint == adapted.facts["provenance"]["data"]["fingerprint"]
    well = True
    for split in task.report_splits:
        frame = rows.splits[split]
        logits = adapted.logits([frame[name].tolist() for name in task.texts])
        predictions = predictions_of(task, logits)
        metrics = compute_metrics(task, frame["label"].to_numpy(dtype=np.float64), predictions)
        words = ", ".join(f"{name} {value:.6f}" for name, value in metrics.items())
        console.print(f"{task.name}{stand_in} {split}, n = {len(frame)}: {words}", markup=False)
        recorded = adapted.facts["scores"].get(split)
        if same and recorded is not None:
            well = _compare(task, logits, unpack(recorded["packed"]), console) and well
    if not same:
        console.print("not compared with the search's record: these are other data than it was trained and scored on")
    return well


def _compare(task: Task, logits: NDArray[np.float32], recorded: NDArray[np.float64], console: Console) -> bool:
    predictions = predictions_of(task, logits)
    if task.regression:
        gap = float(np.abs(predictions - recorded).max())
        console.print(f"largest difference to the recorded predictions: {gap:.2e}")
        return gap <= 1e-5
    other = np.flatnonzero(predictions != recorded)
    ordered = np.sort(logits[other].astype(np.float64), axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    for place, margin in zip(other, margins, strict=True):
        console.print(f"example {place + 1}: predicted otherwise than recorded, at a margin of {margin:.2e}")
    close = bool((margins < MARGIN).all())
    console.print(
        "all predictions are the recorded ones"
        if not len(other)
        else f"{len(other)} predictions differ, "
        + ("all at margins where rounding decides" if close else "which rounding does not explain")
    )
    return close
