"""Reading data files: the four forms agree, and every fault is named with row, column, value and remedy."""

import csv
import json
import re

import pandas as pd
import pytest

from qrlora_search.describe.tasks import TASKS, find_task
from qrlora_search.method.files import check_rows, read_folder, read_split
from qrlora_search.values.errors import UserError

RTE, COLA, STSB = find_task("rte"), find_task("cola"), find_task("stsb")
FORMS = ["tsv", "csv", "parquet", "jsonl"]

TRICKY = [
    ('He said "no", twice.', "a comma, and 'quotes'", 0),
    ('"unbalanced', 'ends with "', 1),
    ("NA", "null", 0),
    ("", "caf\u00e9 \u2028 \u4f60\u597d", 1),
    ("#no comment", " spaces kept ", 1),
]


def write(path, rows, columns):
    """Write rows in the form that the name's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tsv":
        lines = ["\t".join(map(str, row)) for row in (columns, *rows)]
        path.write_bytes(("\n".join(lines) + "\n").encode())
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
    elif path.suffix == ".parquet":
        pd.DataFrame(rows, columns=columns).to_parquet(path)
    else:
        lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def fault(path, task):
    """Return the message for a bad file, after what every message must hold."""
    with pytest.raises(UserError) as caught:
        read_split(path, task)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows(tmp_path, form):
    frame = read_split(write(tmp_path / f"train.{form}", TRICKY, RTE.columns), RTE)
    assert list(frame.columns) == ["sentence1", "sentence2", "label"]
    assert frame.to_numpy().tolist() == [[first, second, float(label)] for first, second, label in TRICKY]
    assert frame["label"].dtype == float
    assert all(type(text) is str for text in frame["sentence1"])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", TASKS)
def test_every_task_reads_its_columns_in_any_order_with_others_between(tmp_path, name, form):
    task = TASKS[name]
    label = 3.8 if task.regression else len(task.labels) - 1
    columns = ["idx", "label", *reversed(task.texts)]
    row = [7, label, *(f"text of {column}" for column in reversed(task.texts))]
    for split in ("train", *task.report_splits):
        write(tmp_path / name / f"{split}.{form}", [row, row], columns)
    splits = read_folder(tmp_path, task)
    assert list(splits) == ["train", *task.report_splits]
    for frame in splits.values():
        assert list(frame.columns) == list(task.columns)
        assert frame.iloc[1].tolist() == [*(f"text of {column}" for column in task.texts), label]


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl"])
def test_windows_line_ends_and_a_byte_order_mark_are_read(tmp_path, form):
    path = write(tmp_path / f"train.{form}", [("one", 0), ("two", 1)], COLA.columns)
    content = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    path.write_bytes(b"\xef\xbb\xbf" + content)
    assert read_split(path, COLA).to_numpy().tolist() == [["one", 0.0], ["two", 1.0]]


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_the_last_line_may_lack_its_end(tmp_path, end):
    path = tmp_path / "train.tsv"
    path.write_bytes(b"sentence\tlabel\none\t0\ntwo\t1" + end)
    assert len(read_split(path, COLA)) == 2


def test_a_quoted_text_of_csv_may_have_line_ends(tmp_path):
    path = write(tmp_path / "train.csv", [("one\ntwo", 0), ("three", 1)], COLA.columns)
    assert read_split(path, COLA)["sentence"].tolist() == ["one\ntwo", "three"]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_missing_file_is_named_with_the_remedy(tmp_path, split):
    for name in {"train", "validation"} - {split}:
        write(tmp_path / "cola" / f"{name}.tsv", [("one", 0)], COLA.columns)
    with pytest.raises(UserError, match=rf"cola/{split}.tsv does not exist .*put the {split} split of cola there"):
        read_folder(tmp_path, COLA)


def test_mnli_needs_both_validation_files(tmp_path):
    task = find_task("mnli")
    for name in ("train", "validation_matched"):
        write(tmp_path / "mnli" / f"{name}.tsv", [("a", "b", 2)], task.columns)
    with pytest.raises(UserError, match=r"validation_mismatched\.tsv does not exist"):
        read_folder(tmp_path, task)


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--data '.*nowhere' is no folder; use auto, hub, stand-in or a folder"):
        read_folder(tmp_path / "nowhere", COLA)


def test_two_forms_of_one_split_are_refused(tmp_path):
    for form in ("tsv", "csv"):
        write(tmp_path / "cola" / f"train.{form}", [("one", 0)], COLA.columns)
    with pytest.raises(UserError, match=r"train\.tsv and train\.csv both exist; keep one"):
        read_folder(tmp_path, COLA)


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_column_is_named(tmp_path, form):
    message = fault(write(tmp_path / f"train.{form}", [("one", 0)], ["text", "label"]), COLA)
    assert "column 'sentence' is missing; cola needs sentence, label" in message


@pytest.mark.parametrize("form", ["tsv", "csv"])
def test_a_column_that_stands_twice_is_refused(tmp_path, form):
    message = fault(write(tmp_path / f"train.{form}", [("one", 0, 1)], ["sentence", "label", "label"]), COLA)
    assert "column 'label' stands 2 times in the header; keep one" in message


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_split_is_refused(tmp_path, form):
    message = fault(write(tmp_path / f"train.{form}", [], COLA.columns), COLA)
    assert "the split is empty; it needs at least one row" in message


@pytest.mark.parametrize("form", FORMS)
def test_an_empty_file_is_refused(tmp_path, form):
    path = tmp_path / f"train.{form}"
    path.write_bytes(b"")
    assert re.search("empty|cannot be read as parquet", fault(path, COLA))


@pytest.mark.parametrize("form", ["tsv", "csv"])
@pytest.mark.parametrize(("bad", "count"), [(("two",), 1), (("two", "1", "more"), 3)])
def test_a_wrong_number_of_fields_is_named_with_its_row(tmp_path, form, bad, count):
    message = fault(write(tmp_path / f"train.{form}", [("one", 0), bad, ("three", 1)], COLA.columns), COLA)
    assert f"row 2 has {count} fields where the header has 2 (sentence, label); mend that row" in message


def test_a_csv_whose_every_row_is_too_long_is_not_shifted(tmp_path):
    message = fault(write(tmp_path / "train.csv", [("one", 0, 1), ("two", 1, 0)], COLA.columns), COLA)
    assert "row 1 has 3 fields" in message


def test_an_unclosed_quote_of_csv_is_refused(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text('sentence,label\n"one,0\ntwo,1\n', encoding="utf-8")
    assert "cannot be read as csv" in fault(path, COLA)


@pytest.mark.parametrize("row", [1, 900])
def test_bad_utf8_in_tsv_is_named_with_row_and_column(tmp_path, row):
    lines = [b"sentence1\tsentence2\tlabel", *[b"a text of some length\tanother\t0"] * 1000]
    lines[row] = b"fine\tcaf\xe9\t0"
    path = tmp_path / "train.tsv"
    path.write_bytes(b"\n".join(lines))
    assert f"row {row}, column 'sentence2': byte 0xe9 is not valid UTF-8; save the file as UTF-8" in fault(path, RTE)


def test_bad_utf8_in_a_header_is_named(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_bytes(b"sent\xe9nce\tlabel\none\t0\n")
    assert "the header: byte 0xe9" in fault(path, COLA)


@pytest.mark.parametrize(
    ("form", "content"),
    [("csv", b"sentence,label\none,0\ncaf\xe9,1\n"), ("jsonl", b'{}\n{}\n{"sentence": "caf\xe9"}\n')],
)
def test_bad_utf8_elsewhere_is_named_with_its_line(tmp_path, form, content):
    path = tmp_path / f"train.{form}"
    path.write_bytes(content)
    assert "line 3: byte 0xe9 is not valid UTF-8; save the file as UTF-8" in fault(path, COLA)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ("acceptable", "'acceptable' is no number"),
        ("", "'' is no number"),
        ("0.5", "'0.5' is out of range"),
        ("2", "'2' is out of range"),
        ("-1", "'-1' is out of range"),
        ("nan", "'nan' is out of range"),
        ("inf", "'inf' is out of range"),
    ],
)
def test_a_bad_class_is_named_with_row_column_value_and_remedy(tmp_path, form, label, problem):
    message = fault(write(tmp_path / f"train.{form}", [("one", "0"), ("two", label)], COLA.columns), COLA)
    assert message.endswith(f"row 2, column 'label': {problem}; labels of cola are 0 = unacceptable, 1 = acceptable")


@pytest.mark.parametrize("label", [0.5, 2, -1, float("nan"), float("inf"), None, [0], 10**400, "1,0"])
def test_a_bad_class_of_any_type_is_refused(label):
    frame = pd.DataFrame({"sentence": ["one", "two"], "label": pd.Series([0, label], dtype=object)})
    with pytest.raises(UserError, match=r"here: row 2, column 'label': .* labels of cola are 0 = unacceptable"):
        check_rows(frame, COLA, "here")


@pytest.mark.parametrize("label", [-0.1, 5.1, float("nan"), "much"])
def test_a_bad_value_of_a_regression_is_refused(label):
    frame = pd.DataFrame({"sentence1": ["a"], "sentence2": ["b"], "label": pd.Series([label], dtype=object)})
    with pytest.raises(UserError, match=r"row 1, column 'label': .*; labels of stsb are numbers from 0 to 5"):
        check_rows(frame, STSB, "here")


def test_the_ends_of_the_range_are_labels():
    frame = pd.DataFrame({"sentence1": ["a"] * 3, "sentence2": ["b"] * 3, "label": [0, 5, 2.6]})
    assert check_rows(frame, STSB, "here")["label"].tolist() == [0.0, 5.0, 2.6]


@pytest.mark.parametrize("text", [None, float("nan"), 3, b"bytes", ["a"], "half \ud83d"])
def test_what_is_no_text_is_refused(text):
    frame = pd.DataFrame({"sentence": pd.Series(["one", text], dtype=object), "label": [0, 1]})
    with pytest.raises(UserError, match=r"here: row 2, column 'sentence': .* is no text; write a text there"):
        check_rows(frame, COLA, "here")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "row 2 is not valid JSON"),
        ('["two", 1]', "row 2 is no JSON object; write one object a line"),
        ('{"sentence": "two"}', "row 2, column 'label'"),
        ('{"label": 1}', "row 2, column 'sentence'"),
        ('{"sentence": "two", "label": NaN}', "row 2, column 'label': nan is out of range"),
        ('{"sentence": "\\ud83d", "label": 1}', "row 2, column 'sentence'"),
    ],
)
def test_a_bad_line_of_jsonl_is_named(tmp_path, line, problem):
    path = tmp_path / "train.jsonl"
    path.write_text('{"sentence": "one", "label": 0}\n\n' + line + "\n", encoding="utf-8")
    assert problem in fault(path, COLA)


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    path = tmp_path / "train.parquet"
    path.write_bytes(b"no parquet at all")
    assert "cannot be read as parquet" in fault(path, COLA)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    path = write(tmp_path / "train.tsv", [("one", 0)], COLA.columns)

    def refuse(_):
        raise PermissionError("not yours")

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    assert "cannot be read as tsv: not yours; mend or replace the file" in fault(path, COLA)


@pytest.mark.glue
@pytest.mark.parametrize(
    ("name", "train", "validation"),
    [("cola", 8551, 1043), ("rte", 2490, 277), ("mrpc", 3668, 408), ("stsb", 5749, 1500)],
)
def test_the_real_files_are_read_whole(glue_dir, name, train, validation):
    splits = read_folder(glue_dir, find_task(name))
    assert {split: len(frame) for split, frame in splits.items()} == {"train": train, "validation": validation}
