"""Loaded by every Python process whose path this folder is on: notes each host outside this machine that is asked for.

A line a process that began, and a line a host, go to the file that QRLORA_TEST_AUDIT names. Code that is not Python's,
such as Ray's own servers, is not seen.
"""

import os
import socket
import sys
from pathlib import Path

FILE = os.environ.get("QRLORA_TEST_AUDIT", "")
HERE = {"", "localhost", "0.0.0.0", "::", "::1", socket.gethostname()}


def note(words: str) -> None:
    """Append a line."""
    with Path(FILE).open("a", encoding="utf-8") as file:
        file.write(f"{words}\n")


def watch(event: str, arguments: tuple) -> None:
    """Note the host of a connection, a datagram or a look-up."""
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""  # a path is a socket of this machine
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = arguments[0]
    else:
        return
    host = (host.decode() if isinstance(host, bytes) else host) or ""
    if host not in HERE and not host.startswith("127."):
        note(f"{event} {host}")


if FILE:
    note(f"began {os.getpid()}")
    sys.addaudithook(watch)
