"""Fronts, ranks and hypervolume against their definitions, on few distinct values so that ties are common."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrlora_search.values.fronts import dominates, front, hypervolume, pareto_ranks, ranks
from qrlora_search.values.objectives import losses, size_axis
from qrlora_search.values.states import FinishedTrial

SCORES = [-0.2, 0.0, 0.1, 0.25, 0.5, 0.51, 0.9]
SIZES = [0, 1, 2, 9, 99, 100, 5_000]
WHOLE = 1_000

pairs = st.lists(st.tuples(st.sampled_from(SCORES), st.sampled_from(SIZES)), max_size=14)
controls = st.sampled_from(SCORES)


def trials_of(points):
    return [FinishedTrial(number, score, size) for number, (score, size) in enumerate(points)]


def beats(one, other):
    """Say whether a (score, size) is nowhere worse and somewhere better."""
    return one[0] >= other[0] and one[1] <= other[1] and one != other


def objectives(trial):
    return trial.score, trial.parameters


@given(pairs, controls)
def test_the_front_is_what_nothing_and_no_control_beats(points, control):
    expected = {
        (score, size)
        for score, size in points
        if score > control and not any(beats(other, (score, size)) for other in points)
    }
    found = front(trials_of(points), control)
    assert {objectives(one) for one in found} == expected
    assert len(found) == len(expected)
    assert [one.parameters for one in found] == sorted(one.parameters for one in found)


@given(pairs, controls)
def test_the_earliest_of_equal_trials_stands_for_all(points, control):
    for member in front(trials_of(points), control):
        assert member.trial == points.index(objectives(member))


@given(pairs.flatmap(lambda points: st.tuples(st.just(points), st.permutations(range(len(points))))), controls)
def test_the_order_of_arrival_does_not_matter(shuffled, control):
    points, order = shuffled
    trials = trials_of(points)
    again = [trials[place] for place in order]
    assert front(again, control) == front(trials, control)
    assert hypervolume(again, control, WHOLE) == hypervolume(trials, control, WHOLE)


def test_a_member_must_score_above_the_control():
    trials = trials_of([(0.5, 10), (0.4, 5)])
    assert front(trials, 0.5) == []
    assert [one.trial for one in front(trials, 0.4)] == [0]
    assert [one.trial for one in front(trials, 0.3)] == [1, 0]


def test_the_sign_is_flipped_once_and_sizes_count_on_a_log_scale():
    np.testing.assert_allclose(losses([0.5, -0.1], [0, 99]), [[-0.5, 0.0], [0.1, 2.0]])
    assert float(size_axis(9)) == pytest.approx(1.0)
    assert losses([], []).shape == (0, 2)


@given(pairs)
def test_dominance_is_the_definition(points):
    scores, sizes = [one[0] for one in points], [one[1] for one in points]
    matrix = dominates(losses(scores, sizes))
    assert matrix.tolist() == [[beats(one, other) for other in points] for one in points]


@given(pairs)
def test_ranks_peel_off_one_front_after_the_other(points):
    expected, left, level = {}, set(range(len(points))), 0
    while left:
        peel = {i for i in left if not any(beats(points[j], points[i]) for j in left)}
        expected |= dict.fromkeys(peel, level)
        left -= peel
        level += 1
    found = pareto_ranks([one[0] for one in points], [one[1] for one in points])
    assert found.tolist() == [expected[i] for i in range(len(points))]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_ranks_refuse_what_is_not_finite(bad):
    with pytest.raises(ValueError, match="finite"):
        ranks(np.array([[0.0, 1.0], [bad, 0.0]]))


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_neighbouring_sizes_stay_apart_at_the_size_of_a_large_encoder(low, step):
    first = 360_000_000 + low
    assert pareto_ranks([0.5, 0.5], [first, first + 1 + step]).tolist() == [0, 1]


def covered_area(points, control, whole):
    """Return the area by summing the cells of the grid of all coordinates that some trial covers."""
    right = math.log10(1 + whole)
    xs = sorted({right, *(math.log10(1 + size) for _, size in points)})
    ys = sorted({control, *(score for score, _ in points)})
    area = 0.0
    for (left, end), (low, high) in itertools.product(itertools.pairwise(xs), itertools.pairwise(ys)):
        inside = end <= right and low >= control
        if inside and any(math.log10(1 + size) <= left and score >= high for score, size in points):
            area += (end - left) * (high - low)
    return area


@given(pairs, controls)
def test_the_hypervolume_is_the_area_of_the_covered_cells(points, control):
    found = hypervolume(trials_of(points), control, WHOLE)
    assert found == pytest.approx(covered_area(points, control, WHOLE), abs=1e-12)


@given(pairs, controls, st.sampled_from(SCORES), st.sampled_from(SIZES))
def test_a_further_trial_never_lowers_the_hypervolume(points, control, score, size):
    before = hypervolume(trials_of(points), control, WHOLE)
    after = hypervolume(trials_of([*points, (score, size)]), control, WHOLE)
    assert after >= before - 1e-12
    if any(beats(one, (score, size)) or one == (score, size) for one in points) or score <= control:
        assert after == pytest.approx(before, abs=1e-12)


def test_hypervolume_in_closed_form():
    assert hypervolume([], 0.3, 999) == 0.0
    assert hypervolume(trials_of([(0.3, 0)]), 0.3, 999) == 0.0  # the control itself adds nothing
    assert hypervolume(trials_of([(0.5, 9), (0.6, 99)]), 0.3, 999) == pytest.approx(0.2 * 2 + 0.1 * 1)
    assert hypervolume(trials_of([(0.5, 5_000)]), 0.3, 999) == 0.0  # larger than the whole encoder


def test_only_finished_trials_enter_a_front():
    half_trained = SimpleNamespace(trial=1, score=0.5, parameters=3)
    with pytest.raises(TypeError, match="FinishedTrial"):
        front([half_trained], 0.0)
    with pytest.raises(ValueError, match="trial 4 cannot be finished"):
        FinishedTrial(4, math.nan, 10)
