"""A sweep: many searches described once, in TOML, checked when read. Secrets are named, never written: `$NAME`."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator, model_validator

from qrlora_search.describe.plan import digest
from qrlora_search.describe.tables import Table, check_keys, read_toml, validate
from qrlora_search.describe.tasks import TASKS
from qrlora_search.values.errors import UserError, nearest
from qrlora_search.values.secrets import holds_secret, holds_token
from qrlora_search.values.times import parse_seconds

Unit = Literal["configurations", "epochs", "time"]
Names = Annotated[tuple[str, ...], Field(min_length=1)]
Share = Annotated[float, Field(gt=0, allow_inf_nan=False)]
SLOT = "%Y-%m-%dT%H%M"


class Searches(Table):
    """Which searches: every task with every model, space and seed. spaces: `default` is `search_spaces/<task>.toml`."""

    tasks: Names
    models: Names = ("auto",)
    spaces: Names = ("default",)
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(min_length=1)] = (0,)
    max_params: Annotated[int | None, Field(ge=1)] = None
    train_limit: Annotated[int | None, Field(ge=1)] = None

    @model_validator(mode="after")
    def _known(self) -> "Searches":
        for name in self.tasks:
            if name not in TASKS:
                raise ValueError(f"tasks: {name!r} is not known: {nearest(name, TASKS)}they are {', '.join(TASKS)}")
        for field in ("tasks", "models", "spaces", "seeds"):
            values = getattr(self, field)
            if len(set(values)) < len(values):
                raise ValueError(f"{field} = {list(values)} names something twice; name it once")
        for field in ("models", "spaces"):
            if any(map(holds_secret, getattr(self, field))):
                raise ValueError(f"{field}: an address with a password is none; name a folder, or one of the hub")
        return self


class Budget(Table):
    """What the sweep may spend in all: so many configurations, or epochs, or so much time (`90s`, `6h`).

    rounds: it is given out in so many; floor: the share of each later round that all searches get alike.
    """

    configurations: Annotated[int | None, Field(ge=1)] = None
    epochs: Annotated[int | None, Field(ge=1)] = None
    time: str | None = None
    rounds: Annotated[int, Field(ge=1, le=100)] = 3
    floor: Annotated[float, Field(ge=0, le=1)] = 0.25
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _one(self) -> "Budget":
        given = [name for name in ("configurations", "epochs", "time") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of configurations, epochs and time, not {given or 'none'}")
        if self.time is not None:
            parse_seconds(self.time, "time")
        return self

    @property
    def unit(self) -> Unit:
        """Returns what is counted."""
        if self.time is not None:
            return "time"
        return "epochs" if self.epochs is not None else "configurations"

    @property
    def total(self) -> int:
        """Returns the budget in its unit; time in whole seconds."""
        if self.time is not None:
            return max(1, round(parse_seconds(self.time, "time")))
        return int(self.epochs or self.configurations or 0)


class Resources(Table):
    """Where trials run: a Ray cluster (none: this machine), trials side by side, a trial's GPUs and CPUs, its nodes'
    labels.
    """

    address: str | None = None
    concurrency: Annotated[int | None, Field(ge=1)] = None
    gpus_per_trial: Annotated[float | None, Field(ge=0)] = None
    cpus_per_trial: Annotated[int | None, Field(ge=1)] = None
    labels: dict[str, str] = Field(default_factory=dict)


class Storage(Table):
    """Where results go. tracking_uri: MLflow; database: records and studies, as QRLORA_STORAGE names it."""

    output: str = "runs/sweeps"
    tracking_uri: str | None = None
    database: str | None = None

    @field_validator("output", "tracking_uri", "database")
    @classmethod
    def _no_secret(cls, value: str | None) -> str | None:
        if value is not None and holds_secret(value):
            raise ValueError('holds a password; put the whole address into the environment and write "$NAME"')
        return value


class Schedule(Table):
    """When: five fields of cron in a time zone. grace: a run that was missed is begun within so long of its
    time, and one that was killed goes on within so long of its start, or before the next is due of its last training.
    """

    cron: str
    time_zone: str = "UTC"
    grace: str = "6h"

    @model_validator(mode="after")
    def _sound(self) -> "Schedule":
        if len(self.cron.split()) != 5:
            raise ValueError(f"cron = {self.cron!r} must have five fields: minute hour day month weekday")
        try:
            CronSim(self.cron, datetime(2026, 1, 1))  # noqa: DTZ001 - only parsed
        except CronSimError as error:
            raise ValueError(f"cron = {self.cron!r} is no cron expression ({error}); e.g. 30 1 * * *") from None
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"time_zone = {self.time_zone!r} is not known; use a name such as Europe/Berlin") from None
        parse_seconds(self.grace, "grace")
        return self

    def newest(self, now: datetime) -> datetime:
        """Returns the newest time of the schedule at or before now, in its time zone.

        In an hour that comes twice, when clocks are set back, times count where they come first.
        """
        zone, minute = ZoneInfo(self.time_zone), timedelta(minutes=1)
        until = (now.astimezone(UTC) + minute).replace(second=0, microsecond=0)
        while until.astimezone(zone).fold:
            until += minute  # all times of the hour that comes again have come
        found = next(CronSim(self.cron, until.astimezone(zone), reverse=True))
        return found.replace(fold=0)

    def slot(self, now: datetime) -> str:
        """Returns the name of the newest slot. It says the offset; an hour that comes twice is run once."""
        when = self.newest(now)
        return when.strftime(SLOT) + when.strftime("%z").replace("+", "E").replace("-", "W")


class HistoryRules(Table):
    """What a sweep makes of the last one. unchanged: what happens to a search whose inputs are as they were."""

    warm_start: bool = True
    unchanged: Literal["skip", "deepen", "repeat"] = "skip"
    keep: Annotated[int, Field(ge=1)] = 14


class Regression(Table):
    """What counts as worse: the paired difference of the best members on the report split, Holm over the searches.

    level: the error rate of the whole family, two-sided. tolerance: a drop that nobody minds, in score.
    """

    level: Annotated[float, Field(gt=0, lt=1)] = 0.05
    tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Notify(Table):
    """Who is told at the end, and of a scheduled run that cannot begin or go on: a command (its arguments; what is told
    is its standard input) and a webhook. when: `regression` is told of nothing but that.
    """

    command: tuple[str, ...] = ()
    webhook: str | None = None
    timeout: str = "10s"
    when: Literal["always", "regression", "trouble"] = "always"

    @model_validator(mode="after")
    def _sound(self) -> "Notify":
        if self.webhook is not None and not self.webhook.startswith("$"):
            raise ValueError('webhook: an address that one may post to is a secret; write "$NAME" of the environment')
        for one in self.command:
            if holds_secret(one) or holds_token(one):
                raise ValueError("command: a word of it holds a password; let the command read it from its environment")
        parse_seconds(self.timeout, "timeout")
        return self


class SweepSpec(Table):
    """One sweep. shares: of the budget by task, 1 where nothing is said. data: a source by task, or `default`."""

    name: Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")]
    searches: Searches
    budget: Budget
    shares: dict[str, Share] = Field(default_factory=dict)
    data: dict[str, str]
    fall_back: bool = False
    resources: Resources = Resources()
    storage: Storage = Storage()
    schedule: Schedule | None = None
    history: HistoryRules = HistoryRules()
    regression: Regression = Regression()
    notify: Notify = Notify()

    @model_validator(mode="after")
    def _whole(self) -> "SweepSpec":
        tasks = self.searches.tasks
        for field, allowed in (("shares", tasks), ("data", (*tasks, "default"))):
            for key in getattr(self, field):
                if key not in allowed:
                    raise ValueError(f"{field}.{key!r}: {nearest(key, allowed)}the sweep has {', '.join(allowed)}")
        for key, source in self.data.items():
            if holds_secret(source):
                raise ValueError(f"data.{key}: an address with a password is no source; use hub, a folder or stand-in")
        lacking = [task for task in tasks if task not in self.data and "default" not in self.data]
        if lacking:
            raise ValueError(f"data: no source for {', '.join(lacking)}; name one for each, or data.default")
        if not self.fall_back and "auto" in self.data.values():
            raise ValueError(
                "data = 'auto' may fall back to stand-in data; write hub, a folder or stand-in, or fall_back = true"
            )
        if not self.fall_back and "auto" in self.searches.models:
            raise ValueError(
                "models = 'auto' may fall back to the embedded model; name the model, or write fall_back = true"
            )
        least = len(self.jobs()) * self.budget.rounds
        if self.budget.unit == "configurations" and self.budget.total < least:
            raise ValueError(
                f"budget.configurations = {self.budget.total} is too little for {len(self.jobs())} "
                f"searches in {self.budget.rounds} rounds; give at least {least}"
            )
        return self

    def jobs(self) -> list["Job"]:
        """Returns every search, the tasks in the order of the file."""
        wanted = self.searches
        jobs = [
            Job(task, model, space, seed, self.data.get(task, self.data.get("default", "")))
            for task in wanted.tasks for model in wanted.models for space in wanted.spaces for seed in wanted.seeds
        ]  # fmt: skip
        keys = [one.key for one in jobs]
        if len(set(keys)) < len(keys):
            raise ValueError("two models or two spaces have the same last part of their names; rename one")
        return jobs

    def share(self, task: str) -> float:
        """Returns the part of the budget of one search of a task, before it is divided by the sum of all."""
        return self.shares.get(task, 1.0)

    @property
    def hash(self) -> str:
        """Returns 10 hexadecimal digits of the whole spec."""
        return digest(self.model_dump(mode="json"))[:10]


@dataclass(frozen=True)
class Job:
    """One search of a sweep."""

    task: str
    model: str
    space: str
    seed: int
    data: str

    @property
    def key(self) -> str:
        """Returns its name: a folder in the sweep's output."""
        parts = (self.task, _last(self.model), _last(self.space), f"s{self.seed}")
        return "-".join(part for part in parts if part != "default")


def _last(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]+", "-", Path(name).name.removesuffix(".toml")).strip("-.") or "x"


def load_sweep(path: Path) -> SweepSpec:
    """Returns the spec in a TOML file; raises UserError that names file, key, value and remedy."""
    table = read_toml(path, "SPEC", "search_spaces/sweeps/")
    check_keys(path, table, SweepSpec)
    return validate(path, table, SweepSpec)


def load_notify(path: Path) -> tuple[str, Notify]:
    """Returns the name and whom to tell of a spec that may be wrong elsewhere; nobody where that is wrong, too."""
    try:
        table = read_toml(path, "SPEC", "search_spaces/sweeps/")
        wanted = table.get("notify", {})
        return str(table.get("name", path.stem)), validate(path, wanted, Notify)
    except UserError:
        return path.stem, Notify()
