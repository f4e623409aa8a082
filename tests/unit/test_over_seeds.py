"""Scores repeated over seeds: closed forms, pairing, and intervals that cover the truth."""

import numpy as np
import pytest

from qrlora_search.app.over_seeds import difference_and_p, difference_over_seeds, score_over_seeds
from qrlora_search.values.intervals import paired_difference, score_interval, two_sided_p

N = 400


def drawn(random, seeds, rate, spread):
    """Return labels and one set of predictions a seed, each right at its own rate around `rate`."""
    labels = random.integers(0, 2, N).astype(float)
    rates = np.clip(rate + spread * random.normal(size=seeds), 0, 1)
    return labels, [np.where(random.random(N) < one, labels, 1 - labels) for one in rates]


def test_one_seed_is_the_bootstrap_over_examples():
    labels, (one,) = drawn(np.random.default_rng(0), 1, 0.8, 0.0)
    ours, plain = score_over_seeds("mean", labels, [one]), score_interval("mean", labels, one)
    assert ours.value == pytest.approx(plain.value)
    assert ours.error == pytest.approx(plain.error, rel=0.1)


def test_the_value_is_the_mean_over_seeds_and_the_difference_is_paired():
    labels, sides = drawn(np.random.default_rng(1), 4, 0.7, 0.05)
    assert score_over_seeds("mean", labels, sides).value == pytest.approx(
        np.mean([(one == labels).mean() for one in sides])
    )
    same = difference_over_seeds("mean", labels, sides, sides)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    with pytest.raises(ValueError, match="cannot be paired"):
        difference_over_seeds("mean", labels, sides, sides[:2])


def test_intervals_cover_the_truth_and_grow_with_the_spread_between_seeds():
    covered, widths = 0, {}
    for trial in range(60):
        labels, sides = drawn(np.random.default_rng([2, trial]), 12, 0.75, 0.04)
        found = score_over_seeds("mean", labels, sides, trial)
        covered += found.low <= 0.75 <= found.high
    assert covered >= 52  # 95 % of 60 is 57, three standard errors are 5
    for spread in (0.0, 0.1):
        widths[spread] = score_over_seeds("mean", *drawn(np.random.default_rng(3), 12, 0.75, spread)).error
    assert widths[0.1] > 1.5 * widths[0.0]


@pytest.mark.parametrize("spread", [0.0, 0.1])
@pytest.mark.parametrize("seeds", [3, 8])
def test_no_difference_is_called_one_about_as_often_as_the_level_says(seeds, spread):
    """The two sides differ by seed, and by example for all seeds alike, around no difference at all."""
    found, n, times = [], 100, 120
    for trial in range(times):
        random = np.random.default_rng([seeds, int(100 * spread), trial])
        labels, hard = random.integers(0, 2, n).astype(float), random.normal(size=n)
        sides = []
        for liking in random.normal(size=(2, n)):  # what each side makes of an example, whatever the seed
            levels = 0.9 + 0.6 * hard + 0.4 * liking + 3 * spread * random.normal(size=(seeds, 1))
            sides.append([np.where(random.normal(size=n) < one, labels, 1 - labels) for one in levels])
        interval, p = difference_and_p("mean", labels, *sides)
        assert (p < 0.05) == (interval.low > 0 or interval.high < 0)
        found.append(p)
    rejected = float(np.mean(np.array(found) <= 0.05))
    assert 0.0 < rejected <= 0.11, rejected  # 0.05 within three standard errors of 120
    if seeds >= 8:  # of three seeds the degrees of freedom are themselves a guess, and the far tail is too heavy
        assert np.mean(np.array(found) <= 0.002) <= 0.02


def test_a_correlation_is_repeated_too():
    random = np.random.default_rng(4)
    labels = random.normal(size=N)
    near, far = [labels + 0.5 * random.normal(size=N) for _ in range(3)], [random.normal(size=N) for _ in range(3)]
    apart = difference_over_seeds("correlation", labels, near, far)
    assert apart.low > 0.5
    assert apart.value == pytest.approx(
        np.mean([np.corrcoef(labels, one)[0, 1] for one in near])
        - np.mean([np.corrcoef(labels, one)[0, 1] for one in far])
    )


def test_seeds_that_agree_in_all_have_no_difference_and_one_seed_has_the_bootstraps_p():
    labels, sides = drawn(np.random.default_rng(5), 6, 0.75, 0.02)
    assert difference_and_p("mean", labels, sides, sides)[1] == 1.0
    (alone, p), plain = (
        difference_and_p("mean", labels, sides[:1], sides[1:2]),
        paired_difference("mean", labels, sides[0], sides[1]),
    )
    assert alone == plain
    assert p == two_sided_p("mean", labels, sides[0], sides[1])


def test_a_large_difference_is_told_from_few_seeds():
    labels, sides = drawn(np.random.default_rng(6), 8, 0.85, 0.01)
    worse = drawn(np.random.default_rng(6), 8, 0.65, 0.01)[1]
    interval, p = difference_and_p("mean", labels, sides, worse)
    assert interval.low > 0.1
    assert p < 1e-4  # finer than any resample could tell
