"""Scores repeated over seeds: closed forms, pairing, and intervals that cover the truth."""

import numpy as np
import pytest

from qrlora_search.values.intervals import score_interval
from qrlora_search.values.over_seeds import difference_and_p, difference_over_seeds, score_over_seeds

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
    assert covered >= 50  # 95 % of 60 is 57; twelve seeds make a bootstrap a little narrow
    for spread in (0.0, 0.1):
        widths[spread] = score_over_seeds("mean", *drawn(np.random.default_rng(3), 12, 0.75, spread)).error
    assert widths[0.1] > 1.5 * widths[0.0]


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


def test_the_p_value_is_below_its_level_where_the_interval_excludes_0():
    for seed in range(12):
        labels, sides = drawn(np.random.default_rng(seed), 6, 0.75, 0.02)
        random = np.random.default_rng(100 + seed)
        worse = [np.where(random.random(N) < 0.96 + 0.01 * (seed % 4), one, 1 - one) for one in sides]
        interval, p = difference_and_p("mean", labels, sides, worse)
        assert (interval.low, interval.high) == (
            difference_over_seeds("mean", labels, sides, worse).low,
            difference_over_seeds("mean", labels, sides, worse).high,
        )
        if interval.low > 0.002:
            assert p < 0.05
        if interval.low < -0.002 and interval.high > 0.002:
            assert p > 0.05
    assert difference_and_p("mean", labels, sides, sides)[1] == 1.0
