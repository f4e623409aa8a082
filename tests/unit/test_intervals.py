"""Intervals over examples, and the packed predictions that they are made from."""

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, matthews_corrcoef

from qrlora_search.values.intervals import paired_difference, score_interval, statistic, swap_p
from qrlora_search.values.packing import pack, unpack

REFERENCES = {
    "matthews": ("correlation", matthews_corrcoef),
    "accuracy": ("mean", accuracy_score),
    "pearson": ("correlation", lambda labels, predictions: pearsonr(labels, predictions).statistic),
}


def example(name, random, n, noise=0.3):
    """Return labels and predictions as a task has them."""
    if name == "pearson":
        labels = random.uniform(0, 5, n).round(1)
        return labels, (labels + random.normal(0, 5 * noise, n)).astype(np.float32).astype(float)
    classes = 2 if name == "matthews" else 3
    labels = random.integers(0, classes, n)
    wrong = random.random(n) < noise
    return labels.astype(float), np.where(wrong, (labels + 1) % classes, labels).astype(float)


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("seed", range(5))
def test_values_equal_the_library(name, seed):
    kind, reference = REFERENCES[name]
    labels, predictions = example(name, np.random.default_rng(seed), 80)
    expected = reference(labels, predictions)
    assert statistic(kind, labels, predictions, np.ones((1, 80)))[0] == pytest.approx(expected, abs=1e-12)
    interval = score_interval(kind, labels, predictions)
    assert interval.value == pytest.approx(expected, abs=1e-12)
    assert interval.low < interval.value < interval.high
    assert interval.error > 0
    assert interval.n == 80


@pytest.mark.parametrize("name", REFERENCES)
def test_weights_are_repetitions_of_examples(name):
    kind, reference = REFERENCES[name]
    random = np.random.default_rng(3)
    labels, predictions = example(name, random, 40)
    weights = random.integers(0, 4, size=(6, 40))
    found = statistic(kind, labels, predictions, weights.astype(float))
    for row, value in zip(weights, found, strict=True):
        assert value == pytest.approx(reference(np.repeat(labels, row), np.repeat(predictions, row)), abs=1e-10)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=30))
def test_two_classes_coded_0_and_1_give_matthews(pairs):
    labels, predictions = np.array(pairs, dtype=float).T
    found = statistic("correlation", labels, predictions, np.ones((1, len(pairs))))[0]
    expected = matthews_corrcoef(labels, predictions) if len({*labels, *predictions}) > 1 else 0.0
    assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", REFERENCES)
def test_the_error_is_that_of_a_plain_bootstrap(name):
    kind, _ = REFERENCES[name]
    random = np.random.default_rng(5)
    labels, predictions = example(name, random, 120)
    plain = []
    for _ in range(1500):
        drawn = random.integers(0, 120, 120)
        plain.append(statistic(kind, labels[drawn], predictions[drawn], np.ones((1, 120)))[0])
    found = score_interval(kind, labels, predictions)
    assert found.error == pytest.approx(np.std(plain), rel=0.1)
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), abs=found.error / 3)


def test_about_95_of_100_intervals_hold_the_truth():
    random = np.random.default_rng(11)
    truth, held = 0.8, 0
    for seed in range(200):
        labels, predictions = example("accuracy", random, 300, noise=1 - truth)
        interval = score_interval("mean", labels, predictions, seed)
        held += interval.low <= truth <= interval.high
    assert 180 <= held <= 199


def test_about_95_of_100_paired_intervals_hold_the_true_difference():
    random = np.random.default_rng(12)
    held = 0
    for seed in range(150):
        labels, baseline = example("matthews", random, 300, noise=0.25)
        better = np.where(random.random(300) < 0.2, labels, baseline)  # right on a fifth, as the baseline on the rest
        interval = paired_difference("mean", labels, better, baseline, seed)
        held += interval.low <= 0.2 * 0.25 <= interval.high
    assert 133 <= held <= 150


@pytest.mark.parametrize("name", REFERENCES)
def test_pairing_narrows_the_interval_of_similar_predictions(name):
    kind, _ = REFERENCES[name]
    random = np.random.default_rng(7)
    labels, baseline = example(name, random, 400)
    changed = random.random(400) < 0.05
    predictions = np.where(changed, labels, baseline)
    difference = paired_difference(kind, labels, predictions, baseline)
    one, other = score_interval(kind, labels, predictions), score_interval(kind, labels, baseline)
    assert difference.value == pytest.approx(one.value - other.value, abs=1e-12)
    assert difference.high - difference.low < 0.7 * np.hypot(one.high - one.low, other.high - other.low)


@pytest.mark.parametrize("name", REFERENCES)
def test_equal_predictions_differ_by_exactly_nothing(name):
    kind, _ = REFERENCES[name]
    labels, predictions = example(name, np.random.default_rng(1), 60)
    difference = paired_difference(kind, labels, predictions, predictions.copy())
    assert (difference.value, difference.error, difference.low, difference.high) == (0.0, 0.0, 0.0, 0.0)


def test_exchanging_the_two_flips_the_sign():
    labels, first = example("pearson", np.random.default_rng(1), 60)
    _, second = example("pearson", np.random.default_rng(2), 60)
    one = paired_difference("correlation", labels, first, second)
    other = paired_difference("correlation", labels, second, first)
    assert one.value == pytest.approx(-other.value)
    assert one.error == pytest.approx(other.error, rel=0.1)


@pytest.mark.parametrize("constant", [0.0, 1.0, 0.1, 3.3])
def test_a_constant_correlates_with_nothing(constant):
    labels, predictions = example("pearson", np.random.default_rng(1), 50)
    for interval in (
        score_interval("correlation", labels, np.full(50, constant)),
        score_interval("correlation", np.full(50, constant), predictions),
    ):
        assert (interval.value, interval.error, interval.low, interval.high) == (0.0, 0.0, 0.0, 0.0)


def test_the_seed_decides_the_resamples():
    labels, predictions = example("accuracy", np.random.default_rng(1), 50)
    assert score_interval("mean", labels, predictions, 3) == score_interval("mean", labels, predictions, 3)
    assert score_interval("mean", labels, predictions, 3) != score_interval("mean", labels, predictions, 4)


@given(st.lists(st.integers(0, 255), max_size=300))
def test_classes_come_back_from_packing(classes):
    text = pack(np.array(classes, dtype=np.int64))
    assert text.isascii()
    assert unpack(text).tolist() == classes


@settings(max_examples=50)
@given(st.lists(st.floats(-1e6, 1e6, width=32), max_size=300))
def test_values_come_back_from_packing(values):
    for dtype in (np.float32, np.float64):
        assert unpack(pack(np.array(values, dtype=dtype))).tolist() == values


@pytest.mark.parametrize("bad", [-1, 256])
def test_classes_that_are_no_bytes_are_not_packed(bad):
    with pytest.raises(ValueError, match="from 0 to 255"):
        pack(np.array([0, bad]))


def test_packed_classes_are_a_byte_each_before_compression():
    text = pack(np.zeros(1000, dtype=np.int64))
    assert text[0] == "c"
    assert len(zlib.decompress(base64.b64decode(text[1:]))) == 1000
    assert len(text) < 50


def swapped_by_hand(labels, ours, theirs, draws, random):
    observed = abs(np.corrcoef(labels, ours)[0, 1] - np.corrcoef(labels, theirs)[0, 1])
    beyond = 0
    for _ in range(draws):
        swap = random.random(len(labels)) < 0.5
        x, y = np.where(swap, theirs, ours), np.where(swap, ours, theirs)
        beyond += abs(np.corrcoef(labels, x)[0, 1] - np.corrcoef(labels, y)[0, 1]) >= observed - 1e-12
    return beyond / draws


def test_a_swap_p_is_mcnemars_of_a_mean_and_that_of_swaps_by_hand_of_a_correlation():
    random = np.random.default_rng(3)
    labels = np.zeros(40)
    ours, theirs = np.zeros(40), np.zeros(40)
    ours[:2], theirs[2:11] = 1, 1  # two wrong here alone, nine there alone
    assert swap_p("mean", labels, ours, theirs) == pytest.approx(2 * (1 + 11 + 55) / 2**11)
    assert swap_p("mean", labels, ours, ours) == 1.0
    graded = random.normal(size=80)
    near, far = graded + random.normal(size=80), graded + 1.4 * random.normal(size=80)
    by_hand = swapped_by_hand(graded, near, far, 4000, random)
    assert swap_p("correlation", graded, near, far) == pytest.approx(by_hand, abs=0.02)
    assert swap_p("correlation", graded, near, near) == 1.0


@pytest.mark.parametrize("kind", ["mean", "correlation"])
@pytest.mark.parametrize("differing", [4, 6, 8, 30])
def test_a_swap_p_does_not_alarm_where_few_examples_differ(kind, differing):
    random = np.random.default_rng(differing)
    labels, found = random.integers(0, 2, 277).astype(float), []
    for _ in range(300):
        ours = np.where(random.random(277) < 0.7, labels, 1 - labels)
        theirs, places = ours.copy(), random.choice(277, differing, replace=False)
        theirs[places] = 1 - theirs[places]
        swap = random.random(277) < 0.5
        found.append(swap_p(kind, labels, np.where(swap, theirs, ours), np.where(swap, ours, theirs)))
    assert np.mean(np.array(found) < 0.05) < 0.085  # 0.05 + 2.8 standard errors of 300 draws
    assert np.mean(np.array(found) < 0.00625) < 0.02


@pytest.mark.parametrize("kind", ["mean", "correlation"])
def test_a_swap_p_resolves_what_holms_rule_asks_of_many_searches(kind):
    labels = np.random.default_rng(0).integers(0, 2, 800).astype(float)
    assert swap_p(kind, labels, labels, np.where(np.arange(800) < 200, 1 - labels, labels)) < 1e-6
