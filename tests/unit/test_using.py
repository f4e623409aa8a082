"""Scores of an export beside the record: what is the same, what rounding explains, and what it does not."""

import io

import numpy as np
import pytest
from rich.console import Console

from qrlora_search.app.cli import main
from qrlora_search.app.using import compare, read_texts
from qrlora_search.describe.tasks import find_task
from qrlora_search.method.metrics import compute_metrics
from qrlora_search.method.workbench import predictions_of
from qrlora_search.values.errors import UserError
from qrlora_search.values.packing import pack

LABELS = np.array([0, 1, 1, 0, 1, 0, 1, 1, 0, 0], dtype=np.float64)


def compared(task_name, logits, recorded, labels=LABELS, moved=0.0):
    """Return whether an export's logits are as recorded, and what was said. moved: of the recorded metrics."""
    task = find_task(task_name)
    console = Console(record=True, width=200, file=io.StringIO())
    metrics = compute_metrics(task, labels, predictions_of(task, logits))
    kind = float if task.regression else int
    record = {
        "metrics": {name: value + moved for name, value in compute_metrics(task, labels, recorded).items()},
        "packed": pack(recorded.astype(kind)),
    }
    return compare(task, logits, metrics, record, console), console.export_text()


def logits_with(margin):
    """Return logits that predict the labels, but for example 4, which they predict wrongly by a margin."""
    logits = np.stack([1 - LABELS, LABELS], axis=1).astype(np.float32)
    logits[3] = [0, margin]
    return logits


def test_the_same_predictions_are_said_to_be_the_same():
    well, said = compared("mrpc", logits_with(0.5), predictions_of(find_task("mrpc"), logits_with(0.5)))
    assert well
    assert "all predictions are the recorded ones; largest difference to the metrics: 0.00e+00" in said


def test_the_same_predictions_with_other_metrics_are_not_well():
    well, _ = compared("mrpc", logits_with(0.5), predictions_of(find_task("mrpc"), logits_with(0.5)), moved=2e-6)
    assert not well


@pytest.mark.parametrize(
    ("margin", "well", "words"),
    [(0.9e-4, True, "all at margins where rounding decides"), (1.1e-4, False, "which rounding does not explain")],
)
def test_an_example_that_is_predicted_otherwise_is_listed_with_its_margin(margin, well, words):
    found, said = compared("mrpc", logits_with(margin), LABELS)
    assert found is well
    assert f"example 4: predicted otherwise than recorded, at a margin of {margin:.2e}" in said
    assert f"1 predictions differ, {words}" in said


@pytest.mark.parametrize(("gap", "well"), [(0.0, True), (9e-7, True), (1e-3, False)])
def test_values_of_a_regression_are_the_recorded_ones_or_they_are_not(gap, well):
    values = np.linspace(0, 5, 10)
    values[5] += gap
    found, said = compared("stsb", values[:, None].astype(np.float32), np.linspace(0, 5, 10), labels=LABELS)
    assert found is well
    assert "largest difference to the recorded predictions" in said


def test_metrics_that_the_predictions_do_not_give_are_not_explained_by_rounding():
    values = np.linspace(0, 5, 10)
    found, said = compared("stsb", values[:, None].astype(np.float32), values, labels=LABELS, moved=0.4)
    assert not found
    assert "lie so close together" not in said


def test_values_that_all_but_coincide_may_have_other_metrics():
    recorded = 2.0 + 1e-7 * np.arange(10)
    values = (2.0 + 1e-7 * np.arange(10)[::-1])[:, None].astype(np.float32)
    found, said = compared("stsb", values, recorded, labels=LABELS)
    assert found
    assert "the predictions lie so close together that their last bits move the metrics" in said


def test_a_mark_of_byte_order_is_no_part_of_a_text(tmp_path, monkeypatch):
    content = '\ufeff{"sentence": "a b"}\nc d\n'
    (tmp_path / "texts").write_text(content, encoding="utf-8")
    assert read_texts(find_task("cola"), [], str(tmp_path / "texts")) == [["a b", "c d"]]
    monkeypatch.setattr("sys.stdin", io.StringIO(content))
    assert read_texts(find_task("cola"), [], None) == [["a b", "c d"]]


def test_half_of_a_character_is_refused_in_an_argument_too():
    with pytest.raises(UserError, match=r"text 2: .* has half of a character"):
        read_texts(find_task("cola"), ["a", "\udcff x"], None)


def test_a_folder_that_is_no_export_is_refused(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "is no export" in capsys.readouterr().err
