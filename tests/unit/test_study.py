"""The Optuna study that follows a record: every proposal once, told as it ended, none left open."""

import math

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage

from qrlora_search.adapters.optuna_search.study import STUDY, StudySink
from qrlora_search.describe.proposals import dimensions
from qrlora_search.describe.space import SearchSpace
from qrlora_search.record.pump import Pump
from scripted import Scripted, plan, search


@pytest.fixture
def record(tmp_path):
    """Make the record of a search with every kind of ending, and one trial that has not ended."""
    begin = lambda one: Scripted(0.9 - 0.1 * one.trial, fails_at=2 if one.trial == 4 else 99)  # noqa: E731
    taus = [0.2, 0.2, 0.3, 0.9, 0.5, 0.4]
    loop, _, record, _ = search(tmp_path, plan(4, max_params=350), taus, begin)
    kinds = {number: (one.state, one.refused, one.duplicate_of) for number, one in loop.history.trials.items()}
    assert [kinds[number][1:] for number in (1, 3)] == [(False, 0), (True, None)]
    last = loop.history.trials[5]
    data = {"proposal": {**last.proposal, "tau": 0.7}, "configuration": last.configuration.to_json()}
    record.append("proposed", data, 6)
    record.append("started", {}, 6)
    return record


def follow(record, times=1):
    sink = StudySink(record.url, dimensions(SearchSpace(), 4))
    for event in record.all():
        for _ in range(times if event.kind == "proposed" else 1):
            sink.take(event)
    open_before = set(sink.open)
    sink.close()
    return trials_of(record), open_before


def trials_of(record):
    study = optuna.load_study(study_name=STUDY, storage=record.url)
    trials = study.get_trials()
    study._storage.remove_session()
    study._storage._backend.engine.dispose()
    return trials


@pytest.mark.parametrize("times", [1, 2])
def test_every_proposal_is_told_as_it_ended(record, times):
    trials, still_open = follow(record, times)
    assert [one.state.name for one in trials] == [
        "COMPLETE", "COMPLETE", "COMPLETE", "PRUNED", "FAIL", "COMPLETE", "FAIL",
    ]  # fmt: skip
    assert still_open == {6}
    assert trials[0].values == trials[1].values == [pytest.approx(0.9), pytest.approx(math.log10(1 + 80))]
    assert trials[2].params["tau"] == 0.3


def test_a_study_is_made_anew_from_the_record(record):
    first, _ = follow(record)
    again, _ = follow(record)
    assert [(one.state, one.values, one.params) for one in again] == [
        (one.state, one.values, one.params) for one in first
    ]


@pytest.mark.parametrize(
    ("name", "times"),
    [("create_new_study", 1), ("delete_study", 1), ("_create_new_trial", 3), ("set_trial_state_values", 3)],
)
def test_an_answer_that_is_lost_after_the_commit_changes_nothing(record, monkeypatch, name, times):
    """As where a connection drops: what is done is done, and the sink does not know it. At the first call, then at the
    second after that, and so on.
    """
    monkeypatch.setattr("qrlora_search.record.pump.RETRY_S", (0.0,))
    expected = [(one.number, one.state, one.values, one.params) for one in follow(record)[0]]
    plain, calls, lost = getattr(RDBStorage, name), [], []

    def without_answer(*given: object, **named: object):
        done = plain(*given, **named)
        calls.append(name)
        if len(lost) < times and len(calls) > len(lost):
            lost.append(name)
            calls.clear()
            raise StorageInternalError("server closed the connection unexpectedly")
        return done

    monkeypatch.setattr(RDBStorage, name, without_answer)
    pump = Pump(record, lambda: StudySink(record.url, dimensions(SearchSpace(), 4)), "study", patience_s=30.0)
    assert pump.close(record.last()) == ""
    assert len(lost) == times
    assert [(one.number, one.state, one.values, one.params) for one in trials_of(record)] == expected
