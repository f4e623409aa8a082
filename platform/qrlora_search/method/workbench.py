"""What a worker holds for all its trials: the frozen model, the bases, the tokenised splits."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qrlora_search.describe.configuration import Matrix
from qrlora_search.describe.plan import Precision
from qrlora_search.describe.tasks import Task, find_task
from qrlora_search.method.bases import Basis
from qrlora_search.method.constant import Keeper, Part, Wanted, fingerprint, machine
from qrlora_search.method.encoder import PROJECTED, Adapters, Encoder, Entering, Head, build_encoder, build_head
from qrlora_search.method.tokens import Integers, TokenSet, scoring_batches

STATES_FORMAT = 1
HELD_SPLITS = ("train", "selection")
"""The splits that every epoch of every trial reads."""


@dataclass(frozen=True)
class Materials:
    """Plain arrays that make a workbench; they travel to workers once, unpickled without copies by Ray.

    state: the warmed-up model by transformers' names. bases: the pivoted QR of each projection; others: further
    factorisations by name, where a method needs them. splits: `train`, `selection`, and where it is to be scored there,
    the report splits. fingerprint: a hash of what made the state.
    """

    task: str
    config: dict[str, Any]
    state: dict[str, NDArray[np.float32]]
    bases: dict[tuple[int, Matrix], Basis]
    splits: dict[str, TokenSet]
    precision: Precision
    fingerprint: str
    others: dict[str, dict[tuple[int, Matrix], Basis]] = field(default_factory=dict)

    def factors(self, how: str) -> dict[tuple[int, Matrix], Basis]:
        """Returns a factorisation of every projection by name: `qr`, `svd` or `random`."""
        return self.bases if how == "qr" else self.others[how]

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
    """The frozen model on one device, and the constant states of the splits. keeper: None makes states each time.

    trains: the encoder's own weights train (full fine-tuning), so that nothing of it is constant.
    """

    materials: Materials
    encoder: Encoder
    head: Head
    device: torch.device
    dtype: torch.dtype
    keeper: Keeper | None = None
    trains: bool = False
    _texts: dict[str, str] = field(default_factory=dict)
    _held: dict[tuple[str, int, Part], Tensor] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """Returns the task."""
        return find_task(self.materials.task)

    @property
    def splits(self) -> dict[str, TokenSet]:
        """Returns the tokenised splits by name."""
        return self.materials.splits

    @property
    def depth(self) -> int:
        """Returns the number of layers."""
        return len(self.encoder.layers)

    def basis(
        self, layer: int, matrix: Matrix, rank: int, how: str = "qr", chosen: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Returns r directions, Q_r (O, R) and Rt_r (R, I), on the device, in the model's precision: the chosen ones,
        or the first.
        """
        whole = self.materials.factors(how)[layer, matrix]
        places = slice(rank) if chosen is None else chosen.numpy()
        q_OR = to_tensor(np.ascontiguousarray(whole.q_OD[:, places]), self.device, self.dtype)
        return q_OR, to_tensor(np.ascontiguousarray(whole.rt_DI[places]), self.device, self.dtype)

    def training(self, encoder: Encoder) -> "Workbench":
        """Returns a workbench of the same splits whose encoder trains."""
        return Workbench(self.materials, encoder, self.head, self.device, torch.float32, trains=True)

    def hold(self, layer: int) -> None:
        """Makes or finds the constant states that trials from a layer up read, so that `entering` only reads them.

        The last layer makes no keys and values, and a query for one token alone: its projections are not kept.
        """
        self._held = {place: states for place, states in self._held.items() if place[1] == layer}
        if self.keeper is None:
            return
        for parts in self._choices(layer):
            wanted = {(split, part): self._wanted(split, layer, part) for split in HELD_SPLITS for part in parts}
            if sum(one.size for one in wanted.values()) > self.keeper.room:
                continue
            for (split, part), one in wanted.items():
                states = self.keeper.get(one, partial(self._fill, split=split, layer=layer, part=part))
                if states is not None:
                    self._held[split, layer, part] = states
            return

    def _choices(self, layer: int) -> list[tuple[Part, ...]]:
        last = layer == self.depth - 1
        return [("entering",)] if last else [("entering", "projected"), ("entering",)]

    def entering(self, split: str, layer: int, examples_B: Integers) -> Entering:
        """Returns the constant states that enter a layer for these examples; read where they are held, else made."""
        tokens = self.splits[split]
        places, mask = tokens.index(examples_B)
        mask_BL = None if mask is None else torch.from_numpy(mask).to(self.device)
        flat = torch.from_numpy(places.reshape(-1))

        def read(part: Part) -> Tensor | None:
            states = self._held.get((split, layer, part))
            if states is None:
                return None
            return states.index_select(0, flat).view(*places.shape, -1).to(self.device)

        hidden = read("entering")
        if hidden is None:
            return Entering(self._compute(tokens, 0, layer, None, (places, mask_BL)), mask_BL)
        return Entering(hidden, mask_BL, read("projected"))

    def _compute(
        self, tokens: TokenSet, start: int, stop: int, below: Tensor | None, batch: tuple[Integers, Tensor | None]
    ) -> Tensor:
        """Returns the states (B, L, D) that enter layer `stop`, from the states `below` that enter layer `start`."""
        places, mask_BL = batch
        with torch.set_grad_enabled(self.trains and torch.is_grad_enabled()):
            if below is None:
                ids_BL = torch.from_numpy(tokens.ids_T[places].astype(np.int64)).to(self.device)
                types_BL = torch.from_numpy(tokens.types_T[places].astype(np.int64)).to(self.device)
                hidden = self.encoder.embed(ids_BL, types_BL)
            else:
                hidden = below[torch.from_numpy(places)].to(self.device)
            return self.encoder.run(Entering(hidden, mask_BL), {}, start, stop)

    def _wanted(self, split: str, layer: int, part: Part) -> Wanted:
        if split not in self._texts:
            self._texts[split] = fingerprint(self.splits[split])
        width = self.encoder.embeddings[0].shape[1]
        inputs = {
            "format": STATES_FORMAT,
            "weights": self.materials.fingerprint,
            "texts": self._texts[split],
            "layer": layer,
            "part": part,
            "precision": self.materials.precision,
            "machine": [self.device.type, *machine()],
        }
        rows = len(self.splits[split].ids_T)
        return Wanted(inputs, rows, width * (len(PROJECTED) if part == "projected" else 1), self.dtype)

    def _fill(self, states: Tensor, split: str, layer: int, part: Part) -> None:
        """Writes the states of a whole split, from the nearest lower layer whose states are kept."""
        tokens, start, below = self.splits[split], 0, None
        if self.keeper is not None:
            for lower in range(layer if part == "projected" else layer - 1, 0, -1):
                below = self.keeper.find(self._wanted(split, lower, "entering"))
                if below is not None:
                    start = lower
                    break
        for examples in scoring_batches(tokens):
            places, mask = tokens.index(examples)
            mask_BL = None if mask is None else torch.from_numpy(mask).to(self.device)
            made = self._compute(tokens, start, layer, below, (places, mask_BL))
            if part == "projected":
                with torch.no_grad():
                    made = self.encoder.projections(layer, made)
            real = torch.ones(places.shape, dtype=torch.bool) if mask is None else torch.from_numpy(mask)
            states[torch.from_numpy(places)[real]] = made[real.to(self.device)].to(states.device)

    def logits(self, split: str, adapters: Adapters, head: Head, lowest: int) -> NDArray[np.float32]:
        """Returns logits on a split, shape (N, outputs), float32."""
        tokens = self.splits[split]
        logits_NC = torch.empty(len(tokens), self.task.outputs)
        with torch.inference_mode():
            for examples in scoring_batches(tokens):
                first = self.encoder.run(self.entering(split, lowest, examples), adapters, lowest)
                logits_NC[torch.from_numpy(examples)] = head(first).cpu()
        return logits_NC.numpy()

    def predict(self, split: str, adapters: Adapters, head: Head, lowest: int) -> tuple[NDArray[np.float64], float]:
        """Returns predictions on a split (classes or values, shape (N,)) and the mean loss."""
        logits_NC = self.logits(split, adapters, head, lowest)
        loss = loss_of(self.task, torch.from_numpy(logits_NC), torch.from_numpy(self.splits[split].labels_N))
        return predictions_of(self.task, logits_NC), float(loss)


def predictions_of(task: Task, logits_NC: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns classes, or a regression's values, shape (N,)."""
    predictions = logits_NC[:, 0] if task.regression else logits_NC.argmax(axis=1)
    return predictions.astype(np.float64)


def loss_of(task: Task, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Returns the mean loss: cross entropy of classes, squared error of a regression."""
    if task.regression:
        return torch.nn.functional.mse_loss(logits_BC[:, 0], labels_B.to(logits_BC))
    return torch.nn.functional.cross_entropy(logits_BC, labels_B.to(device=logits_BC.device, dtype=torch.int64))


def build_workbench(
    materials: Materials, device: torch.device | None = None, keeper: Keeper | None = None
) -> Workbench:
    """Returns a workbench on a device (the best one by default), with its constant states in `keeper`."""
    device = pick_device() if device is None else device
    dtype = torch.bfloat16 if materials.precision == "bfloat16" else torch.float32
    state = {name: to_tensor(array, device) for name, array in materials.state.items()}
    return Workbench(
        materials=materials,
        encoder=build_encoder(materials.config, state, device, dtype),
        head=build_head(str(materials.config["model_type"]), state, device),
        device=device,
        dtype=dtype,
        keeper=keeper,
    )
