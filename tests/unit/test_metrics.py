"""The metrics of the eight tasks, against small cases by hand and the issue's table."""

import math

import numpy as np
import pytest

from qrlora_search.describe.tasks import TASKS, find_task
from qrlora_search.method.metrics import compute_metrics
from qrlora_search.values.intervals import statistic

SHOWN = {
    "mnli": {"accuracy"},
    "mrpc": {"accuracy", "f1"},
    "sst2": {"accuracy"},
    "cola": {"matthews", "accuracy"},
    "qnli": {"accuracy"},
    "qqp": {"accuracy", "f1"},
    "rte": {"accuracy"},
    "stsb": {"pearson", "spearman"},
}
OBJECTIVES = {"cola": "matthews", "stsb": "pearson"}


def predictions_for(task, random, n=200):
    if task.regression:
        labels = random.uniform(0, 5, n)
        return labels, labels + random.normal(size=n)
    classes = len(task.labels)
    labels = random.integers(0, classes, n).astype(float)
    return labels, np.where(random.random(n) < 0.3, (labels + 1) % classes, labels)


@pytest.mark.parametrize("name", SHOWN)
def test_every_task_shows_its_metrics_and_raises_its_objective(name):
    task = find_task(name)
    labels, predictions = predictions_for(task, np.random.default_rng(0))
    metrics = compute_metrics(task, labels, predictions)
    assert set(metrics) == SHOWN[name] == set(task.metrics)
    assert task.objective == OBJECTIVES.get(name, "accuracy") == task.metrics[0]
    assert all(type(value) is float and 0 < value < 1 for value in metrics.values())


@pytest.mark.parametrize("name", SHOWN)
def test_the_resampled_statistic_is_the_objective(name):
    task = find_task(name)
    labels, predictions = predictions_for(task, np.random.default_rng(1))
    found = statistic(task.statistic, labels, predictions, np.ones((1, len(labels))))[0]
    assert found == pytest.approx(compute_metrics(task, labels, predictions)[task.objective], abs=1e-12)


@pytest.mark.parametrize("name", SHOWN)
def test_perfect_predictions_score_one(name):
    task = find_task(name)
    labels, _ = predictions_for(task, np.random.default_rng(2))
    assert compute_metrics(task, labels, labels) == pytest.approx(dict.fromkeys(task.metrics, 1.0))


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("same_labels", [False, True])
def test_constant_predictions_are_scored_without_a_warning(name, same_labels):
    task = find_task(name)
    labels, _ = predictions_for(task, np.random.default_rng(2))
    labels = np.zeros_like(labels) if same_labels else labels
    metrics = compute_metrics(task, labels, np.zeros_like(labels))
    assert all(math.isfinite(value) for value in metrics.values())
    for correlation in {"matthews", "pearson", "spearman", "f1"} & set(metrics):
        assert metrics[correlation] == 0.0
    if "accuracy" in metrics:
        assert metrics["accuracy"] == (labels == 0).mean()


def test_nearly_constant_values_are_scored_without_a_warning():
    labels = np.array([0.0, 1.0, 2.0, 3.0])
    metrics = compute_metrics(find_task("stsb"), labels, 2.5 + 1e-14 * labels)
    assert all(-1.001 <= value <= 1.001 for value in metrics.values())


def test_two_classes_by_hand():
    labels, predictions = np.array([1.0, 1, 1, 0, 0, 1]), np.array([1.0, 1, 0, 0, 1, 1])
    # true positives 3, false negatives 1, true negatives 1, false positives 1
    assert compute_metrics(find_task("mrpc"), labels, predictions) == pytest.approx({"accuracy": 4 / 6, "f1": 6 / 8})
    matthews = (3 * 1 - 1 * 1) / math.sqrt(4 * 4 * 2 * 2)
    assert compute_metrics(find_task("cola"), labels, predictions)["matthews"] == pytest.approx(matthews)


def test_a_regression_by_hand():
    labels, predictions = np.array([0.0, 1, 2, 3]), np.array([0.0, 1, 4, 9])
    metrics = compute_metrics(find_task("stsb"), labels, predictions)
    assert metrics["spearman"] == pytest.approx(1.0)
    assert metrics["pearson"] == pytest.approx(np.corrcoef(labels, predictions)[0, 1])


def test_mnli_has_three_classes_and_two_report_splits():
    task = find_task("mnli")
    labels, predictions = np.array([0.0, 1, 2, 2]), np.array([0.0, 2, 2, 1])
    assert compute_metrics(task, labels, predictions) == {"accuracy": 0.5}
    assert task.report_splits == ("validation_matched", "validation_mismatched")
    assert all(other.report_splits == ("validation",) for name, other in TASKS.items() if name != "mnli")
