"""Where a sweep runs: its spec, folder, record and lock, and the database that its records go to."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from qrlora_search.app.output import check_folder
from qrlora_search.app.sweep_record import Entry, SweepRecord, home_of, save_record
from qrlora_search.describe.sweep import SweepSpec
from qrlora_search.record.storage import VARIABLE
from qrlora_search.values.errors import AwayError
from qrlora_search.values.secrets import expand

BEAT_S = 10.0
"""The time that a search takes is written so often, so that a killed sweep knows what it spent."""


@dataclass(frozen=True)
class Place:
    """Where a sweep runs: its spec, its folder and its record. lost: is told that it ends since its cluster is gone."""

    spec: SweepSpec
    folder: Path
    record: SweepRecord
    console: Console
    lost: Callable[[AwayError], None] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def save(self) -> None:
        """Writes the record."""
        with self.lock:
            save_record(self.folder, self.record)

    @contextmanager
    def spending(self, entry: Entry) -> Iterator[None]:
        """Counts the time that a search takes, however it ends, also while it runs."""
        began, before, over = time.monotonic(), entry.spent_s, threading.Event()

        def beat() -> None:
            while not over.wait(BEAT_S):
                entry.spent_s = before + time.monotonic() - began
                self.record.heard = datetime.now(UTC).isoformat(timespec="milliseconds")
                self.save()

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            entry.spent_s = before + time.monotonic() - began

    def tell(self, words: str) -> None:
        """Says something, with the time."""
        self.console.print(f"{datetime.now(UTC):%H:%M:%S} sweep {self.record.slot}: {words}", markup=False)


def check_home(spec: SweepSpec) -> Path:
    """Returns the folder of all runs of a sweep. Raises UserError where it cannot be made or written; makes nothing."""
    home = home_of(spec)
    check_folder(home, "storage.output:")
    return home


def name_database(spec: SweepSpec) -> None:
    """Puts the spec's database where records look for it. Raises UserError where the environment lacks a name."""
    if spec.storage.database is not None:
        os.environ[VARIABLE] = expand(spec.storage.database, os.environ, "storage.database")


@contextmanager
def alone(home: Path) -> Iterator[bool]:
    """Holds the sweep's lock; yields False where another process has it. A dead one's is free."""
    lock = FileLock(home / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
