"""Picks of a front, against closed forms."""

import pytest

from qrlora_search.values.picks import best, best_under, knee, one_standard_error, smallest_better

SIZES, SCORES = [9, 99, 999], [0.70, 0.79, 0.80]  # log10(1 + size): 1, 2, 3


def test_the_knee_is_farthest_above_the_line_from_the_control_to_the_best():
    assert knee(SIZES, SCORES, 0.5) == 0  # rises by 0.20 of 0.30 in a third of the way: 0.667 - 0.333
    assert knee(SIZES, SCORES, 0.69) == 1  # 0.01 of 0.11 at a third, 0.10 of 0.11 at two thirds
    assert knee([5], [0.9], 0.5) == 0
    with pytest.raises(ValueError, match="empty"):
        knee([], [], 0.5)


def test_best_and_best_under():
    assert best(SCORES) == 2
    assert best_under(SIZES, SCORES, 998) == 1
    assert best_under(SIZES, SCORES, 8) is None


def test_the_smallest_within_one_standard_error_of_the_best():
    assert one_standard_error(SIZES, SCORES, [0.0, 0.0, 0.005]) == 2
    assert one_standard_error(SIZES, SCORES, [0.0, 0.0, 0.02]) == 1
    assert one_standard_error(SIZES, SCORES, [0.0, 0.0, 0.2]) == 0


def test_the_smallest_better_than_the_control_may_be_none():
    assert smallest_better(SIZES, [-0.01, 0.001, 0.1]) == 1
    assert smallest_better(SIZES, [-0.01, 0.0, -0.1]) is None
