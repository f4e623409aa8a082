"""A QR-LoRA adapter as a plain LoRA adapter of PEFT, without loss: B = Q_r diag(lambda), A = Rt_r, alpha = r."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from qrlora_search.describe.configuration import Matrix
from qrlora_search.method.families import PROJECTIONS, head_names, projection_name

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."

Floats = NDArray[np.float32]
Factors = dict[tuple[int, Matrix], tuple[Floats, Floats]]
"""B (O, R) and A (R, I) of each adapted projection: dW = B A."""


def saved_modules(family: str) -> list[str]:
    """Returns the modules that hold the head, as PEFT's `modules_to_save` names them."""
    return ["pooler", "classifier"] if family == "bert" else ["classifier"]


def write_lora(folder: Path, family: str, factors: Factors, head: Mapping[str, Floats], base: str) -> None:
    """Writes the adapter's two files. head: weights of the head by transformers' names. base: the base model's name."""
    ranks = {projection_name(family, *place): len(down) for place, (_, down) in factors.items()}
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "bias": "none",
        "lora_dropout": 0.0,
        "fan_in_fan_out": False,
        "use_rslora": False,
        "r": max(ranks.values()),
        "lora_alpha": max(ranks.values()),
        "target_modules": sorted(ranks),
        "rank_pattern": dict(sorted(ranks.items())),
        "alpha_pattern": dict(sorted(ranks.items())),
        "modules_to_save": saved_modules(family),
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    arrays: dict[str, Floats] = {}
    for place, (up, down) in factors.items():
        name = _PREFIX + projection_name(family, *place)
        arrays[f"{name}.lora_A.weight"] = np.ascontiguousarray(down)
        arrays[f"{name}.lora_B.weight"] = np.ascontiguousarray(up)
    arrays |= {f"{_PREFIX}{name}": np.ascontiguousarray(array) for name, array in head.items()}
    save_file(arrays, folder / WEIGHTS, metadata={"format": "pt"})


def read_lora(folder: Path, family: str) -> tuple[Factors, dict[str, Floats]]:
    """Returns the factors and the head's weights that `write_lora` wrote."""
    factors: Factors = {}
    head: dict[str, Floats] = {}
    arrays = load_file(folder / WEIGHTS)
    names = {projection_name(family, layer, matrix): (layer, matrix) for layer, matrix in _places(family, arrays)}
    for name, array in arrays.items():
        short = name.removeprefix(_PREFIX)
        if short.endswith(".lora_A.weight"):
            module = short.removesuffix(".lora_A.weight")
            factors[names[module]] = (arrays[name.replace(".lora_A.", ".lora_B.")], array)
        elif ".lora_B." not in short:
            head[short] = array
    return factors, head


def _places(family: str, arrays: Mapping[str, Floats]) -> list[tuple[int, Matrix]]:
    found = []
    for name in arrays:
        match = re.match(rf"{re.escape(_PREFIX)}{family}\.encoder\.layer\.(\d+)\.(.+)\.lora_A\.weight$", name)
        if match:
            matrix = next(kind for kind, module in PROJECTIONS.items() if module == match[2])
            found.append((int(match[1]), matrix))
    return found


def head_weights(family: str) -> list[str]:
    """Returns the names of the head's weights in a transformers sequence classifier: dense, then output."""
    return [f"{module}.{part}" for module in head_names(family) for part in ("weight", "bias")]
