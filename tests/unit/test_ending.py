"""The whole way after a search in one process, with real trainings of a tiny model: derive, confirm, report, write."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from qrlora_search.adapters.simulated.engine import SimulatedEngine
from qrlora_search.app.confirming import Confirming
from qrlora_search.app.ending import Ending
from qrlora_search.app.loop import SearchLoop
from qrlora_search.app.phases import InTurn
from qrlora_search.app.report_files import read_front
from qrlora_search.app.scoring import Scorer, Wanted, Weights
from qrlora_search.describe.plan import DataCounts
from qrlora_search.describe.proposals import canonical
from qrlora_search.method.training import TrialFailedError, TrialTrainer
from qrlora_search.method.workbench import build_workbench
from qrlora_search.record.events import Record
from qrlora_search.record.history import history_of
from qrlora_search.values.packing import pack, unpack
from scripted import ListSampler, plan
from tiny import tiny_materials


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Return a search over a tiny regression that was derived from, confirmed, reported and written."""
    folder = tmp_path_factory.mktemp("out")
    materials, _ = tiny_materials("bert", "stsb")
    train = materials.splits["train"]  # random labels: only on what it trained can a trial be better
    materials = replace(materials, splits=dict.fromkeys(("train", "selection", "validation"), train))
    space = {"training": {"epochs": 2, "rungs": ()}, "confirm": {"share": 3.0, "seeds": 2}}
    counts = DataCounts(train=40, selection=40, report={"validation": 40}, dropped=0)
    a_plan = plan(4, **space).model_copy(update={"task": "stsb", "counts": counts})
    record = Record(f"sqlite:///{folder / 'record.db'}")
    record.append("opened", {"plan": a_plan.model_dump(mode="json"), "search_id": "s", "at": "now"})
    labels = {name: pack(materials.splits[name].labels_N) for name in ("selection", "validation")}
    record.append("prepared", {"made": [], "labels": labels})
    scorer = Scorer(materials, Weights(folder), a_plan.seed)
    record.append("scored", scorer.score(None, "selection"))
    history = history_of(record.all())
    spectra = {place: basis.diagonal_D for place, basis in materials.bases.items()}

    def made(proposal):
        return canonical(a_plan.space, {**proposal, "learning_rate": 1.0}, spectra, 3)

    loop = SearchLoop(a_plan, record, history, ListSampler([0.02, 0.1, 0.3, 0.6]), made, scorer.weights.keep)
    turns = InTurn([loop, Confirming(a_plan, record, history, scorer)])
    bench = build_workbench(materials.for_workers())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the matrices are tiny: more threads wait for one another
    SimulatedEngine(lambda order: TrialTrainer(bench, order), (TrialFailedError,), 2).run(turns)
    ending = Ending(a_plan, record, history, scorer)
    ending.score(with_report=True)
    torch.set_num_threads(threads)
    return folder, history, ending.write(folder, "complete", 1.0), scorer


def test_everything_is_there_and_read_back(done):
    folder, history, view, _ = done
    assert history.confirmation.closed
    assert view.confirmation.status == "confirmed"
    assert view.members
    assert read_front(folder) == view
    assert view.counts["derived"] == len(history.confirmation.derived) - sum(
        split != "selection" for *_, split in history.confirmation.derived
    )
    assert view.counts["derived"] > 0
    assert view.hypervolume.raw >= view.hypervolume.without_derived
    for one in view.members:
        assert one.report[0].seeds == one.selection.seeds == len(history.confirmation.runs_of(one.trial))


def test_a_seed_is_another_training_of_the_same_configuration(done):
    _, history, _, scorer = done
    run = next(run for run in history.confirmation.runs.values() if run.trial >= 0)
    own = load_file(scorer.weights.path(run.trial))["lambda"]
    again = load_file(scorer.weights.path(run.trial, run.number))["lambda"]
    assert own.shape == again.shape == (history.trials[run.trial].configuration.parameters,)
    assert np.abs(own - again).max() > 0
    kept = next(iter(run.scored))[0]
    scored = scorer.score(Wanted(history.trials[run.trial], kept, run.number, run.seed), "selection")
    assert scored["packed"] == run.scored[kept, "selection"].packed


def test_a_member_s_file_is_the_adapter_that_its_own_report_score_is_of(done):
    folder, history, view, scorer = done
    for one in view.members:
        tensors = load_file(folder / one.adapter)
        assert len(tensors["lambda"]) == one.parameters
        facts = json.loads((folder / one.adapter).with_suffix(".json").read_text())
        assert (facts["trial"], facts["kept"]) == (one.trial, one.kept)
        wanted = Wanted(history.trials[one.trial], one.kept)
        packed = str(scorer.score(wanted, "validation")["packed"])
        score = np.corrcoef(unpack(packed), unpack(history.labels["validation"]))[0, 1]
        assert one.exported_report[0].score == pytest.approx(score, abs=1e-5)
