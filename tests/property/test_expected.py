"""What a trial is expected to add to the front, and what a new one would, by properties."""

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from property.stopping_cases import SCORES, SIZES, curves, known_of, points, rules
from qrlora_search.values.expected import landscape_of, new_trial, quantiles, sample
from qrlora_search.values.knowledge import Seen
from qrlora_search.values.stopping import decide


def area_added(known, pairs, beyond, size, ends):
    """Return what a trial of this size that ends at one of these scores adds on average, place by place."""
    bars = [known.bar(other).score for other, _ in pairs if other >= size]
    top = max([known.control.score, *(one.score for one in known.front)])
    total = sum(max(0.0, end - bar) for end in ends for bar in bars)
    total += sum(max(0.0, end - top) * beyond * len(pairs) for end in ends)
    return total / len(ends) / len(pairs)


@given(points, curves, SIZES, st.lists(SCORES, min_size=1, max_size=5), SCORES, st.sampled_from([0.0, 0.5, 2.0]))
def test_the_added_area_is_how_far_the_ends_are_above_the_front_at_every_larger_size(
    pairs, ended, size, ends, control, beyond
):
    known = known_of(pairs, ended, control)
    seen = known.rungs[1].pairs
    found = landscape_of(known, seen, beyond)
    added = found.added(np.array([size]), np.array([ends]))
    assert added[0] == pytest.approx(area_added(known, seen, beyond, size, ends))


@given(points, curves, st.lists(SCORES, min_size=1, max_size=5), st.integers(1, 2), st.integers(3, 6))
def test_a_new_trial_is_worth_the_best_share_of_those_seen(pairs, ended, gains, first, epochs):
    known = known_of(pairs, ended, 0.3)
    seen = known.rungs[1].pairs
    each = sorted(
        (area_added(known, seen, 1.0, size, [score + gain for gain in gains]) for size, score in seen), reverse=True
    )
    best = max(sum(each[:kept]) / (len(each) * first + kept * (epochs - first)) for kept in range(1, len(each) + 1))
    found = landscape_of(known, seen, 1.0)
    assert new_trial(found, np.array(gains), first, epochs) == pytest.approx(best)


@given(points, st.integers(1, 12), SIZES, SCORES)
def test_a_sample_of_the_trials_is_evenly_spread_with_or_without_the_own_one(pairs, most, size, score):
    others = sorted({pair for pair in pairs if pair != (size, score)})
    everyone = sorted([*others, (size, score)])
    found = sample(everyone, None, most)
    assert sample(others, (everyone.index((size, score)), (size, score)), most) == found
    assert len(found) == min(most, len(everyone))
    assert len(found) < most or len(everyone) == most or set(found) < set(everyone)
    assert found == everyone or most < len(everyone)
    places = [everyone.index(pair) for pair in found]
    assert places == sorted(set(places))
    gaps = np.diff(places)
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


@given(rules, curves, SIZES, SCORES)
def test_with_curves_known_one_stops_whose_epochs_are_better_spent_on_a_new_trial(rule, ended, size, score):
    rule = replace(rule, gains=10**6, seen=10**6, around=0, neighbours=99)
    known, one = known_of([], ended, 0.0), Seen(99, size, score)
    gains = sorted({(other, here, final): final - here for other, here, final in ended}.values())
    assert known.rungs[1].gains == pytest.approx(gains)
    assume(len(gains) >= rule.curves and score > 0)
    known.add(1, one)
    seen = known.rungs[1].pairs
    decision = decide(rule, 1, one, known)
    adds = area_added(known, seen, rule.beyond, size, [score + gain for gain in gains]) / (rule.epochs - 1)
    new = new_trial(landscape_of(known, seen, rule.beyond), np.array(gains), 1, rule.epochs)
    dominated = any(other <= size and here >= score and (other, here) != (size, score) for other, here, _ in ended)
    dominated |= score + max(gains) < known.bar(size).score - 1e-9
    behind = max(here for _, here, _ in ended) > score  # at this epoch: what they became is no matter of noise
    assume(abs(adds - new) > 1e-8 and not 0 < adds < 1e-8)
    assert decision.stop == (dominated and behind and (adds == 0 or adds < new))
    if decision.stop:
        said = re.search(r"expected to add (\S+) an epoch to the front, a new trial ([^;\s]+); ", decision.reason)
        assert [float(one) for one in said.groups()] == pytest.approx([adds, new], rel=0.06)  # two digits


@given(st.lists(SCORES, min_size=1, max_size=60).map(sorted), st.integers(2, 16))
def test_the_gains_that_stand_for_all_are_spread_from_the_lowest_to_the_best_case(gains, most):
    found = quantiles(gains, most).tolist()
    assert (found[0], found[-1]) == (gains[0], gains[-1])
    assert found == sorted(found)
    assert len(found) == min(most, len(gains))
    assert set(found) <= set(gains)
