"""The search plan: everything a search does, decided once, frozen, and equal on all nodes."""

import hashlib
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict

from qrlora_search.describe.space import Confirm, Derived, SearchSpace, Selection, Training

Precision = Literal["float32", "bfloat16"]

MOST_SEED = 2**31
STAND_IN = "STAND-IN data, not GLUE"
ON_VALIDATION = "SELECTED ON THE VALIDATION SET"
_LIMITS = (
    "budget", "max_params", "time_limit_s", "concurrency", "gpus_per_trial", "cpus_per_trial", "labels", "address",
    "tracking_uri", "output",
)  # fmt: skip


class Frozen(BaseModel):
    """Plain data that cannot change and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Frozen):
    """Where the model or the data come from.

    kind: `hub`, `folder`, `embedded` (the model in a package) or `stand-in` (generated data). asked: what the user
    wrote, e.g. `auto`. name: for people. path: where it lies here, if anywhere. fingerprint: a hash
    of its content.
    """

    kind: Literal["hub", "folder", "embedded", "stand-in"]
    asked: str
    name: str
    path: str = ""
    fingerprint: str = ""


class EncoderShape(Frozen):
    """The encoder in numbers. parameters: P, the trainable count of the whole encoder without the head."""

    family: Literal["bert", "roberta"]
    layers: int
    width: int
    heads: int
    parameters: int
    head_parameters: int


class DataCounts(Frozen):
    """Rows of each split as used: what trials train on, what they are compared on, what is reported once.

    words: of the texts of train and selection, from which memory and time are estimated before anything is tokenised.
    """

    train: int
    selection: int
    report: dict[str, int]
    dropped: int
    words: int = 0


class SearchPlan(Frozen):
    """The resolved plan of one search, printed in full and kept in the record.

    concurrency: trials side by side; None for as many as a cluster holds at the time. cpus_per_trial: None for one on a
    cluster, and for an equal share here. labels: of the nodes that may be used.
    """

    version: Literal[1] = 1
    task: str
    seed: int
    space: SearchSpace
    model: Source
    data: Source
    encoder: EncoderShape
    counts: DataCounts
    train_limit: int | None
    precision: Precision
    budget: int
    max_params: int | None
    time_limit_s: float | None
    concurrency: int | None
    gpus_per_trial: float
    address: str | None
    tracking_uri: str
    output: str
    warm_start: tuple[dict[str, str | int | float], ...] = ()
    cpus_per_trial: int | None = None
    labels: dict[str, str] = {}

    @property
    def identity(self) -> dict[str, object]:
        """Returns what makes two plans the same search: all but budget, limits, concurrency, addresses and places."""
        content = self.model_dump(mode="json", exclude=set(_LIMITS))
        content["space"].pop("states")
        content["space"]["training"].pop("precision")  # resolved in the plan's own
        content["space"]["training"].pop("report_timeout_s")
        if content["space"]["training"]["promotion"] == Training().promotion:
            content["space"]["training"].pop("promotion")
        for table, default in (("selection", Selection()), ("confirm", Confirm()), ("derived", Derived())):
            if content["space"][table] == default.model_dump(mode="json"):  # plans from before these tables are alike
                content["space"].pop(table)
        for source in ("model", "data"):
            for place in ("asked", "path", "name"):
                content[source].pop(place)
        return content

    @property
    def hash(self) -> str:
        """Returns 10 hexadecimal digits of the identity; part of the default output's name."""
        return digest(self.identity)[:10]

    @property
    def stand_in(self) -> bool:
        """Returns whether the data are generated, which every table, plot and run must say."""
        return self.data.kind == "stand-in"

    @property
    def on_validation(self) -> bool:
        """Returns whether the report split feeds the decisions, which every table, plot and run must say."""
        return self.space.selection.on == "validation"

    @property
    def title(self) -> str:
        """Returns the task for headings, marked where the data are generated or the validation set chose."""
        marks = [STAND_IN] if self.stand_in else []
        marks += [ON_VALIDATION] if self.on_validation else []
        return f"{self.task} ({'; '.join(marks)})" if marks else self.task

    @property
    def warm_up_seeds(self) -> list[int]:
        """Returns the seed of each warm-up: the search's own, then those that confirmation repeats it with, if any."""
        confirm = self.space.confirm
        return [(self.seed + step) % MOST_SEED for step in range(confirm.warmups if confirm.share > 0 else 1)]

    @property
    def confirm_epochs(self) -> int:
        """Returns the most epochs that confirmation may train where no trial is stopped."""
        return int(self.space.confirm.share * self.budget * self.space.training.epochs)


def digest(content: object) -> str:
    """Returns the SHA-256 of plain data, independent of the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def differences(old: SearchPlan, new: SearchPlan) -> list[str]:
    """Returns, a line each, where the identities of two plans differ; empty for the same search."""
    lines: list[str] = []

    def walk(path: str, a: object, b: object) -> None:
        if isinstance(a, dict) and isinstance(b, dict):
            for key in sorted({*a, *b}):
                walk(f"{path}.{key}" if path else key, a.get(key), b.get(key))
        elif a != b:
            lines.append(f"{path}: {a!r} there, {b!r} asked")

    walk("", old.identity, new.identity)
    return lines
