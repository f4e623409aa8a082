"""One search of a sweep: planned with what the last sweep left, and run to a target on the Ray that is connected."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from qrlora_search.app.planning import PLAN_FILE, Planned, plan_search
from qrlora_search.app.reading import read_search
from qrlora_search.app.report_files import read_front
from qrlora_search.app.request import SearchRequest, check_request
from qrlora_search.app.sweep_inputs import changed, inputs_of
from qrlora_search.app.sweep_record import Entry
from qrlora_search.app.views.trust import PARTLY
from qrlora_search.app.warm_start import front_proposals
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.sweep import Job, SweepSpec
from qrlora_search.record.storage import has_record
from qrlora_search.values.errors import AwayError, UserError
from qrlora_search.values.secrets import expand, holds_secret

NO_LIMIT = 1_000_000
"""Configurations of a search that time alone ends."""


@dataclass(frozen=True)
class Turn:
    """What a search may do in a round: start so many configurations in all, and take so long."""

    configurations: int
    seconds: float | None = None


def request_of(spec: SweepSpec, job: Job, turn: Turn, output: str) -> SearchRequest:
    """Returns the request of a search. Raises UserError where the environment lacks a name of the spec, or where a name
    stands for `auto` though the sweep may not fall back.
    """
    known, resources = os.environ, spec.resources
    address = resources.address and expand(resources.address, known, "resources.address")
    tracking = spec.storage.tracking_uri and expand(spec.storage.tracking_uri, known, "storage.tracking_uri")
    model, data = expand(job.model, known, "searches.models"), expand(job.data, known, "data")
    for where, asked, given in (("searches.models", job.model, model), ("data", job.data, data)):
        if given == "auto" and not spec.fall_back:
            raise UserError(
                f"{where} = {asked!r} is 'auto' in the environment, which may fall back to stand-in data or the "
                "embedded model; name what is meant there, or write fall_back = true"
            )
        if holds_secret(given):
            raise UserError(f"{where} = {asked!r} is an address with a password in the environment; name a folder")
    return SearchRequest(
        task=job.task,
        budget=turn.configurations,
        model=model,
        data=data,
        space=None if job.space == "default" else expand(job.space, known, "searches.spaces"),
        seed=job.seed,
        output=output,
        resume=True,
        max_params=spec.searches.max_params,
        time_limit=None if turn.seconds is None else f"{turn.seconds:.0f}s",
        address=address,
        concurrency=resources.concurrency,
        gpus_per_trial=resources.gpus_per_trial,
        tracking_uri=tracking or None,
        train_limit=spec.searches.train_limit,
        cpus_per_trial=resources.cpus_per_trial,
        labels=tuple(f"{name}={value}" for name, value in resources.labels.items()) or None,
    )


def check_jobs(spec: SweepSpec) -> None:
    """Raises UserError where a search could not be asked for so, or nobody could be told: before anything begins."""
    for job in spec.jobs():
        check_request(request_of(spec, job, Turn(1), ""))
    if spec.notify.webhook is not None:
        expand(spec.notify.webhook, os.environ, "notify.webhook")


def plan_job(spec: SweepSpec, job: Job, turn: Turn, entry: Entry) -> Planned:
    """Returns the plan of a search; one that was begun keeps the first proposals that it began with."""
    planned = plan_search(check_request(request_of(spec, job, turn, entry.output)))
    kept = _begun(Path(entry.output))
    if kept is not None:
        first = kept.warm_start
    elif entry.warm_from:
        first = _first_proposals(entry.warm_from, planned.plan)
    else:
        first = ()
    return replace(planned, plan=planned.plan.model_copy(update={"warm_start": first}))


def _begun(output: Path) -> SearchPlan | None:
    try:
        return SearchPlan.model_validate_json((output / PLAN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _first_proposals(folder: str, plan: SearchPlan) -> tuple[dict[str, str | int | float], ...]:
    """Returns the last front's proposals that fit, or none: a sweep does not end for want of them, but where its
    database is away nobody knows whether there are any, so that is raised.
    """
    try:
        return front_proposals(folder, plan.space, plan.encoder.layers)
    except AwayError:
        raise
    except UserError:
        return ()


def begin(spec: SweepSpec, job: Job, entry: Entry, last: Entry | None) -> None:
    """Decides what becomes of a search, given its entry in the last sweep: skipped, deepened, warm-started or new.

    Writes it into the entry. Raises UserError where the search cannot be planned.
    """
    planned = plan_job(spec, job, Turn(1), entry)
    entry.inputs = inputs_of(planned)
    if last is None or not has_record(Path(last.output)):
        return
    same, rule = not changed(last.inputs, entry.inputs), spec.history.unchanged
    if same and rule == "skip":
        entry.state, entry.output, entry.reason = "skipped", last.output, f"inputs as in {entry.base}"
    elif same and rule == "deepen":
        entry.output, entry.deepened, entry.reason = last.output, True, f"deepens that of {entry.base}"
        measure(entry)
        entry.before, entry.before_volume, entry.epochs_before = entry.configurations, entry.volumes.pop(), entry.epochs
        if entry.used_up:
            entry.state, entry.deepened = "skipped", False
            entry.reason = f"all configurations of its space were tried by {entry.base}"
    elif spec.history.warm_start:
        entry.reason = f"{', '.join(changed(last.inputs, entry.inputs)) or 'nothing'} changed since {entry.base}"
        if _first_proposals(last.output, planned.plan):
            entry.warm_from = last.output
        else:
            entry.reason += "; nothing of its front can be tried here, so it begins without"


def run_turn(spec: SweepSpec, job: Job, entry: Entry, turn: Turn, console: Console) -> int:
    """Runs a search to its target, or finds that it did; returns the exit code of the search. Raises UserError."""
    from qrlora_search.app.run_search import run_on_ray

    output = Path(entry.output)
    if output.is_dir() and not has_record(output):
        shutil.rmtree(output)  # killed before its record was begun: nothing is lost
    return run_on_ray(plan_job(spec, job, turn, entry), console)


def measure(entry: Entry) -> None:
    """Brings an entry up to what its search's record and front hold."""
    count(entry)
    view = read_front(Path(entry.output))
    told = view.confirmation.status == "confirmed" and not any(one.startswith(PARTLY) for one in view.marks)
    entry.volumes.append(view.hypervolume.value if told or view.plan.space.confirm.share == 0 else None)


def count(entry: Entry) -> None:
    """Brings an entry's counts up to what its search's record holds, which needs no front."""
    history, plan = read_search(Path(entry.output), "the sweep's")
    entry.configurations = len(history.searched)
    entry.epochs = sum(len(one.reports) for one in history.searched)
    entry.seconds = history.seconds
    entry.used_up = history.outcome == "complete" and entry.configurations < plan.budget
