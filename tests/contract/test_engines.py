"""The contract of engines, held by the one in this process and by Ray Tune alike."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest

from engine_contract import EPOCHS, Accountant, order
from qrlora_search.adapters.ray_engine.cluster import check_nodes
from qrlora_search.adapters.simulated.curves import Curve, Replay
from qrlora_search.adapters.simulated.engine import SimulatedEngine, Steps
from qrlora_search.describe.protocols import Engine, TrialOrder
from qrlora_search.describe.space import States
from qrlora_search.method.machine import native_precision
from qrlora_search.method.training import TrialFailedError, TrialTrainer
from qrlora_search.method.workbench import Materials, build_workbench
from qrlora_search.values.errors import UserError
from qrlora_search.values.states import Report
from tiny import tiny_materials


@pytest.fixture(scope="module", autouse=True)
def ray_here() -> Iterator[None]:
    from qrlora_search.adapters.ray_engine.cluster import ray_running

    with ray_running(None, 2):
        yield


def simulated(materials: Materials, concurrency: int) -> Engine:
    bench = build_workbench(materials)
    return SimulatedEngine(lambda one: TrialTrainer(bench, one), (TrialFailedError,), concurrency)


def replayed(materials: Materials, concurrency: int) -> Engine:
    """An engine that replays what these very trials gave when they were trained: the fake that stands for the real."""
    bench = build_workbench(materials)

    class Recorded(Replay):
        def step(self) -> Report:
            if self.epoch >= len(self.curve.reports):
                raise TrialFailedError("diverged, as when it was recorded")
            return super().step()

    def begin(one: TrialOrder) -> Steps:
        trainer, reports = TrialTrainer(bench, one), []
        with suppress(TrialFailedError):
            reports = [trainer.step() for _ in range(EPOCHS)]
        return Recorded(Curve(one.configuration, {}, tuple(reports)))

    return SimulatedEngine(begin, (TrialFailedError,), concurrency)


def on_ray(materials: Materials, concurrency: int) -> Engine:
    from qrlora_search.adapters.ray_engine.engine import RayEngine

    return RayEngine(materials, States(), concurrency, 0.0, 1)


@pytest.fixture(params=[simulated, replayed, on_ray], ids=["simulated", "replayed", "ray"])
def make(request):
    materials, _ = tiny_materials("bert", "cola")
    return lambda concurrency: request.param(materials, concurrency)


def test_trials_are_trained_in_order_reported_each_epoch_and_ended(make):
    driver = Accountant([order(number) for number in range(4)])
    make(2).run(driver)
    assert driver.started == [0, 1, 2, 3]
    assert {trial: [one.epoch for one in reports] for trial, reports in driver.reports.items()} == {
        number: list(range(1, EPOCHS + 1)) for number in range(4)
    }
    assert not driver.live
    assert driver.most_live == 2
    report = driver.reports[0][0]
    assert report.weights
    assert report.packed
    assert report.seconds > 0
    assert set(report.metrics) == {"matthews", "accuracy"}


def test_a_stopped_trial_is_not_trained_on_and_its_place_is_used(make):
    driver = Accountant([order(number) for number in range(3)], stop_at={0: 1, 1: 2})
    make(1).run(driver)
    assert {trial: len(reports) for trial, reports in driver.reports.items()} == {0: 1, 1: 2, 2: EPOCHS}


def test_a_trial_that_diverges_fails_with_its_reason_and_the_others_go_on(make):
    driver = Accountant([order(0, learning_rate=1e38), order(1)])
    make(1).run(driver)
    assert "diverged" in driver.failures[0]
    assert len(driver.reports[1]) == EPOCHS


def test_an_interrupted_run_returns_and_starts_nothing_more(make):
    driver = Accountant([order(number) for number in range(6)], interrupt_after=2)
    make(1).run(driver)
    assert driver.started == [0]


def test_nothing_to_do_returns_at_once(make):
    driver = Accountant([])
    make(1).run(driver)
    assert not driver.started


def test_a_node_without_the_plans_precision_is_refused_before_and_in_a_search():
    check_nodes("float32", 0.0)
    materials, _ = tiny_materials("bert", "cola")
    driver = Accountant([order(0)])
    on_ray(replace(materials, precision="bfloat16"), 1).run(driver)
    if native_precision() == "bfloat16":
        check_nodes("bfloat16", 0.0)
        assert len(driver.reports[0]) == EPOCHS
        return
    with pytest.raises(
        UserError, match=f"node {socket.gethostname()} does not compute in bfloat16.* leave the node out"
    ):
        check_nodes("bfloat16", 0.0)
    assert not driver.reports
    assert "does not compute in bfloat16" in driver.failures[0]


def test_engines_give_the_same_numbers():
    materials, _ = tiny_materials("roberta", "stsb")
    drivers = []
    for engine in (simulated(materials, 1), replayed(materials, 1), on_ray(materials, 1)):
        drivers.append(Accountant([order(0), order(1)]))
        engine.run(drivers[-1])
    for trial in (0, 1):
        ours, *others = ([one.score for one in driver.reports[trial]] for driver in drivers)
        for theirs in others:
            assert ours == pytest.approx(theirs, abs=1e-6)
