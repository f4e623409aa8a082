"""Paired standard errors against closed forms and against the bootstrap."""

import numpy as np
import pytest

from qrlora_search.values.intervals import paired_difference, score_interval
from qrlora_search.values.paired import Examples

N = 1003


def drawn(kind, seed=0):
    """Return labels and two sets of predictions that share most of their errors."""
    random = np.random.default_rng(seed)
    if kind == "regression":
        labels = random.uniform(0, 5, N)
        one = labels + random.normal(0, 1.5, N)
        return labels, one, labels + 0.8 * (one - labels) + random.normal(0, 0.8, N)
    labels = (random.random(N) < 0.7).astype(float)
    one = np.where(random.random(N) < 0.8, labels, 1 - labels)
    return labels, one, np.where(random.random(N) < 0.93, one, 1 - one)


def test_of_two_accuracies_it_is_mcnemars():
    labels, one, other = drawn("classes")
    examples = Examples("mean", labels)
    gap = (one == labels).astype(float) - (other == labels)
    assert examples.paired_error(examples.results(one), examples.results(other)) == pytest.approx(gap.std() / N**0.5)
    right = float((one == labels).mean())
    assert examples.error(examples.results(one)) == pytest.approx((right * (1 - right) / N) ** 0.5)


@pytest.mark.parametrize(
    ("kind", "form"), [("mean", "classes"), ("correlation", "classes"), ("correlation", "regression")]
)
def test_it_agrees_with_the_bootstrap(kind, form):
    labels, one, other = drawn(form)
    examples = Examples(kind, labels)
    ours = examples.paired_error(examples.results(one), examples.results(other))
    assert ours == pytest.approx(paired_difference(kind, labels, one, other).error, rel=0.08)
    assert examples.error(examples.results(one)) == pytest.approx(score_interval(kind, labels, one).error, rel=0.08)


def test_bits_and_influences_are_two_forms_of_one_thing():
    labels, one, other = drawn("classes")
    bits, plain = Examples("correlation", labels), Examples("correlation", labels)
    plain.two_classes = False
    assert bits.paired_error(bits.results(one), bits.results(other)) == pytest.approx(
        plain.paired_error(plain.results(one), plain.results(other)), rel=1e-4
    )


def test_equal_predictions_differ_by_nothing_and_a_constant_answer_is_defined():
    labels, one, _ = drawn("classes")
    for kind in ("mean", "correlation"):
        examples = Examples(kind, labels)
        results = examples.results(one)
        assert examples.paired_error(results, results) == 0
        assert np.isfinite(examples.paired_error(results, examples.results(np.ones(N))))


def test_another_number_of_predictions_is_refused():
    with pytest.raises(ValueError, match="3 predictions for 2 examples"):
        Examples("mean", np.zeros(2)).results(np.zeros(3))
