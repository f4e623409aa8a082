"""Refusal before training, by properties: which Finished trials a size is judged by, and what they must say."""

from dataclasses import replace

import numpy as np
from hypothesis import event, given, settings
from hypothesis import strategies as st

from property.stopping_cases import RULE, SCORES, SIZES, curves, known_of, rules
from qrlora_search.values.knowledge import Seen
from qrlora_search.values.paired import Examples
from qrlora_search.values.stopping import LEAST_FINISHED, worth_starting


@given(rules, curves, SIZES)
def test_a_trial_is_refused_only_where_even_three_deviations_are_below_the_front(rule, ended, size):
    known, rule = known_of([], ended, 0.0), replace(rule, neighbours=12)
    decision = worth_starting(rule, size, known)
    nearest = known.finals_around(size, rule.neighbours // 2, LEAST_FINISHED)
    nearest = [score for _, score in nearest]
    if decision.stop:
        assert len(nearest) >= 8
        assert max(nearest) <= known.bar(12).score
        best = np.mean(nearest) + 3 * np.std(nearest, ddof=1) * np.sqrt(1 + 1 / len(nearest))
        assert best < known.bar(size).score
        assert decision.reason.startswith(f"best case {best:.3f} before training < {known.bar(size).score:.3f} at ")


LOST = st.tuples(
    SCORES.filter(lambda score: score >= 0.8),  # of a small one
    st.lists(st.tuples(st.integers(2, 12), st.sampled_from([0.0, 0.1, 0.2])), min_size=12, max_size=24),
).map(lambda one: [(1, one[0], one[0]), *((size, final, final) for size, final in one[1])])
"""Finished trials, a good one that is the smallest and at least twelve poor ones: sizes that clearly lost."""


@given(LOST, SIZES, st.randoms(use_true_random=False), st.lists(st.integers(1, 1000), min_size=13, max_size=13))
def test_refusals_too_are_of_the_order_of_sizes_alone_and_of_no_order_of_arrival(ended, size, random, steps):
    known, rising = known_of([], ended, 0.0), np.cumsum(steps).tolist()
    decision = worth_starting(RULE, size, known)
    near = [score for _, score in known.finals_around(size, 6, LEAST_FINISHED)]
    enough = len(near) >= LEAST_FINISHED  # distinct (size, score) alone count
    if enough:
        best = np.mean(near) + 3 * np.std(near, ddof=1) * np.sqrt(1 + 1 / len(near))
        event(f"refused: {decision.stop}")
        assert decision.stop == bool(best < known.bar(size).score - 1e-9)
    else:
        assert not decision.stop
    shuffled = known_of([], random.sample(ended, len(ended)), 0.0)
    assert worth_starting(RULE, size, shuffled) == decision
    scaled = known_of([], [(rising[other], here, final) for other, here, final in ended], 0.0)
    assert worth_starting(RULE, rising[size], scaled).stop == decision.stop


def test_the_drawn_searches_are_refused_often_enough_to_say_something():
    found = []

    @settings(max_examples=200, database=None, derandomize=True)
    @given(LOST, SIZES)
    def draw(ended, size):
        found.append(worth_starting(RULE, size, known_of([], ended, 0.0)).stop)

    draw()
    assert 0.1 < np.mean(found) < 0.95


def test_a_deficit_within_the_noise_refuses_nobody():
    labels = np.arange(400) % 2.0
    examples = Examples("mean", labels)

    def results(first, right):
        places = np.arange(400)
        return examples.results(np.where((places >= first) & (places < first + right), labels, 1 - labels))

    for right, stop in ((281, False), (320, True)):
        known = replace(known_of([], [], 0.1), examples=examples)
        known.finish(Seen(0, 3, right / 400, results(5, right)))
        for number in range(1, 13):
            known.finish(Seen(number, 19 + number, 0.7, results(0, 280)))
        decision = worth_starting(RULE, 26, known)
        assert decision.stop is stop
        assert ("within the noise" in decision.reason) is not stop


def test_a_size_that_lost_clearly_is_not_started_and_an_unknown_one_is():
    ended = [(4, 0.5, 0.9)] + [(40 + place, 0.2, 0.3 + place / 1000) for place in range(10)]
    known = known_of([], ended, 0.1)
    assert worth_starting(RULE, 45, known).stop
    assert not worth_starting(RULE, 45, known_of([], ended[:6], 0.1)).stop
    assert not worth_starting(RULE, 3, known).stop
    largest = known_of([], [(10, 0.5, 0.95), *((2000, 0.1, 0.2 + place / 1000) for place in range(12))], 0.1)
    assert worth_starting(RULE, 2000, largest).stop  # as of full fine-tuning, whose size is always the same
    assert not worth_starting(RULE, 2001, largest).stop  # larger than all: nothing is known of it


@given(curves, SIZES, st.integers(1, 6), st.integers(0, 12))
def test_the_nearest_finished_trials_come_from_one_side_where_the_other_has_too_few(ended, size, aside, least):
    known = known_of([], ended, 0.0)
    found = known.finals_around(size, aside, least)
    if size > known.finals[-1][0]:
        assert found == []
        return
    low = [pair for pair in known.finals if pair[0] <= size]
    high = [pair for pair in known.finals if pair[0] > size]
    near = min(aside, len(low)) + min(aside, len(high))
    assert len(found) == max(near, min(least, len(known.finals)))
    assert len(set(found)) == len(found)
    for side, mine in ((low, [pair for pair in found if pair[0] <= size]),
                       (high, [pair for pair in found if pair[0] > size])):  # fmt: skip
        for other, _ in side:  # of no size is any left out while one farther away is taken
            farther = any(abs(each - size) > abs(other - size) for each, _ in mine)
            assert not farther or {pair for pair in side if pair[0] == other} <= set(mine)
    if near >= least:
        assert len([pair for pair in found if pair[0] <= size]) == min(aside, len(low))
