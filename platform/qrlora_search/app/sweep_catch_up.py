"""What MLflow or a study lacks of runs of a sweep that ended while they were away: any later run brings it."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from qrlora_search.adapters.mlflow_sink.address import check_tracking
from qrlora_search.adapters.mlflow_sink.ending import end_search
from qrlora_search.app.delivery import deliver_again
from qrlora_search.app.output import held
from qrlora_search.app.reading import read_search
from qrlora_search.app.sweep_ending import log_again, tracking_of
from qrlora_search.app.sweep_record import goes_on, outputs, records, save_record
from qrlora_search.describe.sweep import SweepSpec
from qrlora_search.record.history import AS_ASKED
from qrlora_search.record.storage import has_record
from qrlora_search.values.errors import SinkError, UserError


def catch_up(spec: SweepSpec, home: Path, chosen: str, console: Console) -> None:
    """Brings MLflow and the studies what they lack of the runs in a sweep's folder that ended, and ends in MLflow what
    was given up, now that another slot is chosen; what cannot be brought now is brought by the run after.
    """
    runs, now = records(home), datetime.now(UTC)
    behind = [one for one in runs if one.ended and (one.undelivered or one.unlogged)]
    left = [one for one in runs if not (one.ended or one.left or one.slot == chosen or goes_on(spec, one, now))]
    if not behind and not left:
        return
    address = tracking_of(spec)
    try:
        check_tracking(address)
    except UserError:  # it is said where the run begins
        return
    for record in left:
        ended = [_ended(Path(one.output), address) for one in record.entries.values() if one.output]
        record.left = all(ended)
        save_record(home / record.slot, record)
    for record in behind:
        console.print(f"sweep {spec.name}: MLflow catches up with {record.slot}", markup=False)
        brought = [_delivered(Path(one), address, console) for one in outputs(record)]
        record.undelivered = not all(brought)
        with suppress(OSError, ValueError):  # a report that is gone or broken cannot be brought
            record.unlogged = record.unlogged and bool(log_again(home / record.slot, spec))
        save_record(home / record.slot, record)


def _ended(output: Path, address: str) -> bool:
    """Ends what a driver that was killed left open of a search in MLflow; returns whether that was done."""
    with suppress(UserError, SinkError, OSError, SQLAlchemyError):
        if has_record(output):
            end_search(address, read_search(output, "the sweep's")[0].search_id)
        return True
    return False


def _delivered(output: Path, address: str, console: Console) -> bool:
    with suppress(UserError, OSError, SQLAlchemyError):
        history, plan = read_search(output, "the sweep's")
        if not history.delivered and history.outcome in AS_ASKED:
            with held(output):
                deliver_again(plan, address, output, console)
        return read_search(output, "the sweep's")[0].delivered
    return False
