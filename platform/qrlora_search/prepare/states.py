"""Constant states on disk, mapped into memory: one copy for all workers of a node, and for later searches."""

import os
import shutil
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import torch
from filelock import FileLock
from torch import Tensor

from qrlora_search.describe.space import States
from qrlora_search.method.constant import Fill, Wanted
from qrlora_search.prepare.store import Store, default_root
from qrlora_search.values.errors import UserError

KIND = "states"
FILE = "states.bin"
SPARE_BYTES = 1 << 30
ABANDONED_S = 24 * 3600.0
GIB = 1 << 30


class MappedStates:
    """A `Keeper` on a store. Within the memory budget of this worker arrays stay mapped, within the disk budget of
    the node they stay on disk; both drop the least recently used first. A mapped array that is dropped from disk lives
    until its last user lets it go.
    """

    def __init__(self, store: Store, budget: States) -> None:
        self.store = store
        self.room, self.disk = int(budget.memory_gib * GIB), int(budget.disk_gib * GIB)
        self.mapped: OrderedDict[Path, Tensor] = OrderedDict()

    def get(self, wanted: Wanted, fill: Fill) -> Tensor | None:
        """Returns the states, made by `fill` where nobody has made them; None where there is no room for them."""
        found = self.find(wanted)
        if found is not None or not self._may_keep(wanted):
            return found

        def make(draft: Path) -> None:
            with (draft / FILE).open("wb") as file:
                _reserve(file.fileno(), wanted.size)
            fill(_map(draft / FILE, wanted, new=True))

        try:
            self._make_room(wanted.size)
            self.store.get_or_make(KIND, dict(wanted.inputs), make)
        except OSError:
            return None
        return self.find(wanted)

    def find(self, wanted: Wanted) -> Tensor | None:
        """Returns the states where they are made already."""
        place = self.store.place(KIND, dict(wanted.inputs))
        try:
            return self._open(place, wanted) if place.is_dir() else None
        except FileNotFoundError:  # dropped by another worker meanwhile
            return None

    def _open(self, place: Path, wanted: Wanted) -> Tensor:
        states = self.mapped.pop(place, None)
        if states is None:
            states = _map(place / FILE, wanted, new=False)
            while self.mapped and wanted.size + sum(one.nbytes for one in self.mapped.values()) > self.room:
                self.mapped.popitem(last=False)
        self.mapped[place] = states
        with suppress(OSError):  # another has dropped it, or made it
            os.utime(place)
        return states

    def _may_keep(self, wanted: Wanted) -> bool:
        if wanted.size > min(self.room, self.disk):
            return False
        return shutil.disk_usage(self.store.root).free > wanted.size + SPARE_BYTES

    def _make_room(self, size: int) -> None:
        """Drops the arrays that were used longest ago until `size` more bytes fit, and what killed makers left."""
        folder = self.store.root / KIND
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".room.lock"):
            places = [one for one in folder.iterdir() if one.is_dir()]
            for one in places:
                if one.name.startswith(".") and time.time() - one.stat().st_mtime > ABANDONED_S:
                    shutil.rmtree(one, ignore_errors=True)
            kept = sorted((one for one in places if not one.name.startswith(".")), key=lambda one: one.stat().st_mtime)
            sizes = {one: (one / FILE).stat().st_size for one in kept}
            while kept and sum(sizes[one] for one in kept) + size > self.disk:
                self._drop(kept.pop(0))

    def _drop(self, place: Path) -> None:
        gone = place.with_name(f".gone-{place.name}-{os.getpid()}")
        place.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        self.mapped.pop(place, None)


def mapped_states(budget: States) -> MappedStates | None:
    """Returns a keeper on this node's cache; None where it has none that can be written, and states are made anew."""
    try:
        return MappedStates(Store(default_root()), budget)
    except (UserError, RuntimeError):  # RuntimeError: a user without a home
        return None


def _reserve(file: int, size: int) -> None:
    """Takes the room on disk now: a full disk is an error here, and a signal that kills when it is written to later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.ftruncate(file, size)


def _map(file: Path, wanted: Wanted, new: bool) -> Tensor:
    """Returns a file's array; a new one is written through the mapping, an old one is never written to."""
    if not new and file.stat().st_size != wanted.size:
        raise ValueError(f"{file} is {file.stat().st_size} bytes long, not {wanted.size}; remove its folder")
    flat = torch.from_file(str(file), shared=new, size=wanted.rows * wanted.width, dtype=wanted.dtype)
    return flat.view(wanted.rows, wanted.width)
