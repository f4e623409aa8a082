"""Which setting is good everywhere: how much of a task's front its trials alone reach."""

import math
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np

from qrlora_search.app.compare_fronts import Compared, by_task
from qrlora_search.app.compare_view import SettingLine
from qrlora_search.app.trial_files import TrialView
from qrlora_search.describe.configuration import MATRICES, METHODS
from qrlora_search.describe.proposals import LEARNING_RATES
from qrlora_search.values.fronts import hypervolume
from qrlora_search.values.states import FinishedTrial

MIN_TRIALS = 3
RESAMPLES = 200
Kind = Literal["matrices", "layers", "tau", "method", "learning rate"]
_THIRDS = ("low", "middle", "high")


def matrices_of(one: TrialView, _: Compared) -> str:
    """Returns the kinds of matrices that a trial adapts, e.g. `qv`."""
    return "".join(kind for kind in MATRICES if any(matrix == kind for _, matrix, _ in one.ranks)) or "none"


def layers_of(one: TrialView, search: Compared) -> str:
    """Returns how far down a trial adapts, in thirds of the encoder, so that models of different depth compare."""
    depth = search.view.plan.encoder.layers
    if not one.ranks:
        return "none"
    lowest = min(layer for layer, _, _ in one.ranks)
    third = min(2, 3 * lowest // depth)
    return ("down to the lowest third", "down to the middle third", "the highest third alone")[third]


def tau_of(one: TrialView, search: Compared) -> str:
    """Returns the third of the space's range of tau that a trial lies in, with its rule."""
    tau, limits = one.proposal.get("tau"), search.view.plan.space.tau
    if not isinstance(tau, float | int) or limits.high <= limits.low:
        return "none"
    return f"{_third(float(tau), limits.low, limits.high)} third of tau ({limits.rule} rule)"


def method_of(one: TrialView, _: Compared) -> str:
    """Returns the method of a trial, e.g. `qr-lora`."""
    return one.method


def rate_of(one: TrialView, search: Compared) -> str:
    """Returns the third of the space's range, on its log scale, that a trial's learning rate lies in. Coefficients,
    factors and whole weights have ranges of their own, which are named.
    """
    name = LEARNING_RATES[next(method for method in METHODS if method == one.method)]
    limits = getattr(search.view.plan.space, name)
    third = _third(math.log(one.learning_rate), math.log(limits.low), math.log(limits.high))
    return f"{third} third of {name.replace('_', ' ')}"


def _third(value: float, low: float, high: float) -> str:
    """Returns which third of a range holds a value; one that rounding put outside is in the nearest."""
    return _THIRDS[min(2, max(0, int(3 * (value - low) / (high - low))))]


_READ: dict[Kind, Callable[[TrialView, Compared], str]] = {
    "matrices": matrices_of, "layers": layers_of, "tau": tau_of, "method": method_of, "learning rate": rate_of,
}  # fmt: skip


def compare_settings(searches: Iterable[Compared]) -> list[SettingLine]:
    """Returns every setting with its shares by task: the best worst share first; too few trials last."""
    groups = by_task(searches)
    lines = [
        _line(kind, value, groups)
        for kind in _READ
        for value in sorted({_READ[kind](t, s) for group in groups.values() for s in group for t in s.finished})
        if value != "none"
    ]
    return sorted(lines, key=lambda line: (line.kind, line.worst is None, -(line.worst or 0.0), line.value))


def _line(kind: Kind, value: str, groups: dict[str, list[Compared]]) -> SettingLine:
    counts: dict[str, int] = {}
    shares: dict[str, float | None] = {}
    lows: dict[str, float | None] = {}
    highs: dict[str, float | None] = {}
    for task, group in groups.items():
        chosen = [[t for t in s.finished if _READ[kind](t, s) == value] for s in group]
        counts[task] = sum(map(len, chosen))
        enough = counts[task] >= MIN_TRIALS
        found = _share(group, chosen) if enough else (None, None, None)
        shares[task], lows[task], highs[task] = found
    known = [share for share in shares.values() if share is not None]
    worst = min(known) if len(known) == len(groups) else None
    return SettingLine(kind=kind, value=value, shares=shares, lows=lows, highs=highs, counts=counts, worst=worst)


def _share(
    group: list[Compared], chosen: list[list[TrialView]]
) -> tuple[float, float, float] | tuple[None, None, None]:
    """Returns the share of the searches' area that the chosen trials reach, with its bootstrap interval over trials;
    Nones where no trial of the task beats its control.

    A resample has no trial that is not there and lacks some that are, so that no resample is above the value: the upper
    end is as far above it as the lower is below (the basic bootstrap), at most 1.
    """
    whole = sum(_area(search, search.finished) for search in group)
    if whole <= 0:
        return None, None, None
    random, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        area = 0.0
        for search, trials in zip(group, chosen, strict=True):
            picked = random.integers(0, max(1, len(trials)), len(trials))
            area += _area(search, [trials[int(index)] for index in picked])
        drawn.append(area / whole)
    value = sum(_area(search, trials) for search, trials in zip(group, chosen, strict=True)) / whole
    low = float(np.quantile(drawn, 0.025))
    return value, low, min(1.0, 2 * value - low)


def _area(search: Compared, trials: list[TrialView]) -> float:
    finished = [FinishedTrial(one.trial, one.curve[-1].score, one.parameters) for one in trials]
    return hypervolume(finished, search.control, search.view.plan.encoder.parameters)
