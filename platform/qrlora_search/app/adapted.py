"""A trained adapter on its base, whatever form it was exported in: one float32 path from texts to predictions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from qrlora_search.adapters.peft_exchange.lora import Factors, head_weights, read_lora
from qrlora_search.app.bases import BASE, check_base, factors_file, hash_file
from qrlora_search.describe.configuration import DIAGONAL, LOW_RANK, Configuration, configuration_from_json
from qrlora_search.describe.tasks import Task, find_task
from qrlora_search.method.adapter import LowRank
from qrlora_search.method.bases import FACTORS_OF
from qrlora_search.method.families import projection_name, read_config
from qrlora_search.method.fine_tuning import read_weights
from qrlora_search.method.tokens import tokenize
from qrlora_search.method.training import HEAD_PARTS
from qrlora_search.method.workbench import Materials, build_workbench
from qrlora_search.values.errors import UserError

EXPORT_FILE = "export.json"
NATIVE = "adapter.safetensors"
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Adapted:
    """A model ready to predict. state: the base's weights, the head's trained ones in their place. factors: dW = B A of
    each adapted projection, empty where it is merged. folder: where the tokenizer lies.
    """

    facts: dict[str, Any]
    config: dict[str, Any]
    state: dict[str, Floats]
    factors: Factors
    folder: Path

    @property
    def task(self) -> Task:
        """Returns the task that it was trained for."""
        return find_task(self.facts["task"])

    def logits(self, texts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
        """Returns logits (N, outputs) in float32. texts: one or two columns of equal length."""
        labels = [0.0] * len(texts[0])
        tokens = tokenize(self.folder, texts, labels, int(self.facts["max_length"]))
        materials = Materials(self.task.name, self.config, self.state, {}, {"asked": tokens}, "float32", "")
        bench = build_workbench(materials)
        adapters, lowest = {}, bench.depth - 1
        for place, (up, down) in self.factors.items():
            basis = (torch.from_numpy(up).to(bench.device), torch.from_numpy(down).to(bench.device))
            adapters[place] = LowRank(*basis)
            lowest = min(lowest, place[0])
        return bench.logits("asked", adapters, bench.head, lowest)

    def merged(self) -> dict[str, Floats]:
        """Returns the weights with each update added, by transformers' names."""
        state = dict(self.state)
        for place, (up, down) in self.factors.items():
            name = projection_name(str(self.config["model_type"]), *place) + ".weight"
            state[name] = (state[name].astype(np.float64) + up.astype(np.float64) @ down.astype(np.float64)).astype(
                np.float32
            )
        return state


def assemble(base: Path, configuration: Configuration, tensors: dict[str, Floats], facts: dict[str, Any]) -> Adapted:
    """Returns an adapter on its base from what a trial left: coefficients or factors, and a head that was trained."""
    config, state = read_config(base), read_weights(base)
    factors = _low_rank(base, configuration, tensors) if configuration.method in LOW_RANK else {}
    if configuration.whole:
        state |= {name: tensor for name, tensor in tensors.items() if not name.startswith("head.")}
    start, how = 0, FACTORS_OF.get(configuration.method, "")
    arrays = load_file(base / factors_file(how)) if configuration.method in DIAGONAL else {}
    for one in configuration.ranks if arrays else ():
        mine = slice(start, start + one.rank)
        start += one.rank
        lam, key = tensors["lambda"][mine].astype(np.float32), f"{one.layer}.{one.matrix}"
        places = tensors["directions"][mine] if "directions" in tensors else slice(one.rank)
        up = np.ascontiguousarray(arrays[f"{key}.q"][:, places] * lam)
        factors[one.layer, one.matrix] = (up, np.ascontiguousarray(arrays[f"{key}.rt"][places]))
    if f"head.{HEAD_PARTS[0]}" in tensors:
        for name, part in zip(head_weights(str(config["model_type"])), HEAD_PARTS, strict=True):
            state[name] = tensors[f"head.{part}"]
    return Adapted(facts, config, state, factors, base)


def _low_rank(base: Path, configuration: Configuration, tensors: dict[str, Floats]) -> Factors:
    """Returns B and A of low-rank updates; what SVD-LoRA began from is taken off by further columns and rows."""
    begun = load_file(base / factors_file("svd")) if configuration.method == "svd-lora" else {}
    factors: Factors = {}
    for one in configuration.ranks:
        key = f"{one.layer}.{one.matrix}"
        up, down = tensors[f"{key}.up"], tensors[f"{key}.down"]
        if begun:
            root = np.sqrt(begun[f"{key}.diagonal"][: one.rank])
            up = np.hstack([up, -begun[f"{key}.q"][:, : one.rank] * root])
            down = np.vstack([down, root[:, None] * begun[f"{key}.rt"][: one.rank]])
        factors[one.layer, one.matrix] = (np.ascontiguousarray(up), np.ascontiguousarray(down))
    return factors


def load_export(folder: Path, base: Path | None = None) -> Adapted:
    """Returns the model in an export's folder. base: where its base lies, if not in the folder itself.

    Raises UserError where the folder is no export, is damaged, or the base is another one.
    """
    file = folder / EXPORT_FILE
    if not file.is_file():
        kind = "is no export" if folder.is_dir() else "does not exist"
        raise UserError(f"DIR {str(folder)!r} {kind}: it has no {EXPORT_FILE}; name a folder that `export` wrote")
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or not {"files", "form", "base", "configuration", "task"} <= facts.keys():
        raise UserError(f"DIR {str(folder)!r} is damaged: {EXPORT_FILE} is no export's; export it again")
    for name, content in facts["files"].items():
        if not (folder / name).is_file() or hash_file(folder / name) != content:
            raise UserError(f"DIR {str(folder)!r} is damaged: {name} is missing or was changed; export it again")
    if facts["form"] == "merged":
        return Adapted(facts, read_config(folder), read_weights(folder), {}, folder)
    where = base or folder / BASE
    check_base(where, facts["base"])
    if facts["form"] == "native":
        return assemble(where, configuration_from_json(facts["configuration"]), load_file(folder / NATIVE), facts)
    config = read_config(where)
    factors, head = read_lora(folder, str(config["model_type"]))
    return Adapted(facts, config, {**read_weights(where), **head}, factors, where)
