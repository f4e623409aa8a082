"""Whole searches, run as a user runs them: real Ray, real Optuna, a real MLflow database, a tiny model."""

import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import optuna
import pytest
import ray

from qrlora_search.app.front_view import FrontView
from qrlora_search.app.scoring import Scorer, Weights
from qrlora_search.describe.tasks import find_task
from qrlora_search.method.sources import find_data
from qrlora_search.record.events import Record, record_url
from qrlora_search.record.history import history_of
from qrlora_search.values.packing import unpack
from qrlora_search.values.states import TrialState
from search_runs import LEARNT, Place, end_group, free_port, make_place

BUDGET = 8
FILES = ("front.json", "front.csv", "front.html", "front.png", "record.db", "plan.json")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def place(tmp_path_factory, cache) -> Place:
    made = make_place(tmp_path_factory.mktemp("sst2"), cache, "sst2", "bert", rows=600, told=0.8)
    (made.folder / "space.toml").write_text(LEARNT, encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def done(place):
    """Return a finished search: what it printed and its output folder."""
    result = place.run("--budget", str(BUDGET), "--concurrency", "2")
    assert result.returncode == 0, result.stdout + result.stderr
    (output,) = (place.folder / "runs").glob("sst2-*")
    return result, output


def load(output):
    record = Record(record_url(output))
    history = history_of(record.all())
    record.close()
    return history, FrontView.model_validate_json((output / "front.json").read_text())


def study_states(output) -> dict[int, str]:
    """Return the states of the study's trials by number."""
    storage = optuna.storages.RDBStorage(record_url(output))
    states = {one.number: one.state.name for one in optuna.load_study(study_name="search", storage=storage).trials}
    storage.remove_session()
    storage.engine.dispose()
    return states


@contextmanager
def tracking(address):
    """Hold an MLflow client; the connections of a database's store are closed in the end."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(address)
    yield client
    if address.startswith("sqlite"):
        client._tracking_client.store.engine.dispose()


def test_the_output_is_whole_and_its_counts_agree_with_the_record(done):
    _, output = done
    assert all((output / name).is_file() for name in FILES)
    history, view = load(output)
    assert len(history.searched) == BUDGET
    assert view.counts["finished"] + view.counts["stopped"] + view.counts["failed"] == BUDGET
    assert view.outcome == "complete"
    assert not view.stand_in
    assert view.members
    assert {one.trial for one in view.members} <= {one.number for one in history.in_state(TrialState.FINISHED)}
    rows = list(csv.DictReader((output / "front.csv").read_text().splitlines()))
    assert [row["kind"] for row in rows] == ["control warm-up", "control head-only"] + ["member"] * len(view.members)
    assert view.plan.counts.report == {"validation": 300}


def test_no_process_of_a_search_asks_for_a_host_outside_this_machine(done, place):
    """No telemetry, no hub. Ray's head asks whether it runs in a cloud, which nothing can turn off or waits for."""
    lines = (place.folder / "asked.txt").read_text().splitlines()
    assert sum(line.startswith("began ") for line in lines) > 3  # the command, Ray's agents, the trials' workers
    hosts = {line.split(" ")[1] for line in lines if not line.startswith("began ")}
    assert hosts <= {ray.util.get_node_ip_address(), "169.254.169.254", "metadata.google.internal"}


def test_every_report_carries_the_packed_results_it_was_scored_from(done):
    history, _ = load(done[1])
    labels = unpack(history.labels["selection"])
    for trial in history.searched:
        for line in trial.reports:
            assert np.mean(unpack(line.packed) == labels) == pytest.approx(line.score)
            assert line.loss > 0
            assert line.seconds > 0
            assert line.metrics.keys() == {"accuracy"}


def test_nothing_is_left_running_in_the_study(done):
    history, _ = load(done[1])
    states = study_states(done[1])
    names = {TrialState.FINISHED: "COMPLETE", TrialState.STOPPED: "PRUNED", TrialState.FAILED: "FAIL"}
    assert {one.number: "PRUNED" if one.promoted else names[one.state] for one in history.searched} == {
        number: state for number, state in states.items() if number in history.trials and history.trials[number].started
    }
    again = sorted(state for number, state in states.items() if number not in history.trials)
    assert len(again) == history.promotions  # each that was taken up again is a further trial
    if history.promotions == sum(bool(one.promoted) for one in history.searched):
        assert again == sorted(names[one.state] for one in history.searched if one.promoted)
    assert "RUNNING" not in states.values()


def test_mlflow_has_one_parent_and_one_child_a_trial(done, place):
    history, view = load(done[1])
    with tracking(f"sqlite:///{place.folder}/runs/mlflow.db") as client:
        experiment = client.get_experiment_by_name("qr-lora sst2")
        runs = client.search_runs([experiment.experiment_id], f"tags.`qrlora.search` = '{history.search_id}'")
        parents = [run for run in runs if run.data.tags["qrlora.kind"] == "search"]
        children = {run.info.run_name: run for run in runs if run.data.tags["qrlora.kind"] == "trial"}
        assert len(parents) == 1
        assert sorted(children) == ["head-only control", *(f"trial-{one.number:05d}" for one in history.searched)]
        assert {run.info.status for run in runs} <= {"FINISHED", "FAILED"}
        for one in history.searched:
            run = children[f"trial-{one.number:05d}"]
            scores = client.get_metric_history(run.info.run_id, "score")
            assert [(point.step, point.value) for point in scores] == [(line.epoch, line.score) for line in one.reports]
            assert run.data.metrics["parameters"] == one.configuration.parameters
            assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
            assert run.data.tags["qrlora.state"] == str(one.state)
        artifacts = {one.path for one in client.list_artifacts(parents[0].info.run_id)}
        assert {"front.json", "front.csv", "front.html", "front.png", "trials.json", "spectra.json"} <= artifacts
        ended = parents[0].data.metrics
        assert ended["front_hypervolume"] == pytest.approx(view.hypervolume.value)
        assert ended["hypervolume"] == pytest.approx(view.hypervolume.without_derived)  # while it ran
        assert ended["front_members"] == len(view.members)
        derived = {run.data.tags["qrlora.adapter"]: run for run in runs if run.data.tags["qrlora.kind"] == "derived"}
        wanted = {one.adapter: one for one in view.members if one.kept is not None}
        assert derived.keys() == wanted.keys()
        for adapter, one in wanted.items():
            found = derived[adapter].data
            assert (found.metrics["parameters"], found.metrics["score"]) == (one.parameters, one.first.score)
            assert int(found.params["parameters"]) == one.parameters
            assert (found.tags["pareto.on_front"], found.tags["qrlora.derived_from"]) == ("true", str(one.trial))
        on_front = {int(run.data.tags["qrlora.trial"]) for run in children.values() if
                    run.data.tags["pareto.on_front"] == "true"}  # fmt: skip
        assert on_front == {one.trial for one in view.members if one.kept is None}


def test_every_member_is_an_mlflow_model_that_answers_as_the_record_says(done, place):
    import mlflow

    history, view = load(done[1])
    task = find_task("sst2")
    rows = find_data(str(place.folder / "data"), task).splits["validation"]
    address, before = f"sqlite:///{place.folder}/runs/mlflow.db", mlflow.get_tracking_uri()
    with tracking(address) as client:
        experiment = client.get_experiment_by_name("qr-lora sst2").experiment_id
        for one in view.members:
            tag = f"adapter` = '{one.adapter}'" if one.kept else f"trial` = '{one.trial}'"
            wanted = f"tags.`qrlora.search` = '{history.search_id}' AND tags.`qrlora.{tag}"
            (child,) = client.search_runs([experiment], wanted)
            mlflow.set_tracking_uri(address)
            try:
                found = mlflow.pyfunc.load_model(f"runs:/{child.info.run_id}/model").predict(rows[[*task.texts]])
            finally:
                mlflow.set_tracking_uri(before)
            derived = history.confirmation.derived.get((one.trial, one.kept, "validation"))
            recorded = unpack((derived or history.scored[one.trial, "validation"]).packed)
            assert found["prediction"].tolist() == [task.labels[int(label)] for label in recorded]
            assert len(set(recorded)) == 2  # no model that gives one answer to all


def test_the_adapters_of_the_front_score_again_what_the_record_holds(done, place, monkeypatch):
    from qrlora_search.app.planning import plan_search
    from qrlora_search.app.request import SearchRequest, check_request
    from qrlora_search.prepare.preparation import prepare
    from qrlora_search.prepare.store import Store

    monkeypatch.chdir(place.folder)
    history, view = load(done[1])
    request = SearchRequest("sst2", BUDGET, "model", "data", "space.toml", concurrency=2)
    planned = plan_search(check_request(request))
    assert planned.plan.hash == view.plan.hash

    def never(*_: object) -> dict[str, object]:
        pytest.fail("the warm-up is in the cache and must not be made again")

    prepared = prepare(planned.plan, planned.splits, Store(place.cache), never, lambda _: None)
    assert prepared.made == ()
    scorer = Scorer(prepared.materials, Weights(done[1]), 0)
    for trial in history.in_state(TrialState.FINISHED):
        again = scorer.score(trial, "selection")
        assert again["metrics"] == pytest.approx(trial.reports[-1].metrics, abs=1e-6)
    names = {f"front/{path.name}" for path in (done[1] / "front").iterdir()}
    assert names == {one.adapter for one in view.members} | {
        one.adapter.replace(".safetensors", ".json") for one in view.members
    }


def test_the_terminal_says_what_matters_in_plain_lines(done):
    text = done[0].stdout
    parts = ["Plan of the search over sst2", "warm-up epoch 1 of 4", f"/{BUDGET}]", "control: warm-up"]
    for part in (*parts, "hypervolume", "front.json", "next:"):
        assert part in text
    assert "\x1b[" not in text
    assert "Traceback" not in text + done[0].stderr


def test_the_same_command_again_prints_the_front_and_starts_nothing(done, place):
    before = (done[1] / "record.db").read_bytes()
    result = place.run("--budget", str(BUDGET), "--concurrency", "2")
    assert result.returncode == 0
    assert "control: warm-up" in result.stdout
    assert (done[1] / "record.db").read_bytes() == before


def test_another_search_on_the_same_output_is_refused_with_the_difference(done, place):
    result = place.run("--budget", "4", "--seed", "9", "--output", str(done[1]))
    assert result.returncode == 2
    assert "seed: 0 there, 9 asked" in result.stderr


def test_an_interrupt_ends_cleanly_and_resume_goes_on_also_to_a_larger_budget(place):
    budget = 12
    command = place.command("--budget", str(budget), "--output", "cut", "--concurrency", "1")
    process = subprocess.Popen(
        command,
        cwd=place.folder,
        env=place.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    database = place.folder / "cut" / "record.db"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and ended(database) < 2:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole foreground group
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 130, text
    assert "--resume" in text
    assert "Traceback" not in text
    history, view = load(place.folder / "cut")
    assert view.outcome == "interrupted by SIGINT"
    finished_before = {one.number: one.score for one in history.in_state(TrialState.FINISHED)}
    assert set(study_states(place.folder / "cut").values()) <= {"COMPLETE", "PRUNED", "FAIL"}
    larger = ("--budget", str(budget + 1), "--output", "cut", "--concurrency", "1")
    refused = place.run(*larger)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    result = place.run(*larger, "--resume")
    assert result.returncode == 0, result.stdout + result.stderr
    history, view = load(place.folder / "cut")
    assert len(history.searched) == view.plan.budget == budget + 1
    assert view.outcome == "complete"
    assert view.counts["unfinished"] == 0
    assert finished_before.items() <= {one.number: one.score for one in history.in_state(TrialState.FINISHED)}.items()


def ended(database) -> int:
    if not database.is_file():
        return 0
    with closing(sqlite3.connect(database, timeout=5)) as connection:
        try:
            return connection.execute("select count(*) from qrlora_events where kind = 'ended'").fetchone()[0]
        except sqlite3.OperationalError:
            return 0


@pytest.fixture
def mlflow_server(tmp_path):
    """Yield the address of a real MLflow server on loopback, started by our own `ui` command."""
    port = free_port()
    script = Path(sys.executable).parent / "qrlora-search"
    command = [str(script), "ui", "--port", str(port), "--tracking-uri", f"sqlite:///{tmp_path}/server.db"]
    with (tmp_path / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                break
        except OSError:
            time.sleep(0.3)
    yield address
    end_group(server, signal.SIGINT)


def test_mnli_shows_matched_and_mismatched_and_a_tracking_server_gets_the_front(tmp_path, cache, mlflow_server):
    from mlflow.tracking import MlflowClient

    place = make_place(tmp_path, cache, "mnli", "bert")
    result = place.run("--budget", "2", "--output", "out", "--tracking-uri", mlflow_server)
    assert result.returncode == 0, result.stdout + result.stderr
    client = MlflowClient(mlflow_server)
    runs = client.search_runs([client.get_experiment_by_name("qr-lora mnli").experiment_id])
    (parent,) = (run for run in runs if run.data.tags["qrlora.kind"] == "search")
    assert len(runs) == 3
    assert "front.html" in {one.path for one in client.list_artifacts(parent.info.run_id)}
    _, view = load(tmp_path / "out")
    assert [one.split for one in view.controls[0].report] == ["validation_matched", "validation_mismatched"]
    assert re.search(r"validation_mismatched", result.stdout)


def test_a_dry_run_shows_plan_and_cost_and_writes_nothing(place):
    before = {path for path in place.folder.rglob("*") if "runs" not in path.parts}
    result = place.run("--budget", "5", "--seed", "3", "--dry-run", "--output", "dry")
    assert result.returncode == 0
    for part in ("Plan of the search", "trials: 5, at most 15 epochs", "dry run"):
        assert part in result.stdout
    assert {path for path in place.folder.rglob("*") if "runs" not in path.parts} == before


def test_front_json_is_versioned_plain_data(done):
    content = json.loads((done[1] / "front.json").read_text())
    assert content["version"] == 2
    assert content["plan"]["model"]["kind"] == "folder"
    assert content["hypervolume"]["split"] == "selection"
    assert content["hypervolume"]["reference_parameters"] == content["plan"]["encoder"]["parameters"]
