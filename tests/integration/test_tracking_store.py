"""A real tracking store, fed from a record without training: what runs show, and comparisons that read them back."""

import json

import pytest

from qrlora_search.adapters.mlflow_sink.shared_view import TAG
from qrlora_search.adapters.mlflow_sink.sink import MlflowSink
from qrlora_search.adapters.mlflow_sink.tracking import all_runs, connect
from qrlora_search.app.comparing import compare
from qrlora_search.app.console import make_console
from qrlora_search.describe.protocols import Event
from qrlora_search.record.history import history_of
from qrlora_search.record.standing import ranks_of, standing_of
from qrlora_search.values.errors import UserError
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
        assert set(chart.get("selectedParams", [])) - {"tau"} <= set(children[0].data.params)
    found = client.search_runs([parent.info.experiment_id], state["searchFilter"])
    assert len(found) == len(children)


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


def test_no_report_is_stored_twice(followed, client):
    _, children, _, _ = followed
    for trial, (_, score, state) in SCORES.items():
        history = client.get_metric_history(children[trial].info.run_id, "score")
        epochs = [1] if state == "stopped" else [1, 2, 3]
        assert [(one.step, one.value) for one in history] == [(epoch, score) for epoch in epochs]
