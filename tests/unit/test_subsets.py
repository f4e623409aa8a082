"""Smaller adapters from trained ones: exact counts, the largest effects, and scores through the one path."""

import numpy as np
import pytest
import torch
from safetensors.numpy import save

from qrlora_search.describe.configuration import AdaptedMatrix, Configuration
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.method.bases import delta
from qrlora_search.method.subsets import halvings, has_subsets, keep_largest, keep_largest_of
from qrlora_search.method.training import predict_with
from tiny import tiny_bench

RANKS = (AdaptedMatrix(1, "q", 5), AdaptedMatrix(2, "q", 4), AdaptedMatrix(2, "v", 3))
WHOLE = Configuration(RANKS, 0.01, 8, 1, "frozen", 0.0, 0.0)


def test_halvings_end_at_one():
    assert halvings(12, 3) == [6, 3, 1]
    assert halvings(3, 5) == [1]
    assert halvings(1, 3) == []


def test_the_factors_of_lora_have_no_subsets():
    assert has_subsets(WHOLE)
    assert not has_subsets(Configuration(RANKS, 0.01, 8, 1, "frozen", 0.0, 0.0, method="lora", per_rank=64))


@pytest.mark.parametrize("count", [1, 4, 11])
def test_exactly_so_many_with_the_largest_norm_of_what_they_add(count):
    bench, _ = tiny_bench("bert", "stsb")
    lam = np.random.default_rng(count).normal(size=12).astype(np.float32)
    bases = bench.materials.bases
    smaller, tensors = keep_largest(
        WHOLE, {"lambda": lam}, lambda layer, kind: (bases[layer, kind].q_OD, bases[layer, kind].rt_DI), count
    )
    assert smaller.parameters == count == len(tensors["lambda"]) == len(tensors["directions"])
    norms, at = [], 0
    for one in RANKS:  # by definition: the norm of each coefficient's own update
        for place in range(one.rank):
            alone = np.zeros(one.rank, dtype=np.float32)
            alone[place] = lam[at]
            norms.append(np.linalg.norm(delta(bases[one.layer, one.matrix], alone)))
            at += 1
    assert sorted(tensors["lambda"].tolist()) == sorted(lam[np.argsort(norms)[-count:]].tolist())
    assert all(one.rank > 0 for one in smaller.ranks)
    assert smaller.words.startswith("largest of ")


def test_a_cut_adapter_predicts_as_the_whole_one_with_the_rest_at_zero():
    bench, _ = tiny_bench("bert", "stsb")
    lam = np.random.default_rng(3).normal(size=12).astype(np.float32) * 200
    smaller, content = keep_largest_of(bench.materials, WHOLE, save({"lambda": lam}), 4)
    zeroed = np.where(np.isin(lam, np.array(_lambda(content))), lam, 0.0).astype(np.float32)
    ours, _ = predict_with(bench, TrialOrder(0, smaller, 0), content, "selection")
    theirs, _ = predict_with(bench, TrialOrder(0, WHOLE, 0), save({"lambda": zeroed}), "selection")
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    whole, _ = predict_with(bench, TrialOrder(0, WHOLE, 0), save({"lambda": lam}), "selection")
    assert np.abs(ours - whole).max() > 1e-4


def _lambda(content: bytes) -> list[float]:
    from safetensors.torch import load

    return torch.as_tensor(load(content)["lambda"]).tolist()


def test_directions_that_were_chosen_before_stay_the_places_in_their_basis():
    lam = np.array([3.0, 1.0, 2.0], dtype=np.float32)
    whole = Configuration((AdaptedMatrix(0, "q", 3),), 0.01, 8, 1, "frozen", 0.0, 0.0, directions="gradient")
    tensors = {"lambda": lam, "directions": np.array([4, 7, 9]), "head.dense.bias": np.ones(2)}
    eye = np.eye(12, dtype=np.float32)
    smaller, kept = keep_largest(whole, tensors, lambda *_: (eye, eye), 2)
    assert kept["directions"].tolist() == [4, 9]
    assert kept["lambda"].tolist() == [3.0, 2.0]
    assert "head.dense.bias" in kept
    assert smaller.parameters == 2
    with pytest.raises(ValueError, match="cannot be kept"):
        keep_largest(whole, tensors, lambda *_: (eye, eye), 3)
