"""The stand-in data: form, balance, repeatability and the separation of the splits."""

import hashlib
from collections.abc import Callable
from functools import cache

import pandas as pd
import pytest

from qrlora_search.method import standin

COLUMNS = {
    "mnli": ["premise", "hypothesis", "label"],
    "mrpc": ["sentence1", "sentence2", "label"],
    "sst2": ["sentence", "label"],
    "cola": ["sentence", "label"],
    "qnli": ["question", "sentence", "label"],
    "qqp": ["question1", "question2", "label"],
    "rte": ["sentence1", "sentence2", "label"],
    "stsb": ["sentence1", "sentence2", "label"],
}
MEAN_WORDS = {
    "mnli": {"premise": (14, 22), "hypothesis": (8, 13)},
    "mrpc": {"sentence1": (19, 25), "sentence2": (19, 25)},
    "sst2": {"sentence": (9, 19)},
    "cola": {"sentence": (6, 9)},
    "qnli": {"question": (9, 13), "sentence": (25, 35)},
    "qqp": {"question1": (9, 13), "question2": (9, 13)},
    "rte": {"sentence1": (30, 50), "sentence2": (7, 12)},
    "stsb": {"sentence1": (8, 12), "sentence2": (8, 12)},
}
SHARE_OF_LABEL_1 = {"mrpc": 0.68, "sst2": 0.5, "cola": 0.7, "qnli": 0.5, "qqp": 0.37, "rte": 0.5, "mnli": 1 / 3}
SHA256 = {
    "mnli": "6ab157387ca46186546899a9236198062812f911a30bbbac61acd196a50fd77f",
    "mrpc": "ba3c5516ae867b6e57af6ed80b4a4b6083f03436abb86c1329b4d8f22c53c436",
    "sst2": "f5865004e3e06a693c994ed1979208e32993dbbdccd7eb4617d425691adcb2e8",
    "cola": "a4177b5ab996ac901160b2c49cef8dd4cad0e015f3a97e948c1417c05e4451be",
    "qnli": "18bae593ba8a7224f722186f5498fdbfb465786d1624ed5da4232e8cfb48d8f1",
    "qqp": "ae16930e31a091af396fab03bfc3d1e6cb9487648da4e2c50109b3c0fd546045",
    "rte": "11a24a3a097bd534b49bb71d205904f4c97a3c5a5d1a47103fa11475b88a784a",
    "stsb": "7ee9fc1630d48da3cca57cf03f633882257f37f4a197c8bd10ecd44a6ebb8c00",
}


@pytest.fixture(scope="module", params=standin.TASKS)
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@cache
def default_data(task: str) -> dict[str, pd.DataFrame]:
    return standin.generate(task)


@pytest.fixture(scope="module")
def splits(task: str) -> dict[str, pd.DataFrame]:
    return default_data(task)


def texts(frame: pd.DataFrame) -> list[str]:
    return [text for name in frame.columns if name != "label" for text in frame[name]]


def digest(splits: dict[str, pd.DataFrame]) -> str:
    """A hash of every value; of `repr`, so that a float's last digit counts too."""
    total = hashlib.sha256()
    for name, frame in splits.items():
        total.update(f"{name} {list(frame.columns)}\n".encode())
        for row in frame.to_dict("records"):
            total.update(f"{list(row.values())!r}\n".encode())
    return total.hexdigest()


def test_tasks_are_the_eight() -> None:
    assert sorted(standin.TASKS) == sorted(COLUMNS)


def test_splits_have_the_hub_s_columns_and_the_promised_rows(task: str, splits: dict[str, pd.DataFrame]) -> None:
    validation = ["validation_matched", "validation_mismatched"] if task == "mnli" else ["validation"]
    assert list(splits) == ["train", *validation]
    assert [len(frame) for frame in splits.values()] == [2_000] + [1_000] * len(validation)
    for frame in splits.values():
        assert list(frame.columns) == COLUMNS[task] == list(standin.columns(task))


def test_labels_are_the_hub_s(task: str, splits: dict[str, pd.DataFrame]) -> None:
    for frame in splits.values():
        if task == "stsb":
            assert frame["label"].dtype.kind == "f"
            assert frame["label"].between(0, 5).all()
            assert frame["label"].std() > 1
        else:
            assert frame["label"].dtype.kind == "i"
            assert set(frame["label"]) == set(range(3 if task == "mnli" else 2))


@pytest.mark.parametrize("task", sorted(SHARE_OF_LABEL_1))
def test_classes_are_balanced_like_the_real_tasks(task: str) -> None:
    for frame in default_data(task).values():
        assert (frame["label"] == 1).mean() == pytest.approx(SHARE_OF_LABEL_1[task], abs=0.06)


def test_no_text_stands_in_two_rows(splits: dict[str, pd.DataFrame]) -> None:
    every = [text for frame in splits.values() for text in texts(frame)]
    assert len(every) == len(set(every))


def test_texts_are_as_long_as_the_real_ones(task: str, splits: dict[str, pd.DataFrame]) -> None:
    for frame in splits.values():
        for name, (low, high) in MEAN_WORDS[task].items():
            words = frame[name].str.split().str.len()
            assert low <= words.mean() <= high, name
            assert words.min() >= 2


def test_texts_are_clean(splits: dict[str, pd.DataFrame]) -> None:
    for frame in splits.values():
        for text in texts(frame):
            assert text == " ".join(text.split())
            assert not set(text) & set("{}|~>/;\t") - {";"}, text


def test_the_same_seed_repeats_and_another_differs(task: str, splits: dict[str, pd.DataFrame]) -> None:
    again, other = standin.generate(task), standin.generate(task, seed=1)
    for name, frame in splits.items():
        pd.testing.assert_frame_equal(frame, again[name])
        assert not frame.equals(other[name])


def test_the_default_data_have_not_moved(task: str, splits: dict[str, pd.DataFrame]) -> None:
    assert digest(splits) == SHA256[task], "if the change is meant, measure the difficulty again and renew the hash"


def test_chance_is_zero_for_correlations_and_the_majority_otherwise(task: str, splits: dict[str, pd.DataFrame]) -> None:
    labels = splits["validation_matched" if task == "mnli" else "validation"]["label"]
    expected = 0.0 if task in ("cola", "stsb") else max((labels == label).mean() for label in set(labels))
    assert standin.chance(task) == pytest.approx(expected)


def test_mismatched_rows_are_about_other_topics() -> None:
    splits = default_data("mnli")
    found = {name: " ".join(texts(frame)) for name, frame in splits.items()}
    for word, inside in {"skipper": False, "curator": False, "senator": True, "goalkeeper": True}.items():
        assert (word in found["train"]) is inside
        assert (word in found["validation_matched"]) is inside
        assert (word in found["validation_mismatched"]) is not inside


@pytest.mark.parametrize("call", [standin.generate, standin.chance, standin.columns])
def test_an_unknown_task_is_refused_with_the_known_ones(call: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match=r"'wnli'.*mnli, mrpc"):
        call("wnli")
