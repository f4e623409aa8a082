"""A whole sweep as a user runs it: killed and taken up, then skipped; records in PostgreSQL, no password anywhere."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from qrlora_search.app.sweep_compare import SweepReport
from qrlora_search.app.sweep_record import load_record
from qrlora_search.describe.sweep import load_sweep
from search_runs import SPACE, end_group, make_place

SPEC = """
name = "two"
[searches]
tasks = ["sst2", "rte"]
models = ["model"]
spaces = ["space.toml"]
[budget]
configurations = 4
rounds = 1
[shares]
sst2 = 2
[data]
sst2 = "data"
rte = "nowhere"
[history]
unchanged = "skip"
[storage]
database = "$NIGHT_DATABASE"
[notify]
command = ["sh", "-c", "cat > told"]
"""
COMMAND = "from qrlora_search.app.cli import main; raise SystemExit(main())"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = make_place(tmp_path_factory.mktemp("sweep"), tmp_path_factory.mktemp("cache"), "sst2", "bert")
    (made.folder / "sweep.toml").write_text(SPEC)
    (made.folder / "space.toml").write_text(SPACE.replace("epochs = 3", "epochs = 2").replace("[1, 2]", "[1]"))
    return made


def words(*more: str) -> list[str]:
    return [sys.executable, "-c", COMMAND, "sweep", *more]


@pytest.fixture(scope="module")
def killed_then_done(place, server):
    """Return what the command printed that took up a sweep whose driver was killed by force in mid-search."""
    environment = {**place.environment(), "NIGHT_DATABASE": server.url}
    with (place.folder / "first.log").open("wb") as log:
        first = subprocess.Popen(words("run", "sweep.toml", "--slot", "one"), cwd=place.folder, env=environment,
                                 stdout=log, stderr=log, start_new_session=True)  # fmt: skip
    try:
        for _ in range(1200):
            if "trial 0" in (place.folder / "first.log").read_text() or first.poll() is not None:
                break
            time.sleep(0.1)
        assert first.poll() is None, (place.folder / "first.log").read_text()
        os.kill(first.pid, signal.SIGKILL)
    finally:
        end_group(first, signal.SIGKILL)
    return subprocess.run(words("run", "sweep.toml", "--slot", "one"), cwd=place.folder, env=environment,
                          capture_output=True, text=True, timeout=240, check=False)  # fmt: skip


def ended_trials(folder: Path, server) -> list[int]:
    """Return the trials that ended by the record, read with psycopg alone."""
    pointer = json.loads((folder / "storage.json").read_text())
    query = f"select trial from {pointer['schema']}.qrlora_events where kind = 'ended' order by sequence"
    with psycopg.connect(server.url) as connection:
        return [row[0] for row in connection.execute(query)]


def test_a_killed_sweep_goes_on_and_loses_and_repeats_no_trial(killed_then_done, place, server):
    folder = place.folder / "runs" / "sweeps" / "two" / "one"
    record = load_record(folder)
    done = record.entries["sst2-model-space-s0"]
    assert (done.state, done.configurations, done.turns) == ("done", 4, 1), killed_then_done.stderr
    assert sorted(ended_trials(folder / "sst2-model-space-s0", server)) == [0, 1, 2, 3]
    assert record.ended


def test_a_search_that_fails_is_named_and_the_others_go_on(killed_then_done, place):
    assert killed_then_done.returncode == 1
    report = SweepReport.model_validate_json((place.folder / "runs/sweeps/two/one/report.json").read_text())
    assert [one.key for one in report.failures] == ["rte-model-space-s0"]
    assert "nowhere" in report.failures[0].reason
    assert {one.verdict for one in report.lines} == {"first", "failed"}
    assert (place.folder / "told").read_text().startswith("# Sweep two, one")


def test_the_report_is_one_mlflow_run(killed_then_done, place):
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{place.folder}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("qr-lora sweeps").experiment_id
    (run,) = client.search_runs([experiment])
    assert run.data.tags["qrlora.sweep"] == "two/one"
    assert run.data.metrics["failures"] == 1
    assert {one.path for one in client.list_artifacts(run.info.run_id)} >= {"report.md", "report.html"}
    client._tracking_client.store.engine.dispose()


def test_the_same_slot_again_does_nothing_and_a_new_one_skips_what_is_unchanged(killed_then_done, place, server):
    environment = {**place.environment(), "NIGHT_DATABASE": server.url}
    again, second = (
        subprocess.run(words("run", "sweep.toml", "--slot", slot), cwd=place.folder, env=environment,
                       capture_output=True, text=True, timeout=120, check=False)
        for slot in ("one", "second")
    )  # fmt: skip
    assert again.returncode == 1
    assert "one ended at" in again.stdout
    assert second.returncode == 1
    entry = load_record(place.folder / "runs/sweeps/two/second").entries["sst2-model-space-s0"]
    assert entry.state == "skipped", second.stdout
    assert entry.output.endswith("two/one/sst2-model-space-s0")
    dry = subprocess.run(words("run", "sweep.toml", "--dry-run", "--slot", "third"), cwd=place.folder, env=environment,
                         capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert "skipped: inputs as in second" in dry.stdout
    assert not (place.folder / "runs/sweeps/two/third").exists()


def test_no_password_is_in_any_output(killed_then_done, place, server):
    said = killed_then_done.stdout + killed_then_done.stderr
    assert server.password not in said
    found = [
        path for path in place.folder.rglob("*") if path.is_file() and server.password.encode() in path.read_bytes()
    ]
    assert found == []
    assert load_sweep(place.folder / "sweep.toml").storage.database == "$NIGHT_DATABASE"


def test_a_missing_secret_is_said_before_anything_starts(place):
    done = subprocess.run(words("run", "sweep.toml", "--slot", "x"), cwd=place.folder, env=place.environment(),
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 2
    missing = "error: storage.database '$NIGHT_DATABASE': the environment has no NIGHT_DATABASE; set it first\n"
    assert done.stderr == missing


@pytest.mark.evidence
def test_a_search_whose_every_trial_fails_is_a_failure_of_the_sweep(place):
    text = (place.folder / "space.toml").read_text().replace("epochs =", "report_timeout_s = 1e-6\nepochs =", 1)
    (place.folder / "wild.toml").write_text(text)
    spec = SPEC[: SPEC.index("[history]")].replace('"sst2", "rte"', '"sst2"').replace("space.toml", "wild.toml")
    spec = spec.replace("configurations = 4", "configurations = 8").replace('"two"', '"wild"')
    (place.folder / "wild-sweep.toml").write_text(spec.replace('rte = "nowhere"', ""))
    done = subprocess.run(words("run", "wild-sweep.toml", "--slot", "one"), cwd=place.folder, capture_output=True,
                          env=place.environment(), text=True, timeout=240, check=False)  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    [entry] = load_record(place.folder / "runs" / "sweeps" / "wild" / "one").entries.values()
    assert (entry.state, entry.reason[:31]) == ("failed", "searching: every trial failed (")
