"""From a checked request to the frozen plan: sources resolved, shapes and counts known, precision decided."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from qrlora_search.adapters.mlflow_sink.address import tracking_address
from qrlora_search.app.request import RUNS, Checked, parse_labels
from qrlora_search.app.warm_start import front_proposals
from qrlora_search.describe.plan import DataCounts, Precision, SearchPlan, Source
from qrlora_search.describe.proposals import check_depth, check_ranks
from qrlora_search.describe.space import SearchSpace
from qrlora_search.method.families import check_weights, encoder_shape, read_config
from qrlora_search.method.machine import cpus_here, native_precision
from qrlora_search.method.sources import find_data, find_model, go_offline
from qrlora_search.method.splits import Splits, split_rows
from qrlora_search.values.errors import UserError
from qrlora_search.values.secrets import shown_address

PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class Planned:
    """A plan and the rows it speaks of.

    kept: the plan of an earlier run whose resolution of `auto` was taken. tracking: MLflow's address, with the password
    that the plan does not hold.
    """

    plan: SearchPlan
    splits: Splits
    kept: SearchPlan | None
    tracking: str

    @property
    def output(self) -> Path:
        """Returns the output folder."""
        return Path(self.plan.output)


def plan_search(checked: Checked) -> Planned:
    """Returns the plan of a request, or raises UserError. Writes nothing."""
    request = checked.request
    kept = _kept(checked)
    model = find_model(_asked_again(request.model, kept.model if kept else None)).model_copy(
        update={"asked": request.model}
    )
    rows = find_data(_asked_again(request.data, kept.data if kept else None), checked.task)
    go_offline()
    config = read_config(Path(model.path))
    check_weights(Path(model.path), config)
    shape = encoder_shape(config, checked.task.outputs)
    where = request.space or f"{checked.task.name}.toml"
    check_depth(checked.space, shape.layers, where)
    check_ranks(checked.space, shape.width, where)
    longest = int(config["max_position_embeddings"]) - (2 if shape.family == "roberta" else 0)
    if checked.space.training.max_length > longest:
        raise UserError(
            f"{where}: training.max_length = {checked.space.training.max_length} is more than the {longest} tokens "
            f"that {model.name} reads; lower it"
        )
    tracking = tracking_address(request.tracking_uri, RUNS)
    splits = split_rows(rows.splits, checked.task, request.seed, request.train_limit, checked.space.selection.on)
    plan = SearchPlan(
        task=checked.task.name,
        seed=request.seed,
        space=checked.space,
        model=model,
        data=rows.source.model_copy(update={"asked": request.data}),
        encoder=shape,
        counts=DataCounts(
            train=len(splits.train),
            selection=len(splits.selection),
            report={name: len(frame) for name, frame in splits.report.items()},
            dropped=splits.dropped,
            words=count_words(splits.train) + count_words(splits.selection),
        ),
        train_limit=request.train_limit,
        precision=decide_precision(checked.space, where),
        budget=request.budget,
        max_params=request.max_params,
        time_limit_s=checked.time_limit_s,
        concurrency=request.concurrency
        or default_concurrency(request.address, request.gpus_per_trial, request.cpus_per_trial),
        gpus_per_trial=default_gpus() if request.gpus_per_trial is None else request.gpus_per_trial,
        address=request.address,
        tracking_uri=shown_address(tracking),
        output="",
        cpus_per_trial=request.cpus_per_trial,
        labels=parse_labels(request.labels or ()),
        warm_start=front_proposals(request.warm_start, checked.space, shape.layers),
    )
    output = Path(request.output) if request.output else RUNS / f"{plan.task}-{plan.hash}"
    return Planned(plan.model_copy(update={"output": str(output)}), splits, kept, tracking)


def _kept(checked: Checked) -> SearchPlan | None:
    """Returns the newest plan that answers the same request, so that `auto` is resolved once and kept."""
    request = checked.request
    if "auto" not in {request.model, request.data}:
        return None
    folders = [Path(request.output)] if request.output else sorted(RUNS.glob(f"{checked.task.name}-*"))
    found = [file for folder in folders if (file := folder / PLAN_FILE).is_file()]
    for file in sorted(found, key=lambda one: one.stat().st_mtime, reverse=True):
        try:
            plan = SearchPlan.model_validate_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        same = (plan.model.asked, plan.data.asked) == (request.model, request.data)
        if same and (plan.seed, plan.train_limit, plan.space) == (request.seed, request.train_limit, checked.space):
            return plan
    return None


def _asked_again(asked: str, kept: Source | None) -> str:
    """Returns what to look up: where `auto` was resolved before, the same source as then."""
    if kept is None or asked != "auto":
        return asked
    return kept.name if kept.kind == "hub" and "/" in kept.name and kept.name != "nyu-mll/glue" else kept.kind


def decide_precision(space: SearchSpace, where: str) -> Precision:
    """Returns the precision of frozen weights and states, decided once for all nodes of a search."""
    asked, native = space.training.precision, native_precision()
    if asked == "auto":
        return native
    if asked == "bfloat16" and native != "bfloat16":
        raise UserError(
            f"{where}: training.precision = 'bfloat16': this machine does not compute in it by itself; "
            "write 'auto' or 'float32'"
        )
    return asked


def count_words(frame: pd.DataFrame) -> int:
    """Returns the number of words in all texts of these rows, by blanks."""
    texts = [name for name in frame.columns if name != "label"]
    return sum(int(frame[name].str.count(" ").sum()) + len(frame) for name in texts)


def default_gpus() -> float:
    """Returns GPUs for a trial: one where this machine has any, else none."""
    import torch

    return 1.0 if torch.cuda.is_available() else 0.0


def default_concurrency(
    address: str | None, gpus_per_trial: float | None, cpus_per_trial: int | None = None
) -> int | None:
    """Returns trials side by side: as many as the processors or the GPUs here hold; None for what a cluster holds."""
    if address is not None:
        return None
    share = default_gpus() if gpus_per_trial is None else gpus_per_trial
    if share > 0:
        import torch

        return max(1, int(torch.cuda.device_count() / share))
    return max(1, cpus_here() // (cpus_per_trial or 1))
