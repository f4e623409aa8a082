"""A real PostgreSQL server for tests: Debian's programs, a data folder of its own, on the loopback address."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from search_runs import free_port

ACCOUNT = "nobody"


@dataclass(frozen=True)
class Server:
    """A running server. password: of the user `searcher`, who owns the database `searches`."""

    port: int
    password: str

    @property
    def url(self) -> str:
        """Return the address with its password."""
        return f"postgresql://searcher:{self.password}@127.0.0.1:{self.port}/searches"


def programs() -> Path | None:
    """Return the folder of the newest server's programs, which are not on the PATH in Debian."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda one: int(one.parent.parent.name))
    if found:
        return found[-1].parent
    here = shutil.which("initdb")
    return Path(here).parent if here else None


def as_account(*words: object) -> list[str]:
    """Return a command as an account without rights: the server refuses root."""
    command = [str(word) for word in words]
    if os.geteuid() != 0:
        return command
    return ["setpriv", f"--reuid={ACCOUNT}", "--regid=nogroup", "--clear-groups", *command]


@contextmanager
def running(folder: Path) -> Iterator[Server]:
    """Hold a server with a password for its one user; skip the test where PostgreSQL is not installed."""
    place = programs()
    if place is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    folder.mkdir(parents=True)
    for outer in folder.parents:
        if outer.stat().st_uid == os.geteuid() and outer != Path("/"):
            outer.chmod(outer.stat().st_mode | 0o011)
    if os.geteuid() == 0:
        shutil.chown(folder, ACCOUNT)
    password = f"p{secrets.token_hex(12)}"
    word = folder.parent / "password"
    word.write_text(password)
    word.chmod(0o644)
    port, data = free_port(), folder / "data"
    words = as_account(place / "initdb", "-D", data, "-U", "searcher", f"--pwfile={word}", "-A", "scram-sha-256",
                       "--no-sync", "-E", "UTF8", "--locale=C")  # fmt: skip
    subprocess.run(words, check=True, capture_output=True, timeout=60, cwd="/")
    word.unlink()
    with _serving(folder, port) as server:
        yield _ready(Server(port, password), server)


@contextmanager
def again(found: Server, folder: Path) -> Iterator[None]:
    """Hold a server that was ended, on its folder and its port."""
    with _serving(folder, found.port) as server:
        until = time.monotonic() + 30
        while "ready to accept" not in (folder.parent / "server.log").read_text():
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < until, "the server does not answer within half a minute"
            time.sleep(0.1)
        yield


@contextmanager
def _serving(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Hold a server process on a data folder that is made, with a log of its own."""
    place = programs()
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off",
                "max_connections": 60}  # fmt: skip
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    words = as_account(f"{place}/postgres", "-D", folder / "data", *options)
    with (folder.parent / "server.log").open("wb") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log, cwd="/")
        try:
            yield server
        finally:
            server.send_signal(signal.SIGINT)  # fast: SIGTERM waits for every client
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)


def _ready(found: Server, server: subprocess.Popen[bytes]) -> Server:
    import psycopg

    words = f"host=127.0.0.1 port={found.port} user=searcher password={found.password} dbname=postgres"
    for _ in range(300):
        assert server.poll() is None, "the server ended"
        try:
            with psycopg.connect(words, autocommit=True, connect_timeout=2) as connection:
                connection.execute("CREATE DATABASE searches")
                return found
        except psycopg.OperationalError:
            time.sleep(0.1)
    pytest.fail("the server does not answer within half a minute")
