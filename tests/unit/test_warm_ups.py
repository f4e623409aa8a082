"""Several warm-ups: intervals cover a known truth, and points with trainings on different warm-ups compare."""

from dataclasses import dataclass

import numpy as np
import pytest

from qrlora_search.values import intervals
from qrlora_search.values.repeated import Trained, levelled, repeated, vary_level

EXAMPLES, WORLDS, WARM_UPS = 300, 150, 3
OF_WARM_UPS, OF_SEEDS = 0.03, 0.012
"""Standard deviations of what a warm-up does to all that stands on it, and of what a seed does to one training."""
LEVELS = np.array([0.78, 0.80, 0.81, 0.83])
TRAININGS = (3, 3, 1, 1)
"""So many trainings each: the epochs did not suffice for some, which then stand on the first warm-up alone."""
SLOPES = (1.0, 0.5, 0.0)
"""What is left of a warm-up's own effect with an adapter: all of it, or less where adapters mend a bad one."""


@dataclass
class Covered:
    """Whether intervals held the truth, of scores and of differences to the control; and how far the differences of the
    points that stand on one warm-up are off, with and without regard to warm-ups.
    """

    scores: list[bool]
    differences: list[bool]
    off: list[tuple[float, float]]


def one_world(seed: int, slope: float, trainings: tuple[int, ...] = TRAININGS, freedom: int = 2) -> Covered:
    random = np.random.default_rng(seed)
    hard, ones = random.uniform(size=EXAMPLES), np.ones(EXAMPLES)
    moved = OF_WARM_UPS * random.standard_normal(WARM_UPS)

    def train(level: float, warm_up: int, left: float = slope, spread: float = OF_SEEDS) -> np.ndarray:
        reached = level + left * moved[warm_up] + spread * random.standard_normal()
        luck = random.uniform(size=EXAMPLES)
        return (np.where(luck < 0.2, random.uniform(size=EXAMPLES), hard) < reached).astype(float)

    controls = [train(0.77, warm_up, 1.0, 0.0) for warm_up in range(WARM_UPS)]
    runs = [[train(level, warm_up) for warm_up in range(count)] for level, count in zip(LEVELS, trainings, strict=True)]
    points = [Trained(-2, controls, False, range(WARM_UPS))]
    points += [Trained(number, mine, warm_ups=range(len(mine))) for number, mine in enumerate(runs)]
    drawn = repeated("mean", ones, points, controls=controls)
    assert drawn.freedom == freedom
    unaware = repeated("mean", ones, [Trained(one.group, one.runs, one.seeded) for one in points])
    scores, differences, off = [], [], []
    for place, level in enumerate(LEVELS, 1):
        inside, apart = drawn.interval(place), drawn.difference(place, 0)
        scores.append(inside.low <= level <= inside.high)
        differences.append(apart.low <= level - 0.77 <= apart.high)
        if len(runs[place - 1]) == 1:
            off.append((apart.value - (level - 0.77), unaware.difference(place, 0).value - (level - 0.77)))
    return Covered(scores, differences, off)


@pytest.fixture(scope="module")
def worlds() -> dict[float, list[Covered]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "RESAMPLES", 500)
        return {slope: [one_world(seed, slope) for seed in range(WORLDS)] for slope in SLOPES}


@pytest.mark.parametrize("slope", SLOPES)
def test_intervals_over_warm_ups_seeds_and_examples_cover_the_truth(worlds, slope):
    """Rather too wide than too narrow: three warm-ups leave two degrees of freedom, whatever adapters do to them."""
    scores = np.concatenate([one.scores for one in worlds[slope]])
    differences = np.concatenate([one.differences for one in worlds[slope]])
    assert scores.mean() > 0.95
    assert differences.mean() > 0.95


def test_warm_ups_that_no_training_stands_on_leave_no_degree_of_freedom(monkeypatch):
    """The epochs sufficed for two of three warm-ups: one degree of freedom, however many controls were scored."""
    monkeypatch.setattr(intervals, "RESAMPLES", 500)
    found = [one_world(seed, 0.0, (2, 2, 2, 1), freedom=1) for seed in range(100)]
    assert np.concatenate([one.differences for one in found]).mean() > 0.95


def test_without_regard_to_warm_ups_points_on_different_ones_compare_worse(worlds):
    aware, unaware = np.concatenate([one.off for one in worlds[1.0]]).std(axis=0)
    assert aware < 0.8 * unaware


def test_a_point_that_stands_on_one_warm_up_is_moved_by_its_control():
    controls = [0.70, 0.76, 0.79]
    assert levelled([0.72], [0], controls) == [pytest.approx(0.72 - 0.70 + 0.75)]
    assert levelled([0.72, 0.78, 0.80, 0.82], [0, 1, 2, 0], controls) == pytest.approx([0.82, 0.77, 0.76])
    assert levelled(controls, [0, 1, 2], controls) == pytest.approx([0.75] * 3)
    assert levelled([0.1, 0.2], [0, 0], [0.7]) == [0.1, 0.2]  # one warm-up: as they are
    assert levelled([0.72], (), controls) == levelled([0.72], [0], controls)


def test_what_warm_ups_vary_is_in_scores_and_in_no_difference():
    random = np.random.default_rng(0)
    ones = np.ones(200)
    draws = [(random.uniform(size=200) < level).astype(float) for level in (0.6, 0.7, 0.8)]
    point = Trained(0, [(random.uniform(size=200) < 0.9).astype(float)], warm_ups=[0])
    many = repeated("mean", ones, [Trained(-2, draws, False, range(3)), point], controls=draws)
    assert many.warm_ups == 3
    spread = np.std([one.mean() for one in draws], ddof=1) / np.sqrt(3)
    assert many.errors_P[1] < spread < many.interval(1).high - many.values_P[1]
    still = many.draws_PB - many.draws_PB[0]
    assert still[1].std() < many.draws_PB[1].std() / 2
    one = np.zeros((2, 100))
    vary_level(one, [0.7], 0)
    assert not one.any()
