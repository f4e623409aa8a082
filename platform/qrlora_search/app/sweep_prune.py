"""Old runs of a sweep are taken away, but never one that another still uses."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from qrlora_search.app.sweep_place import alone, name_database
from qrlora_search.app.sweep_record import SweepRecord, goes_on, home_of, newest_good, records
from qrlora_search.describe.sweep import SweepSpec, load_sweep
from qrlora_search.record.storage import check_storage, drop_record
from qrlora_search.values.errors import UserError
from qrlora_search.values.secrets import first_line


def prune(spec: SweepSpec, home: Path, keep: int) -> list[str]:
    """Removes all but the newest `keep` runs that are over, with their records; returns the slots that are gone.

    A run is over that has ended, or was given up: it has a schedule, a later one ended, and it would not be gone on
    with; without a schedule one goes on whenever it is asked. Kept besides: a run that goes on and its bases, one whose
    searches a kept run refers to (it skipped or deepened them), and what a search is compared with next, of the spec or
    of any kept run.
    """
    if keep < 1:
        raise UserError(f"--keep {keep} is out of range: how many runs to keep; use a whole number from 1")
    runs, now = records(home), datetime.now(UTC)
    last = max((place for place, one in enumerate(runs) if one.ended), default=-1)
    going = [one for place, one in enumerate(runs) if place > last or (not one.ended and
             (not one.spec.get("schedule") or goes_on(spec, one, now)))]  # fmt: skip
    over = [one for one in runs if one not in going]
    kept = {one.slot for one in (*over[-keep:], *going)}
    kept |= {entry.base for one in going for entry in one.entries.values() if entry.base}
    keys = {one.key for one in spec.jobs()} | {key for one in runs if one.slot in kept for key in one.entries}
    kept |= {good.slot for good in (newest_good(runs, key) for key in keys) if good is not None}
    kept |= {slot for one in runs if one.slot in kept for slot in _referred(home, one)}
    gone = [one.slot for one in over if one.slot not in kept]
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


def prune_sweep(path: Path, keep: int | None) -> list[str]:
    """Removes old runs of a sweep and returns their slots. Raises UserError while the sweep runs, and where its records
    or files cannot be removed.
    """
    spec = load_sweep(path)
    name_database(spec)
    home = home_of(spec)
    if not home.is_dir():
        raise UserError(f"{home} does not exist: the sweep {spec.name} has not run here")
    with alone(home) as ours:
        if not ours:
            raise UserError(f"sweep {spec.name} is running; prune when it has ended")
        check_storage()
        try:
            return prune(spec, home, spec.history.keep if keep is None else keep)
        except (OSError, SQLAlchemyError) as error:
            raise UserError(
                f"old runs below {home} cannot be removed: {first_line(error)}; mend that, and prune again"
            ) from None
