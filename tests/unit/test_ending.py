"""The whole way after a search in one process, with real trainings of a tiny model: derive, confirm, report, write."""

import json
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from qrlora_search.adapters.simulated.engine import SimulatedEngine
from qrlora_search.app import adapted
from qrlora_search.app.bases import hash_file
from qrlora_search.app.cli import main
from qrlora_search.app.confirming import Confirming
from qrlora_search.app.ending import Ending
from qrlora_search.app.loop import SearchLoop
from qrlora_search.app.phases import InTurn
from qrlora_search.app.report_files import read_front
from qrlora_search.app.scoring import Scorer, Wanted, Weights
from qrlora_search.app.trust_words import derived_lines
from qrlora_search.app.views.building import build_front_view
from qrlora_search.app.views.candidates import Standing
from qrlora_search.describe.plan import DataCounts
from qrlora_search.describe.proposals import canonical
from qrlora_search.method.training import TrialFailedError, TrialTrainer
from qrlora_search.method.workbench import build_workbench
from qrlora_search.prepare.preparation import hash_state
from qrlora_search.record.events import Record
from qrlora_search.record.history import history_of
from qrlora_search.values.fronts import hypervolume
from qrlora_search.values.packing import pack, unpack
from qrlora_search.values.states import FinishedTrial
from scripted import ListSampler, plan
from tiny import tiny_materials


class CutOff:
    """A scorer during whose first score a signal comes."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer, self.weights = scorer, scorer.weights
        self.turns: InTurn | None = None

    def score(self, wanted, split):
        self.turns.interrupt("interrupted by SIGTERM")
        return self.scorer.score(wanted, split)


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

    loop = SearchLoop(a_plan, record, history, ListSampler([0.02, 0.1, 0.3, 0.9]), made, scorer.weights)
    cut_off = CutOff(scorer)
    cut_off.turns = InTurn([loop, Confirming(a_plan, record, history, cut_off)])
    bench = build_workbench(materials.for_workers())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the matrices are tiny: more threads wait for one another
    engine = SimulatedEngine(lambda order: TrialTrainer(bench, order), (TrialFailedError,), 2)
    engine.run(cut_off.turns)
    assert len(history.confirmation.derived) == 1, "no more is derived after a signal"
    assert not history.confirmation.candidates
    loop.ending = ""
    engine.run(InTurn([loop, Confirming(a_plan, record, history, scorer)]))
    calls = iter([False, False])
    cut = Ending(a_plan, record, history, scorer, lambda: next(calls, True))  # a signal comes while members are scored
    members, whole = cut.score(with_report=True)
    assert not whole
    assert sum(one.data.get("split") == "validation" for one in record.all()) == 2
    ending = Ending(a_plan, record, history, scorer, lambda: False)
    assert ending.score(with_report=True) == (members, True)
    scored = [(one.kind, one.trial, one.data.get("kept"), one.data.get("run"), one.data["split"])
              for one in record.all() if one.kind in {"scored", "derived", "confirm_scored"}]  # fmt: skip
    assert len(set(scored)) == len(scored), "nothing is scored twice"
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
    for run in history.confirmation.runs.values():
        assert (None, "selection") in run.scored
    for one in view.members:
        assert one.report[0].seeds == one.selection.seeds == len(history.confirmation.runs_of(one.trial))


def test_what_derived_adapters_add_is_told_by_further_seeds_against_their_trials_whole(done):
    _, history, view, _ = done
    standing = Standing(history)
    assert any(kept is not None for _, kept in standing.confirmed)
    scores = {
        trial: np.mean(
            [one.metrics["pearson"] for _, one in history.confirmation.scores_of((trial, None), "selection")]
        )
        for trial, _ in standing.confirmed
    }
    wholes = [FinishedTrial(trial, score, standing.parameters((trial, None))) for trial, score in scores.items()]
    control, whole = standing.control_score(standing.better_control), standing.plan.encoder.parameters
    value, low, high = view.hypervolume.derived
    assert value == pytest.approx(view.hypervolume.value - hypervolume(wholes, control, whole), abs=1e-6)
    assert low <= value <= high
    (line,) = derived_lines(view)
    assert f"{value:+.4f}" in line
    assert ("not told apart" in line) == (low <= 0)
    not_scored = deepcopy(history)
    not_scored.confirmation.runs_of(standing.confirmed[0][0])[0].scored.pop((None, "selection"))  # an earlier version's
    assert build_front_view(not_scored, "complete", 1.0).hypervolume.derived is None


def test_what_brought_candidates_in_is_scored_as_everything_else_whatever_the_trials_were_trained_in(done):
    _, history, view, scorer = done
    whole = [one for one in view.confirmation.candidates if one.kept is None]
    assert whole
    for one in whole:
        again = scorer.score(history.trials[one.trial], "selection")["metrics"]["pearson"]
        assert history.scored[one.trial, "selection"].metrics["pearson"] == again
    in_training = deepcopy(history)
    for one in whole:
        line = in_training.trials[one.trial].reports[-1]
        in_training.trials[one.trial].reports[-1] = replace(line, metrics={**line.metrics, "pearson": -1.0})
    seen = build_front_view(in_training, "complete", 1.0)
    assert seen.confirmation.curse == view.confirmation.curse
    assert [one.first for one in seen.confirmation.candidates] == [one.first for one in view.confirmation.candidates]
    assert [one.first for one in seen.members] == [one.first for one in view.members]


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


def keep_base(folder, materials):
    """Write the base's folder as a search does, without a tokenizer."""
    base = folder / "base"
    base.mkdir()
    save_file(materials.state, base / "model.safetensors")
    (base / "config.json").write_text(json.dumps(materials.config))
    arrays = {
        f"{layer}.{kind}.{name}": part
        for (layer, kind), one in materials.bases.items()
        for name, part in (("q", one.q_OD), ("rt", one.rt_DI), ("diagonal", one.diagonal_D))
    }
    save_file(arrays, base / "factors-qr.safetensors")
    facts = {"labels": [], "max_length": 32, "weights": hash_state(materials.state)}
    factors = {"qr": hash_file(base / "factors-qr.safetensors")}
    (base / "base.json").write_text(json.dumps({**facts, "factors": factors}))


def test_derived_adapters_and_picks_export_in_every_form_as_they_were_scored(done, tmp_path, monkeypatch, capsys):
    folder, history, view, scorer = done
    keep_base(folder, scorer.materials)
    monkeypatch.setattr(adapted, "tokenize", lambda *_: scorer.materials.splits["selection"])
    trial, kept, _ = max(history.confirmation.derived)
    recorded = unpack(history.confirmation.derived[trial, kept, "selection"].packed)
    for form in ("native", "lora", "merged"):
        to = tmp_path / form
        more = ["--trial", str(trial), "--keep", str(kept), "--as", form, "--to", str(to)]
        assert main(["export", str(folder), *more]) == 0
        facts = json.loads((to / "export.json").read_text())
        assert (facts["trial"], facts["kept"], facts["parameters"]) == (trial, kept, kept)
        np.testing.assert_allclose(adapted.load_export(to).logits([[""], [""]])[:, 0], recorded, atol=1e-4)
    lora = load_file(tmp_path / "lora" / "adapter_model.safetensors")
    assert sum(len(one) for name, one in lora.items() if name.endswith("lora_A.weight")) == kept
    assert f"Derived without training: the {kept:,} largest" in (tmp_path / "lora" / "README.md").read_text()
    for pick in view.picks[:4]:
        to = tmp_path / pick.name
        code = main(["export", str(folder), "--pick", pick.name, "--as", "native", "--to", str(to)])
        assert code == (2 if pick.trial is None else 0)
        if pick.trial is not None:
            facts = json.loads((to / "export.json").read_text())
            assert (facts["trial"], facts["kept"], facts["parameters"]) == (pick.trial, pick.kept, pick.parameters)
    size = history.trials[trial].configuration.parameters
    cases = {
        ("--keep", "3"): "--keep 3 needs --trial",
        ("--trial", str(trial), "--keep", str(size)): f"--keep {size} is out of range: trial {trial} has {size}",
        ("--trial", str(trial), "--pick", "best"): "--trial and --pick exclude each other",
        ("--pick", "kneee"): "did you mean 'knee'",
    }
    for more, message in cases.items():
        assert main(["export", str(folder), *more, "--to", str(tmp_path / "no")]) == 2
        assert message in capsys.readouterr().err
