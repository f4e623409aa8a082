"""The contract of engines, held by the one in this process and by Ray Tune alike."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from engine_contract import EPOCHS, Accountant, order
from kills import workers_of
from qrlora_search.adapters.ray_engine import cluster
from qrlora_search.adapters.ray_engine.cluster import check_nodes
from qrlora_search.adapters.ray_engine.resources import TrialResources
from qrlora_search.adapters.simulated.curves import Curve, Replay
from qrlora_search.adapters.simulated.engine import SimulatedEngine, Steps
from qrlora_search.describe.protocols import Engine, TrialOrder
from qrlora_search.describe.space import States
from qrlora_search.method.machine import native_precision
from qrlora_search.method.training import TrialFailedError, TrialTrainer
from qrlora_search.method.workbench import Materials, build_workbench
from qrlora_search.values.errors import UserError
from qrlora_search.values.states import Decision, Report
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

    return RayEngine(materials, States(), concurrency, TrialResources())


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


def test_a_trial_is_trained_on_the_warm_up_that_it_stands_on():
    """One worker turns from one warm-up to the other and back; weights and scores are those of training there alone."""
    from qrlora_search.adapters.ray_engine.engine import RayEngine

    first, _ = tiny_materials("bert", "cola")
    moved = {name: array + np.float32(0.05) * np.sign(array) for name, array in first.state.items()}
    grounds = [first, replace(first, state=moved, fingerprint="another warm-up")]
    orders = [replace(order(number), seed=number, warm_up=warm_up) for number, warm_up in enumerate((0, 1, 0))]
    driver = Accountant(list(orders))
    RayEngine(grounds[0], States(), 1, TrialResources(), further=grounds[1:]).run(driver)
    for one in orders:
        trainer = TrialTrainer(build_workbench(grounds[one.warm_up]), one)
        for report in driver.reports[one.trial]:
            alone = trainer.step()
            assert (alone.packed, alone.score) == (report.packed, report.score)
            assert alone.loss == pytest.approx(report.loss, abs=1e-5)


def test_nothing_to_do_returns_at_once(make):
    driver = Accountant([])
    make(1).run(driver)
    assert not driver.started


def test_a_node_without_the_plans_precision_is_refused_before_and_in_a_search():
    check_nodes("float32", TrialResources())
    materials, _ = tiny_materials("bert", "cola")
    driver = Accountant([order(0)])
    on_ray(replace(materials, precision="bfloat16"), 1).run(driver)
    if native_precision() == "bfloat16":
        check_nodes("bfloat16", TrialResources())
        assert len(driver.reports[0]) == EPOCHS
        return
    with pytest.raises(
        UserError, match=f"node {socket.gethostname()} does not compute in bfloat16.* leave the node out"
    ):
        check_nodes("bfloat16", TrialResources())
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


def test_a_trial_goes_on_from_its_checkpoint(make):
    whole, cut = Accountant([order(0)]), Accountant([order(0)], stop_at={0: 1})
    make(1).run(whole)
    make(1).run(cut)
    rest = Accountant([replace(order(0), checkpoint=cut.reports[0][0].checkpoint)])
    make(1).run(rest)
    reports = {one.epoch: one for one in (*cut.reports[0], *rest.reports[0])}
    assert [(one.epoch, one.score, one.loss) for one in whole.reports[0]] == [
        (epoch, one.score, one.loss) for epoch, one in sorted(reports.items())
    ]


class Promoter(Accountant):
    """Orders trial 0, which is stopped after its first epoch, again when the other has ended."""

    def next_trial(self) -> TrialOrder | None:
        if not self.orders and not self.live and self.stop_at:
            self.stop_at = {}
            self.orders.append(replace(order(0), checkpoint=self.reports[0][0].checkpoint))
        return super().next_trial()

    @property
    def exhausted(self) -> bool:
        return not self.orders and not self.stop_at


def test_a_stopped_trial_is_taken_up_again_in_the_same_run(make):
    whole, driver = Accountant([order(0)]), Promoter([order(0), order(1)], stop_at={0: 1})
    make(1).run(whole)
    make(1).run(driver)
    reports = {one.epoch: one for one in driver.reports[0]}
    assert sorted(reports) == list(range(1, EPOCHS + 1))
    assert [(one.epoch, one.score, one.loss) for one in whole.reports[0]] == [
        (epoch, one.score, one.loss) for epoch, one in sorted(reports.items())
    ]
    assert len(driver.reports[1]) == EPOCHS
    assert driver.failures == driver.losses == {}


class Attacker(Accountant):
    """Sends a signal to the worker after the first report of trial 0, and orders a lost trial again."""

    number = signal.SIGKILL

    def reported(self, trial: int, report: Report) -> Decision:
        decision = super().reported(trial, report)
        if (trial, report.epoch) == (0, 1) and not self.losses:
            for worker in workers_of(os.getpid()):
                worker.send_signal(self.number)
        return decision

    def lost(self, trial: int, reason: str, *, counted: bool = True) -> None:
        super().lost(trial, reason, counted=counted)
        self.orders.insert(0, replace(order(trial), checkpoint=self.reports[trial][-1].checkpoint))


def test_a_lost_worker_is_told_apart_from_a_failure_and_its_trial_goes_on():
    materials, _ = tiny_materials("bert", "cola")
    driver = Attacker([order(0), order(1)])
    on_ray(materials, 1).run(driver)
    assert len(driver.losses[0]) == 1
    assert "its process died" in driver.losses[0][0]
    assert not driver.failures
    assert [one.epoch for one in driver.reports[0]] == [1, 2, 3]
    assert [one.epoch for one in driver.reports[1]] == [1, 2, 3]


def test_a_worker_that_says_nothing_for_too_long_fails_its_trial_and_the_others_go_on():
    from qrlora_search.adapters.ray_engine.engine import RayEngine

    materials, _ = tiny_materials("bert", "cola")
    driver = Attacker([order(0), order(1)])
    driver.number = signal.SIGSTOP
    RayEngine(materials, States(), 1, TrialResources(), report_timeout_s=10).run(driver)
    assert driver.failures == {0: "no report for 10 s (training.report_timeout_s)"}
    assert [one.epoch for one in driver.reports[1]] == [1, 2, 3]


class Stuck:
    """What a worker that unpickles it waits for, as for a volume that does not answer."""

    def __reduce__(self) -> tuple[object, ...]:
        return time.sleep, (60.0,)


def test_a_worker_that_hangs_while_it_makes_ready_is_as_one_that_hangs_in_training():
    from qrlora_search.adapters.ray_engine.engine import RayEngine

    materials, _ = tiny_materials("bert", "cola")
    driver, began = Accountant([replace(order(0), warm_up=1), order(1)]), time.monotonic()
    RayEngine(materials, States(), 1, TrialResources(), report_timeout_s=10, further=[Stuck()]).run(driver)
    assert driver.failures == {0: "no report for 10 s (training.report_timeout_s)"}
    assert [one.epoch for one in driver.reports[1]] == [1, 2, 3]
    assert time.monotonic() < began + 55


def test_a_node_without_the_plans_precision_is_named_and_one_that_does_not_answer_is_not_waited_for(monkeypatch):
    def refuses(precision):
        return f"node far does not compute in {precision}"

    def never(_precision):
        import time

        time.sleep(60)

    monkeypatch.setattr(cluster, "refusal", refuses)
    with pytest.raises(UserError, match="node far does not compute in bfloat16"):
        check_nodes("bfloat16", TrialResources())
    monkeypatch.setattr(cluster, "refusal", never)
    monkeypatch.setattr(cluster, "NODE_ANSWER_S", 2.0)
    check_nodes("bfloat16", TrialResources())


def test_an_error_that_is_no_trials_own_fails_it_with_its_kind():
    """A basis that is not there: as with any fault in a worker, the trial fails, and it is not taken for a lost one."""
    materials, _ = tiny_materials("bert", "cola")
    broken = replace(materials, bases={place: one for place, one in materials.bases.items() if place != (1, "q")})
    driver = Accountant([order(0)])
    on_ray(broken, 1).run(driver)
    assert "KeyError" in driver.failures[0]
    assert not driver.losses
