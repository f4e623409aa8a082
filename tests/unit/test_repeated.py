"""Scores over seeds and examples: intervals cover a known truth, and what is confirmed is truer than what is raw."""

from dataclasses import dataclass

import numpy as np
import pytest

from qrlora_search.values import intervals
from qrlora_search.values.fronts import front
from qrlora_search.values.intervals import score_interval
from qrlora_search.values.repeated import Trained, pooled_spread, repeated, spread_apart, undecided
from qrlora_search.values.states import FinishedTrial

EXAMPLES, SEEDS, TRIALS, SEARCHES = 250, 3, 20, 120
SEED_SPREAD = 0.02
"""Standard deviation of a training's true score around its configuration's."""


@dataclass(frozen=True)
class Truth:
    """A search with a known truth: P(correct) of an example is a configuration's level, moved by its training."""

    levels: np.ndarray
    sizes: np.ndarray
    control: float
    random: np.random.Generator

    def examples(self) -> np.ndarray:
        """Draw how hard each example is, shared by all models: what makes differences paired."""
        return self.random.uniform(size=EXAMPLES)

    def train(self, level: float, hard: np.ndarray, own: float = 0.3) -> np.ndarray:
        """Return predictions (labels are 1): most examples by their hardness, a share `own` by the model's luck."""
        reached = level + SEED_SPREAD * self.random.standard_normal()
        luck = self.random.uniform(size=len(hard))
        return (np.where(luck < own, self.random.uniform(size=len(hard)), hard) < reached).astype(float)


def truth(seed: int) -> Truth:
    random = np.random.default_rng(seed)
    sizes = np.sort(random.choice(np.arange(5, 2000), TRIALS, replace=False))
    levels = 0.75 + 0.004 * np.log10(sizes) + 0.015 * random.standard_normal(TRIALS)
    return Truth(levels, sizes, 0.75, random)


@dataclass
class Outcome:
    """One search: true scores of the members and of the best, raw and confirmed; and whether intervals held them."""

    regret: tuple[float, float]
    best: tuple[float, float]
    promise: tuple[float, float]
    covered: list[bool]
    raw_covered: list[bool]
    differences: list[bool]


def regret(world: Truth, members: list[int]) -> float:
    """Return how far members are, in true score, below the best configuration of their size or smaller; mean."""
    gaps = [max(world.levels[: one + 1].max(), world.control) - world.levels[one] for one in members]
    return float(np.mean(gaps)) if gaps else 0.0


def one_search(seed: int) -> Outcome:
    world = truth(seed)
    hard, ones = world.examples(), np.ones(EXAMPLES)
    control = (hard < world.control).astype(float)
    raw = [world.train(level, hard) for level in world.levels]
    ends = [FinishedTrial(at, float(one.mean()), int(world.sizes[at])) for at, one in enumerate(raw)]
    candidates = [one.trial for one in front(ends, float(control.mean()))]
    again = {one: [world.train(world.levels[one], hard) for _ in range(SEEDS)] for one in candidates}
    points = [Trained(-2, [control], seeded=False), *(Trained(one, again[one]) for one in candidates)]
    drawn = repeated("mean", ones, points)
    means = [
        FinishedTrial(one, float(drawn.values_P[1 + at]), int(world.sizes[one])) for at, one in enumerate(candidates)
    ]
    members = [one.trial for one in front(means, float(drawn.values_P[0]))]
    held = world.examples()  # the report split
    points = [
        Trained(-2, [(held < world.control).astype(float)], seeded=False),
        *(Trained(one, [world.train(world.levels[one], held) for _ in range(SEEDS)]) for one in members),
    ]
    reported = repeated("mean", ones, points)
    covered, differences = [], []
    for at, one in enumerate(members, start=1):
        interval, difference = reported.interval(at), reported.difference(at, 0)
        covered.append(interval.low <= world.levels[one] <= interval.high)
        differences.append(difference.low <= world.levels[one] - world.control <= difference.high)
    curse = [score_interval("mean", ones, raw[one]) for one in candidates]
    raw_covered = [one.low <= world.levels[at] <= one.high for one, at in zip(curse, candidates, strict=True)]
    top = max(candidates, key=lambda one: raw[one].mean(), default=None)
    sure = max(means, key=lambda one: one.score, default=None)
    levels = [world.levels[one] for one in candidates]
    return Outcome(
        (regret(world, candidates), regret(world, members)),
        (world.levels[top] if top is not None else world.control,
         world.levels[sure.trial] if sure is not None else world.control),
        (float(np.mean([raw[one].mean() for one in candidates]) - np.mean(levels)) if levels else 0.0,
         float(np.mean([one.score for one in means]) - np.mean(levels)) if levels else 0.0),
        covered, raw_covered, differences,
    )  # fmt: skip


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "RESAMPLES", 500)  # enough here, and four times as fast
        return [one_search(seed) for seed in range(SEARCHES)]


def test_intervals_over_seeds_and_examples_cover_the_truth(outcomes):
    """On the report split, which fed no decision: about 95 % for members, and for their differences to the control."""
    covered = np.concatenate([one.covered for one in outcomes])
    differences = np.concatenate([one.differences for one in outcomes])
    assert len(covered) > 200
    assert 0.94 < covered.mean() < 0.99
    assert 0.94 < differences.mean() < 0.99


def test_the_score_that_brought_a_member_in_is_no_honest_one(outcomes):
    """The raw interval covers less, since the member was chosen by it and seeds are not in it."""
    raw = np.concatenate([one.raw_covered for one in outcomes])
    assert raw.mean() < 0.925
    promises = np.array([one.promise for one in outcomes])
    assert promises[:, 0].mean() > 0.008  # the winner's curse
    assert abs(promises[:, 1].mean()) < promises[:, 0].mean() / 2


def test_the_confirmed_front_is_truer_than_the_raw_one(outcomes):
    """In true score its members are nearer to the best of their size, and its best is better, by the mean."""
    regrets, bests = np.array([one.regret for one in outcomes]), np.array([one.best for one in outcomes])
    gain, better = regrets[:, 0] - regrets[:, 1], bests[:, 1] - bests[:, 0]
    assert gain.mean() > 4 * gain.std(ddof=1) / np.sqrt(len(gain))
    assert better.mean() > 2 * better.std(ddof=1) / np.sqrt(len(better))


def test_the_pooled_spread_is_a_closed_form():
    spread, freedom = pooled_spread([[[1.0, 3.0]], [[5.0, 6.0, 7.0]], [[9.0]]])
    assert (spread, freedom) == (pytest.approx(np.sqrt((2.0 + 2 * 1.0) / 3)), 3)
    assert pooled_spread([[[1.0]], [[2.0]]]) == (None, 0)
    shared = pooled_spread([[[1.0, 3.0], [1.0, 3.0]]])  # two points of one trial are one estimate
    assert shared == (pytest.approx(np.sqrt(2.0)), 1)


def test_one_training_each_leaves_the_interval_over_examples_alone():
    random = np.random.default_rng(1)
    labels, guesses = random.integers(0, 2, 300).astype(float), random.integers(0, 2, 300).astype(float)
    drawn = repeated("correlation", labels, [Trained(0, [guesses])])
    alone = score_interval("correlation", labels, guesses)
    assert drawn.spread is None
    assert drawn.interval(0).value == pytest.approx(alone.value)
    assert (drawn.interval(0).low, drawn.interval(0).high) == pytest.approx((alone.low, alone.high), abs=0.02)


def test_points_that_share_their_trainings_move_together():
    random = np.random.default_rng(2)
    labels = np.ones(200)
    runs = [(random.uniform(size=200) < level).astype(float) for level in (0.5, 0.9)]
    drawn = repeated("mean", labels, [Trained(7, runs), Trained(7, runs), Trained(8, runs)])
    np.testing.assert_array_equal(drawn.draws_PB[0], drawn.draws_PB[1])
    assert (drawn.draws_PB[0] != drawn.draws_PB[2]).any()
    assert drawn.difference(0, 1).error == 0.0


def test_what_a_seed_does_to_a_trial_and_its_derived_adapters_apart_is_in_their_difference():
    """Four trainings of five trials, each with two derived adapters; a seed moves all three of them, and each alone."""
    covered = []
    for world in range(150):
        random, ones = np.random.default_rng(world), np.ones(400)
        hard, points = random.uniform(size=400), []
        for group in range(5):
            moved = 0.01 * random.standard_normal(4)
            for level in (0.80, 0.79, 0.78):
                reached = level + moved + 0.02 * random.standard_normal(4)
                points.append(Trained(group, [(hard < one).astype(float) for one in reached]))
        drawn = repeated("mean", ones, points)
        pairs = [(3 * group, 3 * group + more, 0.01 * more) for group in range(5) for more in (1, 2)]
        for one, other, truth in pairs:
            inside = drawn.difference(one, other)
            covered.append(inside.low <= truth <= inside.high)
    assert np.mean(covered) > 0.93


def test_how_far_seeds_move_siblings_apart_is_a_closed_form():
    assert spread_apart([[[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]]) == 0.0
    assert spread_apart([[[1.0, 3.0], [3.0, 1.0]], [[5.0, 6.0]]]) == pytest.approx(2.0)
    assert spread_apart([[[1.0], [2.0]], [[1.0, 2.0], [1.0]]]) == 0.0


def test_the_probability_of_being_on_the_front():
    labels = np.ones(100)
    good, bad = np.ones(100), np.zeros(100)
    points = [Trained(-2, [bad], seeded=False), Trained(0, [good]), Trained(1, [bad]), Trained(2, [good])]
    assert repeated("mean", labels, points).on_front([0, 5, 3, 9]).tolist() == [1.0, 1.0, 0.0, 0.0]


def test_seeds_end_where_they_cannot_change_the_front():
    apart, near = [0.70, 0.80, 0.90], [0.70, 0.71, 0.90]
    sizes, counts, left = [0, 10, 20], [1, 2, 2], [0, 1, 1]
    assert undecided(apart, sizes, counts, left, 0.001) == []
    assert undecided(near, sizes, counts, left, 0.02) == [
        1
    ]  # 2 is above both whatever comes; 1 and the control are near
    assert undecided([0.7, 0.8, 0.5], sizes, counts, left, 0.001) == []  # certainly beaten
    assert undecided(near, sizes, counts, [0, 0, 0], 0.02) == []  # no seed is left
