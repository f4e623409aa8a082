"""Stopped trials that are taken up again when no new one starts: in the loop, after cuts, in the study, in MLflow."""

import numpy as np
import optuna
import pytest

from qrlora_search.adapters.mlflow_sink.sink import MlflowSink
from qrlora_search.adapters.mlflow_sink.tracking import all_runs, connect
from qrlora_search.adapters.optuna_search.study import STUDY, StudySink
from qrlora_search.adapters.simulated.engine import SimulatedEngine
from qrlora_search.app import loop as loop_module
from qrlora_search.app import scoring
from qrlora_search.app.console import ProgressSink, make_console
from qrlora_search.app.explaining import explain
from qrlora_search.app.loop import SearchLoop
from qrlora_search.app.scoring import Weights
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.proposals import canonical, dimensions
from qrlora_search.describe.protocols import Event
from qrlora_search.record.events import Record, record_url
from qrlora_search.record.history import History, history_of
from qrlora_search.values.packing import pack
from qrlora_search.values.states import Report, TrialState
from scripted import SPECTRA, KeptFiles, ListSampler, Scripted, ScriptedError, plan, search

TAUS = [0.05, 0.06, 0.07, 0.08, 0.2, 0.5, 0.55, 0.6, 0.65, 0.7]
LATE, UNUSED = 4, 40
PACKED = pack(np.array([1, 0] * 5))


def score(trial: int, epoch: int) -> float:
    """Return a score: small trials are flat, the late one is below them at first, larger ones rise by 0.05 an epoch."""
    if trial < LATE:
        return 0.6 + trial * 0.001
    return [0.55, 0.7, 0.75, 0.78, 0.8][epoch - 1] if trial == LATE else 0.5 + trial * 0.02 + 0.05 * epoch


class Rising(Scripted):
    """A trial that goes on from its checkpoint: the number of the epoch."""

    def __init__(self, order, trained=None) -> None:
        super().__init__(0.0, epoch=int(order.checkpoint or b"0"))
        self.trial, self.trained = order.trial, [] if trained is None else trained

    def step(self):
        self.epoch += 1
        self.trained.append((self.trial, self.epoch))
        value = score(self.trial, self.epoch)
        if self.trial == LATE and self.epoch == getattr(self, "fails", 99):
            raise ScriptedError("diverged")
        return Report(self.epoch, value, 0.5, 0.1, PACKED, {"accuracy": value}, b"w", str(self.epoch).encode())


def promoted(tmp_path, share=0.2, concurrency=1, budget=10):
    """Return a loop that ended, its sampler and record, and the epochs that were trained."""
    trained: list[tuple[int, int]] = []
    the_plan = plan(budget, training={"promotion": share})
    loop, sampler, record, _ = search(tmp_path, the_plan, TAUS, lambda order: Rising(order, trained), concurrency)
    return loop, sampler, record, trained


@pytest.mark.parametrize("concurrency", [1, 3])
def test_what_was_stopped_before_curves_were_known_goes_on_from_its_checkpoint(tmp_path, concurrency):
    loop, sampler, record, trained = promoted(tmp_path, concurrency=concurrency)
    one = loop.history.trials[LATE]
    assert one.state is TrialState.FINISHED
    assert [line.score for line in one.reports] == [0.55, 0.7, 0.75, 0.78, 0.8]
    assert [one for trial, one in trained if trial == LATE] == [1, 2, 3, 4, 5]  # no epoch twice
    assert list(one.promoted) == [1]
    assert "best case 0.750 > 0.603 at 32 parameters; expected to add" in one.promoted[1]
    assert loop.history.started == 10
    assert sum(loop.history.ended.values()) == 10
    assert loop.history.promotions == 1
    assert sampler.told[LATE][0] is TrialState.STOPPED  # told once, when it learned of it
    assert history_of(record.all()).trials == loop.history.trials
    kinds = [(event.trial, event.kind) for event in record.all()]
    assert kinds.index((LATE, "promoted")) > max(kinds.index((trial, "started")) for trial in range(10))


@pytest.mark.parametrize(("share", "budget"), [(0.0, 10), (0.05, 10), (0.2, 5)])
def test_nothing_is_taken_up_without_epochs_for_it_or_before_five_curves_are_known(tmp_path, share, budget):
    loop, *_ = promoted(tmp_path, share, budget=budget)
    assert loop.history.trials[LATE].state is TrialState.STOPPED
    assert loop.history.promotions == 0


def test_a_stopped_trial_whose_best_case_is_no_member_stays_stopped(tmp_path):
    flat = {number: 0.6 + number * 0.001 for number in range(10)} | {LATE: 0.55}
    loop, *_ = search(tmp_path, plan(10), TAUS, lambda order: Scripted(flat[order.trial]))
    assert loop.history.trials[LATE].state is TrialState.STOPPED
    assert loop.exhausted


@pytest.mark.parametrize("lacking", ["checkpoint", "limit"])
def test_one_without_a_checkpoint_or_over_the_limit_is_not_taken_up(tmp_path, lacking):
    record, the_plan, files = Record(f"sqlite:///{tmp_path / 'record.db'}"), plan(10), KeptFiles()
    promoted(tmp_path, share=0.0)
    history = history_of(record.all())
    history.plan = the_plan
    if lacking == "checkpoint":
        files.stopped = lambda _: False
    else:
        files.stopped = lambda _: True
        the_plan = plan(10, max_params=60)
    assert history.trials[LATE].configuration.parameters == 80
    again = SearchLoop(
        the_plan, record, history, ListSampler(TAUS, 10),
        lambda proposal: canonical(the_plan.space, proposal, SPECTRA, 4), files,
    )  # fmt: skip
    assert again.exhausted
    assert again.next_trial() is None
    with_both = SearchLoop(
        plan(10), record, history, ListSampler(TAUS, 10),
        lambda proposal: canonical(the_plan.space, proposal, SPECTRA, 4), KeptFiles(checkpoints={LATE: b"1"}),
    )  # fmt: skip
    assert not with_both.exhausted
    assert with_both.next_trial().trial == LATE


def test_without_promotion_no_checkpoint_of_a_stopped_trial_is_kept(tmp_path):
    files, the_plan = KeptFiles(), plan(10, training={"promotion": 0.0})
    loop = SearchLoop(
        the_plan, Record(f"sqlite:///{tmp_path / 'record.db'}"), History(plan=the_plan), ListSampler(TAUS),
        lambda proposal: canonical(the_plan.space, proposal, SPECTRA, 4), files,
    )  # fmt: skip
    SimulatedEngine(Rising, (ScriptedError,)).run(loop)
    assert loop.history.trials[LATE].state is TrialState.STOPPED
    assert files.checkpoints == {}


@pytest.mark.parametrize("kept", [1, 20, UNUSED])
def test_what_a_space_gave_in_vain_before_a_kill_counts(tmp_path, monkeypatch, kept):
    """Else a search that was killed would try more than one that was not."""
    monkeypatch.setattr(loop_module, "MOST_UNUSED", UNUSED)
    the_plan = plan(20, training={"promotion": 0.0})
    loop, sampler, record, _ = search(tmp_path, the_plan, TAUS, Rising)
    assert loop.used_up
    part, history = Record(f"sqlite:///{tmp_path / 'part.db'}"), History(plan=the_plan)
    vain, asked = 0, 0
    for event in record.all():
        if vain == kept or event.kind == "used_up":
            break
        history.apply(part.append(event.kind, event.data, event.trial))
        vain += event.kind == "duplicate"
        asked += event.kind == "proposed"
    assert vain == kept
    resumed = SearchLoop(
        the_plan, part, history, ListSampler(TAUS, asked),
        lambda proposal: canonical(the_plan.space, proposal, SPECTRA, 4), KeptFiles(),
    )  # fmt: skip
    SimulatedEngine(Rising, (ScriptedError,)).run(resumed)
    assert resumed.used_up
    assert [one.kind for one in part.all()].count("proposed") == sampler.asked


def test_a_space_that_was_used_up_is_not_asked_again_after_a_kill_but_with_another_budget(tmp_path, monkeypatch):
    """Cut when the late one was taken up, the search goes on with it and proposes nothing."""
    monkeypatch.setattr(loop_module, "MOST_UNUSED", UNUSED)
    the_plan = plan(20)
    loop, sampler, record, _ = search(tmp_path, the_plan, TAUS, Rising)
    assert loop.used_up
    events = [(one.trial, one.kind, one.data) for one in record.all()]
    cut = [kind for _, kind, _ in events].index("promoted") + 1
    for budget, again in ((20, 0), (21, UNUSED)):
        part, history = Record(f"sqlite:///{tmp_path / f'part-{budget}.db'}"), History(plan=the_plan)
        for trial, kind, data in events[:cut]:
            history.apply(part.append(kind, data, trial))
        resumed = SearchLoop(
            plan(budget), part, history, ListSampler(TAUS, sampler.asked),
            lambda proposal: canonical(the_plan.space, proposal, SPECTRA, 4), KeptFiles(checkpoints={LATE: b"1"}),
        )  # fmt: skip
        SimulatedEngine(Rising, (ScriptedError,)).run(resumed)
        kinds = [one.kind for one in part.all()]
        assert kinds.count("proposed") == sampler.asked + again
        assert resumed.history.trials[LATE].state is TrialState.FINISHED


def test_one_that_fails_when_taken_up_is_failed(tmp_path):
    def begin(order):
        one = Rising(order)
        one.fails = 3
        return one

    loop, *_ = search(tmp_path, plan(10), TAUS, begin)
    one = loop.history.trials[LATE]
    assert (one.state, one.reason, len(one.reports)) == (TrialState.FAILED, "diverged", 2)
    assert sum(loop.history.ended.values()) == 10
    assert loop.exhausted


def test_cut_after_any_event_it_goes_on_to_the_same_events(tmp_path):
    the_plan = plan(10)

    def driven(folder, history, files):
        record = Record(f"sqlite:///{folder / 'record.db'}")
        loop = SearchLoop(
            the_plan, record, history, ListSampler(TAUS, len(history.trials)),
            lambda proposal: canonical(the_plan.space, proposal, SPECTRA, 4), files,
        )  # fmt: skip
        SimulatedEngine(Rising, (ScriptedError,)).run(loop)
        return [(one.trial, one.kind, one.data) for one in record.all()]

    whole = driven(tmp_path, History(plan=the_plan), KeptFiles())
    assert "promoted" in [kind for _, kind, _ in whole]
    for cut in range(1, len(whole)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        part, history, files = Record(f"sqlite:///{folder / 'record.db'}"), History(plan=the_plan), KeptFiles()
        for trial, kind, data in whole[:cut]:
            history.apply(part.append(kind, data, trial))
            if kind == "report":
                files.checkpoints[trial] = str(data["epoch"]).encode()
        part.close()
        events = driven(folder, history, files)
        again = [one for one in events if one[1] != "started"]
        assert again == [one for one in whole if one[1] != "started"], cut


def test_a_duplicate_of_one_that_is_taken_up_again_is_told_when_that_one_ends(tmp_path):
    """The search was interrupted just then, and goes on with a larger budget."""
    _, _, record, _ = promoted(tmp_path)
    events = [(one.trial, one.kind, one.data) for one in record.all()]
    cut = [kind for _, kind, _ in events].index("promoted") + 1
    folder = tmp_path / "again"
    folder.mkdir()
    the_plan, part = plan(11), Record(f"sqlite:///{folder / 'record.db'}")
    history = History(plan=the_plan)
    for trial, kind, data in events[:cut]:
        history.apply(part.append(kind, data, trial))
    sampler = ListSampler([*TAUS, TAUS[LATE], 0.8], 10)
    again = SearchLoop(
        the_plan, part, history, sampler, lambda proposal: canonical(the_plan.space, proposal, SPECTRA, 4), KeptFiles()
    )
    SimulatedEngine(Rising, (ScriptedError,), 2).run(again)
    assert again.history.trials[10].duplicate_of == LATE
    assert sampler.told[10] == (TrialState.FINISHED, 0.8, again.history.trials[LATE].configuration.parameters)
    assert sampler.told[LATE] == sampler.told[10]  # this sampler was made when the trial was live
    assert again.history.started == 11


def with_search(tmp_path) -> list[Event]:
    """Return the events of such a search as a record of an output has them."""
    loop, _, record, _ = promoted(tmp_path)
    labels = {"selection": PACKED, "validation": PACKED}
    control = {"split": "selection", "metrics": {"accuracy": 0.5}, "packed": PACKED, "loss": 0.5}
    first = [
        (None, "opened", {"plan": loop.plan.model_dump(mode="json"), "search_id": "s", "at": "now"}),
        (None, "prepared", {"made": [], "labels": labels}),
        (None, "scored", control),
    ]
    rest = [(event.trial, event.kind, event.data) for event in record.all()]
    record.close()
    (tmp_path / "record.db").unlink()
    whole = Record(record_url(tmp_path))
    events = [whole.append(kind, data, trial) for trial, kind, data in [*first, *rest]]
    whole.close()
    return events


def test_the_study_has_it_as_a_further_trial_that_continues_the_one_before(tmp_path):
    events = with_search(tmp_path)
    address = f"sqlite:///{tmp_path / 'study.db'}"
    sink = StudySink(address, dimensions(plan().space, 4))
    for event in events:
        sink.take(event)
        if event.kind == "promoted":
            sink.take(event)  # seen twice, it is one
    sink.close()
    study = optuna.load_study(study_name=STUDY, storage=address)
    assert len(study.trials) == 11
    before, again = study.trials[LATE], study.trials[10]
    assert (before.state.name, again.state.name) == ("PRUNED", "COMPLETE")
    assert again.user_attrs == {"continues": LATE}
    assert again.params == before.params
    assert again.values[0] == 0.8


def test_mlflow_has_it_as_the_same_run_and_no_value_twice(tmp_path):
    events = with_search(tmp_path)
    sink = MlflowSink(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path)
    for event in events:
        sink.take(event)
    client = connect(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (experiment,) = (one.experiment_id for one in client.search_experiments(filter_string="name = 'qr-lora sst2'"))
    found = all_runs(client, [experiment], "tags.`qrlora.search` = 's'")
    runs = {one.data.tags.get("qrlora.trial"): one for one in found}
    late = runs[str(LATE)]
    assert len(runs) == 11
    assert (late.info.status, late.data.tags["qrlora.state"]) == ("FINISHED", "finished")
    assert "taken up again: most promising" in late.data.tags["qrlora.decisions"]
    scores = client.get_metric_history(late.info.run_id, "score")
    assert [one.step for one in scores] == [1, 2, 3, 4, 5]
    steps = [one.step for one in client.get_metric_history(runs[None].info.run_id, "hypervolume")]
    assert sorted(steps) == list(range(1, 12))
    sink.close()
    for one in (sink.client, client):
        one._tracking_client.store.engine.dispose()


def test_progress_and_explain_say_so(tmp_path, capsys):
    events = with_search(tmp_path)
    progress = ProgressSink(make_console())
    for event in events:
        progress.take(event)
    said = capsys.readouterr().out
    assert f"trial {LATE} is taken up again: most promising of the stopped" in said
    assert f"[10/10] trial {LATE} finished at 0.8000" in said
    explain(tmp_path, str(LATE), make_console())
    said = " ".join(capsys.readouterr().out.replace("│", "").split())
    assert "below 4 of 4" in said
    assert "taken up again" in said


def test_large_checkpoints_of_stopped_trials_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "MOST_STATE", 10)
    weights = Weights(tmp_path)
    for trial, size in ((1, 10), (2, 11)):
        weights.keep(trial, Report(1, 0.5, 0.5, 0.1, "", {}, b"w", b"x" * size))
        assert weights.stopped(trial) is (size == 10)
    assert [weights.state_path(trial).is_file() for trial in (1, 2)] == [True, False]
    weights.clean([(1, None)])
    assert weights.checkpoint(1) == b"x" * 10
    weights.clean([])
    assert weights.checkpoint(1) == b""


def test_a_plan_from_before_there_was_promotion_is_the_same_search():
    before = plan(10).model_dump(mode="json")
    del before["space"]["training"]["promotion"]
    assert SearchPlan.model_validate(before).hash == plan(10).hash
    assert "promotion" not in plan(10).identity["space"]["training"]
    assert plan(10, training={"promotion": 0.5}).hash != plan(10).hash
