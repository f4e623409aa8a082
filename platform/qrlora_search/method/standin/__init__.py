"""Stand-in data: generated rows with the form of a GLUE task, for machines that do not have the real data.

Nothing here is taken from GLUE and no score on it compares with a published one. The rows come from small grammars of
our own and serve to run, test and demonstrate a search where there is no network.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from qrlora_search.method.standin.acceptability import judgement_row
from qrlora_search.method.standin.draw import Draw
from qrlora_search.method.standin.duplicates import duplicate_row
from qrlora_search.method.standin.inference import entailment_row, matched_row, mismatched_row
from qrlora_search.method.standin.pairs import paraphrase_row, similarity_row
from qrlora_search.method.standin.questions import answer_row
from qrlora_search.method.standin.rows import MakeRow, fill
from qrlora_search.method.standin.sentiment import review_row

__all__ = ["DEFAULT_SEED", "TASKS", "TRAIN_ROWS", "VALIDATION_ROWS", "chance", "columns", "generate"]

DEFAULT_SEED = 0
TRAIN_ROWS = 2_000
VALIDATION_ROWS = 1_000


@dataclass(frozen=True)
class _Recipe:
    """How one task's rows are made: the columns with the texts, a row, and where it applies a mismatched row."""

    columns: tuple[str, ...]
    make: MakeRow
    make_mismatched: MakeRow | None = None


_RECIPES = {
    "mnli": _Recipe(("premise", "hypothesis"), matched_row, mismatched_row),
    "mrpc": _Recipe(("sentence1", "sentence2"), paraphrase_row),
    "sst2": _Recipe(("sentence",), review_row),
    "cola": _Recipe(("sentence",), judgement_row),
    "qnli": _Recipe(("question", "sentence"), answer_row),
    "qqp": _Recipe(("question1", "question2"), duplicate_row),
    "rte": _Recipe(("sentence1", "sentence2"), entailment_row),
    "stsb": _Recipe(("sentence1", "sentence2"), similarity_row),
}
TASKS = tuple(_RECIPES)


def _recipe(task: str) -> _Recipe:
    if task not in _RECIPES:
        raise ValueError(f"no stand-in data for task {task!r}; there is for {', '.join(TASKS)}")
    return _RECIPES[task]


def columns(task: str) -> tuple[str, ...]:
    """The names of the task's columns in order, the label last, as on the hub's nyu-mll/glue."""
    return (*_recipe(task).columns, "label")


def generate(task: str, seed: int = DEFAULT_SEED) -> dict[str, pd.DataFrame]:
    """The stand-in splits of a task: 2,000 rows of train, 1,000 of validation.

    Keys are "train" and "validation", for mnli "train", "validation_matched" and "validation_mismatched" (topics that
    train never shows). The same task and seed give the same rows everywhere; no text stands in two rows.
    Raises ValueError for an unknown task.
    """
    recipe = _recipe(task)
    plan = {"train": (TRAIN_ROWS, recipe.make), "validation": (VALIDATION_ROWS, recipe.make)}
    if recipe.make_mismatched is not None:
        plan["validation_matched"] = plan.pop("validation")
        plan["validation_mismatched"] = (VALIDATION_ROWS, recipe.make_mismatched)
    seen: set[str] = set()
    splits = {}
    for split, (count, make) in plan.items():
        rows = fill(make, Draw("rows", task, seed, split), count, seen)
        splits[split] = pd.DataFrame(rows, columns=columns(task))
    return splits


def chance(task: str, seed: int = DEFAULT_SEED) -> float:
    """The score of a model that has learned nothing, to set beside every score on stand-in data.

    0 for the correlations (cola, stsb); for accuracy the share of the commonest class of the validation split, counted.
    """
    if task in ("cola", "stsb"):
        return 0.0
    validation = generate(task, seed)["validation_matched" if task == "mnli" else "validation"]
    return float(validation["label"].value_counts(normalize=True).max())
