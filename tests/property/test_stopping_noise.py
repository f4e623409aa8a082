"""The stopping rule on examples: noise withholds a stop at the epoch where it is judged, and only there."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from property.stopping_cases import RULE, SIZES, known_of, rules
from qrlora_search.values.knowledge import Knowledge, Seen
from qrlora_search.values.paired import Examples
from qrlora_search.values.stopping import decide


def test_a_finished_trial_or_the_control_stops_one_that_no_peer_dominates_and_the_smallest_is_not_immune():
    flat = [(10, 0.9, 0.9), *((40 + place, 0.605, 0.605 + place / 1000) for place in range(12))]
    known = known_of([], flat, 0.6)
    alone = replace(RULE, around=0)
    assert decide(alone, 1, Seen(99, 60, 0.62), known).stop
    assert not decide(alone, 1, Seen(99, 60, 0.95), known).stop
    examples, labels = examples_of(400)
    known = replace(known_of([], [(9 + place, 0.62, 0.625) for place in range(6)]), examples=examples, chance=0.5)
    known.control = Seen(-1, 0, 0.6, results_of(examples, labels, range(240)))
    one = Seen(99, 5, 0.585, results_of(examples, labels, range(10, 244)))  # more than one paired error below, not two
    assert 1 < 0.015 / examples.paired_error(one.results, known.control.results) < 2
    assert decide(RULE, 1, one, known).stop


def test_noise_is_judged_at_the_same_epoch_however_much_finished_trials_gained():
    examples, labels = examples_of(400)
    best = results_of(examples, labels, range(300))
    near = results_of(
        examples, labels, [*range(5, 300), 396, 397, 398]
    )  # a deficit of two examples, within one paired error
    for gain in (0.0, 0.06):
        known = Knowledge(examples=examples, control=Seen(-1, 0, 0.1))
        for number in range(6):
            known.add(1, Seen(number, 10 + number, 0.75 - number / 1000, best))
            known.finish(Seen(number, 10 + number, 0.75 - number / 1000 + gain, best))
        decision = decide(replace(RULE, around=0), 1, Seen(99, 30, 0.745, near), known)
        assert not decision.stop
        assert "within the noise" in decision.reason


def test_one_near_chance_that_is_not_behind_the_control_beyond_noise_goes_on():
    examples, labels = examples_of(400)
    control = Seen(-1, 0, 0.56, results_of(examples, labels, range(224)))
    known = Knowledge(examples=examples, control=control, chance=0.5)
    one = Seen(99, 4, 0.52, results_of(examples, labels, range(192, 400)))  # other examples: a large paired error
    known.add(1, Seen(1, 9, 0.51, results_of(examples, labels, range(204))))
    assert examples.paired_error(one.results, control.results) > 0.04
    assert not decide(replace(RULE, control_errors=1.0), 1, one, known).stop
    below = Seen(98, 4, 0.52, results_of(examples, labels, range(64, 272)))  # more of the same examples
    assert 0.02 < examples.paired_error(below.results, control.results) < 0.04
    assert "at chance level" in decide(RULE, 1, below, known).reason


@given(st.permutations(range(3)))
def test_equal_trials_with_other_examples_right_are_judged_alike_whatever_their_numbers(numbers):
    examples, labels = examples_of(400)
    right = (range(282), range(118, 400), [*range(280), 398, 399])
    known = Knowledge(examples=examples, control=Seen(-1, 0, 0.1))
    for number, each in zip(numbers, right, strict=True):
        known.add(1, Seen(number, 10, 0.705, results_of(examples, labels, each)))
    decision = decide(replace(RULE, fewest=1, share=0.0, around=0), 1,
                      Seen(99, 12, 0.7, results_of(examples, labels, range(280))), known)  # fmt: skip
    assert not decision.stop
    assert "within the noise" in decision.reason


def examples_of(n):
    """Return examples of accuracy, and their labels."""
    labels = np.arange(n) % 2.0
    return Examples("mean", labels), labels


def results_of(examples, labels, right):
    """Return the results of a trial that is right on these examples alone."""
    mask = np.isin(np.arange(len(labels)), list(right))
    return examples.results(np.where(mask, labels, 1 - labels))


@st.composite
def answers(draw, trials=8, n=40):
    """Draw labels and the predictions of some trials."""
    seed = draw(st.integers(0, 10_000))
    random = np.random.default_rng(seed)
    labels = (random.random(n) < 0.6).astype(float)
    labels[:2] = 0, 1
    wrong = random.random((trials, n)) < random.uniform(0.05, 0.6, size=(trials, 1))
    return labels, np.where(wrong, 1 - labels, labels)


@given(rules, answers(), st.sampled_from(["mean", "correlation"]), st.data())
def test_no_stop_for_a_deficit_within_one_paired_error_but_below_the_control(rule, labelled, kind, data):
    labels, predictions = labelled
    examples = Examples(kind, labels)
    known, rule = Knowledge(examples=examples), replace(rule, neighbours=12)
    everyone = []
    for number, given_answers in enumerate(predictions):
        value = float(np.mean(given_answers == labels)) if kind == "mean" else _phi(labels, given_answers)
        everyone.append(Seen(number, data.draw(SIZES), value, examples.results(given_answers)))
        known.add(1, everyone[-1])
    for one in everyone[:3]:
        known.finish(one)
    for one in everyone:
        if decide(rule, 1, one, known).stop:
            smaller = [other for other in everyone if other.parameters <= one.parameters]
            sizes = sorted({other.parameters for other in everyone if other.parameters > one.parameters})[:12]
            larger = [other for other in everyone if other.parameters in sizes]
            best = [max(some, key=lambda other: other.score) for some in (smaller, larger) if some]
            bar = known.bar(one.parameters)
            must_beat = [each for each in everyone[:3] if bar is not None and each.trial == bar.trial]
            assert any(
                other.score - one.score >= examples.paired_error(one.results, other.results) * (1 - 1e-9)
                for other in [*(each for each in everyone if each.score in {b.score for b in best}), *must_beat]
                if other.score > one.score
            )
        assert not decide(replace(rule, errors=1e6), 1, one, known).stop


def _phi(labels, given_answers):
    return 0.0 if given_answers.std() == 0 else float(np.corrcoef(labels, given_answers)[0, 1])


def test_what_stops_a_trial_is_named():
    examples, labels = examples_of(400)
    known = Knowledge(examples=examples, control=Seen(-1, 0, 0.1, results_of(examples, labels, range(40))))
    for number in range(6):
        known.add(1, Seen(number, 10 + number, 0.75, results_of(examples, labels, range(300))))
    one = Seen(99, 30, 0.5, results_of(examples, labels, range(200)))
    decision = decide(replace(RULE, around=0), 1, one, known)
    assert decision.stop
    assert decision.reason.endswith("; trial 0, of 10 parameters, is ahead by 0.250 here")
