"""Searches in forks of one process that has loaded everything: killed at fault points, and taken up again.

The session, its files, record, MLflow and study are the real ones, and so is training; the engine is the one in this
process, since what a killed driver writes does not depend on the engine. Run as a command:
    forked_searches.py SCENARIOS
in a place's folder; SCENARIOS is JSON {output: [fault, ..., ""]}, one run for each, the first new, the others resumed.
Prints the wait statuses as JSON of the same shape, and those of preparations under PREPARING: the faults that this
variable lists, one preparation for each, before the searches. PROPOSALS: tried before anything else.
CURVES: what each of these trials is said to score, by epoch, in place of its real scores. LOST: {trial: epoch}, whose
worker is lost there the first time, once for each output. CALLS: to MLflow, each with a fault point `call-NAME` before
and after it. UNUSED: so many proposals in a row that need no trial use up
a space. A fork has no threads of its
parent's pools: the environment gives every library one.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

import matplotlib.backends.backend_agg  # with all that follows, loaded before the forks
import matplotlib.figure
import optuna.storages  # noqa: F401
import plotly.subplots
import sklearn.metrics  # noqa: F401
import torch
import torch._dynamo  # what an optimiser loads at its first step
from mlflow.tracking import MlflowClient
from rich.console import Console

from qrlora_search.adapters.simulated.engine import SimulatedEngine
from qrlora_search.app import draw_html, draw_png, loop  # noqa: F401
from qrlora_search.app.delivery import deliver_again
from qrlora_search.app.output import held, open_output
from qrlora_search.app.planning import Planned, plan_search
from qrlora_search.app.request import SearchRequest, check_request
from qrlora_search.app.session import Session, Workforce
from qrlora_search.app.signals import signals_caught
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.describe.tasks import find_task
from qrlora_search.method.fine_tuning import Share, build_classifier, export_state, fine_tune
from qrlora_search.method.training import TrialFailedError, TrialTrainer
from qrlora_search.method.workbench import Workbench, build_workbench
from qrlora_search.prepare.preparation import Prepared, prepare
from qrlora_search.prepare.store import Store
from qrlora_search.values.faults import VARIABLE, passing
from qrlora_search.values.states import Report

PREPARING = "PREPARING"


def warm_up(job, _told):
    """Warm up in this process."""
    torch.manual_seed(job.seed)
    model = build_classifier(job.config, job.weights, find_task(job.task.name).outputs)
    fine_tune(model, job, torch.device("cpu"), Share(), lambda *_: None)
    return export_state(model)


class Told:
    """A real training whose score is as it is told."""

    def __init__(self, trainer: TrialTrainer, scores: list[float]) -> None:
        self.trainer, self.scores = trainer, scores

    def step(self) -> Report:
        """Train an epoch."""
        report = self.trainer.step()
        score = self.scores[report.epoch - 1]
        return replace(report, score=score, metrics=dict.fromkeys(report.metrics, score))


class LostWorkerError(Exception):
    """A worker is lost."""


class Losing:
    """A real training whose worker is lost before an epoch, unless the note of that is there."""

    def __init__(self, trainer: TrialTrainer, epoch: int, note: Path) -> None:
        self.trainer, self.epoch, self.note = trainer, epoch, note

    def step(self) -> Report:
        """Train an epoch, or be lost."""
        if self.trainer.epoch + 1 == self.epoch and not self.note.exists():
            self.note.touch()
            raise LostWorkerError(f"lost before epoch {self.epoch}")
        return self.trainer.step()


def begin(benches: list[Workbench], output: Path, order: TrialOrder) -> TrialTrainer | Told | Losing:
    """Return a trial in training."""
    trainer, curves = TrialTrainer(benches[order.warm_up], order), json.loads(os.environ.get("CURVES", "null"))
    lost = json.loads(os.environ.get("LOST", "{}")).get(str(order.trial))
    if lost is not None:
        return Losing(trainer, lost, output.with_name(f"{output.name}-lost-{order.trial}"))
    return trainer if curves is None else Told(trainer, curves[order.trial])


def run(planned: Planned, prepared: Prepared) -> int:
    """Run a search, or go on with it, and return its exit code."""
    materials = [one.for_workers() for one in (prepared.materials, *prepared.further)]
    benches = [build_workbench(one, torch.device("cpu")) for one in materials]
    training = partial(begin, benches, planned.output)
    engine = SimulatedEngine(training, (TrialFailedError,), planned.plan.concurrency or 1, (LostWorkerError,))
    loop.MOST_UNUSED = int(os.environ.get("UNUSED", loop.MOST_UNUSED))
    with held(planned.output), signals_caught() as signals:
        state = open_output(planned, resume=True)
        if state == "finished":
            return 0
        if state == "undelivered":
            deliver_again(planned.plan, planned.tracking, planned.output, Console(file=io.StringIO()))
            return 0
        session = Session(planned, prepared, Console(file=io.StringIO()), resumed=state == "unfinished")
        return session.run(engine, time.monotonic(), signals, Workforce(1, 1))


def forked(work: Callable[[], int], fault: str) -> int:
    """Work in a fork and return its wait status: 9 where it killed itself."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    os.environ[VARIABLE] = fault
    code = 99
    try:
        code = work()
    finally:
        sys.stderr.flush()
        os._exit(code)


def with_moments(call: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a call to MLflow with a fault point before and after it."""

    @wraps(call)
    def called(*given: Any, **named: Any) -> Any:
        passing(f"before:call-{name}")
        found = call(*given, **named)
        passing(f"after:call-{name}")
        return found

    return called


def main() -> None:
    """Run the scenarios that the command line gives."""
    for name in os.environ.get("CALLS", "").split():
        setattr(MlflowClient, name, with_moments(getattr(MlflowClient, name), name))
    torch.set_num_threads(1)
    matplotlib.figure.Figure().subplots()
    plotly.subplots.make_subplots(rows=1, cols=2).update_layout(title="loaded", template="plotly_white")
    largest = int(os.environ["MAX_PARAMS"]) if "MAX_PARAMS" in os.environ else None
    request = SearchRequest(os.environ["TASK"], int(os.environ["BUDGET"]), "model", "data", "space.toml", concurrency=1,
                            max_params=largest,
                            tracking_uri=f"sqlite:///{Path.cwd()}/mlflow.db")  # fmt: skip
    planned = plan_search(check_request(request))

    def prepared_here() -> Prepared:
        return prepare(planned.plan, planned.splits, Store(Path("own-cache")), warm_up, lambda _: None)

    def prepares() -> int:
        prepared_here()
        return 0

    statuses = {PREPARING: [forked(prepares, fault) for fault in json.loads(os.environ.get(PREPARING, "[]"))]}
    prepared = prepared_here()
    first = json.loads(os.environ.get("PROPOSALS", "[]"))
    planned = replace(planned, plan=planned.plan.model_copy(update={"warm_start": tuple(first)}))
    for output, faults in json.loads(sys.argv[1]).items():
        there = planned.plan.model_copy(update={"output": output})
        statuses[output] = [forked(partial(run, replace(planned, plan=there), prepared), fault) for fault in faults]
    print(json.dumps(statuses))


if __name__ == "__main__":
    main()
