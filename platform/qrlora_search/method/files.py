"""Reading a task's rows from files, with every fault named by row and column.

A folder holds `<task>/train.tsv` and `<task>/validation.tsv` (MNLI: `validation_matched`, `validation_mismatched`) with
the column names of the hub dataset. tsv is unquoted, with a header; csv, parquet and jsonl are read, too.
"""

import codecs
import csv
import io
import json
import math
from pathlib import Path

import pandas as pd

from qrlora_search.describe.tasks import Task
from qrlora_search.values.errors import UserError

SUFFIXES = (".tsv", ".csv", ".parquet", ".jsonl")


def read_folder(folder: Path, task: Task) -> dict[str, pd.DataFrame]:
    """Returns the splits of a task by name: text columns as str, label as float. Raises UserError on any fault."""
    if not folder.is_dir():
        raise UserError(
            f"--data {str(folder)!r} is no folder; use auto, hub, stand-in or a folder with {task.name}/train.tsv"
        )
    return {split: read_split(_find(folder, task, split), task) for split in ("train", *task.report_splits)}


def _find(folder: Path, task: Task, split: str) -> Path:
    found = [path for path in (folder / task.name / f"{split}{suffix}" for suffix in SUFFIXES) if path.is_file()]
    if not found:
        wanted = folder / task.name / f"{split}.tsv"
        raise UserError(
            f"{wanted} does not exist (nor as .csv, .parquet, .jsonl); put the {split} split of {task.name} there"
        )
    if len(found) > 1:
        raise UserError(f"{found[0]} and {found[1].name} both exist; keep one, so that it is clear which is meant")
    return found[0]


def read_split(path: Path, task: Task) -> pd.DataFrame:
    """Returns one checked split from a file. Rows are counted from 1, the header not included."""
    readers = {".tsv": _read_tsv, ".csv": _read_csv, ".parquet": _read_parquet, ".jsonl": _read_jsonl}
    try:
        frame = readers[path.suffix](path)
    except UserError:
        raise
    except (OSError, ValueError, ImportError, csv.Error) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{path} cannot be read as {path.suffix[1:]}: {first}; mend or replace the file") from None
    return check_rows(frame, task, str(path))


def _read_tsv(path: Path) -> pd.DataFrame:
    lines = path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    if not lines:
        raise UserError(f"{path} is empty; it needs a header line and rows")
    columns = _fields(lines[0], 0, [], path)
    rows = [_fields(line, number, columns, path) for number, line in enumerate(lines[1:], start=1)]
    for number, row in enumerate(rows, start=1):
        _check_width(row, columns, path, number, "tab-separated, unquoted")
    return pd.DataFrame(rows, columns=columns, dtype=object)


def _fields(line: bytes, number: int, columns: list[str], path: Path) -> list[str]:
    try:
        return line.removesuffix(b"\r").decode("utf-8").split("\t")
    except UnicodeDecodeError as error:
        column = line[: error.start].count(b"\t")
        name = f", column {columns[column]!r}" if column < len(columns) else ""
        place = f"row {number}{name}" if number else "the header"
        raise _not_utf8(path, place, error) from None


def _not_utf8(path: Path, place: str, error: UnicodeDecodeError) -> UserError:
    bad = error.object[error.start]
    return UserError(f"{path}: {place}: byte 0x{bad:02x} is not valid UTF-8; save the file as UTF-8")


def _check_width(row: list[str], columns: list[str], path: Path, number: int, form: str) -> None:
    if len(row) != len(columns):
        raise UserError(
            f"{path}: row {number} has {len(row)} fields where the header has {len(columns)} "
            f"({', '.join(columns)}); mend that row ({form})"
        )


def _decode(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _not_utf8(path, f"line {line}", error) from None


def _read_csv(path: Path) -> pd.DataFrame:
    rows = [row for row in csv.reader(io.StringIO(_decode(path), newline=""), strict=True) if row]
    if not rows:
        raise UserError(f"{path} is empty; it needs a header line and rows")
    columns = rows[0]
    for number, row in enumerate(rows[1:], start=1):
        _check_width(row, columns, path, number, "comma-separated, texts with commas in double quotes")
    return pd.DataFrame(rows[1:], columns=columns, dtype=object)


def _read_parquet(path: Path) -> pd.DataFrame:
    return pd.read_parquet(path)


def _read_jsonl(path: Path) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for line in _decode(path).split("\n"):
        if line.strip():
            number = len(rows) + 1
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}: row {number} is not valid JSON: {error}; mend that row") from None
            if not isinstance(row, dict):
                raise UserError(f"{path}: row {number} is no JSON object; write one object a line")
            rows.append(row)
    return pd.DataFrame(rows, dtype=object)


def check_rows(frame: pd.DataFrame, task: Task, where: str) -> pd.DataFrame:
    """Returns the task's columns alone, texts as str and label as float; raises UserError with row and column."""
    if len(frame) == 0:
        raise UserError(f"{where}: the split is empty; it needs at least one row below the header")
    for column in task.columns:
        count = list(frame.columns).count(column)
        if count != 1:
            fault = "is missing" if count == 0 else f"stands {count} times in the header; keep one"
            raise UserError(f"{where}: column {column!r} {fault}; {task.name} needs {', '.join(task.columns)}")
    for column in task.texts:
        for row, value in enumerate(frame[column].tolist(), start=1):
            if not isinstance(value, str) or not encodable(value):
                raise UserError(f"{where}: row {row}, column {column!r}: {value!r} is no text; write a text there")
    labels = [_label(value, task, where, row) for row, value in enumerate(frame["label"].tolist(), start=1)]
    checked = frame[list(task.texts)].reset_index(drop=True).astype(object)
    checked["label"] = labels
    return checked


def encodable(text: str) -> bool:
    """Returns whether a text has no half of a surrogate pair, which JSON can write and no tokenizer can read."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _label(value: object, task: Task, where: str, row: int) -> float:
    place = f"{where}: row {row}, column 'label': {value!r}"
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{place} is no number; {_label_help(task)}") from None
    low, high = task.label_range if task.regression else (0.0, float(len(task.labels) - 1))
    if not math.isfinite(number) or not low <= number <= high or not (task.regression or number.is_integer()):
        raise UserError(f"{place} is out of range; {_label_help(task)}")
    return number


def _label_help(task: Task) -> str:
    if task.regression:
        return f"labels of {task.name} are numbers from {task.label_range[0]:g} to {task.label_range[1]:g}"
    return f"labels of {task.name} are " + ", ".join(f"{index} = {name}" for index, name in enumerate(task.labels))
