"""Warm-up: ordinary fine-tuning of every weight, the shared start of all trials and of the control."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qrlora_search.describe.plan import Precision
from qrlora_search.describe.space import WarmUp
from qrlora_search.describe.tasks import Task
from qrlora_search.method.tokens import TokenSet, training_batches
from qrlora_search.method.workbench import loss_of

RAMP = 0.06
CLIP = 1.0


@dataclass(frozen=True)
class WarmUpJob:
    """What a warm-up needs; plain data, so that it travels to any worker. weights: the pretrained state by name."""

    task: Task
    config: dict[str, Any]
    weights: dict[str, NDArray[np.float32]]
    train: TokenSet
    settings: WarmUp
    seed: int
    precision: Precision = "float32"


def build_classifier(config: dict[str, Any], weights: dict[str, NDArray[np.float32]], outputs: int) -> nn.Module:
    """Returns a transformers sequence classifier with these weights; what they lack (a new head) is drawn at random
    from torch's current seed.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification

    settings = AutoConfig.for_model(**{**config, "num_labels": outputs})
    model: nn.Module = AutoModelForSequenceClassification.from_config(settings)
    family = str(config["model_type"])
    known = model.state_dict()
    found = {}
    for name, array in weights.items():
        for candidate in (name, f"{family}.{name}"):
            if candidate in known and known[candidate].shape == array.shape:
                found[candidate] = torch.from_numpy(np.array(array))
    missing = [name for name in known if name.startswith(f"{family}.encoder.") and name not in found]
    if missing:
        raise ValueError(f"the model's weights lack {missing[0]} and {len(missing) - 1} more")
    model.load_state_dict(found, strict=False)
    return model


def padded(tokens: TokenSet, examples: NDArray[np.int64], device: torch.device) -> dict[str, Tensor]:
    """Returns input_ids, attention_mask and token_type_ids (B, L) for a transformers model."""
    places, mask = tokens.index(examples)
    mask = np.ones(places.shape, dtype=bool) if mask is None else mask
    ids = torch.from_numpy(tokens.ids_T[places].astype(np.int64) * mask)
    types = torch.from_numpy(tokens.types_T[places].astype(np.int64) * mask)
    batch = {"input_ids": ids, "token_type_ids": types, "attention_mask": torch.from_numpy(mask.astype(np.int64))}
    return {name: tensor.to(device) for name, tensor in batch.items()}


def ramp_and_fall(step: int, steps: int) -> float:
    """Returns the factor of the learning rate: a linear rise over the first 6 % of steps, then a linear fall to 0."""
    ramp = max(1, int(RAMP * steps))
    return min((step + 1) / ramp, max(0.0, (steps - step) / max(1, steps - ramp)))


@dataclass(frozen=True)
class Share:
    """Which part of every batch this worker takes."""

    rank: int = 0
    of: int = 1


def fine_tune(
    model: nn.Module, job: WarmUpJob, device: torch.device, share: Share, told: Callable[[int, float], None]
) -> None:
    """Trains every weight of `model` in place.

    told: receives (epoch, mean loss) after each epoch. With several workers each takes its share of every batch and
    the wrapped model averages gradients; batches too small to share are left out.
    """
    settings = job.settings
    decayed = [one for one in model.parameters() if one.ndim > 1]
    others = [one for one in model.parameters() if one.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=True)
    per_epoch = -(-len(job.train) // settings.batch_size)
    steps = per_epoch * settings.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: ramp_and_fall(step, steps))
    model.train()
    for epoch in range(1, settings.epochs + 1):
        total, seen = 0.0, 0
        for batch in training_batches(job.train, settings.batch_size, job.seed, epoch):
            mine = batch[share.rank :: share.of]
            if len(batch) < share.of:
                continue
            with torch.autocast(device.type, torch.bfloat16, enabled=job.precision == "bfloat16"):
                logits = model(**_accepted(job.config, padded(job.train, mine, device))).logits
            loss = loss_of(job.task, logits.float(), torch.from_numpy(job.train.labels_N[mine]))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            schedule.step()
            total, seen = total + float(loss.detach()) * len(mine), seen + len(mine)
        told(epoch, total / max(1, seen))


def _accepted(config: dict[str, Any], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    if config["model_type"] == "roberta":
        return {name: tensor for name, tensor in batch.items() if name != "token_type_ids"}
    return batch


def export_state(model: nn.Module) -> dict[str, NDArray[np.float32]]:
    """Returns the model's weights by transformers' names as float32 arrays, without buffers that are no weights."""
    inner = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    return {
        name: tensor.detach().cpu().float().numpy()
        for name, tensor in inner.state_dict().items()
        if tensor.is_floating_point()
    }


def read_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Returns a model folder's model.safetensors as float32 arrays."""
    from safetensors.torch import load_file

    tensors = load_file(folder / "model.safetensors")
    return {name: tensor.float().numpy() for name, tensor in tensors.items() if tensor.is_floating_point()}
