"""What becomes of a search of a sweep, given what the last one left of it: skipped, deepened, or begun anew."""

import pytest

from qrlora_search.adapters.optuna_search.sampler import SearchSampler
from qrlora_search.app import sweep_jobs
from qrlora_search.app.planning import Planned
from qrlora_search.app.report_files import write_front
from qrlora_search.app.sweep_jobs import Turn, begin, plan_job
from qrlora_search.app.sweep_record import Entry
from qrlora_search.app.views.building import build_front_view
from qrlora_search.describe.proposals import canonical, dimensions
from qrlora_search.describe.settings import Settings
from qrlora_search.describe.sweep import load_sweep
from qrlora_search.record.events import Record, record_url
from qrlora_search.values.errors import AwayError
from scripted import SPECTRA, Scripted, plan, search
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
        monkeypatch.setattr(sweep_jobs, "plan_job", lambda *_: Planned(plan(), None, None, ""))
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


TAUS, SCORES = [0.5, 0.2, 0.8, 0.3], [0.8, 0.7, 0.9, 0.6]
"""Of the first night's trials; all but the last are on its front."""


@pytest.fixture
def second(tmp_path, monkeypatch):
    """Return a function that begins the second night's search of a space: its entry, spec and job."""
    output = tmp_path / "one" / "search"
    output.mkdir(parents=True)
    first = plan(4, training={"rungs": []})
    _, _, record, _ = search(output, first, TAUS, lambda one: Scripted(SCORES[one.trial]))
    record.append("opened", {"plan": first.model_dump(mode="json"), "search_id": "x", "at": "now"})
    record.append("scored", {"split": "selection", "metrics": {"accuracy": 0.5}, "loss": 1.0, "packed": ""})
    record.close()

    def begin_second(**space: object):
        monkeypatch.setattr(sweep_jobs, "plan_search", lambda _: Planned(plan(8, **space), None, None, ""))
        (tmp_path / "sweep.toml").write_text(SPEC)
        spec = load_sweep(tmp_path / "sweep.toml")
        (job,) = spec.jobs()
        entry = Entry(task="sst2", base="one", output=str(tmp_path / "two" / "search"))
        begin(spec, job, entry, Entry(task="sst2", output=str(output), inputs=INPUTS))
        return entry, spec, job

    return begin_second


def test_the_second_nights_first_proposals_are_the_firsts_front(second):
    entry, spec, job = second(training={"rungs": [1]})
    planned = plan_job(spec, job, Turn(8), entry).plan
    assert [one["tau"] for one in planned.warm_start] == [0.2, 0.5, 0.8], "smallest first, without the one below"
    assert {one["matrices"] for one in planned.warm_start} == {"qv"}, "whole proposals"
    there = Settings(dimensions(planned.space, 4), lambda one: canonical(planned.space, one, SPECTRA, 4, 10_000), None)
    asked = SearchSampler(there, planned.space.sampler, 0, planned.warm_start)
    assert [asked.ask()[1]["tau"] for _ in range(3)] == [0.2, 0.5, 0.8]
    assert "nothing of its front" not in entry.reason


def test_only_what_fits_the_new_space_is_tried_first(second):
    entry, spec, job = second(tau={"low": 0.4, "high": 0.6})
    assert [one["tau"] for one in plan_job(spec, job, Turn(8), entry).plan.warm_start] == [0.5]


def test_one_that_was_begun_keeps_the_first_proposals_that_it_began_with(second, tmp_path):
    entry, spec, job = second()
    begun = plan_job(spec, job, Turn(8), entry).plan.model_copy(update={"warm_start": ({"tau": 0.7},)})
    (tmp_path / "two/search").mkdir(parents=True)
    (tmp_path / "two/search/plan.json").write_text(begun.model_dump_json())
    assert plan_job(spec, job, Turn(8), entry).plan.warm_start == ({"tau": 0.7},)


def test_where_nothing_of_the_last_front_fits_one_line_says_so(second):
    entry, spec, job = second(matrices={"of": ["k"]})
    assert (entry.state, entry.warm_from) == ("waiting", "")
    assert entry.reason.endswith("changed since one; nothing of its front can be tried here, so it begins without")
    assert "\n" not in entry.reason
    assert plan_job(spec, job, Turn(8), entry).plan.warm_start == ()


def test_a_database_that_is_away_is_not_taken_for_a_front_without_members(second, monkeypatch):
    def away(*_: object):
        raise AwayError("nobody answers")

    monkeypatch.setattr(sweep_jobs, "front_proposals", away)
    with pytest.raises(AwayError):
        second()


def test_what_changed_begins_anew_from_the_last_front(begun, monkeypatch):
    monkeypatch.setattr(sweep_jobs, "front_proposals", lambda *_: ({"tau": 0.5},))
    entry, output = begun(5, inputs={**INPUTS, "space": "q", "code": "other"})
    assert (entry.state, entry.deepened, entry.warm_from) == ("waiting", False, output)
    assert entry.reason == "code, space changed since yesterday"
