"""Sending a sweep to a Ray cluster as a job, and asking after it. The job's id is fixed by spec and slot."""

import shlex
import shutil
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from qrlora_search.adapters.ray_engine.bundle import write_bundle
from qrlora_search.adapters.ray_engine.jobs import ENDED, GONE, Jobs
from qrlora_search.app.sweep_compare import REGRESSION
from qrlora_search.app.sweep_record import choose_slot
from qrlora_search.app.sweep_shared import check_shared
from qrlora_search.describe.sweep import SweepSpec, load_sweep
from qrlora_search.values.errors import UserError
from qrlora_search.values.secrets import shown_address

COMMAND = "from qrlora_search.app.cli import main; raise SystemExit(main())"


def job_id(spec: SweepSpec, slot: str) -> str:
    """Returns the id of a slot's job: the same spec and slot give the same."""
    return f"sweep-{spec.name}-{spec.hash}-{slot}"


def send(path: Path, slot: str | None, address: str | None, again: bool) -> int:
    """Sends a slot's job, once; returns 0, also where it was sent before."""
    spec = load_sweep(path)
    check_shared(spec)
    chosen = _slot(spec, slot)
    job, jobs = job_id(spec, chosen), Jobs(address)
    state = jobs.state(job)
    if again and state in {"FAILED", "STOPPED"}:
        jobs.forget(job)
    with tempfile.TemporaryDirectory(prefix="qrlora-job-") as scratch:
        folder = write_bundle(Path(scratch))
        shutil.copy(path, folder / "sweep.toml")
        words = ["python", "-c", COMMAND, "sweep", "run", "sweep.toml", "--slot", chosen]
        sent = jobs.send(job, shlex.join(words), folder, {"PYTHONUNBUFFERED": "1"})
    sys.stdout.write(f"{job}: {'sent' if sent else 'was sent before, ' + jobs.state(job)}\n")
    if not sent and state in {"FAILED", "STOPPED"}:
        sys.stdout.write("add --again to go on with it\n")
    return 0


def _slot(spec: SweepSpec, slot: str | None) -> str:
    """Returns the slot; one that is made up from the clock would be another each time, so it must be named."""
    if slot is None and spec.schedule is None:
        raise UserError(
            "--slot: this sweep has no [schedule] that names its runs; give a name, so that sending twice runs once"
        )
    return choose_slot(spec, slot, datetime.now(UTC))


def tell_status(path: Path, slot: str | None, address: str | None) -> int:
    """Prints a job's state; returns 0 while all is well, 3 for one that found a regression, 1 for one that failed or
    was not sent.
    """
    job, jobs = _job(path, slot, address)
    state = jobs.state(job)
    if state == "FAILED" and jobs.exit_code(job) == REGRESSION:
        sys.stdout.write(f"{job}: it ended, with a regression (exit code {REGRESSION}); its report has it\n")
        return REGRESSION
    said = f" ({jobs.message(job)})" if state in ENDED else ""
    sys.stdout.write(f"{job}: {state}{said}\n")
    return 1 if state in {"FAILED", GONE} else 0


def tell_logs(path: Path, slot: str | None, address: str | None) -> int:
    """Prints what a job has printed."""
    job, jobs = _job(path, slot, address)
    _must_exist(job, jobs)
    sys.stdout.write(jobs.logs(job))
    return 0


def stop_job(path: Path, slot: str | None, address: str | None) -> int:
    """Stops a job; what it recorded is kept."""
    job, jobs = _job(path, slot, address)
    _must_exist(job, jobs)
    stopped = jobs.stop(job)
    sys.stdout.write(f"{job}: {'stopping' if stopped else 'had ended'}; `submit --again` goes on with it\n")
    return 0


def _job(path: Path, slot: str | None, address: str | None) -> tuple[str, Jobs]:
    spec = load_sweep(path)
    return job_id(spec, _slot(spec, slot)), Jobs(address)


def _must_exist(job: str, jobs: Jobs) -> None:
    if jobs.state(job) == GONE:
        raise UserError(f"{job} was not sent to {shown_address(jobs.address)}; send it with `sweep submit`")
