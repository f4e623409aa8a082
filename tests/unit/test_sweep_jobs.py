"""What becomes of a search of a sweep, given what the last one left of it: skipped, deepened, or begun anew."""

import pytest

from qrlora_search.app import sweep_jobs
from qrlora_search.app.report_files import write_front
from qrlora_search.app.sweep_jobs import begin
from qrlora_search.app.sweep_record import Entry
from qrlora_search.app.views.building import build_front_view
from qrlora_search.describe.sweep import load_sweep
from qrlora_search.record.events import Record, record_url
from test_drawing import confirmed_history, make_history

INPUTS = {"data": "d", "split": "s", "model": "m", "code": "c", "space": "p"}
SPEC = """
name = "night"
[searches]
tasks = ["sst2"]
models = ["embedded"]
[budget]
configurations = 40
[data]
default = "stand-in"
[history]
unchanged = "deepen"
"""


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """Return a function that begins a search whose last one tried 5 of `budget` configurations, with these inputs."""

    def go(budget, rule="deepen", inputs=INPUTS, history=None):
        monkeypatch.setattr(sweep_jobs, "plan_job", lambda *_: None)
        monkeypatch.setattr(sweep_jobs, "inputs_of", lambda _: inputs)
        output = tmp_path / f"last-{budget}-{rule}"
        output.mkdir()
        past = history or make_history()
        record = Record(record_url(output))
        past.plan = past.plan.model_copy(update={"budget": budget})
        record.append("opened", {"plan": past.plan.model_dump(mode="json"), "search_id": "s", "at": "now"})
        for number, one in past.trials.items():
            what = {"proposal": one.proposal, "configuration": one.configuration.to_json()}
            record.append("proposed", what, number)
            record.append("started", {}, number)
            for line in one.reports:
                record.append("report", {"epoch": line.epoch, "score": line.score, "loss": 0.4, "seconds": 1.0,
                                         "packed": line.packed, "metrics": line.metrics}, number)  # fmt: skip
            record.append("ended", {"state": str(one.state), "reason": one.reason}, number)
        record.append("closed", {"outcome": "complete", "seconds": 3.0})
        record.close()
        write_front(build_front_view(past, "complete", 3.0), output)
        path = tmp_path / "sweep.toml"
        path.write_text(SPEC.replace('"deepen"', f'"{rule}"'))
        spec = load_sweep(path)
        entry = Entry(task="sst2", base="yesterday", output=str(tmp_path / "now"))
        begin(spec, spec.jobs()[0], entry, Entry(task="sst2", output=str(output), inputs=INPUTS))
        return entry, str(output)

    return go


def test_what_is_unchanged_is_deepened_from_where_it_stood(begun):
    entry, output = begun(5)
    assert (entry.state, entry.deepened, entry.output) == ("waiting", True, output)
    assert (entry.before, entry.configurations, entry.epochs_before) == (5, 5, 5)
    assert entry.before_volume is None, "an unconfirmed front's worth is no measure of growth"
    assert entry.reason == "deepens that of yesterday"


def test_a_confirmed_front_tells_what_it_was_worth_before(begun):
    history = confirmed_history()
    entry, _ = begun(5, history=history)
    assert entry.before_volume == pytest.approx(build_front_view(history, "complete", 3.0).hypervolume.value)


def test_a_search_whose_space_is_used_up_has_nothing_to_deepen(begun):
    entry, output = begun(9)
    assert (entry.state, entry.deepened, entry.used_up, entry.output) == ("skipped", False, True, output)
    assert entry.reason == "all configurations of its space were tried by yesterday"


def test_what_is_unchanged_is_skipped_where_that_is_asked(begun):
    entry, output = begun(5, "skip")
    assert (entry.state, entry.output, entry.reason) == ("skipped", output, "inputs as in yesterday")


def test_what_changed_begins_anew_from_the_last_front(begun):
    entry, output = begun(5, inputs={**INPUTS, "space": "q", "code": "other"})
    assert (entry.state, entry.deepened, entry.warm_from) == ("waiting", False, output)
    assert entry.reason == "code, space changed since yesterday"
