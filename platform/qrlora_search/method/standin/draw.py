"""Seeded choices that are the same under every Python version."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def listed(entries: str) -> tuple[str, ...]:
    """The entries of a text that separates them by semicolons: how this package writes its vocabulary."""
    return tuple(entry.strip() for entry in entries.split(";") if entry.strip())


class Draw:
    """A source of choices built on `random.Random.random` alone.

    Python promises that `random()` repeats for a seed; it promises nothing of the kind for `choice` or `shuffle`.
    Sums are `math.fsum`, since Python 3.12 changed how `sum` rounds.
    The words of the key are hashed, so that neighbouring seeds and tasks have unrelated streams.
    """

    def __init__(self, *key: object) -> None:
        digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
        self._random = random.Random(int.from_bytes(digest[:16], "big"))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random.random() < probability

    def below(self, stop: int) -> int:
        """An integer from 0 to stop - 1, uniform."""
        return int(self._random.random() * stop)

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, uniform."""
        return items[self.below(len(items))]

    def weighted(self, weights: dict[T, float]) -> T:
        """One of the keys, with probability in proportion to its weight."""
        point = self._random.random() * math.fsum(weights.values())
        for item, weight in weights.items():
            point -= weight
            if point < 0:
                return item
        return item

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """The items in random order (Fisher and Yates), the argument unchanged."""
        result = list(items)
        for last in range(len(result) - 1, 0, -1):
            other = self.below(last + 1)
            result[last], result[other] = result[other], result[last]
        return result

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Different items, as many as asked for, in random order."""
        return self.shuffled(items)[:count]

    def spread(self) -> float:
        """A number with mean 0 and standard deviation 1: twelve uniform ones summed, less 6."""
        return math.fsum(self._random.random() for _ in range(12)) - 6.0
