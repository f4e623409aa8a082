"""Sweeps on a real cluster of three nodes with PostgreSQL: sent twice, a node lost on the way; then run by cron, twice.

Not part of `make test`, for its time, and for Ray's job server, which needs the extra `cluster`: `make evidence`.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import promise
from loopback import loopback
from qrlora_search.app.sweep_record import records
from qrlora_search.app.sweep_schedule import crontab
from qrlora_search.describe.sweep import load_sweep
from search_runs import SPACE, make_place

pytestmark = pytest.mark.evidence

SPEC = """
name = "night"
[searches]
tasks = ["sst2"]
models = ["{folder}/model"]
spaces = ["{folder}/space.toml"]
[budget]
configurations = 8
rounds = 1
[data]
sst2 = "{folder}/data"
[resources]
address = "auto"
[storage]
output = "{folder}/runs"
tracking_uri = "sqlite:///{folder}/mlflow.db"
database = "$NIGHT_DATABASE"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = make_place(tmp_path_factory.mktemp("sweep"), tmp_path_factory.mktemp("cache"), "sst2", "bert", rows=1000)
    (made.folder / "sweep.toml").write_text(SPEC.format(folder=made.folder))
    (made.folder / "space.toml").write_text(SPACE.replace("epochs = 3", "epochs = 12").replace("[1, 2]", "[6]"))
    return made


@pytest.fixture(scope="module")
def cluster(place, server, tmp_path_factory):
    pytest.importorskip("aiohttp_cors", reason="Ray's job server is not installed: pip install '.[cluster]'")
    environment = {**place.environment(), "NIGHT_DATABASE": server.url}
    with loopback(tmp_path_factory.mktemp("cluster"), environment, dashboard=True) as found:
        yield found


def sweep(cluster, place, *words: str, **environment: str):
    """Return what a command of sweeps says."""
    return subprocess.run(
        [str(Path(sys.executable).parent / "qrlora-search"), "sweep", *words], cwd=place.folder,
        env={**cluster.environment, **environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def wait_for(what: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is so; return False where it is not in time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if what():
            return True
        time.sleep(2)
    return False


def test_a_sweep_sent_twice_runs_once_and_outlives_a_node(cluster, place, server, monkeypatch):
    given = ("sweep.toml", "--slot", "night", "--jobs", cluster.jobs)
    sent, again = sweep(cluster, place, "submit", *given), sweep(cluster, place, "submit", *given)
    assert (sent.returncode, again.returncode) == (0, 0), sent.stderr + again.stderr
    assert "was sent before" in again.stdout, again.stdout
    assert wait_for(lambda: cluster.trains(2), 240), sweep(cluster, place, "logs", *given).stdout
    time.sleep(3)  # its first trial begins
    cluster.kill(2)
    assert wait_for(lambda: "RUNNING" not in sweep(cluster, place, "status", *given).stdout, 300)
    state, log = sweep(cluster, place, "status", *given), sweep(cluster, place, "logs", *given)
    assert "SUCCEEDED" in state.stdout, state.stdout + log.stdout
    (record,) = records(place.folder / "runs" / "night")
    (entry,) = record.entries.values()
    assert (record.slot, entry.state, entry.configurations) == ("night", "done", 8)
    monkeypatch.setenv("QRLORA_STORAGE", server.url)
    assert promise.broken(Path(entry.output), place.folder / "mlflow.db", 8) == []
    assert cluster.alive() == 2
    assert server.password not in log.stdout
    assert not any(server.password.encode() in path.read_bytes() for path in place.folder.rglob("*") if path.is_file())


def test_a_sweep_that_was_sent_can_be_stopped(cluster, place):
    given = ("sweep.toml", "--slot", "later", "--jobs", cluster.jobs)
    sent = sweep(cluster, place, "submit", *given)
    assert sent.returncode == 0, sent.stderr
    assert wait_for(lambda: "RUNNING" in sweep(cluster, place, "status", *given).stdout, 120)
    stopped = sweep(cluster, place, "stop", *given)
    assert stopped.returncode == 0, stopped.stderr
    assert wait_for(lambda: "STOPPED" in sweep(cluster, place, "status", *given).stdout, 120)


def test_without_the_token_nothing_is_told(cluster, place, tmp_path):
    (tmp_path / "token").write_text("0" * 64)
    given = ("sweep.toml", "--slot", "night", "--jobs", cluster.jobs)
    done = sweep(cluster, place, "status", *given, RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"))
    assert done.returncode == 2, done.stdout
    assert "error: --jobs" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(shutil.which("cron") is None or os.geteuid() != 0, reason="cron is not installed, or not root")
def test_cron_runs_the_written_line_twice_on_the_cluster(cluster, place, tmp_path, monkeypatch):
    """Debian's own cron, for two of its minutes; the second run knows the first and skips what is unchanged."""
    folder = place.folder
    spec = folder / "each.toml"
    text = SPEC.format(folder=folder).replace('"night"', '"each"').replace('"auto"', f'"{cluster.address}"')
    text = text.replace("configurations = 8", "configurations = 2") + '[history]\nunchanged = "skip"\n'
    spec.write_text(text + '[schedule]\ncron = "* * * * *"\ntime_zone = "UTC"\n')
    home = tmp_path / "home"
    (home / ".config/qrlora-search").mkdir(parents=True)
    kept = ("NIGHT_DATABASE", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "QRLORA_CACHE", "HF_HUB_OFFLINE")
    lines = [f"{name}={cluster.environment[name]}" for name in kept]
    (home / ".config/qrlora-search/environment").write_text("\n".join(lines) + "\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(home))
    loaded = load_sweep(spec)
    (line,) = [one for one in crontab(loaded, loaded.schedule, spec).splitlines() if one.startswith("* ")]
    fields, command = line.split(" ", 5)[:5], line.split(" ", 5)[5]
    table = Path("/etc/cron.d/qrlora-evidence")
    table.write_text(f"HOME={home}\n{' '.join(fields)} root {command}\n")
    table.chmod(0o644)
    daemon = subprocess.Popen(["cron", "-f"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        ended = wait_for(lambda: sum(bool(one.ended) for one in records(folder / "runs" / "each")) >= 2, 300)
    finally:
        table.unlink()
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(20)
    assert ended, records(folder / "runs" / "each")
    first, second = [one for one in records(folder / "runs" / "each") if one.ended][:2]
    assert (first.base, second.base) == (None, first.slot)
    (entry,) = second.entries.values()
    assert entry.state == "skipped"
    assert (first.exit_code, second.exit_code) == (0, 0)
