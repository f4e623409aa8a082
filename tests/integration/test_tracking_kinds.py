"""What an extended search leaves in MLflow: in a database, and through a real server, which keeps artifacts itself."""

import json
import signal
from dataclasses import replace

import pytest

from qrlora_search.adapters.mlflow_sink.artifacts import keep_files
from qrlora_search.adapters.mlflow_sink.children import marked
from qrlora_search.adapters.mlflow_sink.derived import keep_derived
from qrlora_search.adapters.mlflow_sink.sink import MlflowSink
from qrlora_search.adapters.mlflow_sink.tracking import connect
from qrlora_search.describe.protocols import Event
from qrlora_search.record.history import history_of
from search_runs import end_group, free_port, serve
from test_standing import events


@pytest.fixture(scope="module", params=["a database", "a server"])
def either(request, tmp_path_factory):
    """Return a client of a store of each kind; a server hands artifacts through, under addresses of its own."""
    folder = tmp_path_factory.mktemp("either")
    if request.param == "a database":
        made = connect(f"sqlite:///{folder}/mlflow.db")
        yield made
        made._tracking_client.store.engine.dispose()
        return
    port = free_port()
    server = serve(folder / "server.db", port)
    try:
        yield connect(f"http://127.0.0.1:{port}")
    finally:
        end_group(server, signal.SIGINT)


def artifacts(client, folder) -> str | None:
    """Return where an experiment's artifacts go: a folder, or to a server whatever it chooses."""
    return folder.as_uri() if str(client.tracking_uri).startswith("sqlite") else None


def test_an_extended_search_keeps_the_newest_fronts_adapters_alone(either, tmp_path):
    client = either
    experiment = client.create_experiment("extended", artifacts(client, tmp_path))
    run, output = client.create_run(experiment).info.run_id, tmp_path / "output"
    for members in (("trial-1", "trial-2"), ("trial-2", "trial-3")):
        (output / "front").mkdir(parents=True, exist_ok=True)
        for old in (output / "front").iterdir():
            old.unlink()
        for name in members:
            (output / "front" / f"{name}.json").write_text("{}")
        keep_files(client, run, output)
        assert [one.path for one in client.list_artifacts(run, "front")] == [f"front/{name}.json" for name in members]


def test_an_end_that_is_caught_up_with_after_the_search_went_on_leaves_the_newest_front(either, tmp_path):
    """MLflow was away when a search ended; it comes back when that was extended, and has a member that came later."""
    lines = [replace(one, data={**one.data, "search_id": "later"}) if one.kind == "opened" else one for one in events()]
    more = [one for one in lines if one.trial == 0 and one.kind in {"proposed", "started", "report", "ended"}]
    ends = [
        ("closed", None, {"outcome": "complete", "hypervolume": 0.1, "front_size": 1, "trials": 6, "seconds": 9.0,
                          "members": [0]}),
        ("resumed", None, {"plan": next(one for one in lines if one.kind == "opened").data["plan"]}),
        *((one.kind, 6, one.data) for one in more),
        ("closed", None, {"outcome": "complete", "hypervolume": 0.2, "front_size": 1, "trials": 7, "seconds": 9.0,
                          "members": [6]}),
    ]  # fmt: skip
    lines += [Event(place, trial, kind, data) for place, (kind, trial, data) in enumerate(ends, len(lines) + 1)]
    member = {"trial": 6, "kept": None, "adapter": "front/trial-00006.safetensors", "selection": {"score": 0.6}}
    control = {"selection": {"score": 0.5}}
    view = {"hypervolume": {"value": 0.2}, "controls": [control], "members": [member], "picks": []}
    (tmp_path / "front.json").write_text(json.dumps({**view, "picks": [{"name": "knee", "words": "trial 6"}]}))
    sink, seen = MlflowSink(either.tracking_uri, tmp_path), []
    for event in lines:
        sink.take(event)
        if event.kind in {"closed", "resumed"}:
            parent = either.get_run(sink.parent)
            files = [one.path for one in either.list_artifacts(sink.parent)]
            seen.append((parent.info.status, parent.data.tags.get("pick.knee"), "front.json" in files))
    sink.close()
    assert seen == [("FINISHED", None, False), ("RUNNING", None, False), ("FINISHED", "trial 6", True)]
    condition = f"tags.`qrlora.search` = '{sink.search_id}' AND tags.`pareto.on_front` = 'true'"
    (on_front,) = either.search_runs([sink.experiment], condition)
    assert on_front.data.tags["qrlora.trial"] == "6"


def test_what_a_front_derives_has_runs_of_its_own_and_they_say_what_is_still_on_it(either, tmp_path):
    """A front of two derived members; killed in between and again; then extended to a front of one of them."""
    client, history = either, history_of(events())
    experiment = client.create_experiment("derived", artifacts(client, tmp_path))
    parent, whole = client.create_run(experiment).info.run_id, history.trials[1].configuration
    (tmp_path / "front").mkdir()
    members = []
    for kept in (2, 5):
        (first, *_) = whole.ranks
        few = replace(whole, ranks=(replace(first, rank=kept),), directions="largest")
        adapter = f"front/trial-00001-kept-{kept}.safetensors"
        (tmp_path / adapter).with_suffix(".json").write_text(json.dumps({"configuration": few.to_json()}))
        score = {"score": 0.8 + kept / 100, "error": 0.01, "metrics": {"accuracy": 0.8 + kept / 100}}
        members.append({"trial": 1, "kept": kept, "adapter": adapter, "words": f"{kept} kept", "first": score})
    members.append({"trial": 1, "kept": None, "adapter": "front/trial-00001.safetensors"})
    for asked in (members[:1], members, members, members[1:]):
        runs = keep_derived(client, experiment, parent, history, asked, tmp_path)
        assert runs.keys() == {one["adapter"] for one in asked if one["kept"] is not None}
        there = client.search_runs([experiment], "tags.`qrlora.kind` = 'derived'")
        on_front = {one.info.run_id for one in there if one.data.tags["pareto.on_front"] == "true"}
        assert on_front == set(runs.values())
    two, five = sorted(there, key=lambda one: one.data.metrics["parameters"])
    assert {one.info.status for one in (two, five)} == {"FINISHED"}
    assert five.data.metrics["score"] == pytest.approx(0.85)
    assert (five.data.metrics["parameters"], five.data.params["parameters"]) == (5, "5")
    assert five.data.params["learning_rate"] == str(whole.learning_rate)
    assert five.info.run_name == f"trial-00001, 5 kept{marked(history.plan)}"
    assert five.data.tags["pareto.rank"] == "0"
    assert "pareto.rank" not in two.data.tags
    assert len(client.get_metric_history(five.info.run_id, "score")) == 1
