"""Taking up a search in the middle: cut after any event, it makes the same events as one that was never cut."""

import signal

import pytest

from qrlora_search.adapters.ray_engine.losses import Ending, ending_of, lost_in_words
from qrlora_search.adapters.simulated.engine import SimulatedEngine
from qrlora_search.app.loop import FIRST_FAILURES, MOST_RETRIES, SearchLoop
from qrlora_search.app.signals import InterruptedEarlyError, signals_caught
from qrlora_search.describe.proposals import canonical
from qrlora_search.record.events import Record
from qrlora_search.record.history import ALL_FAILED, History, history_of
from qrlora_search.values.states import Decision, Report, TrialState
from scripted import SPECTRA, KeptFiles, ListSampler, Scripted, ScriptedError, plan

TAUS = [0.2, 0.3, 0.4, 0.5, 0.9, 0.9, 0.99, 0.01]
SCORES = {0: 0.9, 1: 0.8, 2: 0.7, 3: 0.6}
LOSES, FAILS = 2, 7
LIMIT = 390


class LostError(Exception):
    """A trial's worker is gone."""


class Losing(Scripted):
    """Its worker is lost after the first epoch."""

    def step(self):
        if self.epoch == 1:
            raise LostError("its node was lost")
        return super().step()


def beginning(lost=()):
    """Return what begins trials anew: what the record has already is trained once more, and changes nothing.

    lost: trials that lost their worker before.
    """
    before = set(lost)

    def begin(order):
        if order.trial == LOSES and LOSES not in before:
            before.add(LOSES)
            return Losing(SCORES[LOSES])
        return Scripted(SCORES.get(order.trial, 0.1), fails_at=2 if order.trial == FAILS else 99)

    return begin


def driven(folder, the_plan, history):
    """Drive a search to its end and return its events."""
    record, sampler = Record(f"sqlite:///{folder / 'record.db'}"), ListSampler(TAUS, len(history.trials))
    loop = SearchLoop(
        the_plan, record, history, sampler,
        lambda proposal: canonical(the_plan.space, proposal, SPECTRA, 4), KeptFiles(),
    )  # fmt: skip
    begin = beginning(number for number, one in history.trials.items() if one.retries)
    SimulatedEngine(begin, (ScriptedError,), 1, (LostError,)).run(loop)
    return [(one.trial, one.kind, one.data) for one in record.all()]


def test_a_search_cut_after_any_event_goes_on_to_the_same_events(tmp_path):
    the_plan = plan(6, max_params=LIMIT)
    whole = driven(tmp_path, the_plan, History(plan=the_plan))
    assert {kind for _, kind, _ in whole} == {
        "proposed", "started", "report", "decision", "ended", "duplicate", "refused", "retried",
    }  # fmt: skip
    for cut in range(1, len(whole)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        part = Record(f"sqlite:///{folder / 'record.db'}")
        history = History(plan=the_plan)
        for trial, kind, data in whole[:cut]:
            history.apply(part.append(kind, data, trial))
        part.close()
        unfinished = {number for number, one in history.trials.items() if one.started and one.state is None}
        events = driven(folder, the_plan, history)
        other = next((place for place in range(len(whole)) if events[place] != whole[place]), None)
        if other is not None:  # what was in training is started once more, and that is all
            trial, kind, _ = events.pop(other)
            assert kind == "started"
            assert trial in unfinished
        assert events == whole, cut


def fresh(folder, budget=2):
    """Return a loop that nobody drives yet, and its record."""
    the_plan = plan(budget)
    record = Record(f"sqlite:///{folder / 'record.db'}")
    loop = SearchLoop(
        the_plan, record, History(plan=the_plan), ListSampler([0.1 + i / 20 for i in range(16)]),
        lambda proposal: canonical(the_plan.space, proposal, SPECTRA, 4), KeptFiles(),
    )  # fmt: skip
    return loop, record


def test_a_lost_worker_is_retried_three_times_from_the_checkpoint_and_then_the_trial_fails(tmp_path):
    loop, record = fresh(tmp_path)
    order = loop.next_trial()
    loop.reported(order.trial, Report(1, 0.9, 0.5, 0.1, "cxx", {"accuracy": 0.9}, b"w", b"after 1"))
    for retry in range(1, MOST_RETRIES + 1):
        loop.lost(order.trial, f"its node was lost, {retry}")
        assert not loop.exhausted
        again = loop.next_trial()
        assert (again.trial, again.checkpoint) == (order.trial, b"after 1")
    assert loop.history.trials[0].state is None
    loop.lost(order.trial, "its node was lost")
    one = loop.history.trials[0]
    assert one.state is TrialState.FAILED
    assert one.reason == "lost its worker 4 times, the last time: its node was lost"
    kept = history_of(record.all()).trials[0]
    assert kept.retries == [f"its node was lost, {retry}" for retry in (1, 2, 3)]
    assert [line.epoch for line in kept.reports] == [1]
    assert loop.history.started == 1  # the budget counts it once


def test_nodes_that_are_unfit_cost_a_trial_none_of_its_retries(tmp_path):
    loop, record = fresh(tmp_path)
    order = loop.next_trial()
    for node in range(2 * MOST_RETRIES):  # as an autoscaler adds them: each is met once, and then left out
        loop.lost(order.trial, f"node {node} does not compute in bfloat16", counted=False)
        assert loop.next_trial().trial == order.trial
    for _ in range(MOST_RETRIES):
        loop.lost(order.trial, "its node was lost")
        assert loop.next_trial().trial == order.trial
    kept = history_of(record.all()).trials[0]
    assert (len(kept.retries), kept.uncounted) == (3 * MOST_RETRIES, 2 * MOST_RETRIES)
    loop.lost(order.trial, "its node was lost")
    assert loop.history.trials[0].reason == "lost its worker 4 times, the last time: its node was lost"


def test_a_lost_worker_of_an_ended_or_interrupted_search_changes_nothing(tmp_path):
    loop, record = fresh(tmp_path)
    order = loop.next_trial()
    loop.interrupt("interrupted by SIGINT")
    before = record.last()
    loop.lost(order.trial, "its node was lost")
    assert record.last() == before
    assert loop.history.trials[0].state is None


def test_an_epoch_that_the_record_has_changes_nothing_in_it(tmp_path):
    loop, record = fresh(tmp_path)
    order = loop.next_trial()
    loop.reported(order.trial, Report(1, 0.9, 0.5, 0.1, "cxx"))
    before = record.last()
    assert loop.reported(order.trial, Report(1, 0.9, 0.5, 0.2, "cxx")) == Decision(False, "epoch 1 is in the record")
    assert record.last() == before


def test_older_records_in_which_a_trial_began_anew_are_read(tmp_path):
    loop, record = fresh(tmp_path)
    order = loop.next_trial()
    loop.reported(order.trial, Report(1, 0.5, 0.5, 0.1, "cxx"))
    loop.reported(order.trial, Report(2, 0.6, 0.5, 0.1, "cxx"))
    record.append("started", {}, order.trial)
    data = {"epoch": 1, "score": 0.7, "loss": 0.5, "seconds": 0.1, "packed": "cxx", "metrics": {}}
    record.append("report", data, order.trial)
    assert [line.score for line in history_of(record.all()).trials[0].reports] == [0.7]


@pytest.mark.parametrize("budget", [2, 50])
def test_a_search_in_which_everything_fails_stops_early_with_the_common_cause(tmp_path, budget):
    loop, _ = fresh(tmp_path, budget)
    SimulatedEngine(lambda one: Scripted(0.5, fails_at=1), (ScriptedError,), 1).run(loop)
    count = min(budget, FIRST_FAILURES)
    assert loop.ending == f"{ALL_FAILED} ({count} of {count} like this: diverged: on purpose)"
    assert len(loop.history.searched) == count


def failing(folder, the_plan, events, taus):
    """Go on after these events with a search in which everything fails; return how it ends, and its events."""
    folder.mkdir()
    record, history = Record(f"sqlite:///{folder / 'record.db'}"), History(plan=the_plan)
    for trial, kind, data in events:
        history.apply(record.append(kind, data, trial))
    loop = SearchLoop(
        the_plan, record, history, ListSampler(taus, len(history.trials)),
        lambda proposal: canonical(the_plan.space, proposal, SPECTRA, 4), KeptFiles(),
    )  # fmt: skip
    SimulatedEngine(lambda one: Scripted(0.5, fails_at=1), (ScriptedError,), 1).run(loop)
    return loop.ending, [(one.trial, one.kind, one.data) for one in record.all()]


@pytest.mark.parametrize(("budget", "taus"), [(3, 16), (7, 16), (50, 16), (50, 2)])
def test_a_search_in_which_everything_fails_ends_alike_wherever_it_is_killed(tmp_path, budget, taus):
    the_plan, few = plan(budget), [0.1 + i / 20 for i in range(taus)]
    ending, whole = failing(tmp_path / "whole", the_plan, [], few)
    count = min(budget, FIRST_FAILURES, taus)
    assert ending == f"{ALL_FAILED} ({count} of {count} like this: diverged: on purpose)"
    cuts = range(1, len(whole) + 1)
    for cut in cuts if taus > 2 else cuts[-2:]:  # with two to propose, there are 500 duplicates before it ends
        again, events = failing(tmp_path / str(cut), the_plan, whole[:cut], few)
        assert again == ending, cut
        assert sum(kind == "ended" for _, kind, _ in events) == count


def test_what_ended_since_everything_failed_gets_as_many_new_tries_while_its_budget_lasts(tmp_path):
    the_plan, taus = plan(FIRST_FAILURES + 2), [0.1 + i / 20 for i in range(16)]
    ending, events = failing(tmp_path / "0", the_plan, [], taus)
    closed = (None, "closed", {"outcome": ending, "seconds": 1.0})
    ending, events = failing(tmp_path / "1", the_plan, [*events, closed], taus)
    assert sum(kind == "ended" for _, kind, _ in events) == FIRST_FAILURES + 2
    assert ending.startswith(f"{ALL_FAILED} ({FIRST_FAILURES + 2} of {FIRST_FAILURES + 2}")
    again, _ = failing(tmp_path / "2", the_plan, [*events, (None, "closed", {"outcome": ending, "seconds": 1.0})], taus)
    assert again == ending


def test_one_trial_that_did_not_fail_is_enough_to_go_on(tmp_path):
    loop, _ = fresh(tmp_path, 12)
    SimulatedEngine(lambda one: Scripted(0.5, fails_at=1 if one.trial else 99), (ScriptedError,), 1).run(loop)
    assert loop.ending == ""
    assert len(loop.history.in_state(TrialState.FAILED)) == 11


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Task was killed due to the node running low on memory.", "out of memory: the node"),
        ("The actor died because its node has died. Node Id: 5e", "its node was lost"),
        ("The actor is dead because its worker process has died. (1) The process is killed by SIGKILL by OOM killer",
         "its process died"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_lost_worker(text, words):
    assert words in lost_in_words(text)


def test_a_signal_before_there_is_a_search_ends_it_and_one_in_a_search_is_told():
    told = []
    with signals_caught() as signals, signals.listening(told.append):
        signal.raise_signal(signal.SIGTERM)
    assert told == ["interrupted by SIGTERM"]
    with signals_caught(), pytest.raises(InterruptedEarlyError, match="SIGINT"):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("text", "ending"),
    [
        (
            "Failure # 1\nray::TrialActor.train() (pid=7)\n  File x, line 3\nKeyError: 'q'",
            Ending(False, "KeyError: 'q'"),
        ),
        (
            "Failure # 1\nThe actor died because of an error raised in its creation task, ray::TrialActor.__init__()\n"
            "ValueError: no weights",
            Ending(False, "its worker could not be set up: ValueError: no weights"),
        ),
        (
            "ray::TrialActor.train() (pid=7)\nray.exceptions.ObjectLostError: gone",
            Ending(True, "what the worker needed was lost: ray.exceptions.ObjectLostError: gone"),
        ),
        (
            "ray::TrialActor.train() (pid=7)\nUnfitNodeError: 7f3a node x does not compute in bfloat16, which is so",
            Ending(True, "node x does not compute in bfloat16, which is so", "7f3a"),
        ),
        (
            "The actor died unexpectedly before finishing this task.\nIts node has died",
            Ending(True, "its node was lost"),
        ),
    ],
)
def test_an_error_of_the_trial_is_told_apart_from_a_lost_worker(text, ending):
    assert ending_of(text) == ending
