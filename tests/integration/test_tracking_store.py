"""A real tracking store, fed from a record without training: what runs show, and comparisons that read them back."""

import gc
import json
from dataclasses import replace

import pytest

import exploring_data
import exploring_figures
import exploring_start
from qrlora_search.adapters.mlflow_sink.shared_view import TAG
from qrlora_search.adapters.mlflow_sink.sink import MlflowSink
from qrlora_search.adapters.mlflow_sink.sweep import log_sweep
from qrlora_search.adapters.mlflow_sink.tracking import all_runs, connect
from qrlora_search.app.comparing import compare
from qrlora_search.app.console import make_console
from qrlora_search.describe.protocols import Event
from qrlora_search.record.history import history_of
from qrlora_search.record.standing import Sparing, ranks_of, standing_of
from qrlora_search.values.errors import SinkError, UserError
from test_compare import HIGH, LOW, searched
from test_standing import SCORES, events


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="module")
def client(address):
    made = connect(address)
    yield made
    made._tracking_client.store.engine.dispose()


def end(sink) -> None:
    """Close a sink and give its database back."""
    sink.close()
    sink.client._tracking_client.store.engine.dispose()


@pytest.fixture(scope="module")
def followed(address, client, tmp_path_factory):
    """Return runs by trial, and the parent, of a record that a sink followed, was killed, and was followed anew."""
    output = tmp_path_factory.mktemp("output")
    lines = events()
    first = MlflowSink(address, output)
    for event in lines[: len(lines) // 2]:
        first.take(event)
    first.client._tracking_client.store.engine.dispose()
    second = MlflowSink(address, output)
    for event in lines:
        second.take(event)
        second.take(event)
    (experiment,) = (one.experiment_id for one in client.search_experiments(filter_string="name = 'qr-lora sst2'"))
    running = client.search_runs([experiment], "tags.`qrlora.trial` = '5'")[0]
    members = [
        {"trial": one, "kept": None, "adapter": str(one), "parameters": size, "words": "", "report": [],
         "selection": {"score": score, "low": score - 0.1, "high": score + 0.1}}
        for one, (size, score, _) in list(SCORES.items())[:2]
    ]  # fmt: skip
    (output / "front.json").write_text(json.dumps({"members": members, "notes": ["It holds ~ [for one_warm-up]."]}))
    closed = {"outcome": "interrupted by SIGINT", "hypervolume": 0.1, "front_size": 2, "trials": 6, "seconds": 9.0}
    second.take(Event(len(lines) + 1, None, "closed", {**closed, "members": [0, 1]}))
    end(second)
    runs = list(all_runs(client, [experiment], "tags.`qrlora.search` = 's'"))
    children = {int(one.data.tags["qrlora.trial"]): one for one in runs if one.data.tags["qrlora.kind"] == "trial"}
    (parent,) = (one for one in runs if one.data.tags["qrlora.kind"] == "search")
    return parent, children, running, second.link


def test_trials_say_where_they_stand(followed):
    _, children, running, _ = followed
    history = history_of(events())
    assert sorted(children) == [0, 1, 2, 3, 4, 5]
    for trial, rank in ranks_of(history).items():
        assert children[trial].data.tags["pareto.rank"] == str(rank)
    members = standing_of(history).members
    assert {trial: one.data.tags["pareto.on_front"] for trial, one in children.items()} == {
        trial: str(trial in members).lower() for trial in children
    }
    assert [children[trial].data.tags["qrlora.state"] for trial in SCORES] == [state for _, _, state in SCORES.values()]
    assert children[2].data.tags["qrlora.reason"] == "because"
    assert (children[4].info.status, children[4].data.tags["qrlora.state"]) == ("FAILED", "failed")
    assert running.data.tags["qrlora.state"] == "running"
    assert (children[5].info.status, children[5].data.tags["qrlora.state"]) == ("KILLED", "unfinished")
    assert {one.data.params["ranks_q"] for one in children.values()} == {"4", "10", "30", "50"}


def test_the_parent_is_stepped_by_the_trials_that_ended(followed, client):
    parent, _, _, link = followed
    steps = {one.step: one.value for one in client.get_metric_history(parent.info.run_id, "hypervolume")}
    assert {1, 2, 3, 4, 5} <= set(steps)
    assert steps[5] == pytest.approx(standing_of(history_of(events())).hypervolume)
    assert max(steps) == 5, "the end has names of its own"
    assert (parent.data.metrics["front_hypervolume"], parent.data.metrics["front_members"]) == (0.1, 2)
    assert parent.info.status == "KILLED"
    assert parent.data.tags["qrlora.view"] == link
    assert parent.data.metrics["saved_epochs"] == 2


def test_the_shared_view_is_kept_whole_and_names_what_runs_have(followed, client):
    parent, children, _, link = followed
    tags = client.get_experiment(parent.info.experiment_id).tags
    text = tags[f"{TAG}s"]
    assert "viewStateShareKey=s&" in link
    assert len(text) < 5000, "MLflow refuses longer tags of experiments"
    state = json.loads(text)
    for chart in state["compareRunCharts"]:
        metrics = [chart[axis]["key"] for axis in ("xaxis", "yaxis", "zaxis") if axis in chart
                   and chart[axis]["type"] == "METRIC"]  # fmt: skip
        assert set(metrics + chart.get("selectedMetrics", [])) <= set(children[0].data.metrics)
        # These trials have no proposal, and so no tau; tests/unit/test_shared_view.py has which axes there may be.
        assert set(chart.get("selectedParams", [])) - {"tau"} <= set(children[0].data.params)
    charted = {chart.get("metricKey") for chart in state["compareRunCharts"]}
    assert set(children[0].data.metrics) <= charted, "MLflow makes a chart of its own for each metric without one"
    order = [f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"]
    found = client.search_runs([parent.info.experiment_id], state["searchFilter"], order_by=order)
    assert len(found) == len(children)
    on_front = [one.data.tags.get("pareto.on_front") == "true" for one in found]
    assert any(on_front)
    assert on_front == sorted(on_front, reverse=True), "the first hundred would leave members of the front out"


def test_the_picks_and_the_best_of_an_earlier_end_go(tmp_path):
    """A search that ended, was extended, and ended again with another pick."""
    lines, numbers = events(), {"hypervolume": 0.1, "front_size": 1, "trials": 6, "seconds": 9.0, "members": [0]}
    lines = [replace(one, data={**one.data, "search_id": "again"}) if one.kind == "opened" else one for one in lines]
    sink = MlflowSink(f"sqlite:///{tmp_path}/own.db", tmp_path)
    for event in lines:
        sink.take(event)
    for place, (pick, score) in enumerate((("under-10", 0.8), ("knee", 0.7)), len(lines) + 1):
        control = {"selection": {"score": score}}
        view = {"picks": [{"name": pick, "words": "why"}], "controls": [control], "members": []}
        (tmp_path / "front.json").write_text(json.dumps(view))
        sink.take(Event(place, None, "closed", {"outcome": "interrupted by SIGINT", **numbers}))
        parent = sink.client.get_run(sink.parent)
        assert [name for name in parent.data.tags if name.startswith("pick.")] == [f"pick.{pick}"]
        assert parent.data.metrics["front_best_score"] == score
    end(sink)


@pytest.fixture(scope="module")
def kept(client, tmp_path_factory):
    """Return the runs of two searches, as they keep their trials.json, and one that kept none."""
    experiment = client.create_experiment("qr-lora rte", tmp_path_factory.mktemp("artifacts").as_uri())
    runs = []
    for name, scores in (("high", HIGH), ("low", LOW), ("empty", [])):
        tags = {"mlflow.runName": name, "qrlora.kind": "search"}
        run = client.create_run(experiment, tags=tags).info.run_id
        runs.append(run)
        if scores:
            view = searched(name, scores, task="rte").view
            client.log_text(run, view.model_dump_json(), "trials.json")
    return runs


def test_a_sweep_that_is_logged_again_is_one_run_whose_metrics_are_there_once(address, client, tmp_path):
    (tmp_path / "report.md").write_text("all well")
    for difference in (0.25, 0.25, 0.5):
        metrics = {"seconds": 9.0, "cola.difference_of_best": difference}
        log_sweep(address, ("night", "one"), metrics, {"qrlora.exit_code": "0"}, [tmp_path / "report.md"])
    experiment = client.get_experiment_by_name("qr-lora sweeps").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED"
    assert [one.value for one in client.get_metric_history(run.info.run_id, "seconds")] == [9.0]
    values = [one.value for one in client.get_metric_history(run.info.run_id, "cola.difference_of_best")]
    assert values == [0.25, 0.5]
    assert [one.path for one in client.list_artifacts(run.info.run_id)] == ["report.md"]


def test_a_comparison_of_a_tasks_searches_is_a_run_of_its_own(address, client, kept, tmp_path, capsys):
    assert compare(["rte"], str(tmp_path / "out"), address, make_console()) == 0
    assert "only high reaches 0.910" in capsys.readouterr().out
    names = {"compare.json", "compare.png", "compare.html"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    experiment = client.get_experiment_by_name("qr-lora compare").experiment_id
    (run,) = client.search_runs([experiment])
    view = json.loads((tmp_path / "out" / "compare.json").read_text())
    (pair,) = view["groups"][0]["pairs"]
    assert [f"MLflow run '{kept[2]}' has no trials.json" in line for line in view["not_compared"]] == [True]
    assert run.data.metrics["rte.0_minus_1.hypervolume"] == pytest.approx(pair["difference"])
    assert {one.path for one in client.list_artifacts(run.info.run_id)} == names


def test_runs_are_compared_by_their_ids_and_a_run_without_trials_is_refused(address, kept, tmp_path):
    assert compare(kept[:2], str(tmp_path / "out"), address, make_console()) == 0
    with pytest.raises(UserError, match=f"MLflow run '{kept[2]}' has no trials.json"):
        compare([kept[0], kept[2]], str(tmp_path / "other"), address, make_console())
    with pytest.raises(UserError, match="not two searches"):
        compare([kept[0], kept[0]], str(tmp_path / "other"), address, make_console())
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("due", [True, False])
def test_the_end_says_where_the_search_stood_once_though_nothing_was_due(due, tmp_path, monkeypatch):
    monkeypatch.setattr(Sparing, "due", due)
    sink, lines = MlflowSink(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path), events()
    for event in lines:
        sink.take(event)
    (tmp_path / "front.json").write_text(json.dumps({"members": []}))
    closed = {"outcome": "complete", "hypervolume": 0.1, "front_size": 2, "trials": 6, "seconds": 9.0, "members": []}
    sink.take(Event(len(lines) + 1, None, "closed", closed))
    found = sink.client.get_metric_history(sink.parent, "hypervolume")
    end(sink)
    assert [one.step for one in found] == ([1, 2, 3, 4, 5] if due else [5])
    assert found[-1].value == pytest.approx(standing_of(history_of(lines)).hypervolume)


def test_no_report_is_stored_twice(followed, client):
    _, children, _, _ = followed
    for trial, (_, score, state) in SCORES.items():
        history = client.get_metric_history(children[trial].info.run_id, "score")
        epochs = [1] if state == "stopped" else [1, 2, 3]
        assert [(one.step, one.value) for one in history] == [(epoch, score) for epoch in epochs]


def test_the_explorers_figure_draws_every_trial_and_the_front(followed, client):
    parent, children, _, _ = followed
    (search,) = exploring_data.searches(client, parent.info.experiment_id, "sst2")
    loaded = exploring_data.load(client, search)
    assert search.control == 0.75
    assert [one.number for one in loaded.trials] == sorted(children)
    figure = exploring_figures.front_figure([loaded], loaded.trials)
    drawn = {(x, y, trace.name.split(",")[0]) for trace in figure.data for x, y in zip(trace.x, trace.y, strict=True)}
    assert {(size, score, state) for size, score, state in SCORES.values()} <= drawn
    front = next(trace for trace in figure.data if "front" in trace.name)
    assert list(zip(front.x, front.y, strict=True)) == [(4, 0.80), (10, 0.90)]
    assert [list(point) for point in front.customdata] == [[search.run, 0, 0], [search.run, 1, 0]]
    assert len({(trace.marker.symbol, trace.marker.color) for trace in figure.data}) == len(figure.data)
    shown = exploring_figures.front_figure([loaded], [one for one in loaded.trials if one.state == "stopped"])
    assert not any(trace.name.startswith("finished") for trace in shown.data)


def test_scores_that_coincide_do_not_fill_the_axis_with_nothing(followed, client):
    parent, _, _, _ = followed
    (search,) = exploring_data.searches(client, parent.info.experiment_id, "sst2")
    loaded = exploring_data.load(client, search)
    alone = replace(loaded, members=[])
    figure = exploring_figures.front_figure([alone], [])
    assert figure.layout.yaxis.range == (0.725, 0.775)
    assert exploring_figures.front_figure([loaded], loaded.trials).layout.yaxis.range is None


def explorer(address, checkout, monkeypatch):
    """Return the explorer's page on a store, run without a browser."""
    import streamlit
    from streamlit.testing.v1 import AppTest

    streamlit.cache_data.clear()
    streamlit.cache_resource.clear()
    monkeypatch.setenv("QRLORA_TRACKING", address)
    return AppTest.from_file(str(checkout / "dashboards" / "explorer.py"), default_timeout=60).run()


def test_the_explorers_page_tells_a_trials_story(followed, address, checkout, monkeypatch):
    page = explorer(address, checkout, monkeypatch)
    page.sidebar.selectbox[0].set_value(followed[0].info.experiment_id).run()
    assert not page.exception
    assert not page.error
    trials = next(one for one in page.selectbox if one.label == "Trial")
    assert trials.value.endswith("trial 0")  # the first on the front
    assert "platform.export" in page.code[0].value
    (notes,) = page.expander
    assert notes.label == f"What {followed[0].info.run_name}'s numbers mean"
    assert notes.caption[0].value == r"- It holds \~ \[for one\_warm-up\]."
    trials.set_value(next(one for one in trials.options if one.endswith("trial 2"))).run()
    said = " ".join(one.value for one in page.markdown)
    assert "**stopped**" in said
    assert "because" in said
    assert not any("platform.export" in one.value for one in page.code)


def test_the_explorers_page_says_what_is_missing_or_wrong(tmp_path, checkout, monkeypatch):
    page = explorer(f"sqlite:///{tmp_path}/new.db", checkout, monkeypatch)
    assert "No search has run yet" in page.info[0].value
    assert not page.error
    broken = tmp_path / "broken.db"
    broken.write_text("no database " * 200)
    page = explorer(f"sqlite:///{broken}", checkout, monkeypatch)
    assert not page.exception
    assert "MLflow cannot be read" in page.error[0].value
    assert "--tracking-uri" in page.error[0].value


def test_the_explorer_starts_beside_a_store_that_cannot_be_opened(tmp_path):
    """The page says so, not its server; with a server's address nothing is asked at all."""
    broken, threshold = tmp_path / "broken.db", gc.get_threshold()
    broken.write_text("no database " * 200)
    try:
        for address in (f"sqlite:///{broken}", "http://127.0.0.1:9"):
            exploring_start.prepare(address)
        assert gc.get_freeze_count() > 100_000  # everything imported is out of the collector's way
    finally:
        gc.unfreeze()
        gc.set_threshold(*threshold)


def test_derived_adapters_are_points_with_their_trials_facts():
    trial = exploring_data.Trial("r", "s", 1, 30, 0.8, 0.1, "finished", True, "0", "", "", {"method": "qr-lora"})
    point = {"trial": 1, "parameters": 12, "score": 0.79, "state": "derived", "kept": 12}
    (found,) = exploring_data.derived_of({"points": [point, {**point, "state": "finished"}]}, [trial])
    assert (found.run, found.parameters, found.score, found.state) == ("r", 12, 0.79, "derived")
    assert not found.on_front


def test_an_artifact_store_that_its_client_cannot_reach_is_away_and_no_fault_of_the_program(tmp_path, monkeypatch):
    """Without its library, or without credentials: neither is an error that MLflow wraps."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    address = f"sqlite:///{tmp_path}/mlflow.db"
    connect(address).create_experiment("qr-lora sst2", artifact_location="s3://nobody/here")
    (tmp_path / "spectra.json").write_text("{}")
    sink = MlflowSink(address, tmp_path)
    opened = events()[0]
    prepared = Event(opened.sequence + 1, None, "prepared", {"made": [], "labels": {}})
    sink.take(opened)
    with pytest.raises(SinkError, match="artifact store: "):
        sink.take(prepared)
    assert sink.parent, "the search itself is there"
    assert sink.unsure
    end(sink)
