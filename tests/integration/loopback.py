"""A Ray cluster of several nodes on loopback addresses: separate raylets, which ask for a token."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from kills import workers_of
from search_runs import free_port

PATIENCE_S = 120.0
HEALTH = {"initial_delay_ms": 1000, "period_ms": 500, "timeout_ms": 3000, "failure_threshold": 3}
"""A dead node is noticed within seconds, in place of half a minute."""
COUNTED = {"object_manager_default_chunk_size": 4096, "debug_dump_period_milliseconds": 500}
"""What a node pulls comes in small chunks, and it writes soon how many there were."""
ALIVE = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"


@dataclass
class Loopback:
    """A running cluster. environment: what a driver needs to join it. scratch: of Ray, a folder for each node, as on
    machines of their own. nodes: their processes, the head first.
    """

    port: int
    dashboard: int
    environment: dict[str, str]
    folder: Path
    scratch: Path
    nodes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> str:
        """Return the head's address."""
        return f"127.0.0.2:{self.port}"

    @property
    def jobs(self) -> str:
        """Return the job server's address."""
        return f"http://127.0.0.2:{self.dashboard}"

    def start(self, *more: str, labels: str = "", **variables: str) -> None:
        """Start one more node of one processor, in a process group of its own, and wait until it has joined. variables:
        more for its environment.
        """
        ray, place = str(Path(sys.executable).parent / "ray"), len(self.nodes)
        words = [ray, "start", "--block", "--num-cpus=1", "--disable-usage-stats", "--object-store-memory=200000000"]
        words += [
            f"--temp-dir={self.scratch / str(place)}",
            f"--node-ip-address=127.0.0.{place + 2}",
            *([f"--labels={labels}"] if labels else []),
            *more,
        ]
        log = self.folder / f"node-{place}.log"
        with log.open("wb") as file:
            self.nodes.append(subprocess.Popen(words, env={**self.environment, **variables},
                                               start_new_session=True, stdout=file, stderr=file))  # fmt: skip
        until = time.monotonic() + PATIENCE_S
        while "Ray runtime started" not in log.read_text(errors="replace"):
            assert self.nodes[-1].poll() is None, log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < until, log.read_text(errors="replace")[-3000:]
            time.sleep(0.2)

    def trains(self, place: int) -> bool:
        """Return whether a trial's worker runs on a node."""
        return bool(workers_of(self.nodes[place].pid))

    def pulled(self, place: int) -> int:
        """Return how many chunks of objects a node has pulled from others, by what it writes itself."""
        time.sleep(2 * COUNTED["debug_dump_period_milliseconds"] / 1000)
        state = self.scratch / str(place) / "session_latest" / "logs" / "debug_state.txt"
        return int(re.findall(r"num chunks received total: (\d+)", state.read_text())[-1])

    def kill(self, place: int) -> None:
        """Kill a node by force, with all that runs on it."""
        if self.nodes[place].poll() is None:
            workers = psutil.Process(self.nodes[place].pid).children(recursive=True)
            os.killpg(self.nodes[place].pid, signal.SIGKILL)
            for one in workers:
                if one.is_running():
                    one.kill()
            self.nodes[place].wait(30)

    def alive(self) -> int:
        """Return how many nodes the cluster knows as alive."""
        done = subprocess.run([sys.executable, "-c", ALIVE, self.address], env=self.environment, capture_output=True,
                              text=True, timeout=PATIENCE_S, check=True)  # fmt: skip
        return int(done.stdout.split()[-1])


@contextmanager
def loopback(folder: Path, environment: Mapping[str, str], dashboard: bool = False) -> Iterator[Loopback]:
    """Hold a cluster of three nodes of one processor, labelled zone=a, b, b. dashboard: with a job server."""
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    scratch = Path(tempfile.mkdtemp(prefix="rt", dir="/tmp"))  # short: sockets have paths of 107 characters at the most
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    quick = {f"RAY_health_check_{name}": str(value) for name, value in HEALTH.items()}
    quick |= {f"RAY_{name}": str(value) for name, value in COUNTED.items()}
    own = {**environment, **quick, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "PATH": path}
    found = Loopback(free_port(), free_port(), own, folder, scratch)
    try:
        found.start("--head", f"--port={found.port}", "--dashboard-host=127.0.0.2",
                    f"--dashboard-port={found.dashboard}", f"--include-dashboard={str(dashboard).lower()}",
                    labels="zone=a")  # fmt: skip
        for _ in range(2):
            found.start(f"--address={found.address}", labels="zone=b")
        yield found
    finally:
        for place in reversed(range(len(found.nodes))):
            found.kill(place)
        shutil.rmtree(scratch, ignore_errors=True)
