"""What a worker holds for all its trials: the frozen model, the bases, the tokenised splits."""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qrlora_search.describe.configuration import Configuration, Matrix
from qrlora_search.describe.plan import Precision
from qrlora_search.describe.tasks import Task, find_task
from qrlora_search.method.bases import Basis
from qrlora_search.method.encoder import Adapters, Encoder, Head, build_encoder, build_head
from qrlora_search.method.tokens import Integers, TokenSet, scoring_batches

STATES_BUDGET_BYTES = 1 << 30


@dataclass(frozen=True)
class Materials:
    """Plain arrays that make a workbench; they travel to workers once, unpickled without copies by Ray.

    state: the warmed-up model by transformers' names. splits: `train`, `selection`, and where it is to be scored there,
    the report splits.
    """

    task: str
    config: dict[str, Any]
    state: dict[str, NDArray[np.float32]]
    bases: dict[tuple[int, Matrix], Basis]
    splits: dict[str, TokenSet]
    precision: Precision

    def for_workers(self) -> "Materials":
        """Returns the materials without the report splits, which no trial may see."""
        kept = {name: self.splits[name] for name in ("train", "selection")}
        return replace(self, splits=kept)


def pick_device() -> torch.device:
    """Returns the first accelerator that this process may use, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def to_tensor(array: NDArray[Any], device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Returns a tensor on an array's memory where it can, also of a read-only (shared) one; never written to."""
    if not array.flags.writeable:
        array = _as_writeable(array)
    return torch.from_numpy(array).to(device=device, dtype=dtype)


def _as_writeable(array: NDArray[Any]) -> NDArray[Any]:
    """Returns the same memory without numpy's read-only mark, which torch refuses with a warning."""
    pointer = array.__array_interface__
    holder = _Holder({**pointer, "data": (pointer["data"][0], False)}, array)
    return np.asarray(holder)


@dataclass(frozen=True)
class _Holder:
    __array_interface__: dict[str, Any]
    owner: NDArray[Any]


@dataclass
class Workbench:
    """The frozen model on one device, with the constant states of the splits (least recently used dropped first)."""

    task: Task
    encoder: Encoder
    head: Head
    bases: dict[tuple[int, Matrix], Basis]
    splits: dict[str, TokenSet]
    device: torch.device
    dtype: torch.dtype
    states: "OrderedDict[tuple[str, int], Tensor]" = field(default_factory=OrderedDict)

    @property
    def depth(self) -> int:
        """Returns the number of layers."""
        return len(self.encoder.layers)

    def basis(self, layer: int, matrix: Matrix, rank: int) -> tuple[Tensor, Tensor]:
        """Returns Q_r (O, R) and Rt_r (R, I) on the device, in the model's precision."""
        whole = self.bases[layer, matrix]
        q_OR = to_tensor(np.ascontiguousarray(whole.q_OD[:, :rank]), self.device, self.dtype)
        return q_OR, to_tensor(np.ascontiguousarray(whole.rt_DI[:rank]), self.device, self.dtype)

    def entering(self, split: str, layer: int, examples_B: Integers) -> tuple[Tensor, Tensor | None]:
        """Returns the constant states (B, L, D) that enter a layer for these examples, and their mask.

        They are computed once per (split, layer) while they fit into the budget, else each time.
        """
        tokens = self.splits[split]
        places, mask = tokens.index(examples_B)
        mask_BL = None if mask is None else torch.from_numpy(mask).to(self.device)
        states_TD = self._constant(split, layer)
        if states_TD is not None:
            flat = states_TD.index_select(0, torch.from_numpy(places.reshape(-1)).to(states_TD.device))
            return flat.view(*places.shape, -1).to(self.device), mask_BL
        return self._compute(tokens, layer, places, mask_BL), mask_BL

    def _compute(self, tokens: TokenSet, layer: int, places: Integers, mask_BL: Tensor | None) -> Tensor:
        ids_BL = torch.from_numpy(tokens.ids_T[places].astype(np.int64)).to(self.device)
        types_BL = torch.from_numpy(tokens.types_T[places].astype(np.int64)).to(self.device)
        with torch.no_grad():
            return self.encoder.run(self.encoder.embed(ids_BL, types_BL), mask_BL, {}, stop=layer)

    def _constant(self, split: str, layer: int) -> Tensor | None:
        if (split, layer) in self.states:
            self.states.move_to_end((split, layer))
            return self.states[split, layer]
        tokens, width = self.splits[split], self.encoder.embeddings[0].shape[1]
        size = len(tokens.ids_T) * width * self.dtype.itemsize
        if size > STATES_BUDGET_BYTES:
            return None
        while self.states and size + sum(one.nbytes for one in self.states.values()) > STATES_BUDGET_BYTES:
            self.states.popitem(last=False)
        result = torch.empty(len(tokens.ids_T), width, dtype=self.dtype)
        for examples in scoring_batches(tokens):
            places, mask = tokens.index(examples)
            mask_BL = None if mask is None else torch.from_numpy(mask).to(self.device)
            states = self._compute(tokens, layer, places, mask_BL)
            real = torch.ones(places.shape, dtype=torch.bool) if mask is None else torch.from_numpy(mask)
            result[torch.from_numpy(places)[real]] = states[real.to(self.device)].to(result.device)
        self.states[split, layer] = result
        return result

    def predict(self, split: str, adapters: Adapters, head: Head, lowest: int) -> tuple[NDArray[np.float64], float]:
        """Returns predictions on a split (classes or values, shape (N,)) and the mean loss."""
        tokens = self.splits[split]
        logits_NC = torch.empty(len(tokens), self.task.outputs)
        with torch.inference_mode():
            for examples in scoring_batches(tokens):
                hidden, mask = self.entering(split, lowest, examples)
                logits_NC[torch.from_numpy(examples)] = head(self.encoder.run(hidden, mask, adapters, lowest)).cpu()
        loss = loss_of(self.task, logits_NC, torch.from_numpy(tokens.labels_N))
        if self.task.regression:
            return logits_NC[:, 0].numpy().astype(np.float64), float(loss)
        return logits_NC.argmax(dim=1).numpy().astype(np.float64), float(loss)


def loss_of(task: Task, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Returns the mean loss: cross entropy of classes, squared error of a regression."""
    if task.regression:
        return torch.nn.functional.mse_loss(logits_BC[:, 0], labels_B.to(logits_BC))
    return torch.nn.functional.cross_entropy(logits_BC, labels_B.to(device=logits_BC.device, dtype=torch.int64))


def build_workbench(materials: Materials, device: torch.device | None = None) -> Workbench:
    """Returns a workbench on a device (the best one by default)."""
    device = pick_device() if device is None else device
    dtype = torch.bfloat16 if materials.precision == "bfloat16" else torch.float32
    state = {name: to_tensor(array, device) for name, array in materials.state.items()}
    return Workbench(
        task=find_task(materials.task),
        encoder=build_encoder(materials.config, state, device, dtype),
        head=build_head(str(materials.config["model_type"]), state, device),
        bases=materials.bases,
        splits=materials.splits,
        device=device,
        dtype=dtype,
    )


def bases_of(bench: Workbench, configuration: Configuration) -> dict[tuple[int, Matrix], tuple[Tensor, Tensor]]:
    """Returns the bases that a configuration adapts, by (layer, matrix), in the order of its rank vector."""
    return {(one.layer, one.matrix): bench.basis(one.layer, one.matrix, one.rank) for one in configuration.ranks}


def adapters_from(bases: Mapping[tuple[int, Matrix], tuple[Tensor, Tensor]], lam_R: Tensor) -> Adapters:
    """Returns adapters whose coefficients are slices of one flat vector lam_R, in the order of the bases."""
    slices = lam_R.split([basis[1].shape[0] for basis in bases.values()])
    return {place: (part, basis) for (place, basis), part in zip(bases.items(), slices, strict=True)}
