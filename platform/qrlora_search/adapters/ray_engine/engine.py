"""Ray Tune runs the trials: a searcher that asks the driver, and a scheduler that brings it the reports.

Ray keeps no state of a search here: the record does. Neither searcher nor scheduler pickles the driver.
"""

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, PlacementGroupFactory
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from qrlora_search.adapters.ray_engine.losses import how_it_ended
from qrlora_search.adapters.ray_engine.resources import Room, TrialResources, places
from qrlora_search.adapters.ray_engine.trainable import FAILURE, REPORT, TrialActor
from qrlora_search.describe.protocols import TrialDriver
from qrlora_search.describe.space import States
from qrlora_search.method.workbench import Materials


class _Unpicklable:
    """Ray pickles searchers and schedulers into its experiment folder; what is kept there is empty and never read."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class DriverSearcher(_Unpicklable, Searcher):
    """Ray Tune's way of asking the driver for the next trial. unfit: the ids of nodes where it is not to be placed."""

    def __init__(self, driver: TrialDriver, room: Callable[[], int], threads: int, unfit: Collection[str]) -> None:
        super().__init__(metric=None, mode=None)
        self.driver, self.room, self.threads, self.unfit = driver, room, threads, unfit
        self.live: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        """Returns a trial's config, None while as many run as may, or FINISHED."""
        if len(self.live) >= self.room():
            return None
        order = self.driver.next_trial()
        if order is None:
            over = self.driver.exhausted and not self.live  # Tune never asks again, and a live one may lose its worker
            return str(Searcher.FINISHED) if over else None
        self.live[trial_id] = order.trial
        return {
            "trial": order.trial,
            "configuration": order.configuration.to_json(),
            "seed": order.seed,
            "warm_up": order.warm_up,
            "threads": self.threads,
            "checkpoint": ray.put(order.checkpoint) if order.checkpoint else None,
            "unfit": sorted(self.unfit),
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Notes that a trial's place is free; the scheduler tells the driver why."""
        self.live.pop(trial_id, None)

    def save(self, checkpoint_path: str) -> None:
        """Keeps nothing: the record has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Reads nothing: the record has it all."""


class DriverScheduler(_Unpicklable, FIFOScheduler):
    """Ray Tune's way of bringing reports to the driver and its decisions back. unfit: grows by nodes that are so."""

    def __init__(self, driver: TrialDriver, each: TrialResources, unfit: set[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.driver, self.each, self.unfit = driver, each, unfit

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Returns STOP or CONTINUE, as the driver says."""
        number = int(trial.config["trial"])
        if FAILURE in result:
            self.driver.failed(number, result[FAILURE])
            return str(TrialScheduler.STOP)
        decision = self.driver.reported(number, result[REPORT])
        return str(TrialScheduler.STOP if decision.stop else TrialScheduler.CONTINUE)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Tells the driver why a trial failed, or that its worker was lost; workers end with an interrupted search."""
        if self.driver.interrupted:
            return
        ending, number = how_it_ended(trial), int(trial.config["trial"])
        if ending.unfit:
            self.unfit.add(ending.unfit)
        if ending.lost and (not ending.unfit or places(self.each, self.unfit)):
            self.driver.lost(number, ending.reason, counted=not ending.unfit)
        else:
            self.driver.failed(number, ending.reason)


class _DropReports(Callback):
    """Takes reports out of what Ray keeps of every trial: the record has them."""

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        result.pop(REPORT, None)


class _Silent(_Unpicklable, Callback):
    """Ends running trials that give no report for too long: the driver is told that they failed, their actor is killed.

    Time counts from when a trial runs, not while it waits for a place on the cluster.
    """

    def __init__(self, driver: TrialDriver, timeout_s: float) -> None:
        self.driver, self.timeout_s = driver, timeout_s
        self.heard: dict[str, tuple[Trial, float]] = {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self.heard[trial.trial_id] = trial, time.monotonic()

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **_: Any
    ) -> None:
        self.heard[trial.trial_id] = trial, time.monotonic()

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self.heard.pop(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **_: Any) -> None:
        self.heard.pop(trial.trial_id, None)

    def end_silent(self) -> None:
        """Looks for trials that were silent for too long."""
        now = time.monotonic()
        late = [trial for trial, heard in self.heard.values() if now - heard > self.timeout_s]
        for trial in late:
            del self.heard[trial.trial_id]
            number = int(trial.config["trial"])
            self.driver.failed(number, f"no report for {self.timeout_s:g} s (training.report_timeout_s)")
            actor = trial.temporary_state.ray_actor
            if actor is not None:
                ray.kill(actor)


class _Watch(_Unpicklable, Stopper):
    """What Tune asks at every turn of its loop: whether the search is over."""

    def __init__(self, driver: TrialDriver, silent: _Silent) -> None:
        self.driver, self.silent = driver, silent

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        self.silent.end_silent()
        return self.driver.interrupted


@contextmanager
def _scratch() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="qrlora-tune-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bundle(each: TrialResources, config: dict[str, Any]) -> PlacementGroupFactory:
    """Returns what a trial takes, where it may be placed."""
    return each.bundle(config.get("unfit", ()))


class RayEngine:
    """An `Engine` on a running Ray cluster. Actors are reused; the materials travel once to each of them.

    further: materials of the warm-ups that confirmation repeats. states: room for constant states on each node.
    concurrency: trials side by side; None for what the cluster holds, as it grows and shrinks. report_timeout_s: a
    trial fails after so long without a report.
    """

    def __init__(
        self,
        materials: Materials,
        states: States,
        concurrency: int | None,
        each: TrialResources,
        report_timeout_s: float = math.inf,
        further: Sequence[Materials] = (),
    ) -> None:
        self.materials, self.states, self.concurrency = (materials, *further), states, concurrency
        self.each, self.report_timeout_s = each, report_timeout_s

    def run(self, driver: TrialDriver) -> None:
        """Runs trials until the driver is exhausted and all have ended, or it is interrupted."""
        if driver.exhausted:
            return
        silent, fixed = _Silent(driver, self.report_timeout_s), self.concurrency
        unfit: set[str] = set()
        room: Callable[[], int] = Room(self.each, unfit) if fixed is None else lambda: fixed
        first, *further = self.materials
        later = [ray.put(one) for one in further]  # each reaches a worker when its first trial stands on it
        trainable = tune.with_parameters(TrialActor, materials=first, further=later, states=self.states)
        with _scratch() as folder:
            tuner = tune.Tuner(
                tune.with_resources(trainable, partial(_bundle, self.each)),
                tune_config=tune.TuneConfig(
                    num_samples=-1,
                    search_alg=DriverSearcher(driver, room, self.each.threads, unfit),
                    scheduler=DriverScheduler(driver, self.each, unfit),
                    reuse_actors=True,
                    trial_dirname_creator=lambda trial: f"trial-{trial.config['trial']:05d}-{trial.trial_id}",
                ),
                run_config=tune.RunConfig(
                    storage_path=folder,
                    name="search",
                    verbose=0,
                    stop=_Watch(driver, silent),
                    callbacks=[_DropReports(), silent],
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    failure_config=tune.FailureConfig(max_failures=0),
                ),
            )
            tuner.fit()
