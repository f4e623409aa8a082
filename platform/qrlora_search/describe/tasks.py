"""The eight tasks of the paper: their columns, labels, files and metrics."""

from dataclasses import dataclass

from qrlora_search.values.errors import UserError, nearest
from qrlora_search.values.intervals import Statistic


@dataclass(frozen=True)
class Task:
    """One GLUE task.

    texts: the one or two text columns. labels: class names in the order of their integers; empty for a regression,
    whose label is a number in label_range. objective: the metric that the search raises; statistic: how it is
    resampled; metrics: every metric shown. report_splits: the official validation splits; the first one carries the
    objective, further ones are shown beside it.
    """

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    objective: str
    metrics: tuple[str, ...]
    statistic: Statistic
    report_splits: tuple[str, ...] = ("validation",)
    label_range: tuple[float, float] = (0.0, 0.0)

    @property
    def regression(self) -> bool:
        """Returns whether the label is a number rather than a class."""
        return not self.labels

    @property
    def outputs(self) -> int:
        """Returns the number of outputs of the head: one a class, or one for a regression."""
        return max(1, len(self.labels))

    @property
    def columns(self) -> tuple[str, ...]:
        """Returns the columns that a data file must have."""
        return (*self.texts, "label")


_PAIR = ("sentence1", "sentence2")
_ACCURACY = ("accuracy",)

_TASKS = (
    Task(
        "mnli",
        ("premise", "hypothesis"),
        ("entailment", "neutral", "contradiction"),
        "accuracy",
        _ACCURACY,
        "mean",
        ("validation_matched", "validation_mismatched"),
    ),
    Task("mrpc", _PAIR, ("not_equivalent", "equivalent"), "accuracy", ("accuracy", "f1"), "mean"),
    Task("sst2", ("sentence",), ("negative", "positive"), "accuracy", _ACCURACY, "mean"),
    Task("cola", ("sentence",), ("unacceptable", "acceptable"), "matthews", ("matthews", "accuracy"), "correlation"),
    Task("qnli", ("question", "sentence"), ("entailment", "not_entailment"), "accuracy", _ACCURACY, "mean"),
    Task("qqp", ("question1", "question2"), ("not_duplicate", "duplicate"), "accuracy", ("accuracy", "f1"), "mean"),
    Task("rte", _PAIR, ("entailment", "not_entailment"), "accuracy", _ACCURACY, "mean"),
    Task("stsb", _PAIR, (), "pearson", ("pearson", "spearman"), "correlation", label_range=(0.0, 5.0)),
)

TASKS: dict[str, Task] = {task.name: task for task in _TASKS}


def find_task(name: str) -> Task:
    """Returns the task of that name; raises UserError with the nearest name for an unknown one."""
    if name not in TASKS:
        raise UserError(f"--task {name!r} is not known: {nearest(name, TASKS)}the tasks are {', '.join(TASKS)}")
    return TASKS[name]
