"""The table of the paper's rows: what it shows of a row whose every seed failed, and what its files hold."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from qrlora_search.app import paper_table
from qrlora_search.app.paper_table import build_table, show_table, write_tables
from qrlora_search.app.reproducing import Group
from qrlora_search.describe.configuration import AdaptedMatrix, Configuration
from qrlora_search.describe.presets import PRESETS
from qrlora_search.record.confirmation import Scored
from qrlora_search.record.history import History
from qrlora_search.values.packing import pack
from scripted import plan

LABELS = np.array([0, 1] * 20)
TRAINED, FAILED = (next(one for one in PRESETS if one.name == name) for name in ("QR-LoRA, Wo, last 4", "QR-LoRA1"))


@pytest.fixture
def table(monkeypatch):
    """Return MRPC's table of two warm-ups and two rows, of which one failed in both."""
    the_plan = plan().model_copy(update={"task": "mrpc"})
    planned = {seed: SimpleNamespace(plan=the_plan) for seed in (0, 1)}
    configuration = Configuration((AdaptedMatrix(3, "o", 7),), 1e-2, 32, 1, "frozen", 0.0, 0.0)

    def scored(wrong: int) -> Scored:
        share = 1 - wrong / len(LABELS)
        return Scored({"accuracy": share, "f1": share - 0.05}, pack(np.where(np.arange(40) < wrong, 2, LABELS)), 0.1)

    history = History(plan=the_plan, labels={"validation": pack(LABELS)})
    history.scored |= {(None, "validation"): scored(12), (0, "validation"): scored(4)}
    trial = SimpleNamespace(number=0, configuration=configuration)
    monkeypatch.setattr(paper_table, "score_all", lambda *_: history)
    monkeypatch.setattr(paper_table, "trial_of", lambda _, __, preset: trial if preset is TRAINED else None)
    return build_table(Group("mrpc", None, (TRAINED, FAILED), planned), Console())


def test_a_row_whose_every_seed_failed_has_no_count_and_adapts_nothing_that_is_said(table):
    control, trained, failed = table.rows
    assert (control.adapts, control.parameters) == ("nothing", [0])
    assert (trained.adapts, trained.parameters, trained.seeds) == ("o in layer 3", [7], 2)
    assert (failed.adapts, failed.parameters, failed.seeds, failed.cells) == ("", [], 0, [])
    console = Console(record=True, width=200)
    show_table(console, table, 2)
    (line,) = (one for one in console.export_text().splitlines() if one.strip(" │").startswith("QR-LoRA1"))
    cells = [one.strip() for one in line.strip("│").split("│")]
    assert cells == ["QR-LoRA1", "", "(1,311)", "", "every seed failed", "", ""]


def test_the_csv_has_further_metrics_ours_and_the_published(table, tmp_path):
    write_tables([table], tmp_path)
    rows = pd.read_csv(tmp_path / "reproduce.csv").set_index("row")
    assert len(rows) == 2  # what failed has no score
    ours = rows.loc[TRAINED.name]
    assert ours[["score", "f1", "published", "published_f1"]].tolist() == pytest.approx([0.9, 0.85, 0.8897, 0.9215])
    assert rows.loc[paper_table.CONTROL, ["score", "f1"]].tolist() == pytest.approx([0.7, 0.65])
    assert rows.loc[paper_table.CONTROL, ["published", "published_f1"]].isna().all()
