"""Which stopped trial is taken up again: the one that is expected to add most, by a plain sum over all of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrlora_search.values.expected import landscape_of, quantiles, sample
from qrlora_search.values.knowledge import Knowledge, Seen
from qrlora_search.values.promoting import Stopped, most_promising
from qrlora_search.values.stopping import StoppingRule

RULE = StoppingRule(rungs=(1, 2, 3), epochs=5)
SCORES = st.integers(0, 40).map(lambda one: one / 40)
CURVE = st.lists(SCORES, min_size=5, max_size=5)
TRIALS = st.tuples(
    st.lists(st.tuples(st.integers(1, 3000), CURVE, st.just(5)), min_size=5, max_size=10),
    st.lists(st.tuples(st.integers(1, 3000), CURVE, st.sampled_from([1, 2, 3])), max_size=14),
).map(lambda both: [*both[0], *both[1]])
"""Trials (size, score by epoch, epochs trained): at least five Finished ones, and stopped ones."""


def search(trials, shuffled=None, scale=lambda size: size):
    """Return what is known of trials (size, score by epoch, epochs trained), and the stopped ones."""
    known, stopped = Knowledge(control=Seen(-1, 0, 0.3)), Stopped()
    places = list(range(len(trials))) if shuffled is None else shuffled
    for place in places:
        size, scores, epochs = trials[place]
        for epoch in range(1, epochs + 1):
            known.add(epoch, Seen(place, scale(size), scores[epoch - 1]))
        if epochs == 5:
            known.finish(Seen(place, scale(size), scores[-1]))
        else:
            stopped.add(epochs, Seen(place, scale(size), scores[epochs - 1]))
    return known, stopped


def expected(known, epoch, one):
    """Return what a trial is expected to add an epoch."""
    front = landscape_of(known, sample(known.rungs[1].pairs, None, RULE.seen), RULE.beyond)
    ends = one.score + quantiles(known.rungs[epoch].gains, RULE.gains)
    return float(front.added(np.array([one.parameters]), ends[None])[0]) / (5 - epoch)


def all_stopped(trials):
    """Return the stopped ones as (epoch, trial)."""
    return [(epochs, Seen(place, size, scores[epochs - 1]))
            for place, (size, scores, epochs) in enumerate(trials) if epochs < 5]  # fmt: skip


@given(TRIALS)
def test_it_is_the_one_that_is_expected_to_add_most_an_epoch(trials):
    known, stopped = search(trials)
    found = most_promising(RULE, stopped, known, 5)
    told = [(epoch, one) for epoch, one in all_stopped(trials) if len(known.rungs[epoch].gains) >= RULE.curves]
    worth = {one.trial: expected(known, epoch, one) for epoch, one in told}
    if found is None:
        assert max(worth.values(), default=0.0) < 1e-9
        return
    assert found.adds == pytest.approx(max(worth.values()))
    assert found.adds == pytest.approx(worth[found.trial])
    epoch, one = next(each for each in all_stopped(trials) if each[1].trial == found.trial)
    assert found.epoch == epoch
    assert one.score + known.rungs[epoch].gains[-1] > known.bar(one.parameters).score  # its best case is a member
    assert f"at {known.bar(one.parameters).parameters} parameters" in found.reason


@given(TRIALS, st.randoms(use_true_random=False))
def test_neither_order_of_arrival_nor_a_rising_scale_of_sizes_changes_it(trials, random):
    places = random.sample(range(len(trials)), len(trials))
    first = most_promising(RULE, search(trials)[1], search(trials)[0], 5)
    for known, stopped in (search(trials, places), search(trials, scale=lambda size: 7 * size**2 + 3)):
        again = most_promising(RULE, stopped, known, 5)
        assert (again is None) == (first is None)
        if first is not None:
            assert (again.trial, again.epoch) == (first.trial, first.epoch)
            assert again.adds == pytest.approx(first.adds)


@given(TRIALS)
def test_nothing_is_believed_of_gains_before_enough_curves_are_known(trials):
    few = [one for one in trials if one[2] == 5][: RULE.curves - 1] + [one for one in trials if one[2] < 5]
    known, stopped = search(few)
    assert most_promising(RULE, stopped, known, 5) is None
    assert most_promising(RULE, Stopped(), known, 5) is None
    assert most_promising(RULE, stopped, Knowledge(), 5) is None


@given(TRIALS, st.integers(0, 5))
def test_one_after_the_other_is_taken_within_the_epochs_until_none_may_enter(trials, epochs):
    known, stopped = search(trials)
    taken = []
    while (found := most_promising(RULE, stopped, known, epochs)) is not None:
        stopped.take(found)
        assert 5 - found.epoch <= epochs
        taken.append((found.adds, found.trial))
    assert [adds for adds, _ in taken] == sorted((adds for adds, _ in taken), reverse=True)
    worth = {
        one.trial: expected(known, epoch, one)
        for epoch, one in all_stopped(trials)
        if len(known.rungs[epoch].gains) >= RULE.curves and 5 - epoch <= epochs
    }
    assert {trial for _, trial in taken} == {trial for trial, adds in worth.items() if adds > 1e-12}
