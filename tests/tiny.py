"""Tiny models with random weights and tiny tokenised splits, for tests that need no pretrained model."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from qrlora_search.describe.configuration import MATRICES
from qrlora_search.method.bases import pivoted_qr
from qrlora_search.method.constant import Keeper
from qrlora_search.method.families import projection_name
from qrlora_search.method.fine_tuning import export_state
from qrlora_search.method.tokens import TokenSet
from qrlora_search.method.workbench import Materials, Workbench, build_workbench

LAYERS = 3


def tiny_config(family: str, layers: int = LAYERS) -> dict[str, Any]:
    """Return the config of a small encoder."""
    return {
        "model_type": family, "hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4,
        "intermediate_size": 64, "vocab_size": 50, "max_position_embeddings": 140,
        "type_vocab_size": 2 if family == "bert" else 1, "hidden_act": "gelu", "layer_norm_eps": 1e-5,
        "pad_token_id": 1 if family == "roberta" else 0, "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
    }  # fmt: skip


def tiny_model(family: str, outputs: int = 2, layers: int = LAYERS) -> nn.Module:
    """Return a transformers sequence classifier with random weights."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    torch.manual_seed(1)
    config = AutoConfig.for_model(**tiny_config(family, layers), num_labels=outputs)
    return AutoModelForSequenceClassification.from_config(config)


def tiny_tokens(n: int, family: str, seed: int, outputs: int = 2) -> TokenSet:
    """Return a split of random tokens of 3 to 19 a text."""
    random = np.random.default_rng(seed)
    lengths = random.integers(3, 20, size=n)
    ids = [random.integers(4, 50, size=length) for length in lengths]
    types = [np.arange(length) > length // 2 if family == "bert" else np.zeros(length) for length in lengths]
    labels = random.integers(0, outputs, size=n) if outputs > 1 else random.uniform(0, 5, size=n)
    return TokenSet(
        np.concatenate(ids).astype(np.int32),
        np.concatenate(types).astype(np.int8),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        labels.astype(np.float64),
    )


def tiny_materials(family: str, task: str) -> tuple[Materials, nn.Module]:
    """Return materials of a tiny model with its bases, and the model itself."""
    outputs = 1 if task == "stsb" else 2
    model = tiny_model(family, outputs)
    state = export_state(model)
    bases = {
        (layer, matrix): pivoted_qr(state[projection_name(family, layer, matrix) + ".weight"])
        for layer in range(LAYERS)
        for matrix in MATRICES
    }
    splits = {"train": tiny_tokens(40, family, 2, outputs), "selection": tiny_tokens(30, family, 3, outputs)}
    return Materials(task, tiny_config(family), state, bases, splits, "float32", f"tiny {family} {task}"), model


def tiny_bench(family: str, task: str, keeper: Keeper | None = None) -> tuple[Workbench, nn.Module]:
    """Return a workbench on a tiny model, and the model itself."""
    materials, model = tiny_materials(family, task)
    return build_workbench(materials, torch.device("cpu"), keeper), model


def save_tiny_model(folder: Path, family: str, words: list[str]) -> Path:
    """Write a folder that transformers loads: random weights and a tokenizer of whole words."""
    from safetensors.numpy import save_file
    from transformers import BertTokenizerFast, RobertaTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    config = {**tiny_config(family), "vocab_size": max(60, len(vocabulary))}
    if family == "bert":
        (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
        BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    else:
        letters = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdefghijklmnopqrstuvwxyz\u0120"]
        (folder / "vocab.json").write_text(json.dumps({one: i for i, one in enumerate(letters)}), encoding="utf-8")
        (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
        RobertaTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(1)
    model = AutoModel.from_config(AutoConfig.for_model(**config))
    save_file(export_state(model), folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
