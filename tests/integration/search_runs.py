"""Running the command as a user does, in a folder of its own, on a tiny model and a few generated rows."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from qrlora_search.describe.tasks import TASKS
from qrlora_search.method.standin import generate
from tiny import save_tiny_model

SPACE = """
[training]
epochs = 3
rungs = [1, 2]
max_length = 48
[warm_up]
epochs = 1
learning_rate = 1e-3
[sampler]
random_first = 3
"""

LEARNT = (
    SPACE.replace("epochs = 1\nlearning_rate = 1e-3", "epochs = 4\nlearning_rate = 1e-3").replace(
        "max_length = 48", 'max_length = 48\nprecision = "float32"'
    )
    + """
[head]
modes = ["trained"]
[learning_rate]
low = 0.1
high = 2.0
[confirm]
share = 1.0
"""
)
"""With rows whose label is in their words, adapters learn what this warm-up is too short for: the front has members,
on every machine alike: in float32."""


@dataclass(frozen=True)
class Place:
    """A folder with a tiny model, data of one task and a space; the cache is shared by all places of a test session."""

    folder: Path
    cache: Path
    task: str

    def command(self, *more: str) -> list[str]:
        """Return the command of a search over this place's model, data and space."""
        script = Path(sys.executable).parent / "qrlora-search"
        given = {"--task": self.task, "--model": "model", "--data": "data", "--space": "space.toml"}
        own = [part for name, value in given.items() if name not in more for part in (name, value)]
        return [str(script), *own, *more]

    def environment(self) -> dict[str, str]:
        """Return the environment of a run: its own cache, no colours, and a note of every host that it asks for."""
        return {
            **os.environ, "QRLORA_CACHE": str(self.cache), "NO_COLOR": "1", "COLUMNS": "160", "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(Path(__file__).parent / "audit"), "QRLORA_TEST_AUDIT": str(self.folder / "asked.txt"),
        }  # fmt: skip

    def run(self, *more: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a search to its end and return what it printed."""
        return subprocess.run(
            self.command(*more), cwd=self.folder, env=self.environment(), capture_output=True, text=True,
            timeout=timeout, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip


def with_label_told(frame: pd.DataFrame, column: str, share: float) -> pd.DataFrame:
    """Return rows of which a share has a word for its label at the end of a text; the others have any one."""
    random = np.random.default_rng(0)
    told = np.where(random.uniform(size=len(frame)) < share, frame["label"], random.integers(0, 2, len(frame)))
    words = [f"{text} {('apple', 'pear')[int(label)]}" for text, label in zip(frame[column], told, strict=True)]
    return frame.assign(**{column: words}) if share else frame


def make_place(folder: Path, cache: Path, task: str, family: str, rows: int = 160, told: float = 0.0) -> Place:
    """Return a place with `rows` generated rows of train and half as many in each report split.

    told: share of rows of a classification whose label stands in their first text as a word, which even a tiny model
    of random weights can learn.
    """
    data = {name: with_label_told(frame, TASKS[task].texts[0], told) for name, frame in generate(task).items()}
    texts = [text for column in TASKS[task].texts for text in data["train"][column]]
    words = sorted({word.strip(".,?!'").lower() for text in texts for word in text.split()})
    save_tiny_model(folder / "model", family, words[:3000])
    (folder / "data" / task).mkdir(parents=True)
    for name, frame in data.items():
        part = frame.head(rows if name == "train" else rows // 2).copy()
        if task != "stsb":
            part["label"] = part["label"].astype(int)
        part.to_csv(folder / "data" / task / f"{name}.tsv", sep="\t", index=False, quoting=3)
    (folder / "space.toml").write_text(SPACE, encoding="utf-8")
    return Place(folder, cache, task)


def free_port() -> int:
    """Return a port of the loopback address that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def end_group(leader: subprocess.Popen[str], gently: signal.Signals) -> None:
    """End a process that leads a group, with all it started: by a signal, and after half a minute by force."""
    os.killpg(leader.pid, gently)
    try:
        leader.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(leader.pid, signal.SIGKILL)
        leader.wait(30)


def serve(database: Path, port: int) -> subprocess.Popen[str]:
    """Start a real tracking server on loopback and wait until it answers."""
    script = Path(sys.executable).parent / "qrlora-search"
    command = [str(script), "ui", "--port", str(port), "--tracking-uri", f"sqlite:///{database}"]
    with (database.parent / "server.log").open("a") as log:
        server = subprocess.Popen(
            command, cwd=database.parent, stdout=log, stderr=log, start_new_session=True, text=True
        )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return server
        except OSError:
            time.sleep(0.3)
    end_group(server, signal.SIGKILL)
    raise TimeoutError("the tracking server does not answer")
