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

    def holders(self, pair: Pair, most: int | None = None) -> list[Seen]:
        """Returns the trials with a (size, score), the first `most` by number."""
        return [self.seen[number] for number in self._holders[pair][:most]]

    def best(self, parameters: int) -> Pair | None:
        """Returns the (size, score) with the highest score of this size or smaller, or None where there is none."""
        place = bisect_right(self.front, (parameters, math.inf))
        return self.front[place - 1] if place else None

    def best_of_sizes(self, parameters: int, count: int, larger: bool, without: Pair | None = None) -> list[Pair]:
        """Returns the highest (size, score) of each of the next so many sizes: this one and smaller ones, or larger
        ones. without: is not looked at.
        """
        found: list[Pair] = []
        for start, end in _sizes(self.pairs, parameters, larger):
            if len(found) == count:
                break
            best = end - 1 - (self.pairs[end - 1] == without)
            if best >= start:
                found.append(self.pairs[best])
        return found


def _sizes(pairs: list[Pair], parameters: int, larger: bool) -> Iterator[tuple[int, int]]:
    """Yields where each size stands in rising (size, score), from its first place to behind its last: this size and
    smaller ones, the largest first, or larger ones, the smallest first.
    """
    place = bisect_right(pairs, (parameters, math.inf))
    while place < len(pairs) if larger else place > 0:
        size = pairs[place if larger else place - 1][0]
        start, end = bisect_left(pairs, (size, -math.inf)), bisect_right(pairs, (size, math.inf))
        yield start, end
        place = end if larger else start


def nearest(
    pairs: list[Pair], parameters: int, count: int, larger: bool = False, without: Pair | None = None
) -> list[Pair]:
    """Returns at most so many of rising (size, score), the nearest in the order of sizes first: of this size and
    smaller, or of larger ones. Of a size with more of them than are left to take they are evenly spread in the order of
    scores, the highest and the lowest among them. without: is not taken.
    """
    found: list[Pair] = []
    for start, end in _sizes(pairs, parameters, larger):
        if len(found) == count:
            break
        own = end if without is None else bisect_left(pairs, without, start, end)
        there = end - start - (own < end and pairs[own] == without)
        take = min(there, count - len(found))
        for step in range(take):
            place = end - 1 - step * (there - 1) // max(1, take - 1)
            found.append(pairs[place - (there < end - start and place <= own)])
    return found


@dataclass
class Knowledge:
    """Everything that decisions are made from.

    examples: what scores were measured on; None where no results are kept, and then no difference is called noise.
    control: the warmed-up model without adapter. chance: the score of a constant answer. head_only: after each epoch,
    the model whose head alone was trained on, once it is trained to its end. finals: distinct (size, final score) of
    Finished trials, rising; finished: one trial of each, the first by number.
    """

    examples: Examples | None = None
    control: Seen | None = None
    chance: float = -math.inf
    head_only: dict[int, Seen] = field(default_factory=dict)
    rungs: dict[int, Rung] = field(default_factory=dict)
    finals: list[Pair] = field(default_factory=list)
    front: list[Seen] = field(default_factory=list)
    finished: dict[Pair, Seen] = field(default_factory=dict)

    def add(self, epoch: int, one: Seen) -> None:
        """Notes a trial's report at an epoch."""
        self.rungs.setdefault(epoch, Rung()).add(one)

    def finish(self, last: Seen) -> None:
        """Notes that a trial was trained to its end: what it gained since each rung, and its place in the front."""
        for rung in self.rungs.values():
            rung.gained(last)
        if last.pair not in self.finished:
            insort(self.finals, last.pair)
        if last.pair not in self.finished or last.trial < self.finished[last.pair].trial:
            self.finished[last.pair] = last
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

    def finals_around(self, parameters: int, aside: int, least: int = 0) -> list[Pair]:
        """Returns the (size, final score) of Finished trials nearest in the order of sizes: up to `aside` no larger, as
        many larger, and more of one side where these are fewer than `least`. None for a size above all of theirs, of
        which they say nothing.
        """
        if not self.finals or parameters > self.finals[-1][0]:
            return []
        above = nearest(self.finals, parameters, aside, larger=True)
        below = nearest(self.finals, parameters, max(aside, least - len(above)))
        if len(below) + len(above) < least:
            above = nearest(self.finals, parameters, least - len(below), larger=True)
        return [*below, *above]

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
