"""A trial between two epochs, as safetensors bytes: what it trains, the optimiser's state, and its newest report.

The report lies in the same file as the state that gave it, so the two can never disagree: a driver that died before it
recorded the report takes it from here. Batch order and dropout are drawn anew for each epoch from (seed, epoch), so
that the epoch is all the random state there is.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.values.states import Report

_NOT_KEPT = ("weights", "checkpoint")
_TRAINED, _OPTIMIZER = "trained.", "optimizer."


@dataclass(frozen=True)
class Checkpoint:
    """What was kept: the trained tensors by name, and the states of optimiser and schedule as torch gives them."""

    epoch: int
    trained: dict[str, Tensor]
    optimizer: dict[str, Any]
    schedule: dict[str, Any]


def write_checkpoint(
    order: TrialOrder, report: Report, trained: Mapping[str, Tensor], optimizer: dict[str, Any], schedule: object
) -> bytes:
    """Returns a trial's checkpoint after the epoch of this report. optimizer, schedule: their `state_dict()`."""
    tensors = {f"{_TRAINED}{name}": one.detach().cpu() for name, one in trained.items()}
    for place, state in optimizer["state"].items():
        tensors |= {f"{_OPTIMIZER}{place}.{name}": one.detach().cpu() for name, one in state.items()}
    content = {
        "trial": order.trial,
        "identity": order.configuration.identity,
        "seed": order.seed,
        "report": {name: value for name, value in asdict(report).items() if name not in _NOT_KEPT},
        "groups": optimizer["param_groups"],
        "schedule": schedule,
    }
    return save_tensors(tensors, metadata={"checkpoint": json.dumps(content)})


def report_in(order: TrialOrder) -> Report | None:
    """Returns the newest report of an order's checkpoint, without weights; None where it has none of this very trial,
    or one that cannot be read.
    """
    content = _metadata(order.checkpoint)
    mine = (order.trial, order.configuration.identity, order.seed)
    if content is None or (content["trial"], content["identity"], content["seed"]) != mine:
        return None
    try:
        load_tensors(order.checkpoint)
    except SafetensorError:
        return None
    return Report(**content["report"])


def read_checkpoint(order: TrialOrder, device: torch.device) -> Checkpoint | None:
    """Returns an order's checkpoint with its tensors on a device, or None where it has none of this very trial."""
    report, content = report_in(order), _metadata(order.checkpoint)
    if report is None or content is None:
        return None
    trained: dict[str, Tensor] = {}
    states: dict[int, dict[str, Tensor]] = {}
    for name, one in load_tensors(order.checkpoint).items():
        if name.startswith(_TRAINED):
            trained[name.removeprefix(_TRAINED)] = one.to(device)
        else:
            place, _, part = name.removeprefix(_OPTIMIZER).partition(".")
            states.setdefault(int(place), {})[part] = one
    optimizer = {"state": states, "param_groups": content["groups"]}
    return Checkpoint(report.epoch, trained, optimizer, content["schedule"])


def _metadata(content: bytes) -> dict[str, Any] | None:
    """Returns what stands in the header of safetensors bytes: eight bytes of length, then JSON."""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        found: dict[str, Any] = json.loads(header["__metadata__"]["checkpoint"])
    except (ValueError, KeyError, TypeError):
        return None
    return found
