"""The written-out encoder equals transformers' model with textbook adapters, in scores and in training."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from qrlora_search.describe.configuration import MATRICES, AdaptedMatrix, Configuration
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.describe.space import States
from qrlora_search.method.adapter import QRLoRALinear
from qrlora_search.method.families import encoder_shape, projection_name
from qrlora_search.method.fine_tuning import padded
from qrlora_search.method.tokens import tokenize, training_batches
from qrlora_search.method.training import TrialTrainer
from qrlora_search.method.workbench import build_workbench, loss_of
from qrlora_search.prepare.states import MappedStates
from qrlora_search.prepare.store import Store
from tiny import LAYERS, save_tiny_model, tiny_bench, tiny_config, tiny_materials, tiny_model

SUBSETS = ["".join(one) for size in range(1, 5) for one in itertools.combinations(MATRICES, size)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # the models are tiny
    yield
    torch.set_num_threads(before)


@pytest.fixture
def keeper(tmp_path):
    return MappedStates(Store(tmp_path / "cache"), States())


def with_adapters(model, bench, family, ranks):
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    layers = []
    for one in ranks:
        name = projection_name(family, one.layer, one.matrix)
        parent = model.get_submodule(name.rpartition(".")[0])
        adapted = QRLoRALinear(model.get_submodule(name), bench.materials.bases[one.layer, one.matrix], one.rank)
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
def test_without_adapter_it_is_the_same_model(family, task, keeper):
    bench, model = tiny_bench(family, task, keeper)
    model.eval()
    expected = batch_for(model, family, bench.splits["selection"], np.arange(30))
    for start in range(LAYERS):
        bench.hold(start)
        entering = bench.entering("selection", start, np.arange(30))
        assert (entering.projected_BLP is None) == (start == LAYERS - 1)
        torch.testing.assert_close(bench.head(bench.encoder.run(entering, {}, start)), expected, atol=1e-5, rtol=1e-5)


def train_both(bench, model, family, ranks, steps=100):
    """Return the losses and the final coefficients of both computations, step for step on the same batches."""
    epochs = -(-steps // 5)
    trainer = TrialTrainer(bench, TrialOrder(0, Configuration(ranks, 1e-3, 8, epochs, "frozen", 0.0, 0.0), seed=5))
    bench.hold(trainer.lowest)
    adapted = with_adapters(model.eval(), bench, family, ranks)
    optimizer = torch.optim.AdamW([one.lam_R for one in adapted], lr=1e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / (5 * epochs)))
    ours, plain = [], []
    for epoch in range(1, epochs + 1):
        for batch in training_batches(bench.splits["train"], 8, 5, epoch):
            ours.append(trainer.train_on(batch))
            logits = batch_for(model, family, bench.splits["train"], batch)
            loss = loss_of(bench.task, logits, torch.from_numpy(bench.splits["train"].labels_N[batch]))
            plain.append(loss.detach())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    coefficients = torch.cat([one.lam_R.detach() for one in adapted])
    return (torch.stack(ours), trainer.trained.lam_R.detach()), (torch.stack(plain), coefficients)


def assert_equal_training(ours, plain):
    torch.testing.assert_close(ours[0], plain[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours[1], plain[1], atol=1e-5, rtol=1e-5)
    assert len(ours[0]) == 100
    assert plain[1].abs().max() > 1e-2  # it did train


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("lowest", range(LAYERS))
@pytest.mark.parametrize("matrices", SUBSETS)
def test_a_hundred_steps_equal_the_plain_model(family, matrices, lowest, keeper):
    task = "stsb" if (SUBSETS.index(matrices) + lowest) % 2 else "cola"
    bench, model = tiny_bench(family, task, keeper)
    ranks = some_ranks(matrices, sorted({lowest, LAYERS - 1}))
    assert_equal_training(*train_both(bench, model, family, ranks))


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("task", ["cola", "stsb"])
def test_cut_texts_of_a_real_tokenizer_train_the_same(family, task, keeper, tmp_path, monkeypatch):
    folder = save_tiny_model(tmp_path / "model", family, [f"w{number}" for number in range(30)])
    random = np.random.default_rng(3)
    texts = [" ".join(f"w{word}" for word in random.integers(0, 30, size)) for size in random.integers(1, 20, 40)]
    labels = random.integers(0, 2, 40) if task == "cola" else random.uniform(0, 5, 40)
    cut = tokenize(folder, [texts], labels.tolist(), max_length=9)
    assert cut.lengths_N.max() == 9
    assert cut.lengths_N.min() < 9
    materials, model = tiny_materials(family, task)
    vocabulary = int(materials.config["vocab_size"])
    cut = replace(cut, ids_T=np.minimum(cut.ids_T, vocabulary - 1))
    materials = replace(materials, splits={"train": cut, "selection": cut}, fingerprint=f"cut {family} {task}")
    bench = build_workbench(materials, torch.device("cpu"), keeper)
    assert_equal_training(*train_both(bench, model, family, some_ranks("qvo", (1, 2))))


def test_counts_are_exact():
    for family in ("bert", "roberta"):
        model = tiny_model(family)
        shape = encoder_shape(tiny_config(family), 2)
        total = sum(one.numel() for one in model.parameters())
        assert shape.parameters + shape.head_parameters == total
    large = {**tiny_config("roberta"), "hidden_size": 768}
    assert encoder_shape(large, 2).head_parameters == 592_130  # the published count for roberta-base


def test_the_same_order_gives_the_same_numbers_and_constant_states_change_nothing(keeper):
    bench, _ = tiny_bench("bert", "cola", keeper)
    order = TrialOrder(0, Configuration(some_ranks("qv", (1, 2)), 1e-2, 8, 2, "trained", 1e-3, 0.0), seed=5)
    first, again = TrialTrainer(bench, order), TrialTrainer(bench, order)
    assert first.step().packed == again.step().packed
    assert torch.equal(first.trained.lam_R, again.trained.lam_R)
    bare, _ = tiny_bench("bert", "cola")
    fly = TrialTrainer(bare, order)
    fly.step()
    torch.testing.assert_close(fly.trained.lam_R, first.trained.lam_R, atol=1e-6, rtol=1e-5)


def test_room_decides_what_is_held_and_no_number(tmp_path):
    materials, _ = tiny_materials("bert", "cola")
    tokens = sum(len(split.ids_T) for split in materials.splits.values())
    gib = tokens * 32 * 4 / 2**30  # what enters a layer, both splits
    order = TrialOrder(0, Configuration(some_ranks("qv", (1, 2)), 1e-2, 8, 2, "frozen", 0.0, 0.0), seed=5)
    scores = []
    for room, arrays, projected in ((4.1, 4, True), (3.9, 2, False), (0.9, 0, False)):
        keeper = MappedStates(Store(tmp_path / str(room)), States(memory_gib=room * gib))
        bench = build_workbench(materials, torch.device("cpu"), keeper)
        trainer = TrialTrainer(bench, order)
        scores.append(trainer.step().loss)
        assert len(keeper.mapped) == arrays
        assert (bench.entering("train", 1, np.arange(3)).projected_BLP is not None) == projected
    assert scores[1:] == pytest.approx([scores[0]] * 2, abs=1e-6)


def test_dropout_is_drawn_and_repeatable():
    bench, _ = tiny_bench("bert", "cola")
    order = TrialOrder(0, Configuration(some_ranks("qv", (1, 2)), 1e-2, 8, 2, "frozen", 0.0, 0.3), seed=5)
    dry = TrialOrder(0, Configuration(some_ranks("qv", (1, 2)), 1e-2, 8, 2, "frozen", 0.0, 0.0), seed=5)
    one, two, without = (TrialTrainer(bench, each) for each in (order, order, dry))
    for trainer in (one, two, without):
        trainer.step()
    assert torch.equal(one.trained.lam_R, two.trained.lam_R)
    assert not torch.allclose(one.trained.lam_R, without.trained.lam_R)


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("lowest", [1, LAYERS - 1])
def test_with_dropout_logits_are_distributed_as_in_the_plain_model(family, lowest):
    """Dropout is drawn in the layers from `lowest` up and before the head, and nowhere below."""
    bench, model = tiny_bench(family, "cola")
    draws, rate, example = 6000, 0.2, np.array([4])
    model.eval()
    inner = getattr(model, family)
    dropped = [*inner.encoder.layer[lowest:], *([model.dropout] if family == "bert" else [model.classifier])]
    for module in (one for part in dropped for one in part.modules()):
        module.training = True
        if isinstance(module, torch.nn.Dropout):
            module.p = rate
    batch = padded(bench.splits["train"], np.repeat(example, draws), torch.device("cpu"))
    if family == "roberta":
        batch.pop("token_type_ids")
    for layer in inner.encoder.layer[lowest:]:
        layer.attention.self.dropout.p = rate
    torch.manual_seed(0)
    with torch.no_grad():
        plain = model(**batch).logits
        entering = bench.entering("train", lowest, np.repeat(example, draws))
        first = bench.encoder.run(entering, {}, lowest, dropout=rate)
        ours = bench.head(first, rate, before_dense=family == "roberta")
    for moment in (lambda x: x, lambda x: (x - x.mean(0)).square()):
        one, two = moment(plain), moment(ours)
        error = ((one.var(0) + two.var(0)) / draws).sqrt()
        assert ((one.mean(0) - two.mean(0)).abs() < 4.5 * error).all()
    assert ours.std(0).min() > 1e-3
