"""What a user asks for on the command line, checked before anything is touched."""

import re
from dataclasses import dataclass
from pathlib import Path

from qrlora_search.describe.space import SearchSpace, load_space
from qrlora_search.describe.tasks import Task, find_task
from qrlora_search.method.machine import cpus_here
from qrlora_search.values.errors import UserError
from qrlora_search.values.times import parse_seconds

RUNS = Path("runs")
_LABEL_NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]*/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_VALUE = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
_LABEL_VALUE = re.compile(rf"!?({_VALUE}|in\({_VALUE}(,{_VALUE})*\))")


@dataclass(frozen=True)
class SearchRequest:
    """The options of `search`, as typed."""

    task: str
    budget: int = 64
    model: str = "auto"
    data: str = "auto"
    space: str | None = None
    seed: int = 0
    output: str | None = None
    resume: bool = False
    max_params: int | None = None
    time_limit: str | None = None
    address: str | None = None
    concurrency: int | None = None
    gpus_per_trial: float | None = None
    tracking_uri: str | None = None
    train_limit: int | None = None
    dry_run: bool = False
    warm_start: str | None = None
    metrics_port: int | None = None
    cpus_per_trial: int | None = None
    labels: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Checked:
    """A request whose values are sound by themselves: the task, its space and the time limit in seconds."""

    request: SearchRequest
    task: Task
    space: SearchSpace
    time_limit_s: float | None


def _gpus_here() -> int:
    """Returns how many accelerators this process may use."""
    import torch

    return torch.cuda.device_count()


def check_request(request: SearchRequest) -> Checked:
    """Returns the request with its task and space. Raises UserError that names option, value and remedy."""
    task = find_task(request.task)
    _at_least_one("--budget", request.budget, "the number of configurations to start")
    _at_least_one("--max-params", request.max_params, "the most adapter parameters that a trial may train")
    _at_least_one("--concurrency", request.concurrency, "the number of trials side by side")
    _at_least_one("--cpus-per-trial", request.cpus_per_trial, "the processors of a trial")
    if request.address is None and (request.cpus_per_trial or 1) > cpus_here():
        raise UserError(
            f"--cpus-per-trial {request.cpus_per_trial} is more than the {cpus_here()} processors here; lower it, "
            "or give the --address of a cluster"
        )
    _at_least_one("--train-limit", request.train_limit, "the most rows of train to use")
    if not 0 <= request.seed < 2**31:
        raise UserError(f"--seed {request.seed} is out of range; use a whole number from 0 to {2**31 - 1}")
    gpus = request.gpus_per_trial
    if gpus is not None and not (0 <= gpus <= 1 or (gpus > 1 and float(gpus).is_integer())):
        raise UserError(f"--gpus-per-trial {gpus:g} is out of range; use 0, a fraction below 1, or a whole number")
    if request.address is None and gpus and gpus > (here := _gpus_here()):
        raise UserError(
            f"--gpus-per-trial {gpus:g} is more than the {here} GPUs here; leave it out, or give the "
            "--address of a cluster"
        )
    if request.labels and request.address is None:
        raise UserError(f"--label {request.labels[0]}: labels choose among a cluster's nodes; give --address, too")
    parse_labels(request.labels or ())
    space = load_space(task.name, Path(request.space) if request.space is not None else None)
    limit = None if request.time_limit is None else parse_time(request.time_limit)
    return Checked(request, task, space, limit)


def parse_labels(labels: tuple[str, ...]) -> dict[str, str]:
    """Returns node labels from words such as `zone=a`; a value may be Ray's `!a`, `in(a,b)` or `!in(a,b)`, too.
    Raises UserError.
    """
    found: dict[str, str] = {}
    for label in labels:
        name, _, value = label.partition("=")
        if not _LABEL_NAME.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
            raise UserError(f"--label {label!r} is no NAME=VALUE, e.g. zone=a, zone=!a or zone=in(a,b)")
        if found.setdefault(name, value) != value:
            raise UserError(
                f"--label {label!r}: {name} is {found[name]!r} already; use in({found[name]},{value}) for both"
            )
    return found


def _at_least_one(option: str, value: int | None, what: str) -> None:
    if value is not None and value < 1:
        raise UserError(f"{option} {value} is out of range: {what}; use a whole number from 1")


def parse_time(text: str) -> float:
    """Returns seconds from a time such as `90s`, `15m`, `1h30m` or `2h`. Raises UserError."""
    try:
        return parse_seconds(text, "--time-limit")
    except ValueError as error:
        raise UserError(str(error)) from None
