"""The parts of the data: sizes, no text on both sides, nothing of the report split, the same selection for any seed."""

from collections import Counter
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrlora_search.describe.tasks import find_task
from qrlora_search.method.files import read_folder
from qrlora_search.method.splits import split_rows
from qrlora_search.values.errors import UserError

COLA, RTE, STSB, MNLI = (find_task(name) for name in ("cola", "rte", "stsb", "mnli"))


def normal(text):
    return " ".join(text.lower().split())


def texts_of(frame, task):
    return {normal(text) for column in task.texts for text in frame[column]}


def rows_of(frame, task):
    return [tuple(normal(text) for text in row) for row in frame[list(task.texts)].to_numpy().tolist()]


def frame_of(task, rows):
    frame = pd.DataFrame([row[:-1] for row in rows], columns=list(task.texts), dtype=object)
    frame["label"] = [float(row[-1]) for row in rows]
    return frame


def singles(n, labels=(0, 1, 1), name="train"):
    return frame_of(COLA, [(f"{name} {i}", labels[i % len(labels)]) for i in range(n)])


@cache
def cola(n, labels=(0, 1, 1)):
    return {"train": singles(n, labels), "validation": singles(20, name="validation")}


def check(splits, task, whole):
    """Assert what holds for every split of every task."""
    assert not texts_of(splits.train, task) & texts_of(splits.selection, task)
    reported = {row for frame in splits.report.values() for row in rows_of(frame, task)}
    assert not reported & {*rows_of(splits.train, task), *rows_of(splits.selection, task)}
    assert splits.dropped == sum(row in reported for row in rows_of(whole, task))
    assert len(splits.selection) <= min(1000, len(whole) // 5)
    for frame in (splits.train, splits.selection):
        assert list(frame.index) == list(range(len(frame)))
    left = Counter(map(tuple, whole.to_numpy().tolist()))
    left.subtract(map(tuple, splits.train.to_numpy().tolist()))
    left.subtract(map(tuple, splits.selection.to_numpy().tolist()))
    assert min(left.values()) >= 0


@pytest.mark.parametrize(
    ("n", "selection", "train"),
    [(5, 1, 4), (100, 20, 80), (4999, 999, 4000), (6000, 1000, 5000), (12_000, 1000, 10_000)],
)
def test_the_sizes(n, selection, train):
    splits = split_rows(cola(n), COLA, 0, None)
    assert (len(splits.selection), len(splits.train)) == (selection, train)
    assert len(splits.report["validation"]) == 20
    check(splits, COLA, cola(n)["train"])


@cache
def whole_selection():
    return split_rows(cola(11_500), COLA, 0, None).selection


@pytest.mark.parametrize(("limit", "train"), [(1, 1), (50, 50), (4000, 4000), (10_400, 10_400), (None, 10_000)])
def test_the_train_limit_and_the_cap(limit, train):
    limited = split_rows(cola(11_500), COLA, 0, limit)
    assert len(limited.train) == train
    pd.testing.assert_frame_equal(limited.selection, whole_selection())


pool = st.sampled_from(["a", "A", " a ", "b", "b c", "B  c", "d", "e", "f", "g", "h", "i"])
pairs = st.lists(st.tuples(pool, pool, st.integers(0, 1)), min_size=5, max_size=60)


@settings(deadline=None, max_examples=60)
@given(pairs, st.lists(st.tuples(pool, pool, st.integers(0, 1)), min_size=1, max_size=4), st.integers(0, 99))
def test_no_text_is_on_both_sides_and_no_reported_row_in_either(train, validation, seed):
    rows = {"train": frame_of(RTE, train), "validation": frame_of(RTE, validation)}
    try:
        splits = split_rows(rows, RTE, seed, None)
    except UserError as error:
        assert "no fifth can be set aside" in str(error)  # noqa: PT017 - small pools often leave nothing to set aside
        return
    check(splits, RTE, rows["train"])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 30), min_size=20, max_size=100), st.integers(0, 99))
def test_repeated_sentences_stay_together(numbers, seed):
    rows = [
        (f"text {number}" if i % 2 else f" TEXT  {number}", number % 2)
        for i, number in enumerate([*range(40), *numbers])
    ]
    whole = {"train": frame_of(COLA, rows), "validation": singles(3, name="validation")}
    check(split_rows(whole, COLA, seed, None), COLA, whole["train"])


def test_a_text_shared_across_columns_and_in_chains_stays_on_one_side():
    chain = [(f"t{i}", f"t{i + 1}", i % 2) for i in range(4)]
    rows = [*chain, *((f"x{i}", f"y{i}", i % 2) for i in range(26))]
    whole = {"train": frame_of(RTE, rows), "validation": frame_of(RTE, [("p", "q", 0)])}
    splits = split_rows(whole, RTE, 0, None)
    assert len(splits.selection) == 6
    inside = sum(text.startswith("t") for text in splits.selection["sentence1"])
    assert inside in {0, 4}
    check(splits, RTE, whole["train"])


def test_both_report_splits_of_mnli_are_kept_out():
    rows = [(f"p{i}", f"h{i}", i % 3) for i in range(30)]
    whole = {
        "train": frame_of(MNLI, rows),
        "validation_matched": frame_of(MNLI, [("P3", "h3", 0)]),
        "validation_mismatched": frame_of(MNLI, [("p4", " h4", 1), ("p5", "h6", 1)]),
    }
    splits = split_rows(whole, MNLI, 0, None)
    assert splits.dropped == 2
    assert len(splits.train) == 30 - 6 - 2
    check(splits, MNLI, whole["train"])


def test_the_seed_moves_the_train_rows_alone():
    first, second, again = (split_rows(cola(400), COLA, seed, 200) for seed in (0, 1, 0))
    pd.testing.assert_frame_equal(first.selection, second.selection)
    pd.testing.assert_frame_equal(first.train, again.train)
    assert set(first.train["sentence"]) != set(second.train["sentence"])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 1), min_size=20, max_size=200), st.integers(2, 30))
def test_classes_keep_their_shares_within_a_row(labels, limit):
    whole = cola(len(labels), tuple(labels))
    splits = split_rows(whole, COLA, 0, limit)
    rest = Counter(labels)
    rest.subtract(splits.selection["label"].astype(int))
    for part, before in ((splits.selection, Counter(labels)), (splits.train, rest)):
        counts = Counter(part["label"].astype(int))
        for kind, count in before.items():
            assert abs(counts[kind] - count * len(part) / before.total()) < 1


def test_stsb_is_stratified_by_quantiles():
    random = np.random.default_rng(0)
    labels = random.uniform(0, 5, 3000).round(2)
    whole = {
        "train": frame_of(STSB, [(f"a{i}", f"b{i}", label) for i, label in enumerate(labels)]),
        "validation": frame_of(STSB, [("p", "q", 1.0)]),
    }
    splits = split_rows(whole, STSB, 0, 1000)
    edges = np.quantile(labels, np.linspace(0, 1, 11)[1:-1])
    for part in (splits.selection, splits.train):
        counts = np.bincount(np.searchsorted(edges, part["label"], side="right"), minlength=10)
        assert counts.min() >= len(part) / 10 - 2
        assert counts.max() <= len(part) / 10 + 2


def test_one_repeated_label_of_a_regression_is_no_trouble():
    whole = {
        "train": frame_of(STSB, [(f"a{i}", f"b{i}", 3.0) for i in range(50)]),
        "validation": frame_of(STSB, [("p", "q", 1.0)]),
    }
    assert len(split_rows(whole, STSB, 0, None).selection) == 10


@pytest.mark.parametrize("n", [1, 4])
def test_too_few_rows_are_refused(n):
    with pytest.raises(UserError, match=rf"train split of cola has {n} rows.*use more rows"):
        split_rows(cola(n), COLA, 0, None)


def test_a_train_split_of_reported_rows_is_refused():
    whole = {"train": singles(40), "validation": singles(40)}
    with pytest.raises(UserError, match="40 rows, 0 of them not in the report split"):
        split_rows(whole, COLA, 0, None)


def test_rows_that_all_share_a_text_are_refused():
    rows = [("the same premise", f"h{i}", i % 2) for i in range(40)]
    whole = {"train": frame_of(RTE, rows), "validation": frame_of(RTE, [("p", "q", 0)])}
    with pytest.raises(UserError, match="share a text"):
        split_rows(whole, RTE, 0, None)


@pytest.mark.glue
@pytest.mark.parametrize(
    ("name", "selection", "validation"),
    [("cola", 1000, 1043), ("rte", 498, 277), ("mrpc", 733, 408), ("stsb", 1000, 1500)],
)
def test_the_real_tasks(glue_dir, name, selection, validation):
    task = find_task(name)
    rows = read_folder(glue_dir, task)
    splits = split_rows(rows, task, 0, None)
    assert len(splits.selection) == selection
    assert len(splits.report["validation"]) == validation
    assert len(splits.train) == min(10_000, len(rows["train"]) - selection - splits.dropped)
    check(splits, task, rows["train"])
    other = split_rows(rows, task, 5, 2000 if name != "rte" else 500)
    pd.testing.assert_frame_equal(other.selection, splits.selection)
    if not task.regression:
        shares = [part["label"].mean() for part in (rows["train"], splits.selection, other.train)]
        assert max(shares) - min(shares) < 0.02


def test_selecting_on_the_validation_set_sets_nothing_aside_from_train():
    train = pd.DataFrame({"sentence": [f"a sentence {number}" for number in range(50)], "label": [0, 1] * 25})
    validation = pd.DataFrame({"sentence": ["another one", "a sentence 3"], "label": [0, 1]})
    splits = split_rows({"train": train, "validation": validation}, find_task("sst2"), 0, None, "validation")
    pd.testing.assert_frame_equal(splits.selection, validation)
    assert len(splits.train) == 49
    assert splits.dropped == 1
