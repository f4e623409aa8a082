"""One search from beginning to end: plan, prepare, run, score the front once, write and show it."""

import sys
import time
from collections.abc import Callable
from functools import partial

from rich.console import Console
from sqlalchemy.exc import SQLAlchemyError

from qrlora_search.app.console import confirmation_in_words, make_console, show_front, show_plan
from qrlora_search.app.cost import expected_seconds, measured_speed
from qrlora_search.app.delivery import deliver_again
from qrlora_search.app.output import check_places, held, open_output
from qrlora_search.app.planning import Planned, plan_search
from qrlora_search.app.report_files import read_front
from qrlora_search.app.request import SearchRequest, check_request
from qrlora_search.app.serving import check_port
from qrlora_search.app.session import Session, Workforce
from qrlora_search.app.signals import EXIT_CODES, InterruptedEarlyError, Signals, signals_caught
from qrlora_search.method.machine import cpus_here
from qrlora_search.prepare.preparation import prepare, to_make
from qrlora_search.prepare.store import Store, default_root
from qrlora_search.record.storage import went_away
from qrlora_search.values.errors import AWAY, GOES_ON


def search(request: SearchRequest) -> int:
    """Runs what a request asks for and returns the exit code: 0, 1 where every trial failed, or 130/143 where it was
    interrupted.
    """
    checked = check_request(request)
    console = make_console()
    planned = plan_search(checked)
    if _over(planned, console, resume=request.resume, deliver=not request.dry_run):
        view = read_front(planned.output)
        if view.stand_in:
            show_plan(console, view.plan)
        show_front(console, view, planned.plan.output)
        return 0
    if planned.plan.address is not None:
        _check_address(planned.plan.address)
    show_plan(console, planned.plan)
    if planned.kept is not None:
        console.print("`auto` is kept as it was resolved before; name --model and --data to choose anew.")
    if request.dry_run:
        _show_cost(console, planned)
        return 0
    check_places(planned)
    if request.metrics_port is not None:
        check_port("--metrics-port", request.metrics_port)
    run = partial(_run, planned, console, metrics_port=request.metrics_port)
    return or_away(lambda: _in_its_folder(planned, console, request.resume, run))


def _check_address(address: str) -> None:
    from qrlora_search.adapters.ray_engine.cluster import check_address

    check_address(address)


def or_away(run: Callable[[], int]) -> int:
    """Runs something and returns its exit code; where a database goes away meanwhile or a disk is full, says so and
    returns AWAY: nothing is wrong with what was asked, and what is recorded is kept.
    """
    try:
        return run()
    except _outages() as error:
        gone = went_away(error)
        if gone is None:
            raise
        sys.stderr.write(f"error: {gone}; {GOES_ON}\n")
        return AWAY


def _outages() -> tuple[type[Exception], ...]:
    """Returns what an outage may raise. Asked for when something is raised, since this imports Ray."""
    from qrlora_search.adapters.ray_engine.cluster import failures

    return (OSError, RuntimeError, SQLAlchemyError, *failures())


def _show_cost(console: Console, planned: Planned) -> None:
    plan, store = planned.plan, Store(default_root())
    warm_up, trials = expected_seconds(plan, measured_speed(plan.precision))
    warm_ups, bases = to_make(plan, planned.splits, store)
    minutes, of = warm_ups * warm_up / 60, f" for {warm_ups} of them" if warm_ups > 1 else ""
    console.print(f"warm-up: {f'about {minutes:.1f} min on one thread{of}' if warm_ups else 'found in the cache'}")
    console.print(f"bases: {'to make' if bases else 'found in the cache'}")
    console.print(
        f"trials: {plan.budget}, at most {plan.budget * plan.space.training.epochs} epochs; "
        f"about {trials / 60:.1f} min (rough: from this machine's measured speed"
        f"{', one trial after the other' if plan.concurrency is None else ''})"
    )
    console.print(f"confirmation: {confirmation_in_words(plan)}", markup=False)
    console.print("dry run: nothing was started or written")


def _run(planned: Planned, console: Console, resumed: bool, signals: Signals, metrics_port: int | None) -> int:
    from qrlora_search.adapters.ray_engine.cluster import ray_running

    plan, local, cpus = planned.plan, planned.plan.address is None, cpus_here()
    console.print("starting Ray on this machine" if local else f"joining the cluster at {plan.address}")
    trials = (plan.concurrency or 1) * (plan.cpus_per_trial or 1)
    with ray_running(plan.address, max(cpus, plan.space.warm_up.workers, trials)):
        return _run_on_ray(planned, console, resumed, signals, metrics_port)


def run_on_ray(planned: Planned, console: Console) -> int:
    """Runs a planned search, or goes on with it, on the Ray that this process is connected to; returns its exit code.

    One that has ended is left as it is, but for what MLflow or the study lack of it. A signal that came when the search
    was complete and being scored, written or delivered is an interruption, too, of what calls this. Raises UserError
    where the folder is another search's, or in use.
    """
    if _over(planned, console, resume=True, deliver=True):
        return 0
    check_places(planned, tracking=False)  # the sweep has looked

    def run(resumed: bool, signals: Signals) -> int:
        return _run_on_ray(planned, console, resumed, signals, part=True) or signals.exit_code

    return _in_its_folder(planned, console, True, run)


def _over(planned: Planned, console: Console, *, resume: bool, deliver: bool) -> bool:
    """Returns whether a search has ended, and delivers what MLflow or the study lack of it if asked."""
    state = open_output(planned, resume)
    if state == "undelivered" and deliver:
        with held(planned.output):
            deliver_again(planned.plan, planned.tracking, planned.output, console)
    return state in {"finished", "undelivered"}


def _in_its_folder(planned: Planned, console: Console, resume: bool, run: Callable[[bool, Signals], int]) -> int:
    """Holds a search's folder and the process's signals while it runs; returns its exit code."""
    with held(planned.output), signals_caught() as signals:
        try:
            state = open_output(planned, resume)  # nobody has changed it since
            return run(state == "unfinished", signals)
        except InterruptedEarlyError as error:
            console.print(f"{error.why}: what is made is kept; {GOES_ON}")
            return EXIT_CODES[error.why]


def _run_on_ray(
    planned: Planned, console: Console, resumed: bool, signals: Signals, metrics_port: int | None = None, *,
    part: bool = False,
) -> int:  # fmt: skip
    from qrlora_search.adapters.ray_engine.cluster import check_nodes
    from qrlora_search.adapters.ray_engine.engine import RayEngine
    from qrlora_search.adapters.ray_engine.resources import TrialResources, missing_nodes
    from qrlora_search.adapters.ray_engine.warm_up import RayWarmUp

    signals.install()  # Ray has put its own in place of SIGTERM's
    plan, store, started = planned.plan, Store(default_root()), time.monotonic()
    local, workers, cpus = plan.address is None, plan.space.warm_up.workers, cpus_here()
    threads = plan.cpus_per_trial or (max(1, cpus // (plan.concurrency or 1)) if local else 1)
    each = TrialResources(threads, plan.gpus_per_trial, plan.labels)
    if not local:
        waits = missing_nodes(each)
        if waits:
            _tell(console, started, waits)
        check_nodes(plan.precision, each)
    share = max(1, cpus // workers) if local else threads
    runner = RayWarmUp(threads=share, use_gpu=plan.gpus_per_trial > 0, labels=plan.labels, here=local)
    prepared = prepare(plan, planned.splits, store, runner, partial(_tell, console, started))
    _tell(
        console,
        started,
        f"prepared; made: {', '.join(prepared.made) or 'nothing, all was in the cache'}; "
        f"{prepared.padding:.1%} of the tokens in training batches are padding",
    )
    materials, *further = (one.for_workers() for one in (prepared.materials, *prepared.further))
    silence_s = plan.space.training.report_timeout_s
    engine = RayEngine(materials, plan.space.states, plan.concurrency, each, silence_s, further)
    session = Session(planned, prepared, console, resumed, part=part)
    work = Workforce(threads, workers if plan.gpus_per_trial > 0 else cpus)
    return session.run(engine, started, signals, work, metrics_port)


def _tell(console: Console, started: float, words: str) -> None:
    console.print(f"[{time.monotonic() - started:6.1f} s] {words}", markup=False)
