"""Scores that are means over several trainings, how sure they are over seeds and examples, and who is on the front.

Two sources of variation. Examples: bootstrap, the same resamples for all points, so that differences are paired. Seeds:
two or three are too few to resample, so their spread is pooled over all points and added as a multivariate t (Box and
Tiao, Bayesian Inference in Statistical Analysis, chapter 2): normal draws for each training, one common draw of the
unknown spread. What the examples at hand add to the spread over seeds is counted in both, so that intervals are rather
too wide than too narrow.

With one warm-up all of it is conditional on that one. With several, trainings stand on different ones, and a warm-up
moves all that stands on it: each score is moved by what the control of its warm-up is above the mean of the controls,
so that points with trainings on different warm-ups compare; the trainings on one warm-up count as one, since what it
does to a point they share; and the spread of the controls is added to all scores alike, so that it is in their
intervals and in no difference. Adapters may undo a part of what a warm-up did, so that their levelled scores still have
a part in common by warm-up: the spread over trainings counts no more degrees of freedom than there are warm-ups less 1
that trainings stand on.

A trial and its largest coefficients share their trainings. How far seeds move them apart is estimated from what is left
of their scores without what they have in common, and added to each of them alone; the rest of the spread they share.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from qrlora_search.values.intervals import Interval, Statistic, resampled

Floats = NDArray[np.float64]
V = TypeVar("V", float, Floats)

DIGITS = 12
"""Scores equal to so many digits are equal: the last bits depend on the order of a sum."""
REACH = 4.0
"""So many standard deviations of the seeds yet to come are beyond what could change an order."""
LEAST_FREEDOM = 2
"""Degrees of freedom below which the spread over seeds is too uncertain to stop anything by."""


@dataclass(frozen=True)
class Trained:
    """One point's predictions (N,) by training. group: points with an equal group share their trainings (a trial and
    what is derived from it). seeded: whether further seeds would vary it at all. warm_ups: of each training; all on the
    first where it is empty.
    """

    group: int
    runs: Sequence[Floats]
    seeded: bool = True
    warm_ups: Sequence[int] = ()


@dataclass(frozen=True)
class Repeated:
    """Scores of P points with B joint draws of what they might have been.

    values_P: means over trainings. draws_PB. errors_P: standard errors over seeds and examples, without the level that
    warm-ups move all points by alike. counts_P: trainings.
    spread: standard deviation over seeds (over warm-ups and seeds where there are several), pooled; None where no point
    was trained twice. freedom: its degrees. n: examples. warm_ups: how many there are.
    """

    values_P: Floats
    draws_PB: Floats
    errors_P: Floats
    counts_P: NDArray[np.int64]
    spread: float | None
    freedom: int
    n: int
    warm_ups: int = 1

    def interval(self, point: int) -> Interval:
        """Returns a point's score with its 95 % interval."""
        low, high = np.quantile(self.draws_PB[point], [0.025, 0.975])
        return Interval(float(self.values_P[point]), float(self.errors_P[point]), float(low), float(high), self.n)

    def difference(self, point: int, other: int) -> Interval:
        """Returns the difference of two points with its 95 % interval, on the same resampled examples."""
        drawn = self.draws_PB[point] - self.draws_PB[other]
        low, high = np.quantile(drawn, [0.025, 0.975])
        quarter, three = np.quantile(drawn, [0.25, 0.75])
        value = float(self.values_P[point] - self.values_P[other])
        return Interval(value, float(three - quarter) / 1.349, float(low), float(high), self.n)

    def on_front(self, sizes_P: Sequence[int]) -> Floats:
        """Returns each point's probability of being on the front, (P,). sizes_P: parameters, 0 for a control."""
        sizes = np.asarray(sizes_P)
        found = np.zeros(len(sizes))
        for point, size in enumerate(sizes):
            rivals = [other for other in np.flatnonzero(sizes <= size) if other != point]
            best = self.draws_PB[rivals].max(axis=0) if rivals else np.full(self.draws_PB.shape[1], -np.inf)
            found[point] = (self.draws_PB[point] > best).mean()
        return found


def pooled_spread(groups: Sequence[Sequence[Sequence[float]]]) -> tuple[float | None, int]:
    """Returns the standard deviation over seeds and its degrees of freedom; None where nothing was trained twice.

    groups: by group, by point, the scores of its trainings. Points of one group add one estimate, since they share
    their trainings.
    """
    squares, freedom = 0.0, 0
    for points in groups:
        several = [np.asarray(scores) for scores in points if len(scores) > 1]
        if several:
            degrees = len(several[0]) - 1
            squares += degrees * float(np.mean([scores.var(ddof=1) for scores in several]))
            freedom += degrees
    return (math.sqrt(squares / freedom), freedom) if freedom else (None, 0)


def spread_apart(groups: Sequence[Sequence[Sequence[float]]]) -> float:
    """Returns the standard deviation over seeds of points of one group about what they have in common; 0 where no group
    has several points that were trained twice. groups: as of `pooled_spread`.
    """
    squares, weight = 0.0, 0
    for points in groups:
        if len(points) > 1 and len(points[0]) > 1 and len({len(scores) for scores in points}) == 1:
            scores_PK = np.asarray(points, dtype=np.float64)
            apart_PK = scores_PK - scores_PK.mean(axis=0)
            count, trainings = scores_PK.shape
            squares += (trainings - 1) * float(apart_PK.var(axis=1, ddof=1).mean()) * count / (count - 1)
            weight += trainings - 1
    return math.sqrt(squares / weight) if weight else 0.0


def vary(
    draws_PB: Floats,
    groups: Mapping[int, Sequence[int]],
    scores: Sequence[Sequence[float]],
    seed: int,
    stood_on: int | None,
) -> tuple[float | None, int]:
    """Adds to draws of points' means, in place, what further seeds might have changed; returns `pooled_spread`, with no
    more degrees of freedom than several warm-ups leave.

    groups: places of the points that share their trainings; a point that seeds would not vary is in none. scores: by
    point, of its trainings. stood_on: how many warm-ups trainings stand on, where there are several.
    """
    by_group = [[scores[place] for place in places] for places in groups.values()]
    spread, freedom = pooled_spread(by_group)
    freedom = freedom if stood_on is None else min(freedom, max(1, stood_on - 1))
    if spread is not None:
        random = np.random.default_rng([seed, 1])
        scale_B = np.sqrt(freedom / random.chisquare(freedom, draws_PB.shape[1]))
        apart = min(spread, spread_apart(by_group))
        for places in groups.values():
            own = apart if len(places) > 1 else 0.0
            common_B = random.standard_normal(draws_PB.shape[1]) * math.sqrt(spread**2 - own**2)
            for place in places:
                own_B = own * random.standard_normal(draws_PB.shape[1]) if own else 0.0
                draws_PB[place] += scale_B * (common_B + own_B) / math.sqrt(len(scores[place]))
    return spread, freedom


def warm_ups_of(points: Iterable[Sequence[int]], known: int) -> int | None:
    """Returns how many warm-ups the trainings of points stand on, or None where but one is known. points: of each, the
    warm-up of each training; empty: all on the first.
    """
    return len({warm_up for its in points for warm_up in (its or (0,))}) if known > 1 else None


def levelled(scores: Sequence[V], warm_ups: Sequence[int], controls: Sequence[V]) -> list[V]:
    """Returns scores of trainings as they compare: moved by what the control of each one's warm-up is above the mean of
    the controls, and trainings on one warm-up as their mean. As they are where there is one warm-up.

    warm_ups: of each score; empty: all on the first. controls: scores of the warm-ups without adapter.
    """
    if len(controls) < 2:
        return list(scores)
    level, found, on = sum(controls) / len(controls), [], warm_ups or [0] * len(scores)
    for warm_up in sorted(set(on)):
        mine = [score for score, its in zip(scores, on, strict=True) if its == warm_up]
        found.append(sum(mine) / len(mine) - controls[warm_up] + level)
    return found


def vary_level(draws_PB: Floats, controls: Sequence[float], seed: int) -> None:
    """Adds to draws, in place and to all points alike, what other warm-ups might have changed; nothing for one."""
    count = len(controls)
    if count > 1:
        error = float(np.std(controls, ddof=1)) / math.sqrt(count)
        draws_PB += error * np.random.default_rng([seed, 2]).standard_t(count - 1, draws_PB.shape[1])


def repeated(
    kind: Statistic, labels_N: Floats, points: Sequence[Trained], seed: int = 0, controls: Sequence[Floats] = ()
) -> Repeated:
    """Returns the scores of points with joint draws over seeds and examples; the same for the same seed.

    controls: predictions (N,) of each warm-up without adapter, where there are several.
    """
    columns = [*controls, *(run for point in points for run in point.runs)]
    values, drawn = resampled(kind, labels_N, columns, seed)
    ends = np.cumsum([len(controls), *(len(point.runs) for point in points)]).tolist()
    first = slice(0, len(controls))
    parts = [(slice(*two), point.warm_ups) for two, point in zip(pairwise(ends), points, strict=True)]
    scores = [levelled(values[part], warm_ups, values[first]) for part, warm_ups in parts]
    counts = [len(each) for each in scores]
    means = np.round([np.mean(each) for each in scores], DIGITS)
    draws = np.round(
        [np.mean(levelled(drawn[part], warm_ups, drawn[first]), axis=0) for part, warm_ups in parts], DIGITS
    )
    errors = draws.std(axis=1, ddof=1)
    groups: dict[int, list[int]] = {}
    for place, point in enumerate(points):
        if point.seeded:
            groups.setdefault(point.group, []).append(place)
    stood_on = warm_ups_of((point.warm_ups for point in points if point.seeded), len(controls))
    spread, freedom = vary(draws, groups, scores, seed, stood_on)
    if spread is not None:
        for place in (place for places in groups.values() for place in places):
            errors[place] = math.hypot(errors[place], spread / math.sqrt(counts[place]))
    vary_level(draws, values[first], seed)
    return Repeated(means, draws, errors, np.array(counts), spread, freedom, len(labels_N), max(1, len(controls)))


def undecided(
    values: Sequence[float], sizes: Sequence[int], counts: Sequence[int], left: Sequence[int], spread: float
) -> list[int]:
    """Returns the points whose further trainings could still change the front, of points that compare by size.

    counts: trainings that each mean is of; left: how many more it may get (0: its mean is final). A mean of n may
    move, with r more, by r / (n + r) times the difference of two means, whose standard deviation is
    spread sqrt(1 / n + 1 / r).
    """
    reach = [
        REACH * spread * more / (count + more) * math.sqrt(1 / count + 1 / more) if more else 0.0
        for count, more in zip(counts, left, strict=True)
    ]
    low = [value - far for value, far in zip(values, reach, strict=True)]
    high = [value + far for value, far in zip(values, reach, strict=True)]
    found: set[int] = set()
    for point, size in enumerate(sizes):
        rivals = [other for other, its in enumerate(sizes) if its <= size and other != point]
        if size == 0 or any(high[point] <= low[other] for other in rivals):
            continue  # a control, or certainly beaten
        open_to = [other for other in rivals if low[point] <= high[other]]
        if open_to:
            found |= {point, *open_to}
    return sorted(one for one in found if left[one])
