"""A frozen encoder with adapters, written out: BERT and RoBERTa, post-norm, absolute positions.

Written out because a search trains one frozen model very often: states below the lowest adapted layer are constant and
enter here half-way, and the last layer works on the first token alone, the only one that the head reads. In float32 it
equals the transformers model (tests/integration/test_encoder.py).

Legend: B batch, L length, D width, H heads, R rank.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from qrlora_search.describe.configuration import MATRICES, Matrix
from qrlora_search.method.adapter import Adapter
from qrlora_search.method.families import head_names, projection_name

Linear = tuple[Tensor, Tensor]
Adapters = Mapping[tuple[int, Matrix], Adapter]
"""By (layer, matrix)."""

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": functional.gelu, "relu": functional.relu}


PROJECTED: tuple[Matrix, ...] = ("q", "k", "v")


@dataclass(frozen=True)
class Entering:
    """What enters a layer. hidden_BLD: states. mask_BL: True for tokens, None where nothing is padded.

    projected_BLP: the layer's frozen projections of these states, q, k and v side by side (P = 3 D), where known.
    """

    hidden_BLD: Tensor
    mask_BL: Tensor | None = None
    projected_BLP: Tensor | None = None

    def base(self, matrix: Matrix) -> Tensor | None:
        """Returns one known projection (B, L, D)."""
        if self.projected_BLP is None:
            return None
        return self.projected_BLP.chunk(len(PROJECTED), dim=-1)[PROJECTED.index(matrix)]


@dataclass(frozen=True)
class _Layer:
    projections: dict[Matrix, Linear]
    up: Linear
    down: Linear
    attention_norm: Linear
    output_norm: Linear


@dataclass(frozen=True)
class Encoder:
    """The frozen weights of a sequence classifier's encoder, ready for use on one device in one precision."""

    family: str
    heads: int
    epsilon: float
    activation: str
    first_position: int
    embeddings: tuple[Tensor, Tensor, Tensor]
    embedding_norm: Linear
    layers: tuple[_Layer, ...]

    def embed(self, ids_BL: Tensor, types_BL: Tensor) -> Tensor:
        """Returns the states that enter layer 0, shape (B, L, D). Padding may hold any token; it is masked later."""
        words, places, kinds = self.embeddings
        positions = torch.arange(ids_BL.shape[1], device=ids_BL.device) + self.first_position
        return self._norm(words[ids_BL] + kinds[types_BL] + places[positions][None], self.embedding_norm)

    def run(
        self,
        entering: Entering,
        adapters: Adapters,
        start: int = 0,
        stop: int | None = None,
        dropout: float = 0.0,
    ) -> Tensor:
        """Returns the states after layers start..stop-1. entering: what enters layer `start`.

        With stop None the last layer works on the first token only and the result is (B, D), what the head reads;
        otherwise (B, L, D).
        """
        bias = None
        if entering.mask_BL is not None:
            bias = torch.zeros(entering.mask_BL.shape, dtype=torch.float32, device=entering.mask_BL.device)
            bias = bias.masked_fill(~entering.mask_BL, torch.finfo(torch.float32).min)[:, None, None, :]
        last = len(self.layers) - 1
        for index in range(start, last if stop is None else stop):
            entering = Entering(self._layer(index, entering, bias, adapters, dropout))
        x = entering.hidden_BLD
        return self._first_token(last, x, bias, adapters, dropout) if stop is None else x

    def projections(self, index: int, x: Tensor) -> Tensor:
        """Returns a layer's frozen q, k and v of states (..., D) side by side, (..., 3 D)."""
        return torch.cat([functional.linear(x, *self.layers[index].projections[matrix]) for matrix in PROJECTED], -1)

    def _layer(self, index: int, entering: Entering, bias: Tensor | None, adapters: Adapters, dropout: float) -> Tensor:
        """Returns the states (B, L, D) after one layer."""
        x = entering.hidden_BLD
        query, key, value = (
            self._split(self._project(index, matrix, x, adapters, entering.base(matrix))) for matrix in PROJECTED
        )
        scores = (query @ key.transpose(-1, -2)).float() * (query.shape[-1] ** -0.5)  # (B, H, L, L)
        weights = _attention(scores, bias, dropout).to(value.dtype)
        mixed = (weights @ value).transpose(1, 2).reshape(x.shape).to(x.dtype)
        return self._finish(self.layers[index], x, self._project(index, "o", mixed, adapters), dropout)

    def _first_token(self, index: int, x: Tensor, bias: Tensor | None, adapters: Adapters, dropout: float) -> Tensor:
        """Returns the first token's states (B, D) after one layer.

        One query a text: q (x Wk^T)^T = (q Wk) x^T and w (x Wv^T) = (w x) Wv^T, so keys and values of the other tokens
        are never made. The key's bias adds the same to every score of a text, which softmax takes away.
        """
        batch, _, width = x.shape
        first, by_head = x[:, 0], (self.heads, width // self.heads, width)
        (value_bias, keys_HED, values_HED) = (
            self.layers[index].projections["v"][1],
            *(self._merged(index, matrix, adapters).view(by_head) for matrix in ("k", "v")),
        )
        query_HBE = self._project(index, "q", first, adapters).view(batch, self.heads, -1).transpose(0, 1)
        asked_BHD = torch.bmm(query_HBE, keys_HED).transpose(0, 1)
        scores = torch.bmm(asked_BHD, x.transpose(1, 2)).float() * (query_HBE.shape[-1] ** -0.5)  # (B, H, L)
        weights = _attention(scores, None if bias is None else bias[:, 0], dropout)
        seen_HBD = torch.bmm(weights.to(x.dtype), x).transpose(0, 1)
        mixed_BHE = torch.bmm(seen_HBD, values_HED.transpose(1, 2)).transpose(0, 1)
        share = weights.sum(-1, keepdim=True).to(x.dtype) if dropout > 0 else 1.0  # 1 unless weights were dropped
        mixed = (mixed_BHE + share * value_bias.view(self.heads, -1)).reshape(batch, width)
        return self._finish(self.layers[index], first, self._project(index, "o", mixed, adapters), dropout)

    def _project(
        self, index: int, matrix: Matrix, states: Tensor, adapters: Adapters, base: Tensor | None = None
    ) -> Tensor:
        adapter, frozen = adapters.get((index, matrix)), self.layers[index].projections[matrix]
        if adapter is not None:
            return adapter.project(states, frozen, base)
        return functional.linear(states, *frozen) if base is None else base

    def _merged(self, index: int, matrix: Matrix, adapters: Adapters) -> Tensor:
        weight, adapter = self.layers[index].projections[matrix][0], adapters.get((index, matrix))
        return weight if adapter is None else adapter.merged(weight)

    def _finish(self, layer: _Layer, x: Tensor, attended: Tensor, dropout: float) -> Tensor:
        """Returns a layer's states from what enters it and what its attention gives: norms and feed-forward."""
        middle = self._norm(_dropped(attended, dropout) + x, layer.attention_norm)
        raised = _ACTIVATIONS[self.activation](functional.linear(middle, *layer.up))
        return self._norm(_dropped(functional.linear(raised, *layer.down), dropout) + middle, layer.output_norm)

    def _split(self, states_BLD: Tensor) -> Tensor:
        """Returns states by head, (B, H, L, E). On a processor they are raised to float32: its many tiny products of
        attention are no faster in less, and softmax wants float32 anyway.
        """
        batch, length, width = states_BLD.shape
        if states_BLD.device.type == "cpu":
            states_BLD = states_BLD.float()
        return states_BLD.view(batch, length, self.heads, width // self.heads).transpose(1, 2)

    def _norm(self, states: Tensor, norm: Linear) -> Tensor:
        if states.dtype == torch.float32 or states.device.type == "cpu":  # which computes in float32 inside
            return functional.layer_norm(states, states.shape[-1:], *norm, self.epsilon)
        return functional.layer_norm(states.float(), states.shape[-1:], *norm, self.epsilon).to(states.dtype)


def _attention(scores: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
    """Returns attention weights from float32 scores (..., L); bias is broadcast over them."""
    return _dropped(torch.softmax(scores if bias is None else scores + bias, dim=-1), dropout)


def _dropped(states: Tensor, dropout: float) -> Tensor:
    return functional.dropout(states, dropout) if dropout > 0 else states


@dataclass(frozen=True)
class Head:
    """The classification head on the first token: dense, tanh, output. Always float32."""

    dense: Linear
    output: Linear

    def __call__(self, first_BD: Tensor, dropout: float = 0.0, before_dense: bool = False) -> Tensor:
        """Returns logits (B, outputs). before_dense: RoBERTa also drops out what enters the dense layer."""
        x = first_BD.float()
        if before_dense:
            x = _dropped(x, dropout)
        x = torch.tanh(functional.linear(x, *self.dense))
        return functional.linear(_dropped(x, dropout), *self.output)


def build_encoder(
    config: Mapping[str, Any], state: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype
) -> Encoder:
    """Returns the encoder of a transformers sequence classifier from its config and state dict.

    Weights take `dtype`; normalisations stay float32. Raises ValueError on an activation that is not known.
    """
    family = str(config["model_type"])
    if config["hidden_act"] not in _ACTIVATIONS:
        raise ValueError(f"hidden_act = {config['hidden_act']!r} is not one of {', '.join(_ACTIVATIONS)}")

    def linear(name: str, kind: torch.dtype = dtype) -> Linear:
        weight, bias = (state[f"{name}.{part}"].to(device=device, dtype=kind) for part in ("weight", "bias"))
        return weight, bias

    def layer(index: int) -> _Layer:
        base = f"{family}.encoder.layer.{index}"
        return _Layer(
            projections={matrix: linear(projection_name(family, index, matrix)) for matrix in MATRICES},
            up=linear(f"{base}.intermediate.dense"),
            down=linear(f"{base}.output.dense"),
            attention_norm=linear(f"{base}.attention.output.LayerNorm", torch.float32),
            output_norm=linear(f"{base}.output.LayerNorm", torch.float32),
        )

    table = f"{family}.embeddings"
    names = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    words, places, kinds = (state[f"{table}.{name}.weight"].to(device=device, dtype=dtype) for name in names)
    return Encoder(
        family=family,
        heads=int(config["num_attention_heads"]),
        epsilon=float(config["layer_norm_eps"]),
        activation=str(config["hidden_act"]),
        first_position=int(config["pad_token_id"]) + 1 if family == "roberta" else 0,
        embeddings=(words, places, kinds),
        embedding_norm=linear(f"{table}.LayerNorm", torch.float32),
        layers=tuple(layer(index) for index in range(int(config["num_hidden_layers"]))),
    )


def build_head(family: str, state: Mapping[str, Tensor], device: torch.device) -> Head:
    """Returns the head of a transformers sequence classifier, float32."""
    dense, output = (
        tuple(state[f"{name}.{part}"].to(device=device, dtype=torch.float32) for part in ("weight", "bias"))
        for name in head_names(family)
    )
    return Head((dense[0], dense[1]), (output[0], output[1]))
