"""Every form of the update equals the textbook's, over random shapes; so does the whole encoder."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qrlora_search.describe.configuration import MATRICES
from qrlora_search.method.adapter import Coefficients, QRLoRALinear, adapted_linear, merged_weight, merging_pays
from qrlora_search.method.bases import pivoted_qr
from qrlora_search.method.encoder import Entering, build_encoder, build_head
from qrlora_search.method.families import projection_name
from qrlora_search.method.fine_tuning import export_state
from tiny import tiny_config

CLOSE = {"atol": 2e-5, "rtol": 2e-4}


@st.composite
def shapes(draw):
    outputs, inputs = draw(st.integers(1, 24)), draw(st.integers(1, 24))
    rank = draw(st.integers(1, min(outputs, inputs)))
    leading = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    return outputs, inputs, rank, tuple(leading), draw(st.integers(0, 2**31 - 1))


@settings(max_examples=80, deadline=None)
@given(shapes())
def test_all_forms_equal_the_textbook(shape):
    outputs, inputs, rank, leading, seed = shape
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(inputs, outputs)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(outputs, inputs, generator=generator))
        linear.bias.copy_(torch.randn(outputs, generator=generator))
    basis = pivoted_qr(linear.weight.detach().numpy())
    pair = (torch.tensor(basis.q_OD[:, :rank]), torch.tensor(basis.rt_DI[:rank]))
    frozen = (linear.weight.detach(), linear.bias.detach())
    x, gradient = (torch.randn(*leading, size, generator=generator) for size in (inputs, outputs))
    lam = torch.randn(rank, generator=generator)

    def run(form, needs_x=True):
        one, two = lam.clone().requires_grad_(), x.clone().requires_grad_(needs_x)
        result = form(two, one)
        result.backward(gradient)
        return result.detach(), one.grad, two.grad

    book = QRLoRALinear(linear, basis, rank)

    def textbook(two, one):
        book.lam_R = nn.Parameter(torch.zeros(rank))
        return book.linear(two) + ((two @ book.rt_RI.T) * one) @ book.q_OR.T

    expected = run(textbook)
    base = nn.functional.linear(x, *frozen)
    forms = {
        "merged": lambda two, one: adapted_linear(two, frozen, one, pair, merge=True),
        "thin": lambda two, one: adapted_linear(two, frozen, one, pair, merge=False),
        "chosen": lambda two, one: adapted_linear(two, frozen, one, pair),
        "weight": lambda two, one: nn.functional.linear(two, merged_weight(frozen[0], one, pair), frozen[1]),
    }
    for name, form in forms.items():
        for got, wanted in zip(run(form), expected, strict=True):
            torch.testing.assert_close(got, wanted, **CLOSE, msg=lambda text, name=name: f"{name}: {text}")
    known = run(lambda two, one: adapted_linear(two, frozen, one, pair, base), needs_x=False)
    for got, wanted in zip(known[:2], expected[:2], strict=True):
        torch.testing.assert_close(got, wanted, **CLOSE)


@given(st.integers(1, 4096), st.integers(1, 1024))
def test_merging_pays_for_many_rows_and_not_for_few(rows, width):
    assert merging_pays(rows, width, width) == (2 * rows > width)


@st.composite
def encoders(draw):
    family = draw(st.sampled_from(["bert", "roberta"]))
    heads = draw(st.integers(1, 4))
    layers = draw(st.integers(1, 3))
    width = heads * draw(st.integers(1, 6))
    places = st.tuples(st.integers(0, layers - 1), st.sampled_from(MATRICES))
    adapted = draw(st.sets(places, min_size=1, max_size=6))
    ranks = {place: draw(st.integers(1, width)) for place in sorted(adapted)}
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=5))
    return family, heads, layers, width, ranks, lengths, draw(st.booleans()), draw(st.integers(0, 10_000))


@settings(max_examples=40, deadline=None)
@given(encoders())
def test_the_encoder_equals_transformers_at_any_shape(drawn):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    family, heads, layers, width, ranks, lengths, projected, seed = drawn
    config = {
        **tiny_config(family, layers), "hidden_size": width, "num_attention_heads": heads,
        "intermediate_size": 2 * width + 1, "hidden_act": "relu" if seed % 2 else "gelu",
    }  # fmt: skip
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(**config, num_labels=3)).eval()
    state = {name: torch.from_numpy(array) for name, array in export_state(model).items()}
    device = torch.device("cpu")
    encoder, head = build_encoder(config, state, device, torch.float32), build_head(family, state, device)
    random = np.random.default_rng(seed)
    pad = int(config["pad_token_id"])
    ids = torch.full((len(lengths), max(lengths)), pad)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.from_numpy(random.integers(4, 50, size=length))
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]

    lam, mine, books = {}, {}, []
    for (layer, matrix), rank in ranks.items():
        name = projection_name(family, layer, matrix)
        basis = pivoted_qr(state[name + ".weight"].numpy())
        lam[layer, matrix] = (0.3 * torch.from_numpy(random.standard_normal(rank)).float()).requires_grad_()
        pair = (torch.tensor(basis.q_OD[:, :rank]), torch.tensor(basis.rt_DI[:rank]))
        mine[layer, matrix] = Coefficients(lam[layer, matrix], pair)
        parent, leaf = name.rpartition(".")[::2]
        book = QRLoRALinear(model.get_submodule(name), basis, rank)
        book.lam_R.data.copy_(lam[layer, matrix].detach())
        setattr(model.get_submodule(parent), leaf, book)
        books.append(book)
    lowest = min(layer for layer, _ in ranks)
    with torch.no_grad():
        embedded = encoder.embed(ids, torch.zeros_like(ids))
        below = encoder.run(Entering(embedded, mask), {}, stop=lowest)
        known = encoder.projections(lowest, below) if projected and lowest < layers - 1 else None
    logits = head(encoder.run(Entering(below, None if mask.all() else mask, known), mine, lowest))
    plain = model(input_ids=ids, attention_mask=mask.long()).logits
    torch.testing.assert_close(logits, plain, **CLOSE)
    logits.square().sum().backward()
    plain.square().sum().backward()
    for one, book in zip(lam.values(), books, strict=True):
        torch.testing.assert_close(one.grad, book.lam_R.grad, **CLOSE)
