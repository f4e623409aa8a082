"""Drivers and workers killed in real searches on Ray; signals; a tracking server that goes away."""

import shutil
import signal
import time

import pytest

import promise
from kills import PATIENCE_S, Started, all_ended, moments, start, training, workers_of
from search_runs import LEARNT, Place, end_group, free_port, make_place, serve

BUDGET = 5
ONE_AT_A_TIME = ("--budget", str(BUDGET), "--concurrency", "1")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    return make_place(tmp_path_factory.mktemp("kills"), tmp_path_factory.mktemp("cache"), "sst2", "bert", rows=1500)


@pytest.fixture(scope="module")
def whole(place) -> list[promise.Row]:
    """Return the events of a search that nobody interrupts."""
    result = place.run("--output", "whole", *ONE_AT_A_TIME)
    assert result.returncode == 0, result.stdout + result.stderr
    assert promise.broken(place.folder / "whole", place.folder / "runs" / "mlflow.db", BUDGET) == []
    return promise.events(place.folder / "whole")


def go_on(place: Place) -> Started:
    return start(place, "cut", *ONE_AT_A_TIME, "--resume")


def test_three_drivers_and_two_workers_are_killed_and_signals_end_it_and_the_front_is_the_same(place, whole):
    first, second, third = moments(len(whole), 3, seed=7)
    run = start(place, "cut", *ONE_AT_A_TIME)
    assert run.events(first)
    ended = promise.ends(promise.events(run.output))
    run.kill_driver()

    run = go_on(place)
    assert run.until(lambda rows: rows[-1].sequence > first + 1 and training(rows))
    assert run.kill_worker()
    assert run.events(second + 2)
    run.kill_driver()

    run = go_on(place)
    assert run.until(training)
    assert run.kill_worker()
    assert run.signalled(signal.SIGTERM, group=True) == 143
    assert "--resume" in run.text()
    assert "Traceback" not in run.text()

    run = go_on(place)
    assert run.events(third + 6)
    run.kill_driver()

    seen = promise.events(run.output)[-1].sequence
    run = go_on(place)
    assert run.until(lambda rows: rows[-1].sequence > seen)
    assert run.signalled(signal.SIGINT, again_s=0.3) == 130  # twice: at once
    assert "--resume" in run.text()

    run = go_on(place)
    assert run.process.wait(200) == 0, run.text()
    rows = promise.events(run.output)
    assert promise.broken(run.output, place.folder / "runs" / "mlflow.db", BUDGET) == []
    assert sum(row.kind == "retried" for row in rows) == 2
    assert ended.items() <= promise.ends(rows).items()
    assert promise.ends(rows) == promise.ends(whole)
    assert promise.front(run.output) == promise.front(place.folder / "whole")
    all_ended()


@pytest.mark.evidence
def test_a_tracking_server_that_goes_away_is_caught_up_with_exactly_once(place, tmp_path):
    port = free_port()
    database, address = tmp_path / "server.db", f"http://127.0.0.1:{port}"
    server = serve(database, port)
    try:
        run = start(place, "away", "--budget", "4", "--concurrency", "1", "--tracking-uri", address)
        assert run.until(lambda rows: sum(row.kind == "report" for row in rows) >= 2)
        end_group(server, signal.SIGKILL)
        before = len(promise.events(run.output))
        assert run.until(lambda rows: len(rows) >= before + 6)  # the search does not wait for it
        server = serve(database, port)
        assert run.process.wait(200) == 0, run.text()
    finally:
        end_group(server, signal.SIGINT)
    assert "lacks the end" not in run.text()
    assert "View run" not in run.text(), "MLflow's own lines for each run"
    assert promise.broken(run.output, database, 4) == []


def test_a_signal_while_ray_starts_ends_it_as_at_any_other_time(place):
    run = start(place, "early", *ONE_AT_A_TIME)
    assert said(run, "starting Ray on this machine")
    time.sleep(1)
    assert run.signalled(signal.SIGTERM, group=True) == 143
    assert "prepared" not in run.text()
    assert "interrupted by SIGTERM: what is made is kept" in run.text()
    assert "Traceback" not in run.text()


@pytest.mark.evidence
def test_the_warm_ups_worker_is_killed_and_a_signal_ends_it_before_any_trial(place, tmp_path_factory):
    slow = Place(tmp_path_factory.mktemp("slow"), tmp_path_factory.mktemp("cold"), place.task)
    shutil.copytree(place.folder / "model", slow.folder / "model")
    shutil.copytree(place.folder / "data", slow.folder / "data")
    text = (place.folder / "space.toml").read_text()
    assert "[warm_up]\nepochs = 1\n" in text
    (slow.folder / "space.toml").write_text(text.replace("[warm_up]\nepochs = 1\n", "[warm_up]\nepochs = 100\n"))
    given = ("--budget", "2", "--concurrency", "1")

    run = start(slow, "warm", *given)
    assert said(run, "warm-up epoch 1 of 100")  # the rest would take minutes: it is ended, and not waited for
    refused = slow.run("--output", "warm", *given, "--resume")  # a second driver, while this one lives for sure
    assert refused.returncode == 2
    assert "is in use by another search" in refused.stderr
    assert run.signalled(signal.SIGTERM, group=True) == 143
    assert "interrupted by SIGTERM: what is made is kept" in run.text()
    assert "Traceback" not in run.text()

    (slow.folder / "space.toml").write_text(text.replace("[warm_up]\nepochs = 1\n", "[warm_up]\nepochs = 6\n"))
    run = start(slow, "killed", *given)
    assert said(run, "warm-up epoch 2 of 6")
    (worker,) = workers_of(run.process.pid, ("RayTrainWorker",))
    worker.kill()
    assert said(run, "warm-up: its worker or node was lost; it begins again (1 of 3)")
    assert run.process.wait(200) == 0, run.text()
    assert promise.broken(run.output, slow.folder / "runs" / "mlflow.db", 2) == []


def said(run: Started, words: str) -> bool:
    """Wait until a search has printed something; return False where it ended without."""
    deadline = time.monotonic() + PATIENCE_S
    while words not in run.text():
        if run.over or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.evidence
def test_a_server_that_was_away_at_an_end_gets_it_after_the_search_was_extended(tmp_path, tmp_path_factory):
    """What it is told of the first end, the front's files have left behind: a newer front lies there."""
    place = make_place(tmp_path / "place", tmp_path_factory.mktemp("cache"), "sst2", "bert", rows=600, told=0.8)
    (place.folder / "space.toml").write_text(LEARNT)
    port = free_port()
    database, given = tmp_path / "server.db", ("--concurrency", "1", "--tracking-uri", f"http://127.0.0.1:{port}")
    fronts = []
    for budget, up in ((3, True), (6, False), (16, True)):
        server = serve(database, port) if up else None
        try:
            run = start(place, "out", "--budget", str(budget), *given, *(["--resume"] if fronts else []))
            assert run.process.wait(300) == 0, run.text()
        finally:
            if server:
                end_group(server, signal.SIGINT)
        assert run.text().count("MLflow lacks the end of this search") == (len(fronts) > 0), "the log of all three"
        fronts.append({one["adapter"] for one in promise.front(run.output)["members"]})
    assert promise.broken(run.output, database, 16) == []
    assert fronts[2] - fronts[1], "members of trials that came after the end that was missed"
