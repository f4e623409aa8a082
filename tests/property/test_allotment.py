"""Giving out a budget: nothing lost, the floor kept, growth rewarded, remainders by the seed. And Holm's rule."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrlora_search.values.allotment import allot, growth, in_parts
from qrlora_search.values.holm import holm_levels
from qrlora_search.values.intervals import paired_difference, two_sided_p

WEIGHTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=12)
CASES = st.lists(st.tuples(st.floats(0.1, 10), st.floats(0, 1)), min_size=1, max_size=10)


@given(st.integers(0, 10_000), WEIGHTS, st.integers(0, 99))
def test_parts_add_up_and_are_within_one_of_the_exact_share(amount, weights, seed):
    parts = in_parts(amount, weights, seed)
    assert sum(parts) == amount
    total = sum(weights)
    exact = [amount * one / total for one in weights] if total else [amount / len(weights)] * len(weights)
    assert all(abs(part - share) < 1 + 1e-6 for part, share in zip(parts, exact, strict=True))


@given(st.integers(0, 5000), CASES, st.floats(0, 1), st.integers(0, 9))
def test_every_search_keeps_its_floor(amount, cases, floor, seed):
    shares, growths = [one[0] for one in cases], [one[1] for one in cases]
    parts = allot(amount, shares, growths, floor, seed)
    assert sum(parts) == amount
    assert all(part > floor * amount * share / sum(shares) - 1 - 1e-6
               for part, share in zip(parts, shares, strict=True))  # fmt: skip


@given(st.permutations(list(range(5))))
def test_the_order_of_searches_decides_nothing_but_ties(order):
    shares, growths = [1.0, 2.0, 1.5, 0.7, 3.0], [0.1, 0.0, 0.9, 0.4, 0.33]
    straight = allot(997, shares, growths, 0.2, 3)
    shuffled = allot(997, [shares[i] for i in order], [growths[i] for i in order], 0.2, 3)
    assert [straight[i] for i in order] == shuffled


def test_what_grows_gets_more_and_what_does_not_gets_the_floor():
    assert allot(100, [1, 1], [0.5, 0.0], 0.2, 0) == [90, 10]
    assert allot(100, [1, 1], [0.0, 0.0], 0.2, 0) == [50, 50]
    assert allot(90, [2, 1], [1.0, 1.0], 0.2, 0) == [60, 30]


def test_equal_remainders_go_by_the_seed_and_the_same_seed_gives_the_same():
    seen = {tuple(in_parts(1, [1.0, 1.0, 1.0], seed)) for seed in range(40)}
    assert seen == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}
    assert in_parts(1, [1.0, 1.0], 5) == in_parts(1, [1.0, 1.0], 5)


def test_growth_is_relative_to_the_size_and_never_negative():
    assert growth(None, 0.0) == 1.0
    assert growth(1.0, 2.0) == 0.5
    assert growth(0.0, 0.0) == 0.0
    assert growth(2.0, 1.0) == 0.0


@pytest.mark.parametrize("weights", [[], [-1.0], [float("nan")]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match="weights"):
        in_parts(3, weights, 0)


def holm_by_definition(p_values, level):
    """Return the rejected ones: those in no intersection hypothesis that Bonferroni keeps (closed testing)."""
    indices = range(len(p_values))
    subsets = [s for k in range(1, len(p_values) + 1) for s in itertools.combinations(indices, k)]
    return {i for i in indices if all(min(p_values[j] for j in s) <= level / len(s) for s in subsets if i in s)}


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=6))
def test_holm_is_the_closed_test_over_bonferroni(p_values):
    rejected = {i for i, one in enumerate(holm_levels(p_values, 0.05)) if one is not None}
    assert rejected == holm_by_definition(p_values, 0.05)


def test_holm_holds_the_family():
    random = np.random.default_rng(0)
    wrong = sum(any(one is not None for one in holm_levels(random.random(8).tolist(), 0.05)) for _ in range(4000))
    assert wrong / 4000 < 0.06


@pytest.mark.parametrize("shift", [0, 12, 60])
def test_p_and_interval_agree(shift):
    random = np.random.default_rng(shift)
    labels = random.integers(0, 2, 500).astype(float)
    ours, theirs = labels.copy(), labels.copy()
    ours[:100] = 1 - ours[:100]
    theirs[50 : 150 + shift] = 1 - theirs[50 : 150 + shift]
    found, p = paired_difference("mean", labels, ours, theirs), two_sided_p("mean", labels, ours, theirs)
    assert (p < 0.05) == (found.low > 0 or found.high < 0)
