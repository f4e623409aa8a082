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
    _check_places(spec)
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


def _check_places(spec: SweepSpec) -> None:
    """Raises UserError for a place that is not the same on every node of a cluster or goes with the job's folder, and
    for no cluster.
    """
    if spec.resources.address is None:
        raise UserError(
            'resources.address: without it a job searches beside the cluster, on one machine; write address = "auto"'
        )
    paths = [("storage.output", spec.storage.output)]
    paths += [("searches.spaces", one) for one in spec.searches.spaces if one != "default"]
    paths += [(f"data.{task}", one) for task, one in spec.data.items() if one not in {"auto", "hub", "stand-in"}]
    paths += [("searches.models", one) for one in spec.searches.models if one.startswith(".") or Path(one).is_dir()]
    for name, value in paths:
        if not value.startswith(("/", "$", "~")):
            raise UserError(
                f"{name} = {value!r}: a job runs in a folder of its own, which is removed; "
                "name an absolute path that the cluster's nodes share"
            )
    _check_tracking_stays(spec.storage.tracking_uri)


def _check_tracking_stays(address: str | None) -> None:
    """Raises UserError for an MLflow whose database would lie in the job's folder, as it does where none is named."""
    remedy = "name a server, http://HOST:PORT, or a file on an absolute path, sqlite:////FOLDER/mlflow.db"
    if address is None:
        raise UserError(
            f"storage.tracking_uri: without it MLflow would go into the job's own folder, which is removed; {remedy}"
        )
    if address.startswith("sqlite:") and not address.startswith(("sqlite:////", "sqlite:///$")):
        raise UserError(
            f"storage.tracking_uri = {address!r}: a job runs in a folder of its own, which is removed; {remedy}"
        )


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
