"""A sweep from beginning to end: decide what to search, give out the budget in rounds, compare, report, tell, clean up.

Killed at any moment, the same command goes on: each search has its record, and the sweep has its own (sweep_record).
"""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from qrlora_search.adapters.mlflow_sink.address import check_tracking, local_tracking
from qrlora_search.app.console import make_console
from qrlora_search.app.report_files import drop_drafts, read_front
from qrlora_search.app.request import RUNS, check_request
from qrlora_search.app.signals import EXIT_CODES, InterruptedEarlyError, Signals, signals_caught
from qrlora_search.app.sweep_abort import forget_abort, tell_abort
from qrlora_search.app.sweep_budget import check_budget, open_entries, plan_round, turn_of
from qrlora_search.app.sweep_catch_up import catch_up
from qrlora_search.app.sweep_ending import end_sweep
from qrlora_search.app.sweep_fronts import FOLDER as FRONTS
from qrlora_search.app.sweep_fronts import save_snapshot, take_snapshot
from qrlora_search.app.sweep_jobs import Turn, begin, check_jobs, count, measure, request_of, run_turn
from qrlora_search.app.sweep_place import Place, alone, check_home, name_database
from qrlora_search.app.sweep_record import check_same, choose_slot, differing, goes_on, load_record, new_record
from qrlora_search.describe.sweep import Job, SweepSpec, load_sweep
from qrlora_search.method.machine import cpus_here
from qrlora_search.record.storage import check_storage, went_away
from qrlora_search.values.errors import AWAY, AwayError, RefusedError, UserError
from qrlora_search.values.secrets import expand, first_line
from qrlora_search.values.times import parse_seconds

BAD_INPUT = 2
"""What the command line makes of a UserError."""
BUSY = 4
"""Exit code where the sweep is running already."""
INTERRUPTED = {130, 143}


def run_sweep(path: Path, slot: str | None, scheduled: bool) -> int:
    """Runs a slot of a sweep, or goes on with it, and returns the exit code.

    0: all is well; 1: a search failed; 3: a regression; 4: the sweep is running already; 5: a Ray cluster or a database
    is away, and the slot stays open; 130 or 143: interrupted. Raises UserError for bad input.
    A slot that ended is not run again: its report is named and its exit code returned. MLflow gets what it lacks of the
    slots before, too.
    scheduled: a slot that was missed for longer than the schedule's grace is left out; an error is told by [notify].
    """
    try:
        code = _run_slot(path, slot, scheduled)
    except (UserError, OSError, RuntimeError, ValueError, LookupError, SQLAlchemyError) as error:
        gone = went_away(error)
        code = AWAY if gone is not None else BAD_INPUT if isinstance(error, UserError) else 1
        _tell(path, slot, gone or error, code, scheduled)
        if gone is None:
            raise
        sys.stderr.write(f"error: {gone}; the same command goes on\n")
        return AWAY
    if scheduled:
        forget_abort(path)
    return code


def _tell(path: Path, slot: str | None, error: Exception, code: int, scheduled: bool) -> None:
    """Tells by [notify] that a scheduled run did not end."""
    for trouble in tell_abort(path, slot, error, code) if scheduled else []:
        sys.stderr.write(f"{trouble}\n")


def _run_slot(path: Path, slot: str | None, scheduled: bool) -> int:
    spec, console = load_sweep(path), make_console()
    name_database(spec)
    now, home = datetime.now(UTC), check_home(spec)
    chosen = choose_slot(spec, slot, now)
    folder = home / chosen
    if scheduled and too_late(spec, folder, now):
        console.print(f"sweep {spec.name}: {chosen} was missed for longer than schedule.grace; nothing to do")
        return 0
    home.mkdir(parents=True, exist_ok=True)
    with alone(home) as ours:
        if not ours:
            console.print(f"sweep {spec.name} is running already; {chosen} is left to it")
            return BUSY
        catch_up(spec, home, chosen, console)
        record = load_record(folder) or new_record(spec, chosen)
        place = Place(spec, folder, record, console, lambda error: _tell(path, slot, error, AWAY, scheduled))
        if record.ended:
            console.print(f"sweep {spec.name}: {chosen} ended at {record.ended}; {folder / 'report.md'} says how")
            if differing(record, spec):
                console.print("its spec was another then: --slot NAME runs the sweep as it is now")
            elif record.exit_code == 1:
                console.print("what failed is not tried again in it: --slot NAME runs the sweep anew")
            return record.exit_code or 0
        check_same(record, spec)
        check_jobs(spec)
        check_budget(spec)
        for one in (folder, folder / FRONTS):
            drop_drafts(one)
        with signals_caught() as signals:
            try:
                return _run(place, signals, scheduled)
            except InterruptedEarlyError as error:
                place.save()
                place.tell(f"{error.why}: the same command goes on from here")
                return EXIT_CODES[error.why]


def too_late(spec: SweepSpec, folder: Path, now: datetime) -> bool:
    """Returns whether a slot of a schedule is given up: one that was missed, where its time lies further back than the
    grace; one that was begun and has not ended, where it is not gone on with.
    """
    record = load_record(folder)
    if record is not None:
        return not record.ended and not goes_on(spec, record, now)
    if spec.schedule is None:
        return False
    return (now - spec.schedule.newest(now)).total_seconds() > parse_seconds(spec.schedule.grace, "grace")


def _check_tracking(place: Place, address: str | None, scheduled: bool) -> None:
    """Raises UserError where MLflow does not answer; at night, when nobody could mend it, that is only said."""
    try:
        check_tracking(address or local_tracking(RUNS))
    except UserError as error:
        if not scheduled:
            raise
        place.tell(f"{error}; the sweep goes on, and MLflow catches up")


def _run(place: Place, signals: Signals, scheduled: bool) -> int:
    from qrlora_search.adapters.ray_engine.cluster import set_environment

    record, spec = place.record, place.spec
    check_storage()
    new = not any(one.inputs for one in record.entries.values())
    jobs = {job.key: job for job in spec.jobs()}
    if new:  # later MLflow may go away: it catches up
        _check_tracking(place, request_of(spec, next(iter(jobs.values())), Turn(1), "").tracking_uri, scheduled)
    place.save()
    set_environment(spec.resources.address)  # before anything imports Ray
    _for_each(place, jobs, "planning", lambda job: _begin(place, job))
    if open_entries(record) and not _all_rounds_done(place):
        code = _on_one_cluster(place, jobs, signals)
        if code in INTERRUPTED:
            place.tell("interrupted: the same command goes on from here")
            return code
    for key, entry in record.entries.items():
        if entry.state in {"done", "skipped"}:
            save_snapshot(place.folder, take_snapshot(key, entry.inputs, Path(entry.output)))
    return end_sweep(place.folder, spec, record, place.console)


def _begin(place: Place, job: Job) -> None:
    entry = place.record.entries[job.key]
    if entry.inputs:
        return
    entry.output = str(place.folder / job.key)
    earlier = load_record(place.folder.parent / entry.base) if entry.base else None
    entry = entry.model_copy(deep=True)  # interrupted, it is as if it had not been begun
    begin(place.spec, job, entry, earlier.entries.get(job.key) if earlier else None)
    place.record.entries[job.key] = entry
    place.tell(f"{job.key}: {entry.state}{', ' + entry.reason if entry.reason else ''}")


def _all_rounds_done(place: Place) -> bool:
    record = place.record
    return record.planned == place.spec.budget.rounds and all(
        one.turns >= record.planned for one in open_entries(record).values()
    )


def _on_one_cluster(place: Place, jobs: dict[str, Job], signals: Signals) -> int:
    """Runs the rounds on one connection to Ray; returns the last exit code of a search."""
    from qrlora_search.adapters.ray_engine.cluster import check_address, ray_running

    spec, record = place.spec, place.record
    first = next(job for key, job in jobs.items() if key in open_entries(record))
    request = check_request(request_of(spec, first, Turn(1), "")).request
    if request.address is not None:
        check_address(request.address)
    cpus = max(cpus_here(), (spec.resources.concurrency or 1) * (spec.resources.cpus_per_trial or 1))
    with ray_running(request.address, cpus, place.lost):
        signals.install()  # Ray has put its own in place of SIGTERM's
        while not _all_rounds_done(place):
            if all(one.turns >= record.planned for one in open_entries(record).values()):
                plan_round(spec, record)
                place.save()
                shown = ", ".join(f"{key} {one.target}" for key, one in open_entries(record).items())
                unit = "s" if spec.budget.unit == "time" else "configurations"
                place.tell(f"round {record.planned} of {spec.budget.rounds}, targets in {unit}: {shown}")
            code = _for_each(place, jobs, "searching", lambda job: _turn(place, job))
            if code in INTERRUPTED:
                return code
    return 0


def _turn(place: Place, job: Job) -> int:
    entry, record = place.record.entries[job.key], place.record
    if entry.turns >= record.planned or job.key not in open_entries(record):
        return 0
    turn = turn_of(place.spec, entry)
    if turn is not None:
        with place.spending(entry):
            code = run_turn(place.spec, job, entry, turn, place.console)
        if code in INTERRUPTED:
            return code
        if code:
            raise RuntimeError(read_front(Path(entry.output)).outcome)
        measure(entry)
        entry.state = "done"
    entry.turns = record.planned
    return 0


def _for_each(place: Place, jobs: dict[str, Job], doing: str, work: Callable[[Job], int | None]) -> int:
    """Does something for every search; one that fails is noted and the sweep goes on. Returns 0, or an interruption.

    Raises AwayError where a database or a cluster went away: the search did not fail, and what it has is kept.
    """
    from qrlora_search.adapters.ray_engine.cluster import failures

    caught: tuple[type[Exception], ...] = (UserError, OSError, RuntimeError, ValueError, SQLAlchemyError, *failures())
    for key, job in jobs.items():
        entry = place.record.entries[key]
        if entry.state == "failed":
            continue
        try:
            code = work(job) or 0
        except caught as error:
            gone = went_away(error) or _away_now(place.spec)
            if gone is not None:
                place.save()
                raise gone from None
            entry.state, entry.reason = "failed", f"{doing}: {first_line(error, *_addresses(place.spec))}"
            place.tell(f"{key} failed: {entry.reason}")
            with suppress(*caught):  # what it spent before it failed is spent
                count(entry)
            code = 0
        place.save()
        if code in INTERRUPTED:
            return code
    return 0


def _away_now(spec: SweepSpec) -> AwayError | None:
    """Returns what to say where the database or the cluster does not answer now: what failed may have failed for it."""
    from qrlora_search.adapters.ray_engine.cluster import check_address

    try:
        check_storage()
        if spec.resources.address is not None:
            check_address(expand(spec.resources.address, os.environ, "resources.address"))
    except RefusedError as error:  # it let us in when the sweep began
        return AwayError(str(error))
    except UserError as error:
        return went_away(error)
    return None


def _addresses(spec: SweepSpec) -> list[str]:
    named = (spec.storage.tracking_uri, spec.storage.database, spec.resources.address)
    return [os.path.expandvars(one) for one in named if one]
