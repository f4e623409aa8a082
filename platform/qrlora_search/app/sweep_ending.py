"""The end of a sweep: the report, MLflow, whoever is to be told, and old runs taken away."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from qrlora_search.adapters.mlflow_sink.address import local_tracking
from qrlora_search.app.reading import read_search
from qrlora_search.app.request import RUNS
from qrlora_search.app.sweep_compare import SweepReport, compare
from qrlora_search.app.sweep_files import NAMES, markdown, write_report
from qrlora_search.app.sweep_fronts import Snapshot, load_snapshot
from qrlora_search.app.sweep_notify import notify
from qrlora_search.app.sweep_prune import prune
from qrlora_search.app.sweep_record import SweepRecord, outputs, save_record
from qrlora_search.describe.sweep import SweepSpec
from qrlora_search.values.errors import SinkError, UserError
from qrlora_search.values.secrets import expand, first_line


def end_sweep(folder: Path, spec: SweepSpec, record: SweepRecord, console: Console) -> int:
    """Compares, reports, tells, cleans up, closes the record, and returns the exit code."""
    now = _there({key: load_snapshot(folder, key) for key in record.entries})
    bases = {key: one.base for key, one in record.entries.items() if one.base}
    before = _there({key: load_snapshot(folder.parent / base, key) for key, base in bases.items()})
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    report = SweepReport(
        name=spec.name,
        slot=record.slot,
        base=record.base,
        started=record.started,
        ended=ended,
        seconds=sum(one.spent_s for one in record.entries.values()),
        level=spec.regression.level,
        lines=compare(record, now, before, spec.regression),
        notes=_notes(spec, record, now),
    )
    text = write_report(folder, report, now, before)
    trouble = _to_mlflow(folder, spec, report)
    record.unlogged, record.undelivered = bool(trouble), not all(map(_has_all, outputs(record)))
    trouble += notify(spec.notify, text, report)
    if trouble:
        report = report.model_copy(update={"notes": [*report.notes, *trouble]})
        write_report(folder, report, now, before)
    record.ended, record.exit_code = ended, report.exit_code
    save_record(folder, record)
    console.print(markdown(report), markup=False, soft_wrap=True)
    console.print(f"files: {folder}/{', '.join(NAMES)}", markup=False, no_wrap=True)
    try:
        for gone in prune(spec, folder.parent, spec.history.keep):
            console.print(f"pruned: {gone}", markup=False)
    except (UserError, OSError, SQLAlchemyError) as error:  # the sweep has its end, and `sweep prune` can be asked for
        console.print(f"old runs could not be pruned: {first_line(error)}", markup=False)
    return report.exit_code


def _has_all(output: str) -> bool:
    """Returns whether MLflow and the study have all of a search."""
    try:
        return read_search(Path(output), "the sweep's")[0].delivered
    except (UserError, OSError, SQLAlchemyError):
        return False


def _there(found: Mapping[str, Snapshot | None]) -> dict[str, Snapshot]:
    return {key: one for key, one in found.items() if one is not None}


def log_again(folder: Path, spec: SweepSpec) -> list[str]:
    """Brings MLflow the report that it lacks; returns what went wrong."""
    text = (folder / "report.json").read_text(encoding="utf-8")
    return _to_mlflow(folder, spec, SweepReport.model_validate_json(text))


def _notes(spec: SweepSpec, record: SweepRecord, now: dict[str, Snapshot]) -> list[str]:
    notes = [
        "The best member is chosen on the selection split and compared on the report split, paired over examples; "
        f"regressions by Holm's rule at {spec.regression.level:g} over all searches that were compared.",
        "The best member's score, and the difference, are those of the adapter that an export gives, their intervals "
        "over examples: variation between warm-ups and seeds is not in them. Beside it stands the mean over its seeds.",
        "A hypervolume lies above its own search's control, on the selection split, its 95 % given who the members "
        "are; which ones are larger than last time, above one control, is counted and not tested.",
        f"Compared with {record.base}{_older(record)}."
        if record.base
        else "The first run of this sweep: there is nothing to compare.",
    ]
    marks: dict[str, list[str]] = {}
    for key, one in now.items():
        for mark in one.view.marks:
            marks.setdefault(mark, []).append(key)
    notes = [*(f"{mark} ({', '.join(keys)})" for mark, keys in marks.items()), *notes]
    stand_in = [key for key, one in now.items() if one.view.stand_in]
    if stand_in:
        notes.insert(
            0,
            f"STAND-IN: the data of {', '.join(stand_in)} are generated and not GLUE; "
            "their scores say nothing about the real tasks.",
        )
    return notes


def _older(record: SweepRecord) -> str:
    """Returns which searches compare with an older run, since the newest one failed for them."""
    older = [f"{key} with {one.base}" for key, one in record.entries.items() if one.base not in {None, record.base}]
    return f"; {', '.join(older)}" if older else ""


def tracking_of(spec: SweepSpec) -> str:
    """Returns the address of a sweep's MLflow, with its password."""
    named = spec.storage.tracking_uri
    return expand(named, os.environ, "storage.tracking_uri") if named else local_tracking(RUNS)


def _to_mlflow(folder: Path, spec: SweepSpec, report: SweepReport) -> list[str]:
    """Logs the report as one run; returns what went wrong."""
    from qrlora_search.adapters.mlflow_sink.sweep import log_sweep

    address = tracking_of(spec)
    metrics: dict[str, float] = {"seconds": report.seconds, "regressions": len(report.regressions),
                                 "failures": len(report.failures)}  # fmt: skip
    for line in report.lines:
        if line.volume is not None:
            metrics[f"{line.key}.hypervolume"] = line.volume
        if line.difference is not None:
            metrics[f"{line.key}.difference_of_best"] = line.difference.difference
    tags = {"qrlora.exit_code": str(report.exit_code), "qrlora.base": report.base or ""}
    tags |= {f"qrlora.verdict.{line.key}": line.verdict for line in report.lines}
    if any(line.stand_in for line in report.lines):
        tags["mlflow.note.content"] = "Some data are generated STAND-IN, not GLUE; the report says which."
    try:
        log_sweep(address, (spec.name, report.slot), metrics, tags, [folder / name for name in NAMES])
    except SinkError as error:
        return [f"MLflow lacks this report: {first_line(error, address)}; the next `sweep run` brings it"]
    return []
