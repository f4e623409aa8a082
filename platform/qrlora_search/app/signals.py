"""SIGINT and SIGTERM: the first ends a search cleanly, the second at once. Either way it can be resumed."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_CAUGHT = (signal.SIGINT, signal.SIGTERM)
EXIT_CODES = {f"interrupted by {one.name}": 128 + one for one in _CAUGHT}


class InterruptedEarlyError(KeyboardInterrupt):
    """A signal that came before there was a search to end, or after. why: a key of `EXIT_CODES`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Signals:
    """Takes the process's signals while it is active; `listening` says who is told of the first one."""

    def __init__(self) -> None:
        self.listener: Callable[[str], None] | None = None
        self.first: int | None = None

    @property
    def exit_code(self) -> int:
        """Returns 130 or 143 where a signal came, also one that came too late to end anything; else 0."""
        return 0 if self.first is None else 128 + self.first

    def install(self) -> None:
        """Becomes the handler; again after Ray, which puts its own in place of SIGTERM's."""
        for number in _CAUGHT:
            signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.first is not None:
            os.write(2, b"ended at once: the same command with --resume goes on from what is recorded\n")
            os._exit(128 + number)
        self.first = number
        why = f"interrupted by {signal.Signals(number).name}"
        if self.listener is None:
            raise InterruptedEarlyError(why)
        self.listener(why)

    @contextmanager
    def listening(self, listener: Callable[[str], None]) -> Iterator[None]:
        """Brings the first signal to a listener, which ends the search in its own time."""
        self.listener = listener
        self.install()
        try:
            yield
        finally:
            self.listener = None


@contextmanager
def signals_caught() -> Iterator[Signals]:
    """Holds the signals of this process; what handled them before does so again afterwards."""
    before = {number: signal.getsignal(number) for number in _CAUGHT}
    signals = Signals()
    signals.install()
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
