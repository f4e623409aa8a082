"""What a sweep knows of itself, in one small file that appears whole or not at all: it is what a killed one goes on by.

<output>/<name>/<slot>/ holds sweep.json, a folder for each search, fronts/ (what the next sweep compares with) and the
report.
"""

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from qrlora_search.app.report_files import write_atomically
from qrlora_search.describe.sweep import SweepSpec
from qrlora_search.values.errors import UserError
from qrlora_search.values.secrets import expand
from qrlora_search.values.times import parse_seconds

FILE = "sweep.json"
EntryState = Literal["waiting", "done", "skipped", "failed"]


class _Kept(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Entry(_Kept):
    """One search of a sweep.

    inputs: hashes of data, split, model, code and space. output: its folder, of an earlier sweep where it was skipped
    or deepened. warm_from: the output whose front it began with. before: configurations and hypervolume that it began
    with. target: what it may have started in all (configurations), or its seconds of this round. turns: rounds that
    it ended. seconds: of its record; spent_s: in this sweep; spent_before_s: before this round. volumes: hypervolume
    after each, None where confirmation could not tell. base: the slot that it compares with, the newest in which this
    search was done or skipped.
    """

    task: str
    state: EntryState = "waiting"
    reason: str = ""
    base: str | None = None
    output: str = ""
    inputs: dict[str, str] = Field(default_factory=dict)
    warm_from: str = ""
    deepened: bool = False
    before: int = 0
    before_volume: float | None = 0.0
    target: int = 0
    turns: int = 0
    configurations: int = 0
    epochs: int = 0
    epochs_before: int = 0
    seconds: float = 0.0
    spent_s: float = 0.0
    spent_before_s: float = 0.0
    used_up: bool = False
    volumes: list[float | None] = Field(default_factory=list)


class SweepRecord(_Kept):
    """One run of a sweep. base: the newest slot that a search compares with. planned: rounds whose targets are fixed.
    heard: when a search of it last trained. unlogged: MLflow lacks the report. undelivered: MLflow or a study lacks
    what a search has. left: it was given up, and MLflow knows.
    """

    version: Literal[1] = 1
    name: str
    slot: str
    spec: dict[str, Any]
    started: str
    heard: str = ""
    base: str | None = None
    planned: int = 0
    entries: dict[str, Entry] = Field(default_factory=dict)
    ended: str = ""
    unlogged: bool = False
    undelivered: bool = False
    left: bool = False
    exit_code: int | None = None


def home_of(spec: SweepSpec) -> Path:
    """Returns the folder of all runs of a sweep. Raises UserError where the environment lacks a name in its setting."""
    return Path(expand(spec.storage.output, os.environ, "storage.output")).expanduser() / spec.name


def outputs(record: SweepRecord) -> list[str]:
    """Returns the folders of what a run searched to its end, where they are still there."""
    return [one.output for one in record.entries.values() if one.state == "done" and Path(one.output).is_dir()]


def load_record(folder: Path) -> SweepRecord | None:
    """Returns the record in a slot's folder, or None where there is none. Raises UserError for a broken one."""
    try:
        return SweepRecord.model_validate_json((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"{folder / FILE} cannot be read ({first}); remove the folder {folder}") from None


def save_record(folder: Path, record: SweepRecord) -> None:
    """Writes the record; a crash leaves the one before or this one."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FILE, record.model_dump_json(indent=1).encode())


def records(home: Path) -> list[SweepRecord]:
    """Returns the runs of a sweep, the oldest first."""
    found = [load_record(place.parent) for place in home.glob(f"*/{FILE}")]
    return sorted((one for one in found if one is not None), key=lambda one: (one.started, one.slot))


def newest_good(runs: Sequence[SweepRecord], key: str) -> SweepRecord | None:
    """Returns the newest run that ended and in which a search was done or skipped. runs: the oldest first."""
    for one in reversed(runs):
        entry = one.entries.get(key)
        if one.ended and entry is not None and entry.state in {"done", "skipped"}:
            return one
    return None


def choose_slot(spec: SweepSpec, asked: str | None, now: datetime) -> str:
    """Returns the slot to run: the one asked for, one that goes on, the schedule's newest, or a new one."""
    if asked is not None:
        if not asked.replace("-", "").replace("_", "").isalnum():
            raise UserError(f"--slot {asked!r} is no name; use letters, digits, - and _")
        return asked
    unfinished = [one for one in records(home_of(spec)) if not one.ended and goes_on(spec, one, now)]
    if unfinished:
        return unfinished[-1].slot
    return spec.schedule.slot(now) if spec.schedule is not None else now.astimezone(UTC).strftime("%Y-%m-%dT%H%M%SZ")


def goes_on(spec: SweepSpec, record: SweepRecord, now: datetime) -> bool:
    """Returns whether a run that has not ended is gone on with: always without a schedule; with one within its grace
    after the start, and until the next slot is due within its grace after a search last trained.
    """
    if spec.schedule is None:
        return True
    newest = record.slot == spec.schedule.slot(now)
    since = datetime.fromisoformat(record.heard if newest and record.heard else record.started)
    return (now - since).total_seconds() <= parse_seconds(spec.schedule.grace, "grace")


def new_record(spec: SweepSpec, slot: str) -> SweepRecord:
    """Returns the record of a sweep that begins now."""
    runs = [one for one in records(home_of(spec)) if one.slot != slot]
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    bases = {job.key: newest_good(runs, job.key) for job in spec.jobs()}
    entries = {job.key: Entry(task=job.task, base=_slot(bases[job.key])) for job in spec.jobs()}
    newest = max(
        (one for one in bases.values() if one is not None), key=lambda one: (one.started, one.slot), default=None
    )
    content = spec.model_dump(mode="json")
    return SweepRecord(name=spec.name, slot=slot, spec=content, started=now, base=_slot(newest), entries=entries)


def _slot(record: SweepRecord | None) -> str | None:
    return None if record is None else record.slot


def differing(record: SweepRecord, spec: SweepSpec) -> list[str]:
    """Returns the tables of a spec that are not as they were when a run began, in words."""
    now = spec.model_dump(mode="json")
    keys = [key for key in ("searches", "budget", "shares", "data") if record.spec.get(key) != now[key]]
    return [f"[{key}] {record.spec.get(key)} there, {now[key]} asked" for key in keys]


def check_same(record: SweepRecord, spec: SweepSpec) -> None:
    """Raises UserError where an unfinished run was begun with another spec."""
    different = differing(record, spec)
    if different:
        raise UserError(
            f"the sweep {record.slot} was begun with another spec ({'; '.join(different)}); "
            "put it back, or name another run with --slot"
        )
