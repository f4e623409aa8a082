"""What MLflow or a study lacks of runs of a sweep that ended while they were away: any later run brings it."""

from contextlib import suppress
from pathlib import Path

from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from qrlora_search.adapters.mlflow_sink.address import check_tracking
from qrlora_search.app.delivery import deliver_again
from qrlora_search.app.output import held
from qrlora_search.app.reading import read_search
from qrlora_search.app.sweep_ending import log_again, tracking_of
from qrlora_search.app.sweep_record import outputs, records, save_record
from qrlora_search.describe.sweep import SweepSpec
from qrlora_search.values.errors import UserError


def catch_up(spec: SweepSpec, home: Path, console: Console) -> None:
    """Brings MLflow and the studies what they lack of the runs in a sweep's folder that ended; what cannot be brought
    now is brought by the run after.
    """
    behind = [one for one in records(home) if one.ended and (one.undelivered or one.unlogged)]
    if not behind:
        return
    address = tracking_of(spec)
    try:
        check_tracking(address)
    except UserError:  # it is said where the run begins
        return
    for record in behind:
        console.print(f"sweep {spec.name}: MLflow catches up with {record.slot}", markup=False)
        brought = [_delivered(Path(one), address, console) for one in outputs(record)]
        record.undelivered = not all(brought)
        with suppress(OSError, ValueError):  # a report that is gone or broken cannot be brought
            record.unlogged = record.unlogged and bool(log_again(home / record.slot, spec))
        save_record(home / record.slot, record)


def _delivered(output: Path, address: str, console: Console) -> bool:
    with suppress(UserError, OSError, SQLAlchemyError):
        history, plan = read_search(output, "the sweep's")
        if not history.delivered and history.outcome == "complete":
            with held(output):
                deliver_again(plan, address, output, console)
        return read_search(output, "the sweep's")[0].delivered
    return False
