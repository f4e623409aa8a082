"""Watching the head of a cluster: Ray itself ends a driver whose head is gone, after a minute, with exit code 1."""

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from qrlora_search.values.errors import AWAY, GOES_ON, AwayError

LOOK_S = 5.0
PATIENCE_S = 40.0
"""A head that was restarted within this time is gone on with; Ray's own patience ends at 60 s."""


@contextmanager
def head_watched(address: str, tell: Callable[[AwayError], None] | None = None) -> Iterator[None]:
    """Ends this process with AWAY where nothing has listened at a head's HOST:PORT for PATIENCE_S.

    It ends at once, since what Ray is asked now waits for the head: to what is recorded it is one more kill. tell: is
    told before.
    """
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(address, over, tell), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()


def _watch(address: str, over: threading.Event, tell: Callable[[AwayError], None] | None) -> None:
    heard = time.monotonic()
    while not over.wait(LOOK_S):
        trouble = _trouble(address)
        if trouble is None:
            heard = time.monotonic()
        elif time.monotonic() - heard > PATIENCE_S and not over.is_set():
            error = AwayError(f"the head of the Ray cluster, {address}, does not answer any more ({trouble})")
            sys.stderr.write(f"error: {error}; {GOES_ON}\n")
            try:
                if tell is not None:
                    tell(error)
            finally:
                sys.stderr.flush()
                os._exit(AWAY)


def _trouble(address: str) -> OSError | None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=LOOK_S).close()
    except OSError as error:
        return error
    return None
