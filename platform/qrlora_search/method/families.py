"""Encoder families: where BERT and RoBERTa keep their projections, and which models are refused.

Wo is `attention.output.dense`; a bare `output.dense` would also hit the feed-forward.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from qrlora_search.describe.configuration import MATRICES, Matrix
from qrlora_search.describe.plan import EncoderShape
from qrlora_search.values.errors import UserError

FAMILIES = ("bert", "roberta")
Array = TypeVar("Array")

PROJECTIONS: dict[Matrix, str] = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "o": "attention.output.dense",
}


def projection_name(family: str, layer: int, matrix: Matrix) -> str:
    """Returns the name of a projection's module in a transformers sequence classifier."""
    return f"{family}.encoder.layer.{layer}.{PROJECTIONS[matrix]}"


def attention_weights(config: dict[str, Any], weights: Mapping[str, Array]) -> dict[tuple[int, Matrix], Array]:
    """Returns every projection's weight (O, I) by (layer, matrix), from an encoder's weights or a classifier's."""
    family, found = str(config["model_type"]), {}
    for layer in range(int(config["num_hidden_layers"])):
        for matrix in MATRICES:
            name = projection_name(family, layer, matrix) + ".weight"
            found[layer, matrix] = weights[name] if name in weights else weights[name.removeprefix(f"{family}.")]
    return found


def head_names(family: str) -> tuple[str, str]:
    """Returns the names of the head's two Linear modules: dense and output."""
    if family == "bert":
        return "bert.pooler.dense", "classifier"
    return "classifier.dense", "classifier.out_proj"


def read_config(folder: Path) -> dict[str, Any]:
    """Returns a model folder's config.json; raises UserError where the folder is no model of a known family."""
    file = folder / "config.json"
    if not file.is_file():
        raise UserError(f"--model {str(folder)!r} has no config.json; name a folder that holds a transformers model")
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read as JSON: {error}; save the model again") from None
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UserError(
            f"--model {str(folder)!r} is of type {family!r}, whose attention projections are not known; "
            f"use a model of the families {' and '.join(FAMILIES)}"
        )
    if config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder", False):
        raise UserError(f"--model {str(folder)!r} has relative positions or is a decoder; use a plain encoder")
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"--model {str(folder)!r} has no model.safetensors; save its weights as safetensors")
    return config


def check_weights(folder: Path, config: dict[str, Any]) -> None:
    """Raises UserError where the weights lack an attention projection, or cannot be read."""
    from safetensors import SafetensorError, safe_open

    file, family = folder / "model.safetensors", str(config["model_type"])
    try:
        with safe_open(file, "numpy") as weights:
            names = set(weights.keys())
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file} cannot be read: {error}; save the model again") from None
    for layer in range(int(config["num_hidden_layers"])):
        for matrix in MATRICES:
            name = projection_name(family, layer, matrix) + ".weight"
            if not {name, name.removeprefix(f"{family}.")} & names:
                raise UserError(
                    f"{file} lacks {name}: its attention projections are of no known kind; "
                    f"use a model of the families {' and '.join(FAMILIES)}"
                )


def encoder_shape(config: dict[str, Any], outputs: int) -> EncoderShape:
    """Returns the encoder in numbers; counts are exact and need no weights.

    parameters: embeddings and layers. head_parameters: dense and output of the head, with biases.
    """
    d, wide = int(config["hidden_size"]), int(config["intermediate_size"])
    embedded = int(config["vocab_size"]) + int(config["max_position_embeddings"]) + int(config["type_vocab_size"])
    layer = len(MATRICES) * (d * d + d) + (wide * d + wide) + (d * wide + d) + 4 * d
    return EncoderShape(
        family=config["model_type"],
        layers=int(config["num_hidden_layers"]),
        width=d,
        heads=int(config["num_attention_heads"]),
        parameters=embedded * d + 2 * d + int(config["num_hidden_layers"]) * layer,
        head_parameters=d * d + d + d * outputs + outputs,
    )
