"""Constant states on disk: made once, mapped by all, within their budgets."""

import errno
import os
import subprocess
import sys
import time

import pytest
import torch

from qrlora_search.describe.space import States
from qrlora_search.method.constant import Wanted
from qrlora_search.prepare.states import ABANDONED_S, FILE, GIB, KIND, SPARE_BYTES, MappedStates, mapped_states
from qrlora_search.prepare.store import Store

ROWS, WIDTH = 64, 8
SIZE = ROWS * WIDTH * 4


def wanted(layer: int, dtype: torch.dtype = torch.float32) -> Wanted:
    return Wanted({"layer": layer}, ROWS, WIDTH, dtype)


def filler(value: float, calls: list[float]):
    def fill(states: torch.Tensor) -> None:
        calls.append(value)
        states.fill_(value)

    return fill


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "cache")


def room(arrays: float, disk: float = 100) -> States:
    return States(memory_gib=arrays * SIZE / GIB, disk_gib=disk * SIZE / GIB)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_made_once_and_found_by_another_worker(store, dtype):
    calls: list[float] = []
    one = MappedStates(store, States()).get(wanted(1, dtype), filler(2.5, calls))
    two = MappedStates(store, States()).get(wanted(1, dtype), filler(9.0, calls))
    assert calls == [2.5]
    assert one is not None
    assert two is not None
    assert two.dtype == dtype
    assert two.shape == (ROWS, WIDTH)
    assert torch.equal(one, two)
    assert (two == 2.5).all()
    assert MappedStates(store, States()).find(wanted(2, dtype)) is None


WORKER = """
import sys, time
from pathlib import Path
import torch
from qrlora_search.describe.space import States
from qrlora_search.method.constant import Wanted
from qrlora_search.prepare.states import FILE, MappedStates
from qrlora_search.prepare.store import Store

def fill(states):
    time.sleep(0.5)
    states.fill_(1.0)
    print("made")

keeper = MappedStates(Store(Path(sys.argv[1])), States())
states = keeper.get(Wanted({"big": True}, 1 << 14, 64, torch.float32), fill)
assert float(states.sum()) == states.numel()
lines = Path("/proc/self/smaps").read_text().splitlines()
at = next(place for place, line in enumerate(lines) if line.endswith(FILE))
facts = dict(line.split(":", 1) for line in lines[at + 1 : at + 20] if line.split()[0].endswith(":"))
print(facts["Rss"].split()[0], facts["Anonymous"].split()[0])
"""


def test_two_processes_make_it_once_and_share_its_pages(store):
    command = [sys.executable, "-c", WORKER, str(store.root)]
    makers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [maker.communicate(timeout=120)[0].split() for maker in makers]
    assert [maker.returncode for maker in makers] == [0, 0]
    assert sum(words.count("made") for words in said) == 1
    for words in said:
        resident_kb, copied_kb = map(int, words[-2:])
        assert resident_kb > 1000
        assert copied_kb == 0  # every resident page is the file's own, none is this process's copy


def test_without_room_nothing_is_kept(store):
    calls: list[float] = []
    for budget in (room(0.5), room(100, disk=0.5), States(memory_gib=0, disk_gib=20)):
        assert MappedStates(store, budget).get(wanted(1), filler(1.0, calls)) is None
    assert not calls


def test_a_full_disk_keeps_nothing_and_leaves_nothing(store, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    calls: list[float] = []
    monkeypatch.setattr(os, "posix_fallocate", full)
    assert MappedStates(store, States()).get(wanted(1), filler(1.0, calls)) is None
    assert not calls
    assert not [one for one in (store.root / KIND).iterdir() if one.is_dir()]


def test_a_nearly_full_disk_is_left_alone(store, monkeypatch):
    usage = type("Usage", (), {"free": SPARE_BYTES + SIZE - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    assert MappedStates(store, States()).get(wanted(1), filler(1.0, [])) is None


def test_the_least_recently_used_mapping_goes_first(store):
    keeper, calls = MappedStates(store, room(2)), []
    for layer in (1, 2):
        keeper.get(wanted(layer), filler(layer, calls))
    keeper.get(wanted(1), filler(1, calls))  # 2 is now the oldest
    keeper.get(wanted(3), filler(3, calls))
    mapped = {float(states[0, 0]) for states in keeper.mapped.values()}
    assert mapped == {1.0, 3.0}
    again = keeper.get(wanted(2), filler(9, calls))  # still on disk
    assert again is not None
    assert float(again[0, 0]) == 2.0
    assert calls == [1, 2, 3]


def test_the_least_recently_used_file_goes_first_and_its_users_keep_it(store):
    keeper, calls = MappedStates(store, room(100, disk=2)), []
    held = {layer: keeper.get(wanted(layer), filler(layer, calls)) for layer in (1, 2)}
    for layer in (1, 2):
        os.utime(store.place(KIND, {"layer": layer}), (1000 + layer, 1000 + layer))
    keeper.get(wanted(1), filler(1, calls))
    keeper.get(wanted(3), filler(3, calls))
    assert store.has(KIND, {"layer": 1})
    assert not store.has(KIND, {"layer": 2})
    assert (held[2] == 2.0).all()
    other = MappedStates(store, room(100, disk=2))
    made = other.get(wanted(2), filler(2, calls))
    assert made is not None
    assert calls == [1, 2, 3, 2]


def test_what_a_killed_maker_left_is_removed_in_time(store):
    folder = store.root / KIND
    old, new = folder / ".draft-old", folder / ".draft-new"
    for one in (old, new):
        one.mkdir(parents=True)
        (one / FILE).write_bytes(b"half")
    os.utime(old, (time.time() - ABANDONED_S - 60,) * 2)
    MappedStates(store, States()).get(wanted(1), filler(1.0, []))
    assert not old.exists()
    assert new.exists()


def test_a_damaged_file_is_named(store):
    MappedStates(store, States()).get(wanted(1), filler(1.0, []))
    file = store.place(KIND, {"layer": 1}) / FILE
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"100 bytes long, not 2048; remove its folder"):
        MappedStates(store, States()).get(wanted(1), filler(1.0, []))


def test_a_node_without_a_cache_that_can_be_written_trains_without_one(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QRLORA_CACHE", str(tmp_path / "file" / "cache"))
    assert mapped_states(States()) is None
    monkeypatch.setenv("QRLORA_CACHE", str(tmp_path / "cache"))
    assert mapped_states(States()).store.root == tmp_path / "cache"
