"""Every method of the paper in the engine: LoRA against PEFT in numbers, the others against their definitions."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from qrlora_search.describe.configuration import AdaptedMatrix, Configuration
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.method.adapter import LowRank
from qrlora_search.method.bases import pivoted_qr, random_basis, svd
from qrlora_search.method.directions import BATCHES
from qrlora_search.method.families import encoder_shape, head_names, projection_name
from qrlora_search.method.tokens import training_batches
from qrlora_search.method.training import TrialTrainer, predict_with
from qrlora_search.method.workbench import Workbench, loss_of
from tiny import tiny_bench, tiny_config

RANKS = (AdaptedMatrix(0, "o", 2), AdaptedMatrix(1, "k", 2), AdaptedMatrix(2, "q", 2), AdaptedMatrix(2, "v", 2))
METHODS = ("qr-lora", "svd-diagonal", "random-basis", "lora", "svd-lora")
STEPS = 40


def bench_for(family: str, task: str) -> tuple[Workbench, torch.nn.Module]:
    bench, model = tiny_bench(family, task)
    weights = {
        place: bench.materials.state[projection_name(family, *place) + ".weight"] for place in bench.materials.bases
    }
    for name, how in (("svd", svd), ("random", random_basis)):
        bench.materials.others[name] = {place: how(weight) for place, weight in weights.items()}
    return bench, model


def order(method: str, ranks=RANKS, head="frozen", epochs=3) -> TrialOrder:
    per_rank = 64 if method in {"lora", "svd-lora"} else 1
    rate = 1e-3 if head == "trained" else 0.0
    return TrialOrder(0, Configuration(ranks, 1e-2, 8, epochs, head, rate, 0.0, method, per_rank), 0)


def peft_model(model, family):
    from peft import LoraConfig, get_peft_model

    names = [projection_name(family, one.layer, one.matrix) for one in RANKS]
    return get_peft_model(model, LoraConfig(r=2, lora_alpha=2, target_modules=names, lora_dropout=0.0))


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT's own use
@pytest.mark.parametrize(("family", "task"), [("bert", "cola"), ("roberta", "stsb")])
def test_our_lora_trains_as_pefts_does(family, task):
    bench, model = bench_for(family, task)
    theirs = peft_model(model.eval(), family)
    ours = TrialTrainer(bench, order("lora", epochs=8))  # so many that the schedule reaches 0 behind the last step
    modules = [theirs.base_model.model.get_submodule(projection_name(family, *place)) for place in ours.trained.places]
    with torch.no_grad():
        for module, (_, down) in zip(modules, ours.trained.pairs, strict=True):
            drawn = float(module.lora_A["default"].weight.std())
            assert float(down.std()) == pytest.approx(drawn, rel=0.4)  # drawn alike
            down.copy_(module.lora_A["default"].weight)
    factors = [
        factor for module in modules for factor in (module.lora_B["default"].weight, module.lora_A["default"].weight)
    ]
    optimizer = torch.optim.AdamW(factors, lr=1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, ours.schedule.lr_lambdas[0])
    tokens, losses = bench.splits["train"], []
    batches = [batch for epoch in range(1, 20) for batch in training_batches(tokens, 8, 0, epoch)][:STEPS]
    for batch in batches:
        places, mask = tokens.index(batch)
        ids = torch.from_numpy(tokens.ids_T[places].astype(np.int64))
        kinds = torch.from_numpy(tokens.types_T[places].astype(np.int64))
        shown = torch.ones_like(ids) if mask is None else torch.from_numpy(mask).long()
        labels = torch.from_numpy(tokens.labels_N[batch])
        labels = labels.float() if task == "stsb" else labels.long()
        more = {"token_type_ids": kinds} if family == "bert" else {}
        loss = theirs(input_ids=ids, attention_mask=shown, labels=labels, **more).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append((float(ours.train_on(batch)), float(loss.detach())))
    mine, plain = np.array(losses).T
    np.testing.assert_allclose(mine, plain, atol=1e-5, rtol=1e-5)
    learned = max(float(module.lora_B["default"].weight.detach().abs().max()) for module in modules)
    assert learned > 1e-3
    for module, (up, down) in zip(modules, ours.trained.pairs, strict=True):
        torch.testing.assert_close(up, module.lora_B["default"].weight, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(down, module.lora_A["default"].weight, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_begins_at_the_warmed_up_model_and_is_kept_and_read_again(method):
    bench, _ = bench_for("bert", "cola")
    one = order(method, head="trained")
    trainer = TrialTrainer(bench, one)
    lowest = trainer.lowest
    before = bench.logits("selection", trainer.trained.adapters(), bench.head, lowest)
    np.testing.assert_allclose(before, bench.logits("selection", {}, bench.head, lowest), atol=1e-5)
    assert sum(part.numel() for part in trainer.trained.parameters()) == one.configuration.parameters
    reports = [trainer.step() for _ in range(3)]
    predictions, loss = predict_with(bench, one, reports[-1].weights, "selection")
    assert loss == pytest.approx(reports[-1].loss, abs=1e-6)
    assert len(predictions) == len(bench.splits["selection"])
    again = TrialTrainer(bench, one)
    assert [again.step().loss for _ in range(3)] == [report.loss for report in reports]


@pytest.mark.parametrize("method", METHODS)
def test_the_adapted_model_is_the_model_with_the_update_added(method):
    """The definition of each method: W + dW in place of W, in the plain transformers model."""
    bench, model = bench_for("roberta", "cola")
    trainer = TrialTrainer(bench, order(method))
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in trainer.trained.parameters():
            part.add_(0.1 * torch.randn(part.shape, generator=random))
        ours = bench.logits("selection", trainer.trained.adapters(), bench.head, trainer.lowest)
        lam = iter(trainer.trained.parameters()) if method in {"lora", "svd-lora"} else None
        start = 0
        for one in RANKS:
            linear = model.get_submodule(projection_name("roberta", one.layer, one.matrix))
            weight = linear.weight.numpy()
            if lam is not None:
                update = (next(lam) @ next(lam)).numpy()
                if method == "svd-lora":
                    u, s, vt = np.linalg.svd(weight)
                    update = update - (u[:, :2] * s[:2]) @ vt[:2]
            else:
                basis = {"qr-lora": pivoted_qr, "svd-diagonal": svd, "random-basis": random_basis}[method](weight)
                coefficients = trainer.trained.lam_R[start : start + 2].numpy()
                update = (basis.q_OD[:, :2] * coefficients) @ basis.rt_DI[:2]
                start += 2
            linear.weight.add_(torch.from_numpy(update))
        tokens = bench.splits["selection"]
        for place in range(0, len(tokens), 7):
            ids = torch.from_numpy(tokens.ids_T[tokens.index(np.array([place]))[0]].astype(np.int64))
            np.testing.assert_allclose(model.eval()(input_ids=ids).logits[0].numpy(), ours[place], atol=1e-5)


def test_a_small_change_of_svd_lora_is_not_lost_in_bfloat16():
    """Its update is the difference of two near equal products, which rounding them before it would leave little of."""
    random = torch.Generator().manual_seed(2)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    left, values, right = torch.linalg.svd(0.05 * drawn(96, 96))
    start = (left[:, :4] * values[:4].sqrt(), values[:4, None].sqrt() * right[:4])
    up, down = (part + 1e-3 * drawn(*part.shape) for part in start)
    x = drawn(200, 96).bfloat16()
    exact = x.double() @ (up.double() @ down.double() - start[0].double() @ start[1].double()).T

    def off(update: torch.Tensor) -> float:
        return float((update.double() - exact).norm() / exact.norm())

    adapter = LowRank(up, down, start)
    frozen = (torch.zeros(96, 96).bfloat16(), torch.zeros(96).bfloat16())
    assert off(adapter.project(x, frozen)) < 0.03
    assert off(x @ adapter.merged(frozen[0]).T) < 0.03

    def product(up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
        return (x @ down.bfloat16().T) @ up.bfloat16().T

    assert off(product(up, down) - product(*start)) > 0.2


def plain_batch(model, bench, batch, family):
    """Return the plain transformers model's loss on a batch."""
    tokens = bench.splits["train"]
    places, mask = tokens.index(batch)
    ids = torch.from_numpy(tokens.ids_T[places].astype(np.int64))
    kinds = torch.from_numpy(tokens.types_T[places].astype(np.int64))
    shown = torch.ones_like(ids) if mask is None else torch.from_numpy(mask).long()
    more = {"token_type_ids": kinds} if family == "bert" else {}
    logits = model(input_ids=ids, attention_mask=shown, **more).logits
    return loss_of(bench.task, logits, torch.from_numpy(tokens.labels_N[batch]))


def full_order(rate=1e-3, epochs=3):
    whole = encoder_shape(tiny_config("bert"), 2).parameters
    return TrialOrder(0, Configuration((), rate, 8, epochs, "trained", rate, 0.0, "full", 1, whole), 0)


@pytest.mark.parametrize(("family", "task"), [("bert", "cola"), ("roberta", "stsb")])
def test_full_fine_tuning_trains_as_the_plain_model_does(family, task):
    bench, model = bench_for(family, task)
    model.eval().requires_grad_(True)
    ours = TrialTrainer(bench, full_order())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, ours.schedule.lr_lambdas[0])
    losses = []
    for epoch in range(1, 3):
        for batch in training_batches(bench.splits["train"], 8, 0, epoch):
            loss = plain_batch(model, bench, batch, family)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append((float(ours.train_on(batch)), float(loss.detach())))
    np.testing.assert_allclose(*np.array(losses).T, atol=1e-4, rtol=1e-4)
    half = len(losses) // 2
    assert sum(ours for ours, _ in losses[half:]) < sum(ours for ours, _ in losses[:half])
    theirs = dict(model.named_parameters())
    for name, weight in ours.trained.weights.items():
        # The key's bias has a gradient of rounding alone, which Adam makes as large as any other.
        if not name.endswith("key.bias"):
            torch.testing.assert_close(weight, theirs[name], atol=2e-4, rtol=1e-3)


def test_full_fine_tuning_counts_every_weight_is_repeatable_and_scored_from_what_it_kept():
    bench, model = bench_for("bert", "cola")
    one = full_order(epochs=2)
    trainer = TrialTrainer(bench, one)
    head = {id(part) for name in head_names("bert") for part in model.get_submodule(name).parameters()}
    counted = sum(part.numel() for part in model.parameters() if id(part) not in head)
    assert one.configuration.parameters == counted == sum(part.numel() for part in trainer.trained.parameters())
    before = bench.materials.state["bert.embeddings.word_embeddings.weight"].copy()
    first, last = trainer.step(), trainer.step()
    assert first.weights == b""  # a whole encoder is kept when it is done
    np.testing.assert_array_equal(bench.materials.state["bert.embeddings.word_embeddings.weight"], before)
    predictions, loss = predict_with(bench, one, last.weights, "selection")
    assert loss == pytest.approx(last.loss, abs=1e-6)
    assert len(predictions) == len(bench.splits["selection"])
    again = TrialTrainer(bench, one)
    assert [again.step().loss for _ in range(2)] == [first.loss, last.loss]


@pytest.mark.parametrize("method", ["qr-lora", "svd-diagonal"])
def test_directions_by_gradient_are_those_with_the_largest_gradient_and_are_kept(method):
    bench, model = bench_for("bert", "cola")
    plain = order(method)
    one = replace(plain, configuration=replace(plain.configuration, directions="gradient"))
    trainer = TrialTrainer(bench, one)
    model.eval()
    sums = dict.fromkeys(trainer.trained.bases, 0.0)
    for batch in list(training_batches(bench.splits["train"], 8, 0, 1))[:BATCHES]:
        model.zero_grad()
        plain_batch(model, bench, batch, "bert").backward()
        for place in list(sums):
            sums[place] = sums[place] + model.get_submodule(projection_name("bert", *place)).weight.grad.numpy()
    how = {"qr-lora": "qr", "svd-diagonal": "svd"}[method]
    for place, chosen in zip(sums, trainer.trained.directions.split(2), strict=True):
        basis = bench.materials.factors(how)[place]
        gradients = np.abs(np.einsum("od,oi,di->d", basis.q_OD, sums[place], basis.rt_DI))
        assert sorted(chosen.tolist()) == sorted(np.argsort(gradients)[-2:].tolist())
    report = [trainer.step() for _ in range(3)][-1]
    bench.splits["train"].labels_N[:] = 0  # other labels, other gradients: what was kept is what counts
    _, loss = predict_with(bench, one, report.weights, "selection")
    assert loss == pytest.approx(report.loss, abs=1e-6)


def test_bases_of_the_svd_and_at_random_are_orthonormal_and_repeatable():
    weight = np.random.default_rng(3).normal(size=(32, 32)).astype(np.float32)
    one = svd(weight)
    np.testing.assert_allclose((one.q_OD * one.diagonal_D) @ one.rt_DI, weight, atol=1e-5)
    for basis in (one, random_basis(weight)):
        np.testing.assert_allclose(basis.q_OD.T @ basis.q_OD, np.eye(32), atol=1e-5)
        np.testing.assert_allclose(basis.rt_DI @ basis.rt_DI.T, np.eye(32), atol=1e-5)
    np.testing.assert_array_equal(random_basis(weight).q_OD, random_basis(weight).q_OD)
    assert np.abs(random_basis(weight).q_OD - random_basis(weight + 1).q_OD).max() > 0.1
    for how in (svd, pivoted_qr):
        with pytest.raises(ValueError, match="not finite"):
            how(np.full((2, 2), np.nan))
