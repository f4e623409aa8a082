"""The benchmark's floor counts what torch counts: never more than the engine does, and not much less."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.floor import multiply_adds
from qrlora_search.describe.configuration import AdaptedMatrix, Configuration
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.describe.space import States
from qrlora_search.method.tokens import TokenSet, padding_share
from qrlora_search.method.training import TrialTrainer
from qrlora_search.method.workbench import build_workbench
from qrlora_search.prepare.states import MappedStates
from qrlora_search.prepare.store import Store
from tiny import tiny_materials


def equal_texts(n: int, length: int) -> TokenSet:
    random = np.random.default_rng(n)
    ids = random.integers(4, 50, size=n * length).astype(np.int32)
    starts = np.arange(n + 1, dtype=np.int64) * length
    return TokenSet(ids, np.zeros(len(ids), np.int8), starts, random.integers(0, 2, size=n).astype(np.float64))


@pytest.mark.parametrize("layers", [(1, 2), (0, 2), (2,)])
def test_the_floor_is_at_most_what_the_engine_does_and_most_of_it(layers, tmp_path):
    materials, _ = tiny_materials("bert", "cola")
    materials.splits.update(train=equal_texts(64, 16), selection=equal_texts(32, 16))
    bench = build_workbench(materials, torch.device("cpu"), MappedStates(Store(tmp_path), States()))
    ranks = tuple(AdaptedMatrix(layer, matrix, 3) for layer in layers for matrix in ("q", "v"))
    trial = Configuration(ranks, 1e-2, 32, 2, "frozen", 0.0, 0.0)
    trainer = TrialTrainer(bench, TrialOrder(0, trial, 1))
    trainer.step()  # makes the constant states
    with FlopCounterMode(display=False) as counter:
        trainer.step()
    done, floor = counter.get_total_flops() / 2, multiply_adds(bench, trial)
    assert floor <= done <= 1.35 * floor


def test_padding_share():
    tokens = TokenSet(np.arange(10, dtype=np.int32), np.zeros(10, np.int8), np.array([0, 2, 6, 10]), np.zeros(3))
    assert padding_share(tokens, [np.array([1, 2])]) == 0
    assert padding_share(tokens, [np.array([0, 1, 2])]) == pytest.approx(2 / 12)
    assert padding_share(tokens, [np.array([0]), np.array([1, 2])]) == 0
    assert padding_share(tokens, []) == 0
