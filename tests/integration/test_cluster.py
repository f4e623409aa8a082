"""Searches on a real Ray cluster: three nodes on loopback, a token, one node killed and another that joins."""

import subprocess
import sys

import pytest

import promise
from kills import Started, workers_of
from loopback import COUNTED, Loopback, loopback
from qrlora_search.app.reading import read_search
from qrlora_search.method.machine import native_precision
from qrlora_search.values.states import TrialState
from search_runs import SPACE, Place, make_place

JOIN = """
import sys
import ray
from qrlora_search.adapters.ray_engine.cluster import ray_running
from qrlora_search.adapters.ray_engine.resources import TrialResources, missing_nodes
from qrlora_search.values.errors import UserError

def where():
    import os
    import qrlora_search
    return qrlora_search.__file__, os.environ.get("OMP_WAIT_POLICY"), os.environ.get("HF_HUB_DISABLE_TELEMETRY")

try:
    with ray_running(sys.argv[1], 1):
        for labels in ({"zone": "c", "rack": "!x"}, {"zone": "b"}):
            print(missing_nodes(TrialResources(labels=labels)))
        for node in ray.nodes():
            on = {"ray.io/node-id": node["NodeID"]}
            print(*ray.get(ray.remote(where).options(num_cpus=1, label_selector=on).remote()))
except UserError as error:
    print("error:", error, file=sys.stderr)
    raise SystemExit(2)
"""


def joined(cluster: Loopback, **environment: str) -> subprocess.CompletedProcess[str]:
    """Return what a driver of our own says that joins the cluster and looks around."""
    return subprocess.run(
        [sys.executable, "-c", JOIN, cluster.address], env={**cluster.environment, **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    made = make_place(tmp_path_factory.mktemp("far"), tmp_path_factory.mktemp("cache"), "sst2", "bert", rows=1000)
    longer = SPACE.replace("epochs = 3", "epochs = 12").replace("rungs = [1, 2]", "rungs = [6]")
    (made.folder / "space.toml").write_text(longer)  # a node needs several seconds to begin its first trial
    return made


@pytest.fixture(scope="module")
def cluster(place, tmp_path_factory):
    with loopback(tmp_path_factory.mktemp("cluster"), place.environment()) as found:
        yield found


@pytest.fixture(scope="module")
def far(place, cluster) -> Place:
    """Return the place, with what its searches need to join the cluster."""

    class Far(Place):
        def environment(self) -> dict[str, str]:
            return cluster.environment

    return Far(place.folder, place.cache, place.task)


def test_labels_are_read_and_the_program_itself_and_its_settings_reach_every_node(cluster):
    done = joined(cluster, OMP_WAIT_POLICY="the driver's")
    assert done.returncode == 0, done.stderr
    no_node, some_node, *files = done.stdout.splitlines()
    said = "none of the cluster's 3 nodes has 1 CPU, zone=c (labels there: zone=a, zone=b): trials wait until one joins"
    assert (no_node, some_node) == (said, "")
    assert len(files) == 3
    assert all("/py_modules_files/" in file for file in files), files
    assert all(file.endswith(" the driver's 1") for file in files), "settings reach the nodes, too"


def test_a_search_outlives_a_node_and_uses_one_that_joins(far, cluster):
    budget, log = 16, far.folder / "out.log"
    model = (far.folder / "model" / "model.safetensors").stat().st_size
    given = ("--budget", str(budget), "--address", cluster.address, "--label", "zone=b", "--output", "out")
    with log.open("wb") as file:
        process = subprocess.Popen(
            far.command(*given), cwd=far.folder, env=far.environment(), stdout=file, stderr=file,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    run = Started(process, far.folder / "out", log)
    assert run.until(lambda rows: _count(rows, "ended") > 0 and cluster.trains(2)), run.text()
    seen = _count(promise.events(run.output), "report")
    assert run.until(lambda rows: _count(rows, "report") > seen + 4 and _live(rows) >= 3 and cluster.trains(1)), (
        run.text()
    )
    assert not cluster.trains(0), "the head has another label"
    pulled = cluster.pulled(1)
    assert pulled * COUNTED["object_manager_default_chunk_size"] > model, "what is trained on came from another node"
    workers_of(cluster.nodes[1].pid)[0].kill()
    assert run.until(lambda rows: _count(rows, "retried") > 0 and cluster.trains(1)), run.text()
    seen = _count(promise.events(run.output), "report")
    assert run.until(lambda rows: _count(rows, "report") > seen + 8 and _live(rows) >= 3), run.text()
    assert cluster.pulled(1) < 1.5 * pulled, "a node pulls it once, not once a worker"
    cluster.kill(2)  # both nodes of this label train one, and one waits
    cluster.start(f"--address={cluster.address}", labels="zone=b")
    assert run.until(lambda rows: cluster.trains(3)), run.text()
    assert not cluster.trains(0)
    assert process.wait(240) == 0, run.text()
    assert f"joining the cluster at {cluster.address}" in run.text()
    assert "as many trials as it holds side by side, 0 GPU each, on nodes with zone=b" in run.text()
    history, _ = read_search(run.output, "OUTPUT")
    assert history.outcome == "complete"
    assert not history.in_state(TrialState.FAILED)
    assert history.in_state(TrialState.FINISHED)
    assert _count(promise.events(run.output), "retried") > 1
    assert promise.broken(run.output, far.folder / "runs" / "mlflow.db", budget) == []
    assert cluster.alive() == 3


@pytest.mark.evidence
def test_a_node_that_joins_and_lacks_the_plans_precision_fails_no_trial(far, cluster):
    if native_precision() != "bfloat16":
        return  # the contract of engines has what a machine does that lacks it itself
    folder, log = far.folder, far.folder / "lacking.log"
    longer = (folder / "space.toml").read_text().replace("epochs = 12", "epochs = 100").replace("[6]", "[50]")
    (folder / "lacking.toml").write_text(longer.replace("max_length = 48", 'max_length = 48\nprecision = "bfloat16"'))
    given = ("--budget", "12", "--address", cluster.address, "--label", "zone=b", "--output", "lacking")
    with log.open("wb") as file:
        process = subprocess.Popen(
            far.command(*given, "--space", "lacking.toml"), cwd=folder, env=far.environment(), stdout=file, stderr=file,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    run = Started(process, folder / "lacking", log)
    assert run.until(lambda rows: _count(rows, "report") > 0), run.text()
    cluster.start(f"--address={cluster.address}", labels="zone=b", ONEDNN_MAX_CPU_ISA="AVX2")
    assert run.until(lambda rows: _count(rows, "retried") > 0), run.text()
    assert process.wait(240) == 0, run.text()
    history, _ = read_search(run.output, "OUTPUT")
    reasons = [retry for one in history.trials.values() for retry in one.retries]
    assert len(reasons) <= 2, "but for one that waited for a place already, no second trial is placed there"
    assert "does not compute in bfloat16" in str(reasons[0])
    assert not history.in_state(TrialState.FAILED)
    assert len(history.searched) == 12
    assert not cluster.trains(len(cluster.nodes) - 1)
    assert promise.broken(run.output, folder / "runs" / "mlflow.db", 12) == []
    cluster.kill(len(cluster.nodes) - 1)


@pytest.mark.evidence
def test_a_time_limit_ends_a_search_on_a_cluster_and_it_is_resumed(far, cluster):
    given = ("--address", cluster.address, "--output", "limited")
    result = far.run("--budget", "500", *given, "--time-limit", "20s")
    assert result.returncode == 0, result.stdout + result.stderr
    history, _ = read_search(far.folder / "limited", "OUTPUT")
    assert history.outcome == "time limit"
    assert "--resume" in result.stdout
    result = far.run("--budget", str(len(history.searched) + 1), *given, "--resume")
    assert result.returncode == 0, result.stdout + result.stderr
    history, _ = read_search(far.folder / "limited", "OUTPUT")
    assert history.outcome == "complete"


@pytest.mark.evidence
def test_fractions_of_a_gpu_are_given_out(far, cluster):
    """Ray believes a node that says it has a GPU: torch finds none there, and trains on the processor."""
    warm = far.run("--budget", "1", "--output", "warm")  # a warm-up would take a whole one, with NCCL
    assert warm.returncode == 0, warm.stdout + warm.stderr
    cluster.start(f"--address={cluster.address}", "--num-cpus=4", "--num-gpus=1", labels="zone=g")
    given = ("--address", cluster.address, "--label", "zone=g", "--gpus-per-trial")
    half = far.run("--budget", "8", *given, "0.5", "--output", "half")
    assert half.returncode == 0, half.stdout + half.stderr
    assert "0.5 GPU each" in half.stdout
    rows = promise.events(far.folder / "half")
    assert max(_live(rows[:place]) for place in range(len(rows))) == 3, "two train, and one waits"
    assert _training(rows) == 2
    fifth = far.run("--budget", "8", *given, "0.2", "--output", "fifth")
    assert fifth.returncode == 0, fifth.stdout + fifth.stderr
    assert _training(promise.events(far.folder / "fifth")) == 4, "four processors hold four"
    history, _ = read_search(far.folder / "half", "OUTPUT")
    assert (history.outcome, len(history.searched)) == ("complete", 8)


def _training(rows: list[promise.Row]) -> int:
    """Return how many trials were trained side by side at the most: reports between another's first and last."""
    spans: dict[int, list[int]] = {}
    for row in rows:
        if row.kind == "report" and row.trial is not None and row.trial >= 0:
            spans.setdefault(row.trial, []).append(row.sequence)
    return max(
        sum(min(one) <= row.sequence <= max(one) for one in spans.values()) for row in rows if row.kind == "report"
    )


def _count(rows: list[promise.Row], kind: str) -> int:
    return sum(row.kind == kind for row in rows)


def _live(rows: list[promise.Row]) -> int:
    last = {
        row.trial: row.kind for row in rows if row.trial is not None and row.kind in {"started", "retried", "ended"}
    }
    return sum(kind != "ended" for kind in last.values())


@pytest.mark.evidence  # Ray itself tries for 20 s
def test_a_wrong_token_is_refused(cluster, tmp_path):
    token = tmp_path / "token"
    token.write_text("0" * 64)
    done = joined(cluster, RAY_AUTH_TOKEN_PATH=str(token))
    assert done.returncode == 2, done.stdout
    assert f"error: --address '{cluster.address}'" in done.stderr
    assert "Traceback" not in done.stderr
