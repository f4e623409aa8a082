"""Scores of predictions: every metric of a task, from scikit-learn and scipy."""

import warnings

import numpy as np
from numpy.typing import NDArray

from qrlora_search.describe.tasks import Task


def _f1(labels_N: NDArray[np.float64], predictions_N: NDArray[np.float64]) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels_N.astype(int), predictions_N.astype(int), zero_division=0.0))


def _accuracy(labels_N: NDArray[np.float64], predictions_N: NDArray[np.float64]) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(labels_N.astype(int), predictions_N.astype(int)))


def _matthews(labels_N: NDArray[np.float64], predictions_N: NDArray[np.float64]) -> float:
    from sklearn.metrics import matthews_corrcoef

    if np.ptp(labels_N) == 0 or np.ptp(predictions_N) == 0:
        return 0.0  # which scikit-learn returns, too, with a warning where both are the same constant
    return float(matthews_corrcoef(labels_N.astype(int), predictions_N.astype(int)))


def _correlation(name: str, labels_N: NDArray[np.float64], predictions_N: NDArray[np.float64]) -> float:
    from scipy import stats

    if np.ptp(labels_N) == 0 or np.ptp(predictions_N) == 0:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.NearConstantInputWarning)
        result = getattr(stats, name)(labels_N, predictions_N)
    return float(result.statistic)


def compute_metrics(task: Task, labels_N: NDArray[np.float64], predictions_N: NDArray[np.float64]) -> dict[str, float]:
    """Returns every metric of the task by name. labels_N, predictions_N: classes or real values, shape (n,).

    A correlation with a constant is undefined and counts as 0: nothing was learned.
    """
    functions = {"f1": _f1, "accuracy": _accuracy, "matthews": _matthews}
    result = {}
    for name in task.metrics:
        if name in functions:
            result[name] = functions[name](labels_N, predictions_N)
        else:
            result[name] = _correlation(name + "r", labels_N, predictions_N)
    return result
