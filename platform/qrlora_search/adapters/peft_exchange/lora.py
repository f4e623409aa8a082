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
    kinds = {module: matrix for matrix, module in PROJECTIONS.items()}
    pattern = re.compile(rf"{family}\.encoder\.layer\.(\d+)\.(.+)\.lora_([AB])\.weight")
    arrays = load_file(folder / WEIGHTS)
    for name, array in arrays.items():
        part = pattern.fullmatch(name.removeprefix(_PREFIX))
        if part is None:
            head[name.removeprefix(_PREFIX)] = array
        elif part[3] == "A":
            factors[int(part[1]), kinds[part[2]]] = (arrays[name.replace(".lora_A.", ".lora_B.")], array)
    return factors, head


def head_weights(family: str) -> list[str]:
    """Returns the names of the head's weights in a transformers sequence classifier: dense, then output."""
    return [f"{module}.{part}" for module in head_names(family) for part in ("weight", "bias")]
