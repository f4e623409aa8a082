"""The search loop: budget, duplicates, refusals, stopping, failures and resuming, with scripted trials."""

import pytest

from qrlora_search.adapters.simulated.engine import SimulatedEngine
from qrlora_search.app.loop import MOST_UNUSED, SearchLoop
from qrlora_search.describe.proposals import canonical
from qrlora_search.describe.space import SearchSpace
from qrlora_search.record.events import Record
from qrlora_search.record.history import HEAD_ONLY, History, history_of
from qrlora_search.values.states import TrialState
from scripted import SPECTRA, KeptFiles, ListSampler, Scripted, ScriptedError, plan, search


def test_the_budget_counts_started_configurations_alone(tmp_path):
    loop, sampler, record, kept = search(tmp_path, plan(3), [0.1, 0.1, 0.5, 0.9], lambda one: Scripted(0.9))
    assert [one.number for one in loop.history.searched] == [0, 2, 3]
    assert loop.history.trials[1].duplicate_of == 0
    assert sampler.told[1] == sampler.told[0]  # the duplicate is answered from the record
    assert set(kept) == {0, 2, 3}
    again = history_of(record.all())
    assert again.trials == loop.history.trials  # the record adds up to the state


@pytest.mark.parametrize("concurrency", [1, 2, 3])
def test_a_duplicate_of_a_running_trial_is_told_when_that_one_ends(tmp_path, concurrency):
    _, sampler, *_ = search(tmp_path, plan(2), [0.1, 0.1, 0.9], lambda one: Scripted(0.9), concurrency)
    assert {number: state for number, (state, *_) in sampler.told.items()} == dict.fromkeys(
        range(3), TrialState.FINISHED
    )


def test_over_max_params_is_refused_told_and_never_started(tmp_path):
    limit = canonical(SearchSpace(), ListSampler([0.3]).ask()[1], SPECTRA, 4).parameters
    loop, sampler, *_ = search(tmp_path, plan(1, max_params=limit), [0.99, 0.3], lambda one: Scripted(0.9))
    assert loop.history.trials[0].refused
    assert str(limit) in loop.history.trials[0].reason
    assert sampler.told[0][0] is TrialState.STOPPED
    assert [one.number for one in loop.history.searched] == [1]


def test_a_space_that_is_used_up_ends_the_search(tmp_path):
    loop, sampler, *_ = search(tmp_path, plan(50), [0.1, 0.5], lambda one: Scripted(0.9))
    assert loop.used_up
    assert len(loop.history.searched) == 2
    assert sampler.asked == 2 + MOST_UNUSED
    assert len(sampler.told) == sampler.asked  # nothing is left open


def test_stopped_failed_and_finished_are_told_apart(tmp_path):
    scores = {0: 0.9, 1: 0.8, 2: 0.7, 3: 0.6}
    begin = lambda one: Scripted(scores.get(one.trial, 0.1), fails_at=2 if one.trial == 5 else 99)  # noqa: E731
    loop, sampler, *_ = search(tmp_path, plan(6), [0.2, 0.3, 0.4, 0.5, 0.9, 0.01], begin)
    states = {number: state for number, (state, *_) in sampler.told.items()}
    assert states[0] is TrialState.FINISHED
    assert states[4] is TrialState.STOPPED  # the largest and the worst
    assert "below" in loop.history.trials[4].reason
    assert len(loop.history.trials[4].reports) == 1
    assert states[5] is TrialState.FAILED
    assert loop.history.trials[5].reason == "diverged: on purpose"


def test_a_resumed_search_trains_the_unfinished_again_and_repeats_nothing(tmp_path):
    record = Record(f"sqlite:///{tmp_path / 'record.db'}")
    loop, *_ = search(tmp_path, plan(2), [0.1, 0.5], lambda one: Scripted(0.9))
    proposal = ListSampler([0.7]).ask()[1]
    configuration = canonical(plan().space, proposal, SPECTRA, 4).to_json()
    loop.history.apply(record.append("proposed", {"proposal": proposal, "configuration": configuration}, 7))
    loop.history.apply(record.append("started", {}, 7))
    trained = []

    def begin(one):
        trained.append(one.trial)
        return Scripted(0.9)

    again, *_ = search(tmp_path, plan(4), [0.1, 0.5, 0.7, 0.9], begin, history=loop.history, first=8)
    assert trained[0] == 7
    assert len(again.history.searched) == 4
    assert {0, 1}.isdisjoint(trained)


def test_a_trained_head_brings_its_control_first_and_it_is_never_stopped(tmp_path):
    the_plan = plan(3, head={"modes": ["trained"]})
    loop, sampler, *_ = search(tmp_path, the_plan, [0.1, 0.4, 0.7], lambda one: Scripted(0.1))
    control = loop.history.trials[HEAD_ONLY]
    assert control.state is TrialState.FINISHED
    assert control.configuration.parameters == 0
    assert HEAD_ONLY not in sampler.told
    assert len(loop.history.searched) == 3


def test_the_time_limit_ends_the_search_and_leaves_trials_to_resume(tmp_path):
    the_plan, now = plan(50), [0.0]
    record = Record(f"sqlite:///{tmp_path / 'record.db'}")
    loop = SearchLoop(
        the_plan, record, History(plan=the_plan), ListSampler([i / 60 for i in range(1, 51)]),
        lambda proposal: canonical(the_plan.space, proposal, SPECTRA, 4), KeptFiles(),
    )  # fmt: skip
    loop.set_deadline(lambda: now[0], 7.0)

    def begin(one):
        now[0] += 1
        return Scripted(0.9)

    SimulatedEngine(begin, (ScriptedError,), 2).run(loop)
    assert loop.ending == "time limit"
    assert 5 <= len(loop.history.searched) < 10
    assert loop.history.live
