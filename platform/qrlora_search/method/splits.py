"""The three parts of the data: what trials train on, what they are compared on, and what is reported once.

The selection split is taken from train first, by a constant seed; rows that share a text stay on one side. Rows that
also stand in the report split are in neither.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qrlora_search.describe.tasks import Task
from qrlora_search.values.errors import UserError

SELECTION_SEED = 20250829
MOST_SELECTION = 1000
MOST_TRAIN = 10_000
QUANTILES = 10

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """The parts of one task's data. report: the official validation splits by name. dropped: rows of train that also
    stand in a report split.
    """

    train: pd.DataFrame
    selection: pd.DataFrame
    report: dict[str, pd.DataFrame]
    dropped: int


def split_rows(
    rows: dict[str, pd.DataFrame], task: Task, seed: int, train_limit: int | None, on: str = "held-out"
) -> Splits:
    """Returns the parts. on: `held-out`, or `validation`: the first report split is then the selection split, too, and
    nothing is set aside from train. seed draws the rows of train where there are more than wanted; it never moves the
    selection split. Raises UserError where train cannot be split.
    """
    train = rows["train"]
    report = {name: rows[name] for name in task.report_splits}
    texts = _texts(train, task)
    reported = {row for frame in report.values() for row in zip(*_texts(frame, task), strict=True)}
    free = np.array([row not in reported for row in zip(*texts, strict=True)], dtype=bool)
    strata = _strata(train["label"].to_numpy(dtype=float), task)
    held_out, wanted = on == "held-out", min(MOST_SELECTION, len(train) // 5)
    selected = np.array([], dtype=np.int64)
    if held_out:
        selected = _select(np.flatnonzero(free), _components(texts), strata, wanted)
    rest = np.setdiff1d(np.flatnonzero(free), selected)
    if (held_out and len(selected) == 0) or len(rest) == 0:
        raise UserError(
            f"the train split of {task.name} has {len(train)} rows, {int(free.sum())} of them not in the report split: "
            "no fifth can be set aside so that rows that share a text stay on one side; use more rows"
        )
    most = min(train_limit or MOST_TRAIN, len(rest))
    used = rest if most == len(rest) else rest[_draw(strata[rest], most, np.random.default_rng([seed, 1]))]
    return Splits(
        train=train.iloc[used].reset_index(drop=True),
        selection=train.iloc[selected].reset_index(drop=True) if held_out else report[task.report_splits[0]],
        report=report,
        dropped=int((~free).sum()),
    )


def _texts(frame: pd.DataFrame, task: Task) -> list[list[str]]:
    return [[" ".join(text.lower().split()) for text in frame[column]] for column in task.texts]


def _strata(labels_N: NDArray[np.float64], task: Task) -> Integers:
    if not task.regression:
        return labels_N.astype(np.int64)
    edges = np.quantile(labels_N, np.linspace(0, 1, QUANTILES + 1)[1:-1])
    return np.searchsorted(edges, labels_N, side="right").astype(np.int64)


def _components(texts: list[list[str]]) -> Integers:
    """Returns for every row the number of its group: rows are in one group where a chain of shared texts joins them."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    n = len(texts[0])
    names: dict[str, int] = {}
    codes = [[names.setdefault(text, len(names)) for text in column] for column in texts]
    rows = np.tile(np.arange(n), len(codes))
    columns = np.concatenate([np.asarray(column) for column in codes]) + n
    size = n + len(names)
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(size, size))
    groups: Integers = connected_components(graph, directed=False)[1][:n].astype(np.int64)
    return groups


def _quotas(strata: Integers, wanted: int) -> Counter[int]:
    """Returns how many rows of each stratum add up to `wanted`, by largest remainders."""
    kinds, counts = np.unique(strata, return_counts=True)
    exact = counts * (wanted / len(strata))
    quota = np.floor(exact).astype(int)
    order = np.argsort(-(exact - quota), kind="stable")
    quota[order[: wanted - int(quota.sum())]] += 1
    return Counter(dict(zip(kinds.tolist(), quota.tolist(), strict=True)))


def _select(free: Integers, groups: Integers, strata: Integers, wanted: int) -> Integers:
    """Returns the rows of the selection split: whole groups in random order, as far as they fit the quotas."""
    members: dict[int, list[int]] = {}
    blocked = set(np.delete(groups, free).tolist())
    for row in free.tolist():
        members.setdefault(int(groups[row]), []).append(row)
    order = [group for group in members if group not in blocked]
    order = [order[place] for place in np.random.default_rng(SELECTION_SEED).permutation(len(order))]
    left = _quotas(strata, wanted)
    chosen: list[int] = []
    for strict in (True, False):
        for group in order:
            rows = members.get(group, [])
            needs = Counter(strata[rows].tolist())
            fits = all(left[kind] >= count for kind, count in needs.items()) if strict else True
            if rows and fits and len(chosen) + len(rows) <= wanted:
                chosen += rows
                left -= needs
                members[group] = []
    return np.sort(np.asarray(chosen, dtype=np.int64))


def _draw(strata: Integers, wanted: int, random: np.random.Generator) -> Integers:
    """Returns places of a stratified draw, rising."""
    quota = _quotas(strata, wanted)
    parts = [random.permutation(np.flatnonzero(strata == kind))[:count] for kind, count in quota.items()]
    return np.sort(np.concatenate(parts))
