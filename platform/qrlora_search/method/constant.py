"""Constant hidden states: what enters a layer below which nothing is adapted, made once and mapped by every worker.

Legend: T tokens of all examples of a split, W width of the part.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from qrlora_search.method.tokens import TokenSet

Part = Literal["entering", "projected"]
"""entering: the states before a layer (W = D). projected: their frozen q, k and v in that layer (W = 3 D)."""

Fill = Callable[[Tensor], None]


@dataclass(frozen=True)
class Wanted:
    """One part for one split and layer. inputs: what makes it, which is its address. rows: T. width: W."""

    inputs: Mapping[str, object]
    rows: int
    width: int
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Returns bytes."""
        return self.rows * self.width * self.dtype.itemsize


class Keeper(Protocol):
    """Keeps constant states within a budget, for all workers of a node and for later searches.

    room: bytes that one worker may keep mapped.
    """

    room: int

    def get(self, wanted: Wanted, fill: Fill) -> Tensor | None:
        """Returns the states (T, W), only to be read, made by `fill` where nobody has; None where there is no room."""

    def find(self, wanted: Wanted) -> Tensor | None:
        """Returns the states (T, W) where they are made already."""


def fingerprint(tokens: TokenSet) -> str:
    """Returns a hash of the texts of a split; labels make no states."""
    digest = hashlib.sha256()
    for array in (tokens.ids_T, tokens.types_T, tokens.starts_N1):
        digest.update(array.dtype.str.encode() + array.tobytes())
    return digest.hexdigest()


def machine() -> list[str]:
    """Returns what, besides the inputs, decides the last bits of states: torch's version and kind of kernels."""
    return [torch.__version__, torch.backends.cpu.get_cpu_capability()]
