"""What a search on this machine listens on while it runs: loopback alone, in all of its processes."""

import ipaddress
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from kills import start
from search_runs import Place, make_place

PATIENCE_S = 240


@dataclass(frozen=True)
class AtHome(Place):
    """A place whose runs have a home of their own, in which Ray finds no token."""

    def environment(self) -> dict[str, str]:
        """Return the environment of a run."""
        without = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"}
        plain = {name: value for name, value in super().environment().items() if name not in without}
        return {**plain, "HOME": str(self.folder / "home")}


def listening(leader: psutil.Process) -> set[tuple[str, str]]:
    """Return (what a process is called, the address it listens on) for a process and all below it."""
    found = set()
    for one in [leader, *leader.children(recursive=True)]:
        with suppress(psutil.Error):
            words = one.cmdline()
            called = " ".join([Path(words[0]).name, *(Path(word).name for word in words[1:3])]) if words else one.name()
            for socket_ in one.net_connections(kind="inet"):
                bound = socket_.type == socket.SOCK_DGRAM and not socket_.raddr
                if socket_.status == psutil.CONN_LISTEN or bound:
                    found.add((called, socket_.laddr.ip))
    return found


def is_loopback(address: str) -> bool:
    """Return whether an address is this machine's loopback, in either family."""
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Run a small search and return what its processes listened on at any time, and its place."""
    folder = tmp_path_factory.mktemp("listening")
    made = make_place(folder, folder / "cache", "sst2", "bert", rows=120)
    place = AtHome(made.folder, made.cache, made.task)
    (folder / "home").mkdir()
    space = (folder / "space.toml").read_text()  # workers of a warm-up meet, which torch would do on all addresses
    (folder / "space.toml").write_text(space.replace("[warm_up]", "[warm_up]\nworkers = 2"))
    run = start(place, "out", "--budget", "2", "--concurrency", "2")
    found, until = set(), time.monotonic() + PATIENCE_S
    while not run.over:
        assert time.monotonic() < until, run.text()[-3000:]
        with suppress(psutil.Error):
            found |= listening(psutil.Process(run.process.pid))
        time.sleep(0.25)
    assert run.process.returncode == 0, run.text()[-3000:]
    return found, place


def test_no_process_of_a_search_listens_beyond_loopback(seen):
    found, _ = seen
    names = " ".join(called for called, _ in found)
    assert all(part in names for part in ("TrainWorker", "gcs_server", "raylet", "ray::", "qrlora-search")), names
    assert {one for one in found if not is_loopback(one[1])} == set()


def test_no_token_is_left_in_the_users_home(seen):
    _, place = seen
    assert not (place.folder / "home" / ".ray").exists()
