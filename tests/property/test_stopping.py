"""The stopping rule, by properties: what may not change a decision, and who is always safe."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qrlora_search.values.stopping import RungEntry, RungSummary, StoppingRule, decide

RULE = StoppingRule(rungs=(1, 2, 3))
SCORES = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
SIZES = st.integers(0, 12)

points = st.lists(st.tuples(SIZES, SCORES), min_size=1, max_size=20)
rules = st.builds(
    StoppingRule,
    rungs=st.just((1, 2)),
    neighbours=st.integers(1, 12),
    fewest=st.integers(1, 4),
    share=st.sampled_from([0.25, 0.5, 0.75]),
)


def entries_of(pairs):
    return [RungEntry(number, size, score) for number, (size, score) in enumerate(pairs)]


@given(rules, points.flatmap(lambda pairs: st.tuples(st.just(pairs), st.permutations(range(len(pairs))))))
def test_the_order_of_arrival_does_not_matter(rule, shuffled):
    pairs, order = shuffled
    known = entries_of(pairs)
    for entry in known:
        assert decide(rule, 1, entry, known) == decide(rule, 1, entry, [known[place] for place in order])


@given(rules, points)
def test_the_own_entry_among_the_known_changes_nothing(rule, pairs):
    known = entries_of(pairs)
    assert decide(rule, 1, known[0], known) == decide(rule, 1, known[0], known[1:])


@given(rules, points, st.lists(st.integers(1, 1000), min_size=13, max_size=13))
def test_sizes_enter_by_order_alone(rule, pairs, steps):
    rising = [sum(steps[: size + 1]) for size in range(13)]
    known = entries_of(pairs)
    scaled = entries_of([(rising[size], score) for size, score in pairs])
    for plain, other in zip(known, scaled, strict=True):
        assert decide(rule, 1, plain, known).stop == decide(rule, 1, other, scaled).stop


@given(rules, points, st.integers(1, 4))
def test_equal_trials_count_once(rule, pairs, times):
    known = entries_of(pairs)
    copies = entries_of([*pairs, *pairs[1:] * times])
    assert decide(rule, 1, known[0], copies) == decide(rule, 1, known[0], known)


@given(rules, points)
def test_what_no_smaller_or_equal_trial_beats_goes_on(rule, pairs):
    known = entries_of(pairs)
    for entry in known:
        beaten = any(
            other.parameters <= entry.parameters
            and other.score >= entry.score
            and (other.parameters, other.score) != (entry.parameters, entry.score)
            for other in known
        )
        decision = decide(rule, 2, entry, known)
        assert not (decision.stop and not beaten)
        if not beaten:
            assert decision.reason == f"no trial of {entry.parameters} parameters or fewer beats it at epoch 2"


@given(points, SIZES)
def test_what_is_below_three_peers_and_more_is_stopped(pairs, size):
    peers = {(other, score + 0.1) for other, score in pairs if other <= size}
    assume(len(peers) >= RULE.fewest)
    decision = decide(RULE, 1, RungEntry(99, size, 0.0), entries_of(sorted(peers)))
    assert decision.stop
    compared = min(len(peers), RULE.neighbours)
    assert decision.reason == f"below {compared} of {compared} trials of similar or smaller size at epoch 1"


@given(points, SIZES, SCORES)
def test_larger_trials_have_no_say(pairs, size, score):
    larger = entries_of([(size + 1 + other, 0.9) for other, _ in pairs])
    smaller = [RungEntry(100 + n, other, value) for n, (other, value) in enumerate(pairs) if other <= size]
    entry = RungEntry(99, size, score)
    assert decide(RULE, 1, entry, [*larger, *smaller]) == decide(RULE, 1, entry, smaller)


@given(points, st.integers(4, 50))
def test_off_the_rungs_nothing_is_decided(pairs, epoch):
    decision = decide(RULE, epoch, RungEntry(99, 12, -1.0), entries_of(pairs))
    assert not decision.stop
    assert decision.reason == f"epoch {epoch} is no rung"


@pytest.mark.parametrize(
    ("pairs", "score", "stop", "reason"),
    [
        ([], 0.1, False, "no trial of 10 parameters or fewer beats it at epoch 2"),
        ([(9, 0.5), (8, 0.5)], 0.1, False, "only 2 trials of similar or smaller size at epoch 2"),
        ([(9, 0.5), (8, 0.5), (7, 0.05), (6, 0.0)], 0.1, False, "below 2 of 4 trials of similar or smaller size"),
        ([(9, 0.5), (8, 0.5), (7, 0.2), (6, 0.0)], 0.1, True, "below 3 of 4 trials of similar or smaller size"),
        ([(9, 0.5), (9, 0.5), (9, 0.5)], 0.1, False, "only 1 trials of similar or smaller size at epoch 2"),
    ],
)
def test_reasons_name_their_numbers(pairs, score, stop, reason):
    decision = decide(RULE, 2, RungEntry(99, 10, score), entries_of(pairs))
    assert decision.stop is stop
    assert decision.reason.startswith(reason)


def test_only_the_next_smaller_trials_are_peers():
    near = [(size, 0.0) for size in range(12, 4, -1)]
    far = [(size, 0.5) for size in range(5)]
    assert not decide(RULE, 1, RungEntry(99, 12, 0.1), entries_of(near + far)).stop


def test_the_summary_keeps_the_newest_entry_of_a_trial_at_each_epoch():
    summary = RungSummary()
    summary.add(1, RungEntry(7, 10, 0.1))
    summary.add(1, RungEntry(8, 20, 0.3))
    summary.add(1, RungEntry(7, 10, 0.2))
    summary.add(2, RungEntry(7, 10, 0.4))
    assert summary.at(1) == [RungEntry(7, 10, 0.2), RungEntry(8, 20, 0.3)]
    assert summary.at(2) == [RungEntry(7, 10, 0.4)]
    assert summary.at(3) == []
