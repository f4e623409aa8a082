"""Confirmation, derived adapters and picks of real searches: real Ray, a tiny model, a kill in the middle."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing

import numpy as np
import pytest

from qrlora_search.app.adapted import load_export
from qrlora_search.app.cli import main
from qrlora_search.app.reading import read_search
from qrlora_search.app.report_files import read_front
from qrlora_search.app.views.building import build_front_view
from qrlora_search.app.views.candidates import members_of
from qrlora_search.describe.tasks import find_task
from qrlora_search.method.sources import find_data
from qrlora_search.method.splits import split_rows
from qrlora_search.record.history import HEAD_ONLY
from qrlora_search.values.packing import unpack
from qrlora_search.values.states import TrialState
from search_runs import SPACE, make_place

pytestmark = pytest.mark.evidence

MORE = """
[confirm]
share = 2.0
seeds = 3
warmups = 3
[head]
modes = ["trained"]
[learning_rate]
low = 0.1
high = 3.0
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Return a search that was killed while it confirmed, and then resumed: what was trained before and after."""
    place = make_place(tmp_path_factory.mktemp("stsb"), tmp_path_factory.mktemp("cache"), "stsb", "bert", rows=120)
    (place.folder / "space.toml").write_text(SPACE.replace("rungs = [1, 2]", "rungs = []") + MORE)
    options = ("--budget", "4", "--output", "out", "--concurrency", "1")
    process = subprocess.Popen(
        place.command(*options), cwd=place.folder, env=place.environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and count(place.folder / "out" / "record.db", "confirm_ended") < 1:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before, _ = read_search(place.folder / "out", "OUTPUT")
    result = place.run(*options, "--resume")
    assert result.returncode == 0, result.stdout + result.stderr
    return place, before, result.stdout


def count(database, kind) -> int:
    if not database.is_file():
        return 0
    with closing(sqlite3.connect(database, timeout=5)) as connection:
        try:
            return connection.execute("select count(*) from qrlora_events where kind = ?", (kind,)).fetchone()[0]
        except sqlite3.OperationalError:
            return 0


def test_a_killed_confirmation_goes_on_where_it_was(killed):
    place, before, said = killed
    history, plan = read_search(place.folder / "out", "OUTPUT")
    assert not before.confirmation.closed
    assert history.confirmation.closed
    ended = {run.number: run for run in before.confirmation.runs.values() if run.state is TrialState.FINISHED}
    assert ended
    for number, run in ended.items():
        assert history.confirmation.runs[number].reports == run.reports  # not trained again
    assert [one.number for one in history.searched] == [one.number for one in before.searched]
    assert {run.seed for run in history.confirmation.runs.values()} <= {plan.seed + 1, plan.seed + 2, plan.seed + 3}
    assert {run.warm_up for run in history.confirmation.runs.values()} <= {0, 1, 2}
    assert all(run.warm_up == (run.seed - plan.seed - 1) % 3 for run in history.confirmation.runs.values())
    assert history.confirmation.epochs <= history.confirmation.allowed
    assert "[confirming, " in said
    assert "winner's curse" in said or not history.confirmation.candidates


def above(history, scores, split) -> float:
    """Return a point's score: the mean of the controls, and how far each training is above its warm-up's."""
    controls = [history.scored[None, split], *(history.confirmation.controls[one, split] for one in (1, 2))]
    levels = [one.metrics["pearson"] for one in controls]
    gains = [one.metrics["pearson"] - levels[warm_up] for warm_up, one in scores]
    return float(np.mean(levels) + np.mean(gains))


def test_the_front_is_decided_by_further_seeds_alone(killed):
    place, _, _ = killed
    history, plan = read_search(place.folder / "out", "OUTPUT")
    view = read_front(place.folder / "out")
    assert view.confirmation.status == "confirmed"
    assert view.marks == []
    assert [run.trial for run in history.confirmation.runs.values()].count(HEAD_ONLY) > 0  # the control, too
    for one in view.members:
        again = history.confirmation.scores_of((one.trial, one.kept), "selection")
        assert one.selection.score == pytest.approx(above(history, again, "selection"))
        assert one.selection.seeds == len(again)
        reported = history.confirmation.scores_of((one.trial, one.kept), "validation")
        assert one.report[0].score == pytest.approx(above(history, reported, "validation"))
        assert one.report[0].n == plan.counts.report["validation"]
    named = {one.adapter for one in view.members}
    files = {f"front/{path.name}" for path in (place.folder / "out" / "front").glob("*.safetensors")}
    assert named == files
    assert build_front_view(history, view.outcome, view.seconds) == view  # from the record alone
    assert sorted({trial for trial, _ in members_of(history)}) == sorted({one.trial for one in view.members})


def test_the_derived_adapters_export_in_every_form_as_they_were_scored(killed, tmp_path, capsys):
    place, _, _ = killed
    history, plan = read_search(place.folder / "out", "OUTPUT")
    assert history.confirmation.derived
    trial, kept, _ = max(history.confirmation.derived)
    rows = find_data(str(place.folder / "data"), find_task("stsb"))
    frame = split_rows(rows.splits, find_task("stsb"), plan.seed, None).selection
    texts = [frame[name].tolist() for name in find_task("stsb").texts]
    recorded = unpack(history.confirmation.derived[trial, kept, "selection"].packed)
    out = str(place.folder / "out")
    for form in ("native", "lora", "merged"):
        arguments = [out, "--trial", str(trial), "--keep", str(kept), "--as", form, "--to", str(tmp_path / form)]
        assert main(["export", *arguments]) == 0
        np.testing.assert_allclose(load_export(tmp_path / form).logits(texts)[:, 0], recorded, atol=1e-4)
        facts = json.loads((tmp_path / form / "export.json").read_text())
        assert (facts["parameters"], facts["kept"]) == (kept, kept)
    assert f"Derived without training: the {kept:,} largest" in (tmp_path / "lora" / "README.md").read_text()
    view = read_front(place.folder / "out")
    for pick in view.picks[:4]:
        to = str(tmp_path / pick.name)
        assert main(["export", out, "--pick", pick.name, "--as", "native", "--to", to]) == (
            0 if pick.trial is not None else 2
        )
        if pick.trial is not None:
            facts = json.loads((tmp_path / pick.name / "export.json").read_text())
            assert (facts["trial"], facts["kept"], facts["parameters"]) == (pick.trial, pick.kept, pick.parameters)
    cases = [
        (["--keep", "3"], "--keep 3 needs --trial"),
        (["--trial", str(trial), "--keep", "100000"], "is out of range"),
        (["--trial", str(trial), "--pick", "best"], "exclude each other"),
        (["--pick", "kneee"], "did you mean 'knee'"),
    ]
    for more, message in cases:
        assert main(["export", out, *more, "--to", str(tmp_path / "no")]) == 2
        assert message in capsys.readouterr().err


def test_a_search_that_selects_on_the_validation_set_says_so(tmp_path, tmp_path_factory):
    place = make_place(tmp_path, tmp_path_factory.mktemp("cache"), "sst2", "bert", rows=80)
    (place.folder / "space.toml").write_text(SPACE + '[selection]\non = "validation"\n[confirm]\nshare = 0.0\n')
    result = place.run("--budget", "2", "--output", "out")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("SELECTED ON THE VALIDATION SET") >= 3
    assert "UNCONFIRMED" in result.stdout
    history, plan = read_search(place.folder / "out", "OUTPUT")
    assert plan.counts.selection == plan.counts.report["validation"] == 40
    assert history.labels["selection"] == history.labels["validation"]
    assert plan.counts.train + plan.counts.dropped == 80
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{place.folder}/runs/mlflow.db")
    (experiment,) = [one for one in client.search_experiments() if one.name == "qr-lora sst2"]
    (parent,) = client.search_runs([experiment.experiment_id], "tags.`qrlora.kind` = 'search'")
    assert parent.data.tags["qrlora.selected_on"] == "validation"
    assert parent.data.tags["qrlora.marks"] == "SELECTED ON THE VALIDATION SET; UNCONFIRMED"
    client._tracking_client.store.engine.dispose()
