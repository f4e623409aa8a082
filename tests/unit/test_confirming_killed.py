"""Confirmation killed after any of its trainings: the same trainings follow as without a kill."""

from dataclasses import replace

import numpy as np
import pytest

from qrlora_search.adapters.simulated.engine import SimulatedEngine
from qrlora_search.app.confirming import Confirming
from qrlora_search.app.loop import SearchLoop
from qrlora_search.app.views.candidates import members_of
from qrlora_search.describe.proposals import canonical
from qrlora_search.record.history import history_of
from qrlora_search.values.states import TrialState
from scripted import SPECTRA, KeptFiles, ListSampler, ScriptedError
from test_confirming import TAUS, Scorer, begin, ends_of, the_plan

SEEDS = 5


def drive(a_plan, record, history, ends, folder, at_most=99):
    """Train one after the other, at most so many; an abrupt end begins one more and leaves it after an epoch."""
    confirming = Confirming(a_plan, record, history, Scorer(ends, folder))
    for _ in range(at_most):
        order = confirming.next_trial()
        if order is None:
            return
        training = ends.begin(order)
        while not confirming.reported(order.trial, training.step()).stop:
            pass
    order = confirming.next_trial()
    if order is not None:
        confirming.reported(order.trial, ends.begin(order).step())


def searched(ends, folder):
    """Return a search whose trials have ended, not confirmed yet."""
    folder.mkdir()
    a_plan = the_plan(share=5.0, seeds=SEEDS)
    record, history = begin(folder, a_plan)
    loop = SearchLoop(
        a_plan, record, history, ListSampler(TAUS), lambda one: canonical(a_plan.space, one, SPECTRA, 4), KeptFiles()
    )
    SimulatedEngine(ends.begin, (ScriptedError,)).run(loop)
    return a_plan, record, history


def trainings(history):
    return sorted((run.trial, run.seed) for run in history.confirmation.runs.values())


@pytest.mark.parametrize("world", range(6))
def test_a_kill_at_any_training_changes_none_that_follows(world, tmp_path):
    random = np.random.default_rng(world)
    around = np.array([0.72, 0.74, 0.76, 0.78])
    again = [tuple((around + random.normal(0, 0.006, 4)).round(3)) for _ in range(SEEDS)]
    ends = replace(ends_of((0.74, 0.76, 0.78, 0.80), *again), trained=[])
    a_plan, record, whole = searched(ends, tmp_path / "whole")
    drive(a_plan, record, whole, ends, tmp_path / "whole")
    assert whole.confirmation.closed
    assert len(whole.confirmation.rounds) > 1
    for killed in range(len(whole.confirmation.runs)):
        folder = tmp_path / str(killed)
        a_plan, record, history = searched(ends, folder)
        drive(a_plan, record, history, ends, folder, killed)
        again = history_of(record.all())
        drive(a_plan, record, again, ends, folder)
        assert trainings(again) == trainings(whole), f"killed after {killed}"
        assert again.confirmation.reason == whole.confirmation.reason
        assert again.confirmation.rounds == whole.confirmation.rounds
        assert members_of(again) == members_of(whole)
        record.close()


def test_a_further_training_loses_three_workers_whatever_was_killed_between(tmp_path):
    ends = ends_of((0.76,) * 4, *[(0.76,) * 4] * SEEDS)  # a front of one: the smallest
    a_plan, record, _ = searched(replace(ends, trained=[]), tmp_path / "out")
    for losses in (2, 1):  # two, then the driver is killed, then one
        confirming = Confirming(a_plan, record, history_of(record.all()), Scorer(ends, tmp_path / "out"))
        order = confirming.next_trial()
        for _ in range(losses):
            confirming.lost(order.trial, "its node was lost")
            confirming.lost(order.trial, "unfit", counted=False)
            again = confirming.next_trial()
            assert (again.trial, again.seed) == (order.trial, order.seed)
    confirming.lost(order.trial, "its node was lost")
    run = history_of(record.all()).confirmation.runs[order.trial]
    assert (run.state, run.reason) == (
        TrialState.FAILED, "lost its worker 4 times, the last time: its node was lost",
    )  # fmt: skip
