"""Starting searches to kill them: drivers and workers, by process id, at moments that the record tells."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

import promise
from search_runs import Place

PATIENCE_S = 150.0
WORKER_S = 30.0
"""A worker that is to be killed must be there within so long: on a busy machine one takes its time to begin."""
SOON_S = 30.0
"""What a killed driver started ends within so long, but for Ray's agents."""
AGENTS = ("DashboardAgent", "RuntimeEnvAgent")
ACTORS = ("TrialActor", "ResourceTrainable")
"""What Ray calls a trial's worker: ours while it begins, then the class that Tune makes of it to give it resources."""

_left: list[psutil.Process] = []


@dataclass
class Started:
    """A search that runs, and what it prints."""

    process: subprocess.Popen[bytes]
    output: Path
    log: Path

    @property
    def over(self) -> bool:
        """Return whether it has ended."""
        return self.process.poll() is not None

    def text(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace")

    def until(self, wanted: Callable[[list[promise.Row]], bool]) -> bool:
        """Wait until the record is so; return False where the search ended before."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if wanted(promise.events(self.output)):
                return True
            if self.over:
                return wanted(promise.events(self.output))
            time.sleep(0.05)
        raise TimeoutError(f"the search did not get there:\n{self.text()[-3000:]}")

    def events(self, count: int) -> bool:
        """Wait for so many events."""
        return self.until(lambda rows: len(rows) >= count)

    def kill_driver(self) -> None:
        """Kill the driver, and see that what trains and what manages it ends soon: for the rest, see `all_ended`."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        agents = [one for one in children if _is_agent(one)]
        self.process.kill()
        self.process.wait(30)
        _none_lives([one for one in children if one not in agents], SOON_S)
        _left.extend(agents)

    def kill_worker(self) -> bool:
        """Kill a worker that trains, and wait until the search has noticed; return False where there was none."""
        deadline = time.monotonic() + WORKER_S
        while not (training(promise.events(self.output)) and (workers := workers_of(self.process.pid))):
            if self.over or time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        before = Counter(row.kind for row in promise.events(self.output))["retried"]
        workers[0].kill()
        return self.until(lambda rows: Counter(row.kind for row in rows)["retried"] > before)

    def signalled(self, number: signal.Signals, again_s: float | None = None, *, group: bool = False) -> int:
        """Send a signal, once or twice, or to the whole group as `timeout` does, and return the exit code."""
        (os.killpg if group else os.kill)(self.process.pid, number)
        if again_s is not None:
            time.sleep(again_s)
            os.kill(self.process.pid, number)
        return self.process.wait(120)


def all_ended() -> None:
    """See that nothing outlives the drivers that were killed so far: Ray's agents say farewell for a minute to a head
    that is gone. A search that goes on meanwhile, as a user's does, is not held up by them.
    """
    _none_lives(_left, PATIENCE_S)
    _left.clear()


def _is_agent(one: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return any(name in " ".join(one.cmdline()) for name in AGENTS)
    return False


def _none_lives(processes: list[psutil.Process], patience_s: float) -> None:
    _, left = psutil.wait_procs(processes, timeout=patience_s)
    alive = [one for one in left if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    for one in alive:
        one.kill()
    assert not alive, f"outlived their driver: {alive}"


def workers_of(driver: int, names: tuple[str, ...] = ACTORS) -> list[psutil.Process]:
    """Return the processes that train for a driver, by what Ray calls them."""
    found = []
    for one in psutil.Process(driver).children(recursive=True):
        with suppress(psutil.Error):
            if any(name in " ".join(one.cmdline()) for name in names):
                found.append(one)
    return found


def start(place: Place, output: str, *more: str) -> Started:
    """Start a search with an output of this name."""
    log = place.folder / f"{output}.log"
    with log.open("ab") as file:
        process = subprocess.Popen(
            place.command("--output", output, *more), cwd=place.folder, env=place.environment(),
            stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    return Started(process, place.folder / output, log)


def training(rows: list[promise.Row]) -> bool:
    """Return whether a trial is being trained: its last word was no end."""
    last: dict[int, str] = {row.trial: row.kind for row in rows if row.trial is not None}
    return any(kind in {"started", "decision"} for kind in last.values())


def moments(events: int, count: int, seed: int) -> list[int]:
    """Return rising numbers of events at which to kill, from a fifth to nine tenths of a search, from a seed."""
    places = sorted(random.Random(seed).uniform(0.2, 0.9) for _ in range(count))
    return [int(place * events) for place in places]
