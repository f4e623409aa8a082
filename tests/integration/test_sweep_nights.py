"""Nights that know one another, as a user runs them: deepened, refused while one runs, interrupted, worse, and pruned.

Not part of `make test`, for its time: `make evidence`.
"""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

import promise
from qrlora_search.app.sweep_compare import SweepReport
from qrlora_search.app.sweep_record import load_record
from search_runs import LEARNT, SPACE, Place, end_group, free_port, make_place, serve

pytestmark = pytest.mark.evidence

SPEC = """
name = "nights"
[searches]
tasks = ["sst2"]
models = ["model"]
spaces = ["space.toml"]
seeds = [{seeds}]
[budget]
configurations = {budget}
rounds = 1
[data]
sst2 = "data"
[history]
unchanged = "deepen"
keep = 9
"""
BUDGET = 4
KEY = "sst2-model-space-s0"


def command(*more: str) -> list[str]:
    return [str(Path(sys.executable).parent / "qrlora-search"), "sweep", *more]


def said(place: Place, *more: str) -> subprocess.CompletedProcess[str]:
    """Return what a command of sweeps says."""
    return subprocess.run(
        command(*more), cwd=place.folder, env=place.environment(), capture_output=True, text=True, timeout=300,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def report(place: Place, slot: str) -> SweepReport:
    return SweepReport.model_validate_json((place.folder / "runs/sweeps/nights" / slot / "report.json").read_text())


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """Return a place where a sweep ran, was deepened, and then ran over a space in which nothing learns."""
    folder = tmp_path_factory.mktemp("nights")
    place = make_place(folder, tmp_path_factory.mktemp("cache"), "sst2", "bert", rows=600, told=0.8)
    (folder / "sweep.toml").write_text(SPEC.format(budget=BUDGET, seeds=0))
    (folder / "space.toml").write_text(LEARNT)
    first, deeper = (said(place, "run", "sweep.toml", "--slot", slot) for slot in ("one", "two"))
    (folder / "space.toml").write_text(LEARNT.replace("low = 0.1\nhigh = 2.0", "low = 1e-7\nhigh = 1e-6"))
    return place, first, deeper, said(place, "run", "sweep.toml", "--slot", "worse")


def test_a_night_deepens_what_is_unchanged_and_keeps_its_trials(nights):
    place, first, deeper, _ = nights
    assert (first.returncode, deeper.returncode) == (0, 0), first.stderr + deeper.stderr
    home = place.folder / "runs/sweeps/nights"
    one, two = (load_record(home / slot).entries[KEY] for slot in ("one", "two"))
    assert (one.base, one.configurations) == (None, BUDGET)
    assert (two.base, two.before) == ("one", BUDGET)
    assert two.configurations > BUDGET
    output = Path(two.output) if Path(two.output).is_absolute() else place.folder / two.output
    assert promise.broken(output, place.folder / "runs/mlflow.db", two.configurations) == []
    (line,) = report(place, "two").lines
    assert line.verdict in {"no difference", "better"}
    assert line.configurations == two.configurations - BUDGET


def test_a_night_that_is_worse_ends_with_exit_code_three_and_says_so(nights):
    place, _, _, worse = nights
    assert worse.returncode == 3, worse.stdout + worse.stderr
    (line,) = report(place, "worse").lines
    assert line.verdict == "regression"
    assert line.difference.high < 0
    assert "regression" in worse.stdout
    assert said(place, "run", "sweep.toml", "--slot", "worse").returncode == 3  # a slot that ended says it again


def test_old_nights_are_pruned_with_their_records_but_none_that_is_used(nights):
    place, *_ = nights
    home = place.folder / "runs/sweeps/nights"
    refused = said(place, "prune", "sweep.toml", "--keep", "0")
    assert (refused.returncode, "--keep 0" in refused.stderr) == (2, True)
    base = Path(load_record(home / "two").entries[KEY].output).parent.name
    done = said(place, "prune", "sweep.toml", "--keep", "1")
    assert done.returncode == 0, done.stderr
    gone = {line.removeprefix("removed: ") for line in done.stdout.splitlines()}
    left = {one.name for one in home.iterdir() if one.is_dir()}
    assert "worse" in left
    assert gone == {"one", "two"} - left
    assert gone
    assert load_record(home / "worse").exit_code == 3
    assert base in gone | left


def test_one_runs_at_a_time_and_an_interrupt_between_searches_is_taken_up(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    place = make_place(folder, tmp_path_factory.mktemp("cache"), "sst2", "bert")
    (folder / "sweep.toml").write_text(SPEC.format(budget=4, seeds="0, 1"))
    (folder / "space.toml").write_text(SPACE)
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command("run", "sweep.toml", "--slot", "one"), cwd=folder, env=place.environment(), stdout=file,
            stderr=file, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: "targets in" in log.read_text(), process, log)
        busy = said(place, "run", "sweep.toml", "--slot", "other")
        assert (busy.returncode, "is running already" in busy.stdout) == (4, True), busy.stdout + busy.stderr
        until(lambda: log.read_text().count("files: ") == 1, process, log)  # the first search has ended
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(120) == 143, log.read_text()
    finally:
        if process.poll() is None:
            end_group(process, signal.SIGKILL)
    assert "the same command goes on from here" in log.read_text()
    assert "with --resume goes on from here" not in log.read_text()  # that is a search's own
    again = said(place, "run", "sweep.toml", "--slot", "one")
    assert again.returncode == 0, again.stdout + again.stderr
    record = load_record(folder / "runs/sweeps/nights/one")
    assert {one.state for one in record.entries.values()} == {"done"}
    for entry in record.entries.values():
        assert promise.broken(folder / entry.output, folder / "runs/mlflow.db", 2) == []


def test_what_mlflow_lacks_of_an_ended_night_is_brought_by_the_next(tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("away"), free_port()
    place = make_place(folder, tmp_path_factory.mktemp("cache"), "sst2", "bert")
    tracked = f'[storage]\ntracking_uri = "http://127.0.0.1:{port}"\n'
    (folder / "sweep.toml").write_text(SPEC.format(budget=2, seeds=0) + tracked)
    (folder / "space.toml").write_text(SPACE)
    given = ("run", "sweep.toml", "--slot", "one", "--scheduled")
    away = said(place, *given)
    assert away.returncode == 0, away.stdout + away.stderr
    assert "the sweep goes on, and MLflow catches up" in away.stdout
    output = folder / load_record(folder / "runs/sweeps/nights/one").entries[KEY].output
    before = promise.events(output)
    server, caught_up = serve(folder / "server.db", port), False
    try:
        for slot in ("two", "one", "two"):  # after the first time nothing is lacking
            again = said(place, "run", "sweep.toml", "--slot", slot, "--scheduled")
            assert again.returncode == 0, again.stdout + again.stderr
            assert ("MLflow catches up with one" in again.stdout) == (not caught_up)
            caught_up = True
    finally:
        end_group(server, signal.SIGINT)
    assert promise.broken(output, folder / "server.db", 4) == []  # the second deepened it
    more = [one.kind for one in promise.events(output)[len(before) :]]
    assert more[0] == more[-1] == "delivered"
    assert more.count("delivered") == 2
    with sqlite3.connect(folder / "server.db") as database:
        asked = "select value from tags where key = 'qrlora.sweep'"
        assert sorted(database.execute(asked).fetchall()) == [("nights/one",), ("nights/two",)]


SNAPSHOT = re.sub(r"\d", "", f"{KEY}.json")
KEPT = ("after:sweep.json:1", "before:sweep.json:3", "after:front.json:1", f"before:{SNAPSHOT}:1",
        "before:report.json:1", "after:report.md:1", "before:sweep.json:3", "after:sweep.json:3")  # fmt: skip
"""What a sweep writes itself: its record, a snapshot of every front, its report; each kill is of a run of its own."""


def test_a_sweep_killed_at_its_own_writes_goes_on(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    place = make_place(folder, tmp_path_factory.mktemp("cache"), "sst2", "bert")
    (folder / "sweep.toml").write_text(SPEC.format(budget=2, seeds=0))
    (folder / "space.toml").write_text(SPACE)
    ended = []
    for fault in (*KEPT, ""):
        environment = {**place.environment(), "QRLORA_FAULT": fault}
        done = subprocess.run(
            command("run", "sweep.toml", "--slot", "one"), cwd=folder, env=environment, capture_output=True, text=True,
            timeout=240, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        ended.append(done.returncode)
    assert ended == [-signal.SIGKILL] * len(KEPT) + [0], done.stdout + done.stderr
    home = folder / "runs/sweeps/nights/one"
    (entry,) = load_record(home).entries.values()
    assert (entry.state, entry.configurations) == ("done", 2)
    assert promise.broken(folder / entry.output, folder / "runs/mlflow.db", 2) == []
    assert [one.verdict for one in report(place, "one").lines] == ["first"]
    assert not [one for one in home.rglob(".*") if one.name != ".lock"]


def until(what, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until something is so, while the sweep runs."""
    deadline = time.monotonic() + 240
    while not what():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
