"""Old runs of a sweep are taken away, but never one that another still uses."""

import shutil
from pathlib import Path

from qrlora_search.app.sweep_record import SweepRecord, records
from qrlora_search.record.storage import drop_record
from qrlora_search.values.errors import UserError


def prune(home: Path, keep: int) -> list[str]:
    """Removes all but the newest `keep` runs that ended, with their records; returns the slots that are gone.

    Kept besides: a run that has not ended and its base, and one whose searches a kept run refers to (it skipped or
    deepened them).
    """
    if keep < 1:
        raise UserError(f"--keep {keep} is out of range: how many runs to keep; use a whole number from 1")
    runs = records(home)
    ended = [one for one in runs if one.ended]
    kept = {one.slot: one for one in (*ended[-keep:], *(one for one in runs if not one.ended))}
    needed = {one.base for one in kept.values() if not one.ended}
    needed |= {slot for one in kept.values() for slot in _referred(home, one)}
    gone = [one.slot for one in ended if one.slot not in kept and one.slot not in needed]
    for slot in gone:
        _remove(home / slot)
    return gone


def _referred(home: Path, record: SweepRecord) -> set[str]:
    """Returns the slots in whose folders the searches of a run lie or began."""
    outputs = [Path(folder) for one in record.entries.values() for folder in (one.output,) if folder]
    if not record.ended:
        outputs += [Path(one.warm_from) for one in record.entries.values() if one.warm_from]
    return {one.parent.name for one in outputs if one.parent.parent.resolve() == home.resolve()}


def _remove(folder: Path) -> None:
    for output in folder.iterdir():
        if output.is_dir():
            drop_record(output)
    shutil.rmtree(folder)
