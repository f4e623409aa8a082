"""The output folder of a search: new, unfinished or finished; and the checks before anything is started."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from qrlora_search.app.planning import Planned
from qrlora_search.app.reading import read_search
from qrlora_search.describe.plan import differences
from qrlora_search.record.events import Record, record_url
from qrlora_search.record.storage import check_storage, has_record
from qrlora_search.values.errors import UserError

_BEFORE_A_RECORD = {"base", "plan.json", "spectra.json", "storage.json", "record.db", "record.db-wal", "record.db-shm"}
"""What a search that was killed before its first event may have left."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds an output folder: nobody else may write there. The system lets go of it when this process dies.

    Raises UserError where another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"--output {str(folder)!r} is in use by another search; wait for it to end") from None
    try:
        yield
    finally:
        lock.release()


def _has_begun(folder: Path) -> bool:
    """Returns whether a folder's record has an event."""
    if not has_record(folder):
        return False
    record = Record(record_url(folder))
    begun = record.last() > 0
    record.close()
    return begun


def open_output(planned: Planned, resume: bool) -> str:
    """Returns `new`, `unfinished`, `undelivered` (finished but for MLflow or the study) or `finished`; raises UserError
    where the folder is another search's, or unfinished and --resume was not given.
    """
    folder, plan = planned.output, planned.plan
    if not _has_begun(folder):
        names = {one.name for one in folder.iterdir()} if folder.is_dir() else set()
        others = {one for one in names if not one.startswith(".")} - _BEFORE_A_RECORD
        if folder.exists() and (not folder.is_dir() or others):
            raise UserError(f"--output {str(folder)!r} exists and is no search's output; name another folder")
        return "new"
    history, before = read_search(folder, "--output")
    different = differences(before, plan)
    if different:
        raise UserError(
            f"--output {str(folder)!r} belongs to another search ({'; '.join(different[:4])}); "
            "name another folder, or give the same options"
        )
    done = history.outcome == "complete" and (folder / "front.json").is_file()
    if done and plan.budget <= max(before.budget, len(history.searched)):
        return "finished" if history.delivered else "undelivered"
    if not resume:
        have = f"{len(history.searched)} of {plan.budget} configurations started"
        raise UserError(f"--output {str(folder)!r} is unfinished ({have}); add --resume to go on with it")
    return "unfinished"


def check_places(planned: Planned, tracking: bool = True) -> None:
    """Raises UserError where something that the search needs cannot be reached or written; creates nothing for good.

    tracking: MLflow must answer where a search begins, lest a wrong address be found out in the morning; where one goes
    on, it may be away and catches up.
    """
    from qrlora_search.adapters.mlflow_sink.address import check_tracking
    from qrlora_search.adapters.ray_engine.cluster import check_address

    plan = planned.plan
    if tracking and not _has_begun(planned.output):
        check_tracking(planned.tracking)
    check_storage()
    if plan.address is not None:
        check_address(plan.address)
    folders = [planned.output]
    if planned.tracking.startswith("sqlite:///"):
        folders.append(Path(planned.tracking.removeprefix("sqlite:///")).parent)
    for folder in folders:
        check_folder(folder, "--output:")


def check_folder(folder: Path, named: str) -> None:
    """Raises UserError where a folder cannot be made or written; leaves none that was not there. named: what the user
    named it with.
    """
    with suppress(OSError):  # somebody else uses it already
        for one in reversed(_make_folder(folder, named)):
            one.rmdir()


def _make_folder(folder: Path, named: str) -> list[Path]:
    """Makes a folder and tries to write there; returns the folders that were missing, the outermost first."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()][::-1]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            f"{named} {str(folder)!r} cannot be written: {error.strerror}; name a folder that can"
        ) from None
    return missing
