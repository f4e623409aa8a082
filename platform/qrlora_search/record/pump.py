"""Brings the record's events to a sink, in order, in a thread of its own. What fails is offered again."""

import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy.exc import InterfaceError, OperationalError

from qrlora_search.describe.protocols import Event, Sink
from qrlora_search.record.events import Record
from qrlora_search.values.errors import AnewError, SinkError
from qrlora_search.values.secrets import first_line, without_secrets

RETRY_S = (0.2, 1.0, 5.0)


class Pump:
    """Feeds one sink until it is closed. The search never waits for a sink but at its end."""

    def __init__(self, record: Record, make: Callable[[], Sink], name: str, patience_s: float = 60.0) -> None:
        self.record, self.make, self.name, self.patience_s = record, make, name, patience_s
        self.sink: Sink | None = None
        self.done = 0
        self.busy_s = 0.0
        self.trouble = ""
        self.last: int | None = None
        self.closing_at: float | None = None
        self.thread = threading.Thread(target=self._work, name=f"sink-{name}", daemon=True)
        self.thread.start()

    def _work(self) -> None:
        tries = 0
        while not self._over():
            try:
                self._feed()
                tries, self.trouble = 0, ""
            except SinkError as error:
                self.trouble = (str(error).splitlines() or [type(error).__name__])[0]
                if isinstance(error, AnewError):
                    self.sink, self.done = None, 0
                time.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
                tries += 1
            except Exception as error:  # noqa: BLE001 - a fault of the program, which ends this thread: said at the end, too
                self.trouble = f"{type(error).__name__}: {first_line(error, self.record.url)}"
                raise RuntimeError(without_secrets(traceback.format_exc(), self.record.url)) from None
        if self.sink is not None:
            with suppress(SinkError):
                self.sink.close()

    def _over(self) -> bool:
        if self.closing_at is None or self.last is None:
            return False
        return self.done >= self.last or time.monotonic() > self.closing_at

    def _feed(self) -> None:
        if self.sink is None:
            self.sink = self.make()
        for event in self._read(1000):
            began = time.thread_time()
            self.sink.take(event)
            self.busy_s += time.thread_time() - began
            self.done = event.sequence
            if self.closing_at is not None:
                self.closing_at = time.monotonic() + self.patience_s
        with self.record.changed:
            if not self._read(1) and self.closing_at is None:
                self.record.changed.wait(0.5)

    def _read(self, limit: int) -> list[Event]:
        """Returns the next events. A record that is away is asked again, as a sink is offered an event again."""
        try:
            return self.record.read(self.done, limit)
        except (InterfaceError, OperationalError) as error:
            raise SinkError(f"the record cannot be read: {first_line(error, self.record.url)}") from None

    def close(self, last: int) -> str:
        """Waits until the sink has seen event `last`, while it gets on; returns what went wrong, or an empty text."""
        self.last = last
        self.closing_at = time.monotonic() + self.patience_s
        with self.record.changed:
            self.record.changed.notify_all()
        while self.thread.is_alive() and time.monotonic() < self.closing_at + 10:
            self.thread.join(1.0)
        return "" if self.done >= last else (self.trouble or f"{self.name} did not take event {self.done + 1} in time")
