"""Settings of a proposal: drawn at random, changed a little, brought to a size, and the sensible ones to start from."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np

from qrlora_search.describe.configuration import Configuration
from qrlora_search.describe.proposals import Dimension
from qrlora_search.describe.protocols import Parameters

Canonical = Callable[[Parameters], Configuration]
Value = str | int | float

_BISECTIONS = 14
_DECADES = 0.35
"""Standard deviation of a change of a learning rate, in decades."""


class Settings:
    """The parameters of a space and what they make, for whoever proposes."""

    def __init__(self, dimensions: Sequence[Dimension], canonical: Canonical, max_params: int | None = None) -> None:
        self.dimensions, self.canonical, self.max_params = list(dimensions), canonical, max_params
        self.by_name = {one.name: one for one in dimensions}
        everything = list(self._corners())
        sizes = [self.size(one) for one in everything]
        self.smallest = everything[int(np.argmin(sizes))]
        allowed = [place for place, size in enumerate(sizes) if max_params is None or size <= max_params]
        self.largest = everything[max(allowed, key=lambda place: sizes[place])] if allowed else self.smallest
        self.sizes = (min(sizes), max(min(sizes), max(sizes) if max_params is None else min(max_params, max(sizes))))

    def size(self, parameters: Parameters) -> int:
        """Returns the exact number of adapter parameters."""
        return self.canonical(parameters).parameters

    def draw(self, random: np.random.Generator, given: Parameters | None = None) -> Parameters:
        """Returns parameters drawn at random, with those that are given."""
        parameters: Parameters = {}
        for one in self.dimensions:
            if one.when is None or parameters[one.when[0]] == one.when[1]:
                parameters[one.name] = given[one.name] if given and one.name in given else _draw(one, random)
        return parameters

    def change(self, parameters: Parameters, random: np.random.Generator) -> Parameters:
        """Returns parameters with at least one of learning rate, matrices, layers or another choice changed."""
        changed = dict(parameters)
        free = [one.name for one in self.dimensions if one.when is None and one.name != "tau" and len(one.choices) != 1]
        chosen = [name for name in free if random.random() < 1 / 3] or [free[int(random.integers(len(free)))]]
        for name in chosen:
            if name == "learning_rate":
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
        """Returns parameters with the tau that brings their size nearest to a target, and how far off it is, as
        |ln(size / target)|. Sizes rise with tau by the energy rule and fall with it by the threshold rule.
        """
        tau = self.by_name["tau"]
        low, high = tau.low, tau.high
        ends = [self.size({**parameters, "tau": end}) for end in (low, high)]
        rising = ends[1] >= ends[0]
        best, off = parameters, math.inf
        for value, size in [(low, ends[0]), (high, ends[1])]:
            if self._allows(size) and abs(math.log(size / target)) < off:
                best, off = {**parameters, "tau": value}, abs(math.log(size / target))
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            size = self.size({**parameters, "tau": middle})
            if self._allows(size) and abs(math.log(size / target)) < off:
                best, off = {**parameters, "tau": middle}, abs(math.log(size / target))
            low, high = (middle, high) if (size < target) == rising else (low, middle)
        return best, off

    def _allows(self, size: int) -> bool:
        return self.max_params is None or size <= self.max_params

    def _corners(self) -> Iterator[Parameters]:
        """Yields proposals among which are the smallest and the largest of the space."""
        base = {one.name: _middle(one) for one in self.dimensions if one.when is None}
        for tau in (self.by_name["tau"].low, self.by_name["tau"].high):
            for matrices in self.by_name["matrices"].choices:
                for layers in self._layer_choices():
                    yield {**base, "tau": tau, "matrices": str(matrices), **layers}

    def _layer_choices(self) -> Iterator[Parameters]:
        for kind in self.by_name["layers"].choices:
            names = [one for one in self.dimensions if one.when == ("layers", kind)]
            ends: list[list[Value]] = [_values(one) for one in names]
            for values in product(*ends):
                yield {"layers": kind, **{one.name: value for one, value in zip(names, values, strict=True)}}

    def start_points(self) -> list[Parameters]:
        """Returns sensible first proposals: the paper's two settings (arXiv 2508.21810: Wq and Wv, and Wq, of the last
        four layers at tau 0.5; of the last third where there are fewer than 12), the extremes, and sizes between.
        """
        base = {one.name: _middle(one) for one in self.dimensions if one.when is None}
        points: list[Parameters] = []
        last = self.by_name.get("last")
        if last is not None:
            layers = 4 if last.high >= 12 else max(1, round(last.high / 3))
            paper: Parameters = {**base, "tau": 0.5, "layers": "last", "last": layers}
            points += [{**paper, "matrices": "qv"}, {**paper, "matrices": "q"}]
        points += [self.smallest, self.largest]
        low, high = (math.log(size) for size in self.sizes)
        for share in (0.5, 0.25, 0.75):
            target = math.exp(low + share * (high - low))
            near = self.smallest if share < 0.5 else self.largest
            points.append(self.at_size(near, target)[0])
        kept: dict[str, Parameters] = {}
        for one in points:
            if one["matrices"] in self.by_name["matrices"].choices and self._allows(self.size(one)):
                kept.setdefault(self.canonical(one).identity, one)
        return list(kept.values())


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
