"""A night, or a single search, whose PostgreSQL goes away while it trains: nothing fails, and the same command goes on.

Not part of `make test`, for its time: `make evidence`.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import promise
from kills import start
from loopback import loopback
from postgres import again, running
from qrlora_search.app.sweep_record import SweepRecord, load_record
from search_runs import SPACE, Place, end_group, make_place

pytestmark = pytest.mark.evidence

SPEC = """
name = "night"
[searches]
tasks = ["sst2"]
models = ["model"]
spaces = ["space.toml"]
seeds = [0, 1]
[budget]
configurations = 4
rounds = 1
[data]
sst2 = "data"
[storage]
database = "$NIGHT_DATABASE"
[notify]
command = ["sh", "-c", "cat >> told"]
"""
COMMAND = "from qrlora_search.app.cli import main; raise SystemExit(main())"
WORDS = [sys.executable, "-c", COMMAND, "sweep", "run", "sweep.toml", "--slot", "one", "--scheduled"]


def record_of(place: Place) -> SweepRecord:
    found = load_record(place.folder / "runs/sweeps/night/one")
    assert found is not None
    return found


def begin(place: Place, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start the sweep and wait until its first trial has a report."""
    with log.open("wb") as file:
        process = subprocess.Popen(WORDS, cwd=place.folder, env=environment, stdout=file, stderr=file,
                                   stdin=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    until = time.monotonic() + 240
    while "trial 0" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)
    return process


def test_a_database_that_goes_away_while_a_search_trains_costs_no_search(tmp_path, tmp_path_factory, monkeypatch):
    place = make_place(tmp_path / "sweep", tmp_path_factory.mktemp("cache"), "sst2", "bert")
    (place.folder / "sweep.toml").write_text(SPEC)
    (place.folder / "space.toml").write_text(SPACE.replace("epochs = 3", "epochs = 40").replace("[1, 2]", "[30]"))
    with running(tmp_path / "postgres" / "place") as server:
        environment = {**place.environment(), "NIGHT_DATABASE": server.url}
        process = begin(place, environment, place.folder / "log")
        try:
            data = tmp_path / "postgres" / "place" / "data"
            os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)  # at once, as in a crash
            assert process.wait(180) == 5, (place.folder / "log").read_text()
        finally:
            if process.poll() is None:
                end_group(process, signal.SIGKILL)
        log = (place.folder / "log").read_text()
        assert "Traceback" not in log
        assert server.password not in log
        record = record_of(place)
        assert ([one.state for one in record.entries.values()], record.ended) == (["waiting"] * 2, "")
        told = (place.folder / "told").read_text()
        assert told.startswith("# Sweep night, one\n\nIt did not end (exit code 5): QRLORA_STORAGE")
        with again(server, tmp_path / "postgres" / "place"):
            done = subprocess.run(WORDS, cwd=place.folder, env=environment, capture_output=True, text=True, timeout=300,
                                  check=False, stdin=subprocess.DEVNULL)  # fmt: skip
            assert done.returncode == 0, done.stdout + done.stderr
            record = record_of(place)
            assert {one.state for one in record.entries.values()} == {"done"}
            monkeypatch.setenv("QRLORA_STORAGE", server.url)
            for one in record.entries.values():
                assert promise.broken(place.folder / one.output, place.folder / "runs/mlflow.db", 2) == []


def test_a_cluster_whose_head_is_killed_while_a_search_trains_costs_no_search(tmp_path, tmp_path_factory):
    place = make_place(tmp_path / "sweep", tmp_path_factory.mktemp("cache"), "sst2", "bert")
    text = SPEC.replace('database = "$NIGHT_DATABASE"\n', "").replace("seeds = [0, 1]", "seeds = [0]")
    (place.folder / "sweep.toml").write_text(f'{text}[resources]\naddress = "$NIGHT_CLUSTER"\n')
    (place.folder / "space.toml").write_text(SPACE.replace("epochs = 3", "epochs = 40").replace("[1, 2]", "[30]"))
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with loopback(tmp_path / "first", place.environment()) as cluster:
        environment = {**cluster.environment, "NIGHT_CLUSTER": cluster.address}
        process = begin(place, environment, place.folder / "log")
        try:
            cluster.kill(0)
            assert process.wait(300) == 5, (place.folder / "log").read_text()
        finally:
            if process.poll() is None:
                end_group(process, signal.SIGKILL)
    assert "Traceback" not in (place.folder / "log").read_text()
    record = record_of(place)
    assert ([one.state for one in record.entries.values()], record.ended) == (["waiting"], "")
    with loopback(tmp_path / "second", place.environment()) as cluster:
        environment = {**cluster.environment, "NIGHT_CLUSTER": cluster.address}
        done = subprocess.run(WORDS, cwd=place.folder, env=environment, capture_output=True, text=True, timeout=300,
                              check=False, stdin=subprocess.DEVNULL)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for one in record_of(place).entries.values():
        assert one.state == "done"
        assert promise.broken(place.folder / one.output, place.folder / "runs/mlflow.db", 4) == []


def test_a_single_search_whose_database_goes_away_says_so_and_goes_on_when_it_is_back(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("single")
    place = make_place(folder, tmp_path_factory.mktemp("cache"), "sst2", "bert", rows=600)
    given = ("--budget", "12", "--concurrency", "1")
    with running(folder / "server") as server:
        monkeypatch.setenv("QRLORA_STORAGE", server.url)
        run = start(place, "out", *given)
        assert run.until(lambda rows: sum(row.kind == "ended" for row in rows) >= 2), run.text()
    assert run.process.wait(120) == 5, run.text()
    last = run.text().splitlines()[-1]
    assert last.startswith("error: QRLORA_STORAGE 'postgresql+psycopg://127.0.0.1:")
    assert last.endswith("the same command goes on, with --resume if it says so")
    assert server.password not in run.text()
    assert "Traceback" not in run.text()
    with again(server, folder / "server"):
        done = place.run(*given, "--output", "out", "--resume")
        assert done.returncode == 0, done.stdout + done.stderr
        assert promise.broken(folder / "out", folder / "runs/mlflow.db", 12) == []
