"""Settings of a proposal: drawn at random, changed a little, brought to a size, and the sensible ones to start from."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product, zip_longest

import numpy as np

from qrlora_search.describe.configuration import Configuration
from qrlora_search.describe.proposals import Dimension
from qrlora_search.describe.protocols import Parameters

Canonical = Callable[[Parameters], Configuration]
Value = str | int | float

_BISECTIONS = 14
_DECADES = 0.35
"""Standard deviation of a change of a learning rate, in decades."""


@dataclass(frozen=True)
class Span:
    """The sizes of a method: its smallest and largest proposals, and the range of sizes that may be proposed."""

    smallest: Parameters
    largest: Parameters
    low: int
    high: int


class Settings:
    """The parameters of a space and what they make, for whoever proposes."""

    def __init__(self, dimensions: Sequence[Dimension], canonical: Canonical, max_params: int | None = None) -> None:
        self.dimensions, self.canonical, self.max_params = list(dimensions), canonical, max_params
        self.by_name = {one.name: one for one in dimensions}
        known = [str(one) for one in self.by_name["method"].choices]
        self.spans = {method: self._span(method) for method in known}
        self.methods = tuple(one for one in known if self.allows(self.spans[one].low)) or tuple(known)

    def _span(self, method: str) -> Span:
        corners = list(self._corners(method))
        sizes = [self.size(one) for one in corners]
        smallest = int(np.argmin(sizes))
        allowed = [place for place, size in enumerate(sizes) if self.allows(size)] or [smallest]
        largest = max(allowed, key=lambda place: sizes[place])
        most = max(sizes) if self.max_params is None else min(self.max_params, max(sizes))
        return Span(corners[smallest], corners[largest], sizes[smallest], max(sizes[smallest], most))

    def size(self, parameters: Parameters) -> int:
        """Returns the exact number of adapter parameters."""
        return self.canonical(parameters).parameters

    def draw(self, random: np.random.Generator, given: Parameters | None = None) -> Parameters:
        """Returns parameters drawn at random, with those that are given."""
        parameters: Parameters = {}
        for one in self.dimensions:
            if one.applies(parameters):
                parameters[one.name] = given[one.name] if given and one.name in given else _draw(one, random)
        return parameters

    def change(self, parameters: Parameters, random: np.random.Generator) -> Parameters:
        """Returns parameters of the same method with at least one of learning rate, matrices, layers or another choice
        changed; sizes are for `at_size`.
        """
        changed = dict(parameters)
        fixed = {"method", "tau", "rank"}
        top = [
            one for one in self.dimensions if one.name not in fixed and (one.when is None or one.when[0] == "method")
        ]
        free = [one.name for one in top if one.applies(parameters) and len(one.choices) != 1]
        chosen = [name for name in free if random.random() < 1 / 3] or [free[int(random.integers(len(free)))]]
        for name in chosen:
            if name.endswith("learning_rate"):
                low, high = self.by_name[name].low, self.by_name[name].high
                moved = float(changed[name]) * 10 ** float(random.normal(0, _DECADES))
                changed[name] = min(max(moved, low), high)
            elif name == "matrices":
                changed[name] = self._next_subset(str(changed[name]), random)
            else:
                dependent = [one.name for one in self.dimensions if one.when and one.when[0] == name]
                changed = {key: value for key, value in changed.items() if key != name and key not in dependent}
        return self.draw(random, changed)

    def _next_subset(self, subset: str, random: np.random.Generator) -> str:
        """Returns an allowed subset of matrices that differs in one kind, or any other, or the same if it is alone."""
        others = [str(one) for one in self.by_name["matrices"].choices if one != subset]
        near = [one for one in others if len(set(one) ^ set(subset)) == 1]
        pool = near or others or [subset]
        return pool[int(random.integers(len(pool)))]

    def at_size(self, parameters: Parameters, target: float) -> tuple[Parameters, float]:
        """Returns parameters with the tau, or the rank, that brings their size nearest to a target, and how far off it
        is, as |ln(size / target)|. Sizes rise with tau by the energy rule and fall with it by the threshold rule.
        """
        found = _Nearest(self, parameters, target)
        if "rank" in parameters:
            for rank in self.by_name["rank"].choices:
                found.offer("rank", rank)
            return found.best, found.off
        if "tau" not in parameters:
            return parameters, abs(math.log(self.size(parameters) / target))
        tau = self.by_name["tau"]
        low, high = tau.low, tau.high
        rising = found.offer("tau", low) <= found.offer("tau", high)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            size = found.offer("tau", middle)
            low, high = (middle, high) if (size < target) == rising else (low, middle)
        return found.best, found.off

    def allows(self, size: int) -> bool:
        """Returns whether a size is within the limit of adapter parameters."""
        return self.max_params is None or size <= self.max_params

    def _corners(self, method: str) -> Iterator[Parameters]:
        """Yields proposals of a method among which are its smallest and its largest."""
        base = self._base(method)
        ends: list[Parameters] = (
            [{"rank": int(rank)} for rank in self.by_name["rank"].choices] if "rank" in base else []
        )
        if "tau" in base:
            ends = [{"tau": self.by_name["tau"].low}, {"tau": self.by_name["tau"].high}]
        if "matrices" not in self.by_name or not self.by_name["matrices"].applies(base):
            yield base
            return
        for end in ends:
            for matrices in self.by_name["matrices"].choices:
                for layers in self._layer_choices():
                    yield {**base, **end, "matrices": str(matrices), **layers}

    def _base(self, method: str) -> Parameters:
        """Returns the middle of every parameter that a method has, but for its layers."""
        base: Parameters = {"method": method}
        for one in self.dimensions:
            if one.name not in {"method", "layers"} and one.applies(base):
                base[one.name] = _middle(one)
        return base

    def _layer_choices(self) -> Iterator[Parameters]:
        for kind in self.by_name["layers"].choices:
            names = [one for one in self.dimensions if one.when == ("layers", (kind,))]
            ends: list[list[Value]] = [_values(one) for one in names]
            for values in product(*ends):
                yield {"layers": kind, **{one.name: value for one, value in zip(names, values, strict=True)}}

    def start_points(self) -> list[Parameters]:
        """Returns sensible first proposals of every method, the methods in turn.

        They are the paper's two settings (arXiv 2508.21810: Wq and Wv, and Wq, of the last four layers at tau 0.5 or
        rank 2; of the last third where there are fewer than 12 layers), the extremes, and sizes between.
        """
        turns = zip_longest(*(self._start_points(method) for method in self.methods))
        kept: dict[str, Parameters] = {}
        for one in (point for turn in turns for point in turn if point is not None):
            known = "matrices" not in one or one["matrices"] in self.by_name["matrices"].choices
            if known and self.allows(self.size(one)):
                kept.setdefault(self.canonical(one).identity, one)
        return list(kept.values())

    def _start_points(self, method: str) -> list[Parameters]:
        base, span, points = self._base(method), self.spans[method], []
        last = self.by_name.get("last")
        if last is not None and "matrices" in base:
            layers = 4 if last.high >= 12 else max(1, round(last.high / 3))
            size: Parameters = {"tau": 0.5} if "tau" in base else {"rank": self._rank_two()}
            paper: Parameters = {**base, **size, "layers": "last", "last": layers}
            points += [{**paper, "matrices": "qv"}, {**paper, "matrices": "q"}]
        points += [span.smallest, span.largest]
        low, high = math.log(span.low), math.log(span.high)
        for share in (0.5, 0.25, 0.75):
            near = span.smallest if share < 0.5 else span.largest
            points.append(self.at_size(near, math.exp(low + share * (high - low)))[0])
        return points

    def _rank_two(self) -> int:
        ranks = [int(rank) for rank in self.by_name["rank"].choices]
        return min(ranks, key=lambda rank: (abs(rank - 2), rank))


class _Nearest:
    """Keeps what came nearest to a size."""

    def __init__(self, settings: Settings, parameters: Parameters, target: float) -> None:
        self.settings, self.parameters, self.target = settings, parameters, target
        self.best, self.off = parameters, math.inf

    def offer(self, name: str, value: Value) -> int:
        """Tries a value and returns the size that it makes."""
        parameters = {**self.parameters, name: value}
        size = self.settings.size(parameters)
        off = abs(math.log(size / self.target))
        if (self.settings.max_params is None or size <= self.settings.max_params) and off < self.off:
            self.best, self.off = parameters, off
        return size


def _draw(one: Dimension, random: np.random.Generator) -> Value:
    if one.choices:
        chosen = one.choices[int(random.integers(len(one.choices)))]
        return chosen if isinstance(chosen, int) else str(chosen)
    if one.integer:
        return int(random.integers(int(one.low), int(one.high) + 1))
    if one.log:
        return float(math.exp(random.uniform(math.log(one.low), math.log(one.high))))
    return float(random.uniform(one.low, one.high))


def _values(one: Dimension) -> list[Value]:
    """Returns the choices of a dimension, or every whole number in its range."""
    if one.choices:
        return [choice if isinstance(choice, int) else str(choice) for choice in one.choices]
    return list(range(int(one.low), int(one.high) + 1))


def _middle(one: Dimension) -> Value:
    if one.choices:
        return one.choices[0]
    return math.sqrt(one.low * one.high) if one.log else (one.low + one.high) / 2
