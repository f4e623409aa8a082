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
from qrlora_search.method.files import encodable
from qrlora_search.method.metrics import compute_metrics
from qrlora_search.method.sources import find_data
from qrlora_search.method.workbench import predictions_of
from qrlora_search.values.errors import UserError
from qrlora_search.values.packing import unpack

SAME, ROUNDING = 1e-6, 1e-5
"""Within these metrics are the recorded ones, and a regression's values, which reach 5, in float32."""
APART = 1e-3
"""Predictions of a regression whose standard deviation is below this lie so close together that metrics, which know
their order or their spread alone, change with their last bits."""
BYTE_ORDER = "\ufeff"
"""Some programs write this mark before the first text of a file; it is no part of it."""
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
        texts = [_readable(one, f"text {number}") for number, one in enumerate(given, 1)]
        return [texts[place::width] for place in range(width)]
    where = "the standard input" if file is None or file == "-" else f"--file {file!r}"
    try:
        text = sys.stdin.read() if file is None or file == "-" else Path(file).read_text(encoding="utf-8")
        text = text.removeprefix(BYTE_ORDER)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where} cannot be read: {error}; give text in UTF-8") from None
    lines = text.split("\n")  # and at nothing else that Unicode calls the end of a line: texts may hold it
    rows = [_row(task, line.removesuffix("\r"), number) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise UserError("there is no text to predict: give texts, --file, or lines on the standard input")
    return [list(column) for column in zip(*rows, strict=True)]


def _row(task: Task, line: str, number: int) -> list[str]:
    if line.lstrip().startswith("{"):
        try:
            content = json.loads(line)
        except json.JSONDecodeError as error:
            example = json.dumps(dict.fromkeys(task.texts, "..."))
            raise UserError(
                f"line {number} is no JSON: {error}; a text that begins with {{ is written as JSON, too: {example}"
            ) from None
        missing = [name for name in task.texts if not isinstance(content.get(name), str)]
        if missing:
            raise UserError(f"line {number} has no text {missing[0]!r}; {task.name} reads {', '.join(task.texts)}")
        return [_readable(content[name], f"line {number}") for name in task.texts]
    parts = [_readable(one, f"line {number}") for one in line.split("\t")]
    if len(parts) != len(task.texts):
        raise UserError(
            f"line {number} has {len(parts)} column(s) between tabs; {task.name} reads {', '.join(task.texts)}"
        )
    return parts


def _readable(text: str, where: str) -> str:
    if not encodable(text):
        raise UserError(f"{where}: {text!r} has half of a character, which no tokenizer reads; write it in UTF-8")
    return text


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
            well = compare(task, logits, metrics, recorded, console) and well
        elif same:
            console.print(f"not compared: the search did not score this adapter on {split}", markup=False)
    if not same:
        console.print("not compared with the search's record: these are other data than it was trained and scored on")
    return well


def compare(
    task: Task, logits: NDArray[np.float32], metrics: dict[str, float], record: dict[str, Any], console: Console
) -> bool:
    """Prints how predictions and metrics differ from the recorded ones; returns whether by no more than rounding."""
    predictions, recorded = predictions_of(task, logits), unpack(record["packed"])
    apart = max(abs(metrics[name] - value) for name, value in record["metrics"].items())
    if task.regression:
        gap = float(np.abs(predictions - recorded).max())
        console.print(f"largest difference to the recorded predictions: {gap:.2e}, to the metrics: {apart:.2e}")
        alike = gap <= SAME < apart and float(recorded.std()) < APART
        if alike:
            console.print("the predictions lie so close together that their last bits move the metrics")
        return alike or (gap <= ROUNDING and apart <= SAME)
    other = np.flatnonzero(predictions != recorded)
    ordered = np.sort(logits[other].astype(np.float64), axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    for place, margin in zip(other, margins, strict=True):
        console.print(f"example {place + 1}: predicted otherwise than recorded, at a margin of {margin:.2e}")
    close = bool((margins < MARGIN).all())
    if len(other):
        words = "all at margins where rounding decides" if close else "which rounding does not explain"
        console.print(f"{len(other)} predictions differ, {words}")
        return close
    console.print(f"all predictions are the recorded ones; largest difference to the metrics: {apart:.2e}")
    return bool(apart <= SAME)
