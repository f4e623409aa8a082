"""Two nights of a sweep as a cluster has them: three nodes, PostgreSQL, an MLflow server, a token; in each a node and
the driver are killed on the way, and the second night knows the first.

    python -m tests.soak.night --data "$GLUE" [--configurations 96] [--train-limit 1000] [--to runs/night]

Eight tasks, the four real ones of --data and four of stand-in data. Each night is told in times; the promise is checked
in the record, the study, MLflow's database and the files of every search. Nothing listens beyond loopback.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

for _folder in ("tests", "tests/integration"):
    sys.path.insert(0, str(Path(__file__).parents[2] / _folder))

import promise  # noqa: E402
from loopback import Loopback, loopback  # noqa: E402
from postgres import running  # noqa: E402
from qrlora_search.app.sweep_record import SweepRecord, records  # noqa: E402
from search_runs import end_group, free_port  # noqa: E402

REAL, STAND_IN = ("cola", "rte", "mrpc", "stsb"), ("sst2", "qnli", "qqp", "mnli")
SPACE = """
[training]
epochs = 3
rungs = [1, 2]
[warm_up]
epochs = 5
[derived]
trials = 4
halvings = 1
"""
SPEC = """
name = "night"
[searches]
tasks = {tasks}
models = ["embedded"]
spaces = ["{folder}/few-rows.toml"]
train_limit = {train_limit}
[budget]
configurations = {configurations}
rounds = 2
[data]
{data}
[resources]
address = "$NIGHT_RAY"
[storage]
output = "{folder}/sweeps"
tracking_uri = "$NIGHT_TRACKING"
database = "$NIGHT_DATABASE"
[history]
unchanged = "deepen"
"""
SCRIPT = str(Path(sys.executable).parent / "qrlora-search")
PATIENCE_S = 3000.0


@dataclass
class Place:
    """Where the nights happen."""

    folder: Path
    cluster: Loopback
    tracking: str
    database: str
    already: int = 0
    began: float = field(default_factory=time.monotonic)

    def tell(self, words: str) -> None:
        """Print words with the seconds since the beginning."""
        print(f"[{time.monotonic() - self.began:6.0f} s] {words}", flush=True)

    @property
    def runs(self) -> list[SweepRecord]:
        """Return the nights so far."""
        return records(self.folder / "sweeps" / "night")

    @property
    def started(self) -> int:
        """Return how many trials the night has started: it goes on with the outputs of the night before."""
        found = {Path(one.output) for run in self.runs for one in run.entries.values() if one.output}
        return sum(row.kind == "started" for output in found for row in promise.events(output)) - self.already

    def begin(self) -> subprocess.Popen[bytes]:
        """Start a sweep, or go on with it."""
        with (self.folder / "night.log").open("ab") as log:
            return subprocess.Popen(
                [SCRIPT, "sweep", "run", str(self.folder / "night.toml")], cwd=self.folder,
                env=self.cluster.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def until(self, trials: int, sweep: subprocess.Popen[bytes]) -> None:
        """Wait until so many trials have started."""
        until = time.monotonic() + PATIENCE_S
        while self.started < trials:
            if sweep.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the sweep ended with {sweep.returncode} after {self.started} trials: see night.log")
            time.sleep(1)


@contextmanager
def mlflow(folder: Path, address: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Hold an MLflow server on a database; yield its address."""
    port = free_port()
    with (folder / "mlflow.log").open("wb") as log:
        server = subprocess.Popen(
            [SCRIPT, "ui", "--port", str(port), "--tracking-uri", address], cwd=folder, env=dict(environment),
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        end_group(server, signal.SIGINT)


def night(place: Place, third: int) -> int:
    """Run a night: a node is killed after a third of the trials, the driver after two thirds, and a node joins."""
    place.already += place.started
    sweep = place.begin()
    place.until(third, sweep)
    last = len(place.cluster.nodes) - 1
    place.cluster.kill(last)
    place.tell(f"a node of three killed after {place.started} trials")
    place.until(2 * third, sweep)
    os.kill(sweep.pid, signal.SIGKILL)
    sweep.wait()
    place.tell(f"driver killed after {place.started} trials; a node joins, the same command again")
    place.cluster.start(f"--address={place.cluster.address}", labels="zone=b")
    return place.begin().wait()


def faults(place: Place) -> list[str]:
    """Return where the newest night broke the promise."""
    found = []
    for key, entry in place.runs[-1].entries.items():
        output = Path(entry.output)
        mine = promise.broken(output, place.database.replace("/searches", "/tracking"), entry.configurations)
        found += [f"{key}: {one}" for one in mine]
    return found


def nights(place: Place, configurations: int) -> int:
    """Run both nights and check each; return how many faults there were."""
    wrong = 0
    for number in (1, 2):
        place.tell(f"night {number} begins")
        code = night(place, configurations // 3)
        record = place.runs[-1]
        place.tell(f"night {number} ended with exit code {code}, base {record.base}")
        for key, one in record.entries.items():
            count = f"{one.configurations} configurations, {one.configurations - one.before} of them new"
            place.tell(f"  {key}: {one.state}, {count}, {one.spent_s:.0f} s {one.reason}")
        found = faults(place)
        place.tell(f"promise: {found or 'kept'}")
        wrong += len(found) + (code not in {0, 3})
    return wrong


def main() -> int:
    """Run two nights; 0 where the promise was kept."""
    for one in (signal.SIGTERM, signal.SIGINT):  # nodes and servers are ended on the way out
        signal.signal(one, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--configurations", type=int, default=96)
    parser.add_argument("--train-limit", type=int, default=1000)
    parser.add_argument("--to", type=Path, default=Path("runs/night"))
    asked = parser.parse_args()
    folder = asked.to.resolve()
    folder.mkdir(parents=True, exist_ok=False)
    lines = [f'{task} = "{asked.data.resolve()}"' for task in REAL] + [f'{task} = "stand-in"' for task in STAND_IN]
    tasks = "[" + ", ".join(f'"{task}"' for task in (*REAL, *STAND_IN)) + "]"
    spec = SPEC.format(tasks=tasks, train_limit=asked.train_limit, configurations=asked.configurations,
                       data="\n".join(lines), folder=folder)  # fmt: skip
    (folder / "night.toml").write_text(spec)
    (folder / "few-rows.toml").write_text(SPACE)
    with tempfile.TemporaryDirectory(prefix="qrlora-night-") as scratch, running(Path(scratch) / "pg") as server:
        return _with_server(asked, folder, server.url)


def _with_server(asked: argparse.Namespace, folder: Path, database: str) -> int:
    import psycopg

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE DATABASE tracking")
    environment = {**os.environ, "QRLORA_CACHE": str(folder / "cache"), "NO_COLOR": "1", "HF_HUB_OFFLINE": "1"}
    os.environ["QRLORA_STORAGE"] = database
    with mlflow(folder, database.replace("/searches", "/tracking"), environment) as tracking:
        environment |= {"NIGHT_DATABASE": database, "NIGHT_TRACKING": tracking}
        with loopback(folder, environment) as cluster:
            cluster.environment["NIGHT_RAY"] = cluster.address
            place = Place(folder, cluster, tracking, database)
            wrong = nights(place, asked.configurations)
            place.tell(f"{wrong} faults; the reports are in {folder / 'sweeps' / 'night'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
