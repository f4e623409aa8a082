"""The written-out encoder equals transformers' model with textbook adapters, in scores and in training."""

import itertools

import numpy as np
import pytest
import torch

from qrlora_search.describe.configuration import MATRICES, AdaptedMatrix, Configuration
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.method.adapter import QRLoRALinear
from qrlora_search.method.families import encoder_shape, projection_name
from qrlora_search.method.fine_tuning import padded
from qrlora_search.method.tokens import training_batches
from qrlora_search.method.training import TrialTrainer
from qrlora_search.method.workbench import loss_of
from tiny import LAYERS, tiny_bench, tiny_config, tiny_model

SUBSETS = ["".join(one) for size in range(1, 5) for one in itertools.combinations(MATRICES, size)]


def with_adapters(model, bench, family, ranks):
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    layers = []
    for one in ranks:
        name = projection_name(family, one.layer, one.matrix)
        parent = model.get_submodule(name.rpartition(".")[0])
        adapted = QRLoRALinear(model.get_submodule(name), bench.bases[one.layer, one.matrix], one.rank)
        setattr(parent, name.rpartition(".")[2], adapted)
        layers.append(adapted)
    return layers


def batch_for(model, family, tokens, examples):
    batch = padded(tokens, examples, torch.device("cpu"))
    if family == "roberta":
        batch.pop("token_type_ids")
        batch["input_ids"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 1)
    return model(**batch).logits


def some_ranks(matrices, layers):
    return tuple(
        AdaptedMatrix(layer, matrix, 3 + layer) for layer in layers for matrix in MATRICES if matrix in matrices
    )


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("task", ["cola", "stsb"])
def test_without_adapter_it_is_the_same_model(family, task):
    bench, model = tiny_bench(family, task)
    model.eval()
    expected = batch_for(model, family, bench.splits["selection"], np.arange(30))
    hidden, mask = bench.entering("selection", 0, np.arange(30))
    for start in range(LAYERS):
        hidden, mask = bench.entering("selection", start, np.arange(30))
        torch.testing.assert_close(
            bench.head(bench.encoder.run(hidden, mask, {}, start)), expected, atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize(("matrices", "layers", "task"), [
    *[(matrices, (1, 2), "cola") for matrices in SUBSETS],
    ("qv", (0, 2), "cola"), ("qkvo", (2,), "stsb"), ("o", (0, 1, 2), "stsb"),
])  # fmt: skip
def test_training_equals_the_plain_model(family, matrices, layers, task):
    bench, model = tiny_bench(family, task)
    ranks = some_ranks(matrices, layers)
    order = TrialOrder(0, Configuration(ranks, 1e-2, 8, 3, "frozen", 0.0, 0.0), seed=5)
    trainer = TrialTrainer(bench, order)
    adapted = with_adapters(model.eval(), bench, family, ranks)
    optimizer = torch.optim.AdamW([one.lam_R for one in adapted], lr=1e-2, weight_decay=0.0)
    steps = 5 * 3
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps))
    for epoch in (1, 2, 3):
        trainer.step()
        for batch in training_batches(bench.splits["train"], 8, 5, epoch):
            logits = batch_for(model, family, bench.splits["train"], batch)
            loss = loss_of(bench.task, logits, torch.from_numpy(bench.splits["train"].labels_N[batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    expected = torch.cat([one.lam_R.detach() for one in adapted])
    torch.testing.assert_close(trainer.lam_R.detach(), expected, atol=1e-5, rtol=1e-4)
    assert expected.abs().max() > 1e-2


def test_counts_are_exact():
    for family in ("bert", "roberta"):
        model = tiny_model(family)
        shape = encoder_shape(tiny_config(family), 2)
        total = sum(one.numel() for one in model.parameters())
        assert shape.parameters + shape.head_parameters == total
    large = {**tiny_config("roberta"), "hidden_size": 768}
    assert encoder_shape(large, 2).head_parameters == 592_130  # the published count for roberta-base


def test_the_same_order_gives_the_same_numbers_and_constant_states_change_nothing(monkeypatch):
    bench, _ = tiny_bench("bert", "cola")
    order = TrialOrder(0, Configuration(some_ranks("qv", (1, 2)), 1e-2, 8, 2, "trained", 1e-3, 0.0), seed=5)
    first, again = TrialTrainer(bench, order), TrialTrainer(bench, order)
    assert first.step().packed == again.step().packed
    assert torch.equal(first.lam_R, again.lam_R)
    assert ("train", 1) in bench.states
    monkeypatch.setattr("qrlora_search.method.workbench.STATES_BUDGET_BYTES", 0)
    bench.states.clear()
    fly = TrialTrainer(bench, order)
    fly.step()
    assert not bench.states
    torch.testing.assert_close(fly.lam_R, first.lam_R, atol=1e-6, rtol=1e-5)


def test_dropout_is_drawn_and_repeatable():
    bench, _ = tiny_bench("bert", "cola")
    order = TrialOrder(0, Configuration(some_ranks("qv", (1, 2)), 1e-2, 8, 2, "frozen", 0.0, 0.3), seed=5)
    dry = TrialOrder(0, Configuration(some_ranks("qv", (1, 2)), 1e-2, 8, 2, "frozen", 0.0, 0.0), seed=5)
    one, two, without = (TrialTrainer(bench, each) for each in (order, order, dry))
    for trainer in (one, two, without):
        trainer.step()
    assert torch.equal(one.lam_R, two.lam_R)
    assert not torch.allclose(one.lam_R, without.lam_R)
