"""What a trial trains besides the head: coefficients of fixed bases, the two factors of low-rank updates, or every
weight of the encoder.
"""

import hashlib
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from qrlora_search.describe.configuration import LOW_RANK, AdaptedMatrix, Configuration
from qrlora_search.method.adapter import Coefficients, LowRank
from qrlora_search.method.bases import FACTORS_OF
from qrlora_search.method.directions import strongest_directions
from qrlora_search.method.encoder import Adapters, build_encoder
from qrlora_search.method.families import head_names
from qrlora_search.method.workbench import Workbench, to_tensor


class Trained(Protocol):
    """The trained part: its tensors, float32, and the adapters that they make. bench: what they are trained on."""

    bench: Workbench

    def parameters(self) -> list[Tensor]:
        """Returns the tensors to be trained."""

    def adapters(self) -> Adapters:
        """Returns the adapters of the encoder, on the tensors as they are."""

    def tensors(self) -> dict[str, Tensor]:
        """Returns what makes the trained part again, by the names that it is kept under."""


class TrainedCoefficients:
    """One vector of coefficients for all bases, in the order of the rank vector; it starts at 0.

    kept: the tensors of an earlier run, for the directions that it chose.
    """

    def __init__(
        self, bench: Workbench, configuration: Configuration, seed: int, kept: Mapping[str, Tensor] | None = None
    ) -> None:
        self.bench, how = bench, FACTORS_OF[configuration.method]
        self.directions: Tensor | None = None
        if configuration.directions != "order":
            chosen = strongest_directions(bench, configuration, how, seed) if kept is None else kept["directions"]
            self.directions = chosen.cpu().long()
        parts = [None] * len(configuration.ranks)
        chosen_parts = (
            parts if self.directions is None else self.directions.split([r.rank for r in configuration.ranks])
        )
        self.bases = {
            (one.layer, one.matrix): bench.basis(one.layer, one.matrix, one.rank, how, part)
            for one, part in zip(configuration.ranks, chosen_parts, strict=True)
        }
        self.lam_R = torch.zeros(configuration.parameters, device=bench.device, requires_grad=True)

    def parameters(self) -> list[Tensor]:
        """Returns the one vector, or nothing where there is no adapter."""
        return [self.lam_R] if self.bases else []

    def adapters(self) -> Adapters:
        """Returns adapters whose coefficients are slices of the vector."""
        slices = self.lam_R.split([basis[1].shape[0] for basis in self.bases.values()])
        return {
            place: Coefficients(part, basis) for (place, basis), part in zip(self.bases.items(), slices, strict=True)
        }

    def tensors(self) -> dict[str, Tensor]:
        """Returns the vector as `lambda`, and the places of its directions in their bases where they were chosen."""
        return {"lambda": self.lam_R} | ({} if self.directions is None else {"directions": self.directions})


class TrainedFactors:
    """B (O, R) and A (R, I) of every adapted projection.

    LoRA: A is drawn as PEFT draws it, uniform within 1 / sqrt(I), and B is 0; alpha = r. SVD-LoRA: B0 = U sqrt(S) and
    A0 = sqrt(S) V^T of the top r singular values; their product is taken off again, so that training begins at 0.
    """

    def __init__(self, bench: Workbench, configuration: Configuration, seed: int) -> None:
        self.bench = bench
        self.places = [(one.layer, one.matrix) for one in configuration.ranks]
        self.start: list[tuple[Tensor, Tensor] | None] = []
        self.pairs: list[tuple[Tensor, Tensor]] = []
        for one in configuration.ranks:
            if configuration.method == "svd-lora":
                begun = _top_singular(bench, one)
                self.start.append(begun)
                self.pairs.append((begun[0].clone().requires_grad_(), begun[1].clone().requires_grad_()))
            else:
                up, down = _drawn(bench, one, seed)
                self.start.append(None)
                self.pairs.append((up.requires_grad_(), down.requires_grad_()))

    def parameters(self) -> list[Tensor]:
        """Returns every factor."""
        return [factor for pair in self.pairs for factor in pair]

    def adapters(self) -> Adapters:
        """Returns the low-rank adapters."""
        return {
            place: LowRank(*pair, start) for place, pair, start in zip(self.places, self.pairs, self.start, strict=True)
        }

    def tensors(self) -> dict[str, Tensor]:
        """Returns the factors as `LAYER.MATRIX.up` and `LAYER.MATRIX.down`."""
        names = [f"{layer}.{matrix}" for layer, matrix in self.places]
        found: dict[str, Tensor] = {}
        for name, (up, down) in zip(names, self.pairs, strict=True):
            found |= {f"{name}.up": up, f"{name}.down": down}
        return found


class TrainedWeights:
    """Every weight of the encoder, in float32; full fine-tuning. Nothing is constant then."""

    def __init__(self, bench: Workbench) -> None:
        family = str(bench.materials.config["model_type"])
        head = tuple(f"{name}." for name in head_names(family))
        self.weights = {
            name: to_tensor(array, bench.device).clone().requires_grad_()
            for name, array in bench.materials.state.items()
            if name.startswith(f"{family}.") and not name.startswith(head)
        }
        self.bench = bench.training(build_encoder(bench.materials.config, self.weights, bench.device, torch.float32))

    def parameters(self) -> list[Tensor]:
        """Returns every weight."""
        return list(self.weights.values())

    def adapters(self) -> Adapters:
        """Returns no adapter."""
        return {}

    def tensors(self) -> dict[str, Tensor]:
        """Returns the weights by transformers' names."""
        return dict(self.weights)


def make_trained(
    bench: Workbench, configuration: Configuration, seed: int, kept: Mapping[str, Tensor] | None = None
) -> Trained:
    """Returns what a configuration trains, at its start; the same for the same seed. kept: the tensors of an earlier
    run, from which it is made again.
    """
    made: Trained
    if configuration.whole:
        made = TrainedWeights(bench)
    elif configuration.method in LOW_RANK:
        made = TrainedFactors(bench, configuration, seed)
    else:
        made = TrainedCoefficients(bench, configuration, seed, kept)
    if kept is not None:
        with torch.no_grad():
            for name, one in made.tensors().items():
                one.copy_(kept[name])
    return made


def _top_singular(bench: Workbench, one: AdaptedMatrix) -> tuple[Tensor, Tensor]:
    whole = bench.materials.factors("svd")[one.layer, one.matrix]
    root = to_tensor(whole.diagonal_D[: one.rank].copy(), bench.device).sqrt()
    left = to_tensor(whole.q_OD[:, : one.rank].copy(), bench.device)
    right = to_tensor(whole.rt_DI[: one.rank].copy(), bench.device)
    return left * root, root[:, None] * right


def _drawn(bench: Workbench, one: AdaptedMatrix, seed: int) -> tuple[Tensor, Tensor]:
    outputs, inputs = bench.encoder.layers[one.layer].projections[one.matrix][0].shape
    text = f"{seed}/{one.layer}/{one.matrix}/{one.rank}".encode()
    source = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(text).digest()[:7], "big"))
    down = (2 * torch.rand(one.rank, inputs, generator=source) - 1) / inputs**0.5
    return torch.zeros(outputs, one.rank, device=bench.device), down.to(bench.device)
