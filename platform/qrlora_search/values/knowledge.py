"""What is known of a search's trials at the rungs: a summary kept as facts arrive, of which the rule is a function.

It does not depend on the order in which its facts arrived.
"""

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

from qrlora_search.values.paired import Examples, Results

Pair = tuple[int, float]
"""(size, score): trials equal in both count once."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A trial after an epoch: its size, its score and its results on the selection split's examples, where kept."""

    trial: int
    parameters: int
    score: float
    results: Results | None = None

    @property
    def pair(self) -> Pair:
        """Returns (size, score)."""
        return self.parameters, self.score


@dataclass
class Rung:
    """What is known at one epoch. pairs: distinct (size, score), rising. front: those of them that are higher than all
    smaller ones, the highest of its size, rising. gains: final score minus the score here, of
    Finished trials, rising. scores: of all trials, rising.
    """

    pairs: list[Pair] = field(default_factory=list)
    front: list[Pair] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)
    seen: dict[int, Seen] = field(default_factory=dict)
    scores: list[float] = field(default_factory=list)
    _holders: dict[Pair, list[int]] = field(default_factory=dict)
    _curves: set[tuple[int, float, float]] = field(default_factory=set)

    def add(self, one: Seen) -> None:
        """Notes a trial; the same trial again, trained anew after an interruption, replaces what was noted."""
        earlier = self.seen.get(one.trial)
        if earlier is not None:
            self.scores.pop(bisect_left(self.scores, earlier.score))
            self._holders[earlier.pair].remove(one.trial)
            if not self._holders[earlier.pair]:
                del self._holders[earlier.pair]
                self.pairs.pop(bisect_left(self.pairs, earlier.pair))
                self.front = []
                for pair in self.pairs:
                    _climb(self.front, pair)
        self.seen[one.trial] = one
        if one.pair not in self._holders:
            self._holders[one.pair] = []
            insort(self.pairs, one.pair)
            _climb(self.front, one.pair)
        insort(self._holders[one.pair], one.trial)
        insort(self.scores, one.score)

    def gained(self, last: Seen) -> None:
        """Notes what a trial that is trained to its end gained since this epoch; equal curves count once."""
        here = self.seen.get(last.trial)
        if here is None or (curve := (last.parameters, here.score, last.score)) in self._curves:
            return
        self._curves.add(curve)
        insort(self.gains, last.score - here.score)

    def holders(self, pair: Pair) -> list[Seen]:
        """Returns the trials with a (size, score)."""
        return [self.seen[number] for number in self._holders[pair]]

    def best(self, parameters: int) -> Pair | None:
        """Returns the (size, score) with the highest score of this size or smaller, or None where there is none."""
        place = bisect_right(self.front, (parameters, math.inf))
        return self.front[place - 1] if place else None

    def up_to(self, parameters: int) -> Iterator[Pair]:
        """Yields the distinct (size, score) of this size or smaller, the largest first, of equal sizes the best."""
        for place in range(bisect_right(self.pairs, (parameters, math.inf)) - 1, -1, -1):
            yield self.pairs[place]

    def above(self, parameters: int) -> Iterator[Pair]:
        """Yields the distinct (size, score) of larger sizes, the smallest first."""
        for place in range(bisect_right(self.pairs, (parameters, math.inf)), len(self.pairs)):
            yield self.pairs[place]


@dataclass
class Knowledge:
    """Everything that decisions are made from.

    examples: what scores were measured on; None where no results are kept, and then no difference is called noise.
    control: the warmed-up model without adapter. chance: the score of a constant answer. head_only: after each epoch,
    the model whose head alone was trained on, once it is trained to its end.
    """

    examples: Examples | None = None
    control: Seen | None = None
    chance: float = -math.inf
    head_only: dict[int, Seen] = field(default_factory=dict)
    rungs: dict[int, Rung] = field(default_factory=dict)
    finals: list[Pair] = field(default_factory=list)
    front: list[Seen] = field(default_factory=list)

    def add(self, epoch: int, one: Seen) -> None:
        """Notes a trial's report at an epoch."""
        self.rungs.setdefault(epoch, Rung()).add(one)

    def finish(self, last: Seen) -> None:
        """Notes that a trial was trained to its end: what it gained since each rung, and its place in the front."""
        for rung in self.rungs.values():
            rung.gained(last)
        place = bisect_left(self.finals, last.pair)
        if self.finals[place : place + 1] != [last.pair]:
            self.finals.insert(place, last.pair)
        start = bisect_left(self.front, last.parameters, key=lambda one: one.parameters)
        equal = start < len(self.front) and self.front[start].pair == last.pair
        if equal and self.front[start].trial < last.trial:
            return
        if start and self.front[start - 1].score >= last.score:
            return
        end = start
        while end < len(self.front) and self.front[end].score <= last.score:
            end += 1
        if end > start or not (start < len(self.front) and self.front[start].parameters == last.parameters):
            self.front[start:end] = [last]

    def control_at(self, epoch: int) -> Seen | None:
        """Returns the better of the models without adapter after so many epochs, or None while none is known."""
        return _better(self.control, self.head_only.get(epoch))

    @property
    def last_control(self) -> Seen | None:
        """Returns the better of the models without adapter at their end, or None while none is known."""
        return self.control_at(max(self.head_only, default=0))

    def bar(self, parameters: int) -> Seen | None:
        """Returns what a trial of this size must beat to enter the front: the best Finished one that is no larger, or
        the control; None while neither is known.
        """
        place = bisect_right(self.front, parameters, key=lambda one: one.parameters)
        member = self.front[place - 1] if place else None
        return _better(self.last_control, member)

    def finals_around(self, parameters: int, aside: int, least: int = 0) -> list[float]:
        """Returns the final scores of Finished trials nearest in the order of sizes: up to `aside` no larger, as many
        larger, and more of one side where these are fewer than `least`. None for a size above all of theirs, of which
        they say nothing.
        """
        if not self.finals or parameters > self.finals[-1][0]:
            return []
        place = bisect_right(self.finals, (parameters, math.inf))
        low, high = max(0, place - aside), min(len(self.finals), place + aside)
        low = max(0, min(low, high - least))
        high = min(len(self.finals), max(high, low + least))
        return [score for _, score in self.finals[low:high]]

    def paired_error(self, one: Seen, other: Seen) -> float:
        """Returns the standard error of two trials' difference on the same examples, 0 where results are not kept."""
        if self.examples is None or one.results is None or other.results is None:
            return 0.0
        return self.examples.paired_error(one.results, other.results)

    def own_error(self, one: Seen) -> float:
        """Returns the standard error of one trial's score, 0 where its results are not kept."""
        return 0.0 if self.examples is None or one.results is None else self.examples.error(one.results)


def _climb(front: list[Pair], pair: Pair) -> None:
    """Puts a (size, score) into a front of rising sizes and scores, if it belongs there."""
    start = bisect_left(front, (pair[0], -math.inf))
    if start and front[start - 1][1] >= pair[1]:
        return
    end = start
    while end < len(front) and front[end][1] <= pair[1]:
        end += 1
    if end > start or not (start < len(front) and front[start][0] == pair[0]):
        front[start:end] = [pair]


def _better(first: Seen | None, second: Seen | None) -> Seen | None:
    """Returns the one with the higher score, the first of two that are equal."""
    if first is None or (second is not None and second.score > first.score):
        return second
    return first
