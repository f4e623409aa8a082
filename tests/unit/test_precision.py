"""Precision is decided once, in the plan; a node without it is refused; low precision changes scores by noise alone."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from qrlora_search.adapters.ray_engine import trainable
from qrlora_search.app import planning
from qrlora_search.app.cost import states_in_words
from qrlora_search.describe.configuration import AdaptedMatrix, Configuration
from qrlora_search.describe.plan import DataCounts, EncoderShape, SearchPlan, Source, differences
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.describe.space import SearchSpace, States, Training
from qrlora_search.method import machine
from qrlora_search.method.training import TrialTrainer
from qrlora_search.method.workbench import build_workbench
from qrlora_search.prepare.states import MappedStates
from qrlora_search.prepare.store import Store
from qrlora_search.values.errors import UserError
from tiny import tiny_materials


def a_plan(space: SearchSpace, train: int = 1000, words: int = 12_000) -> SearchPlan:
    return SearchPlan(
        task="cola", seed=0, space=space, train_limit=None, precision="float32", budget=8, max_params=None,
        time_limit_s=None, concurrency=1, gpus_per_trial=0.0, address=None, tracking_uri="", output="",
        model=Source(kind="embedded", asked="auto", name="m"), data=Source(kind="stand-in", asked="auto", name="d"),
        encoder=EncoderShape(family="bert", layers=6, width=384, heads=12, parameters=1000, head_parameters=10),
        counts=DataCounts(train=train, selection=200, report={"validation": 100}, dropped=0, words=words),
    )  # fmt: skip


def with_precision(kind: str) -> SearchSpace:
    return SearchSpace(training=Training(precision=kind))


@pytest.mark.parametrize("native", ["float32", "bfloat16"])
def test_auto_takes_what_the_machine_has(native, monkeypatch):
    monkeypatch.setattr(planning, "native_precision", lambda: native)
    assert planning.decide_precision(with_precision("auto"), "x.toml") == native
    assert planning.decide_precision(with_precision("float32"), "x.toml") == "float32"


def test_bfloat16_on_a_machine_without_it_is_refused(monkeypatch):
    monkeypatch.setattr(planning, "native_precision", lambda: "bfloat16")
    assert planning.decide_precision(with_precision("bfloat16"), "x.toml") == "bfloat16"
    monkeypatch.setattr(planning, "native_precision", lambda: "float32")
    with pytest.raises(UserError, match=r"x.toml: training.precision = 'bfloat16': this machine .* write 'auto'"):
        planning.decide_precision(with_precision("bfloat16"), "x.toml")


def test_a_node_without_the_plans_precision_refuses(monkeypatch):
    monkeypatch.setattr(machine, "native_precision", lambda: "float32")
    assert machine.refusal("float32") == ""
    assert "does not compute in bfloat16" in machine.refusal("bfloat16")
    monkeypatch.setattr(machine, "native_precision", lambda: "bfloat16")
    assert machine.refusal("bfloat16") == machine.refusal("float32") == ""
    materials, _ = tiny_materials("bert", "cola")
    monkeypatch.setattr(trainable, "refusal", lambda _: "node n1 does not compute in bfloat16")
    monkeypatch.setattr(trainable.ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "7f"))
    actor = trainable.TrialActor.__new__(trainable.TrialActor)
    actor.setup({"threads": 1}, materials, [], States())
    with pytest.raises(trainable.UnfitNodeError, match="7f node n1 does not compute in bfloat16"):
        actor.step()


def test_room_for_states_is_no_part_of_a_searchs_identity_and_precision_is_once():
    plan = a_plan(SearchSpace())
    roomy = plan.model_copy(update={"space": SearchSpace(states=States(memory_gib=99))})
    assert not differences(plan, roomy)
    written_out = plan.model_copy(update={"space": with_precision("float32")})
    assert plan.hash == written_out.hash == roomy.hash
    other = plan.model_copy(update={"precision": "bfloat16"})
    assert differences(plan, other) == ["precision: 'float32' there, 'bfloat16' asked"]


def test_the_plan_says_what_becomes_of_constant_states():
    kept = states_in_words(a_plan(SearchSpace()))
    assert kept.startswith("kept: about 0.023 GiB for what enters a layer, about 0.07 GiB more for its projections; ")
    assert "4 GiB mapped by a worker, 20 GiB on disk" in kept
    plain = states_in_words(a_plan(SearchSpace(states=States(memory_gib=0.03))))
    assert plain.startswith("kept: about 0.023 GiB for what enters a layer; room")
    fly = states_in_words(a_plan(SearchSpace(states=States(memory_gib=0))))
    assert fly.startswith("computed on the fly: those entering a layer take about 0.023 GiB (room: 0 GiB")


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("lowest", [0, 2])
def test_bfloat16_trains_much_like_float32(family, lowest, tmp_path):
    """On the tiny model: states are kept in bfloat16, coefficients in float32, and losses stay close."""
    losses = {}
    for kind in ("float32", "bfloat16"):
        materials, _ = tiny_materials(family, "cola")
        bench = build_workbench(
            replace(materials, precision=kind), torch.device("cpu"), MappedStates(Store(tmp_path / kind), States())
        )
        ranks = tuple(AdaptedMatrix(layer, "qkvo"[layer], 6) for layer in sorted({lowest, 2}))
        trainer = TrialTrainer(bench, TrialOrder(0, Configuration(ranks, 1e-2, 8, 4, "frozen", 0.0, 0.0), 1))
        losses[kind] = [trainer.step().loss for _ in range(4)]
        entering = bench.entering("train", lowest, np.arange(4))
        assert entering.hidden_BLD.dtype == (torch.bfloat16 if kind == "bfloat16" else torch.float32)
        assert trainer.trained.lam_R.dtype == torch.float32
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.02)
    assert losses["bfloat16"] != losses["float32"]
