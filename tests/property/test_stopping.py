"""The stopping rule, by properties: what may not change a decision, who always stops, and who is always safe."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from property.stopping_cases import RULE, SCORES, SIZES, curves, known_of, points, rules
from qrlora_search.values.fronts import front, pareto_ranks
from qrlora_search.values.knowledge import Knowledge, Rung, Seen
from qrlora_search.values.paired import Examples
from qrlora_search.values.states import FinishedTrial
from qrlora_search.values.stopping import decide, rank_below, worth_starting


@given(
    rules, points, curves.flatmap(lambda some: st.permutations(range(len(some))).map(lambda o: (some, o))), st.data()
)
def test_the_order_of_arrival_does_not_matter(rule, pairs, ended_and_order, data):
    ended, order = ended_and_order
    known, again = known_of(pairs, ended, 0.3), Knowledge(control=Seen(-1, 0, 0.3))
    for number in data.draw(st.permutations(range(len(pairs)))):
        again.add(1, Seen(number, *pairs[number]))
    for place in order:
        size, score, final = ended[place]
        again.add(1, Seen(100 + place, size, score))
        again.finish(Seen(100 + place, size, final))
    assert again.rungs[1].pairs == known.rungs[1].pairs
    assert again.front == known.front
    for number, (size, score) in enumerate(pairs):
        one = Seen(number, size, score)
        assert decide(rule, 1, one, known) == decide(rule, 1, one, again)
        assert worth_starting(rule, size, known).stop == worth_starting(rule, size, again).stop


@given(rules, points, curves)
def test_the_own_report_among_the_known_changes_nothing(rule, pairs, ended):
    one = Seen(0, *pairs[0])
    assert decide(rule, 1, one, known_of(pairs, ended, 0.3)) == decide(
        rule, 1, one, known_of([], ended, 0.3) if len(pairs) == 1 else _without_first(pairs, ended)
    )


def _without_first(pairs, ended):
    known = known_of([], ended, 0.3)
    for number, (size, score) in enumerate(pairs[1:], 1):
        known.add(1, Seen(number, size, score))
    return known


@given(rules, points, curves, st.lists(st.integers(1, 1000), min_size=13, max_size=13))
def test_sizes_enter_by_order_alone(rule, pairs, ended, steps):
    rising = np.cumsum(steps).tolist()
    known = known_of(pairs, ended, 0.3)
    scaled = known_of(
        [(rising[size], score) for size, score in pairs],
        [(rising[size], score, final) for size, score, final in ended],
        0.3,
    )
    for number, (size, score) in enumerate(pairs):
        assert (
            decide(rule, 1, Seen(number, size, score), known).stop
            == decide(rule, 1, Seen(number, rising[size], score), scaled).stop
        )
        assert worth_starting(rule, size, known).stop == worth_starting(rule, rising[size], scaled).stop


@given(rules, points, curves, st.integers(1, 4))
def test_equal_trials_count_once(rule, pairs, ended, times):
    one = Seen(0, *pairs[0])
    copies = known_of([*pairs, *pairs * times], [*ended, *ended * times], 0.3)
    assert decide(rule, 1, one, copies) == decide(rule, 1, one, known_of(pairs, ended, 0.3))


@given(rules, points, curves, SIZES, SCORES, SCORES)
def test_below_the_control_a_trial_stops_whatever_its_size(rule, pairs, ended, size, score, control):
    assume(score < control)
    decision = decide(rule, 1, Seen(99, size, score), known_of(pairs, ended, control))
    assert decision.stop
    assert decision.reason == f"{score:.3f}, clearly below the control's {control:.3f}, at epoch 1"


@given(rules, points, st.lists(SCORES, min_size=2, max_size=2, unique=True), SIZES, SCORES)
def test_it_is_held_against_the_control_of_its_own_epoch(rule, pairs, rises, size, score):
    """A head that is trained on rises: what it reaches in the end is asked of nobody before."""
    before, after = sorted(rises)
    known = known_of(pairs, control=0.0)
    known.head_only = {1: Seen(-1, 0, before), 2: Seen(-1, 0, after)}
    trial = Seen(99, size, score)
    assert known.bar(size) == Seen(-1, 0, after)
    for epoch, there in ((1, before), (2, after)):
        stops = "clearly below the control" in decide(replace(rule, rungs=(1, 2)), epoch, trial, known).reason
        assert stops == (score < there)


@given(rules, points, SIZES)
def test_at_chance_a_trial_stops_even_where_it_is_the_smallest(rule, pairs, size):
    smallest = min(size, *(other for other, _ in pairs))
    labels = np.arange(200) % 2.0
    examples = Examples("mean", labels)
    control = Seen(-1, 0, 0.8, examples.results(np.where(np.arange(200) < 160, labels, 1 - labels)))
    known = replace(known_of(pairs), examples=examples, chance=0.5, control=control)
    one = Seen(99, smallest, 0.5, examples.results(np.zeros(200)))
    assert decide(rule, 1, one, known).stop
    told_apart = replace(rule, control_errors=1e9, fewest=99)  # nothing is told apart from chance, nor is the control
    assert not decide(told_apart, 1, one, known).stop


@given(rules, points, curves, SCORES)
def test_one_that_dominates_all_and_is_not_hopeless_goes_on(rule, pairs, ended, control):
    size = min(other for other, *_ in [*pairs, *ended])
    score = max([control, *(value for _, value, *_ in [*pairs, *ended])])
    decision = decide(rule, 1, Seen(99, size, score), known_of(pairs, ended, control))
    assert not decision.stop


@given(rules, points, SIZES, SCORES)
def test_larger_trials_alone_stop_nobody_nor_shelter_outside_a_neighbourhood(rule, pairs, size, score):
    smaller = [(other, value) for other, value in pairs if other <= size]
    larger = [(size + 1 + place, 1.0) for place in range(4)]
    rule, one = replace(rule, around=0), Seen(99, size, score)
    with_larger = decide(rule, 1, one, known_of([*smaller, *larger], control=0.0))
    assert with_larger.stop or not decide(rule, 1, one, known_of(smaller, control=0.0)).stop
    assert not with_larger.stop or any(value >= score for _, value in smaller)


@given(points, SIZES, SCORES)
def test_the_rank_among_smaller_trials_is_the_non_dominated_rank(pairs, size, score):
    peers = sorted({(min(other, size), value) for other, value in pairs} - {(size, score)})
    own, last = rank_below(score, peers)
    ranks = pareto_ranks([*(value for _, value in peers), score], [*(other for other, _ in peers), size])
    assert own == ranks[-1]
    among_peers = pareto_ranks([value for _, value in peers], [other for other, _ in peers])
    assert last == max([own, *among_peers])


@given(curves, SIZES, SCORES)
def test_the_bar_is_the_best_finished_trial_no_larger_or_the_control(ended, size, control):
    known = known_of([], ended, control)
    best = max([control, *(final for other, _, final in ended if other <= size)])
    assert known.bar(size).score == best
    expected = front([FinishedTrial(n, final, other) for n, (other, _, final) in enumerate(ended, 100)], -1.0)
    assert [(one.parameters, one.score) for one in known.front] == [(one.parameters, one.score) for one in expected]


@given(rules, points, curves, SIZES)
def test_one_that_no_trial_of_similar_or_smaller_size_dominates_goes_on(rule, pairs, ended, size):
    known = known_of(pairs, ended, 0.0)
    score = max([0.0, *(value for other, value in known.rungs[1].pairs if other <= size)]) + 0.05
    decision = decide(rule, 1, Seen(99, size, score), known)
    if decision.stop:  # not for this epoch: nothing that was ever gained would bring it to what it must beat
        assert score + known.rungs[1].gains[-1] < known.bar(size).score
        assert " < " in decision.reason


@given(rules, points, curves)
def test_the_best_of_its_neighbourhood_goes_on(rule, pairs, ended):
    known = known_of(pairs, ended, 0.0)
    everyone = known.rungs[1].pairs
    for number, (size, score) in enumerate(pairs):
        others = [pair for pair in everyone if pair != (size, score)]
        best = {other: max(value for each, value in others if each == other) for other, _ in others}
        smaller = sorted((other for other in best if other <= size), reverse=True)[: rule.around]
        larger = sorted(other for other in best if other > size)[: rule.around]
        around = [(other, best[other]) for other in (*smaller, *larger)]
        if score > 0 and around and all(value < score for _, value in around):
            assert not decide(rule, 1, Seen(number, size, score), known).stop


@given(points, st.lists(st.tuples(st.integers(0, 19), SIZES, SCORES), max_size=6), SIZES)
def test_a_rungs_front_is_the_best_score_up_to_each_size(pairs, again, size):
    rung = Rung()
    for number, pair in enumerate(pairs):
        rung.add(Seen(number, *pair))
    for number, *pair in again:  # trained anew after an interruption
        rung.add(Seen(number, *pair))
    best = max((score for other, score in rung.pairs if other <= size), default=None)
    found = rung.best(size)
    assert (None if found is None else found[1]) == best
    assert found is None or found[0] == min(other for other, score in rung.pairs if score == best)


@given(points, curves, st.integers(4, 50))
def test_off_the_rungs_nothing_is_decided(pairs, ended, epoch):
    decision = decide(RULE, epoch, Seen(99, 12, -1.0), known_of(pairs, ended, 0.5))
    assert not decision.stop
    assert decision.reason == f"epoch {epoch} is no rung"


@pytest.mark.parametrize(
    ("pairs", "score", "stop", "reason"),
    [
        ([], 0.1, False, "no known trial is smaller or scores higher at epoch 2"),
        ([(9, 0.5), (8, 0.5)], 0.1, False, "only 2 trials of similar or smaller size at epoch 2"),
        ([(9, 0.5), (9, 0.5), (9, 0.5)], 0.1, False, "only 1 trials of similar or smaller size at epoch 2"),
        ([(9, 0.5), (8, 0.4), (7, 0.05), (6, 0.0)], 0.1, True, "below 2 of 4 trials of similar or smaller size"),
        (
            [(9, 0.05), (8, 0.04), (7, 0.2), (6, 0.0)],
            0.1,
            False,
            "below 1 of 4 trials of similar or smaller size at epoch 2, but",
        ),
        ([(9, 0.05), (8, 0.04), (7, 0.03), (6, 0.2)], 0.3, False, "below 0 of 4 trials of similar or smaller size"),
    ],
)
def test_reasons_name_their_numbers(pairs, score, stop, reason):
    known = Knowledge()
    for number, (size, value) in enumerate(pairs):
        known.add(2, Seen(number, size, value))
    decision = decide(RULE, 2, Seen(99, 10, score), known)
    assert decision.reason.startswith(reason)
    assert decision.stop is stop


def test_only_the_next_smaller_trials_are_peers():
    near = [(size, 0.05 * (size % 2)) for size in range(32, 20, -1)]
    far = [(size, 0.5) for size in range(1, 9)]
    assert not decide(RULE, 1, Seen(99, 32, 0.1), known_of(near + far)).stop
    assert decide(replace(RULE, neighbours=40, around=0, share=0.2), 1, Seen(99, 32, 0.0), known_of(near + far)).stop


@pytest.mark.parametrize(("place", "stop"), [(6, False), (14, True)])
def test_many_of_one_size_stand_for_all_of_them_not_for_their_best(place, stop):
    """Of 31 trials of one size the seventh is among the best third, whatever the twelve best of them are."""
    scores = [0.9 - each / 100 for each in range(31)]
    others = [(64, score) for at, score in enumerate(scores) if at != place]
    larger = [(100, 0.95), (200, 0.96)]
    decision = decide(RULE, 1, Seen(99, 64, scores[place]), known_of([*others, *larger]))
    assert decision.stop is stop
    assert "of 12 trials" in decision.reason


def test_a_neighbourhood_is_of_sizes_and_its_best_is_held_against_the_best_of_each():
    of_next = [(64, 0.5 + each / 100) for each in range(10)]
    alone = [(60 + each, 0.1) for each in range(3)]
    one = Seen(99, 63, 0.55)
    crowd = [(70, 0.02), *((70, 0.57 + each / 100) for each in range(5)), (80, 0.3)]
    rule = replace(RULE, share=0.0)
    assert not decide(rule, 1, one, known_of([*alone, (10, 0.9), (64, 0.5), (80, 0.3)])).stop
    assert decide(rule, 1, one, known_of([*alone, (10, 0.9), *of_next])).stop
    assert decide(rule, 1, one, known_of([*alone, (10, 0.9), *crowd])).stop


def test_level_is_not_below():
    known = known_of([(9, 0.4), (8, 0.3), (7, 0.3), (6, 0.2), (5, 0.1)])
    reason = decide(RULE, 1, Seen(99, 10, 0.3), known).reason
    assert reason.startswith("below 1, level with 2, of 5 trials of similar or smaller size at epoch 1")


def test_a_trial_reported_again_replaces_what_was_noted():
    rung = Rung()
    for one in (Seen(7, 10, 0.1), Seen(8, 20, 0.3), Seen(9, 10, 0.1), Seen(7, 10, 0.2)):
        rung.add(one)
    assert rung.pairs == [(10, 0.1), (10, 0.2), (20, 0.3)]
    assert rung.scores == [0.1, 0.2, 0.3]
    rung.add(Seen(9, 10, 0.2))
    assert rung.pairs == [(10, 0.2), (20, 0.3)]
    assert [one.trial for one in rung.holders((10, 0.2))] == [7, 9]
