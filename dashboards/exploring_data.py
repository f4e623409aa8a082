"""What the explorer shows, read from MLflow and from front views (front.json) alone, as plain data."""

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

LOCAL_UI = "http://127.0.0.1:5000"
"""Where `make ui` serves a local tracking database."""
PAGE = 500
LONG_S = 600.0
"""Without news for so long a search that runs may have been killed, in seconds."""


@dataclass(frozen=True)
class Search:
    """A search's parent run. metrics and params: MLflow's. picks: by name, in words."""

    run: str
    experiment: str
    name: str
    search_id: str
    task: str
    status: str
    output: str
    link: str
    objective: str
    metrics: dict[str, float]
    params: dict[str, str]
    picks: dict[str, str]

    @property
    def live(self) -> bool:
        """Returns whether it runs."""
        return self.status == "RUNNING"

    @property
    def stand_in(self) -> bool:
        """Returns whether its data are generated."""
        return self.params.get("data.kind") == "stand-in"

    @property
    def rows(self) -> str:
        """Returns how many examples the selection split has."""
        return self.params.get("counts.selection", "?")

    @property
    def loss(self) -> str:
        """Returns which loss the held-out loss is, with its unit."""
        return "mean squared error" if self.objective == "pearson" else "cross-entropy, nats"

    @property
    def control(self) -> float | None:
        """Returns the warm-up control's objective on the selection split."""
        names = sorted(name for name in self.metrics if name.startswith("control.selection."))
        wanted = [f"control.selection.{self.objective}", *names]
        return next((self.metrics[name] for name in wanted if name in self.metrics), None)


@dataclass(frozen=True)
class Trial:
    """A trial's run: its size, newest score and standard error over n examples, and what was decided about it. parent:
    its search's run. kept: so many of its coefficients, the largest, where it is derived from the trial; own_run:
    the run of such an adapter, where it has one.
    """

    run: str
    search: str
    number: int
    parameters: int
    score: float | None
    error: float | None
    state: str
    on_front: bool
    rank: str
    reason: str
    decisions: str
    params: dict[str, str]
    parent: str = ""
    kept: int | None = None
    own_run: str = ""

    @property
    def name(self) -> str:
        """Returns what it is called."""
        called = f"trial {self.number}" if self.number >= 0 else "head-only control"
        return called + (f", its {self.kept} largest" if self.kept else "")

    @property
    def method(self) -> str:
        """Returns the method, e.g. `qr-lora`."""
        return self.params.get("method", "qr-lora")

    @property
    def form(self) -> str:
        """Returns the form that it is exported in: full fine-tuning is no adapter."""
        return "merged" if self.method == "full" else "lora"

    @property
    def words(self) -> str:
        """Returns what it adapts, in words."""
        return self.params.get("words", self.params.get("matrices", ""))

    @property
    def tau(self) -> float | None:
        """Returns its tau, or None where its method has none."""
        return number(self.params.get("tau"))


@dataclass(frozen=True)
class Member:
    """A member of a front with its 95 % band; trial may be derived, with `kept` coefficients."""

    trial: int
    parameters: int
    score: float
    low: float
    high: float
    words: str
    report: str
    kept: int | None = None


@dataclass(frozen=True)
class Loaded:
    """Everything of one search that the page shows. view: its front.json, or {} before it has ended. news: when the
    newest of what MLflow has of it came, in seconds of the epoch, where it runs as far as MLflow knows.
    """

    search: Search
    trials: list[Trial]
    view: dict[str, Any]
    members: list[Member] = field(default_factory=list)
    news: float | None = None

    def silence(self, now: float) -> str:
        """Returns what to think of a search that runs and of which nothing was heard for long; else nothing."""
        if self.news is None or now - self.news < LONG_S:
            return ""
        minutes = int((now - self.news) / 60)
        return (
            f"Nothing was heard of this search for {minutes} minutes. It trains a long epoch, or it was killed: MLflow "
            f"cannot tell. `python -m platform.search ... --output {self.search.output} --resume` goes on, and is "
            "refused while it lives."
        )

    @property
    def marks(self) -> list[str]:
        """Returns what is to be said of the scores wherever they are shown."""
        marks = ["STAND-IN data, not GLUE"] if self.search.stand_in else []
        if self.search.params.get("space.selection.on") == "validation":
            marks.append("SELECTED ON THE VALIDATION SET")
        if self.view.get("confirmation", {}).get("status") != "confirmed":
            marks.append("UNCONFIRMED: raw scores" if self.trials else "no trial yet")
        return marks + [one for one in self.view.get("marks", []) if one.startswith("PARTLY CONFIRMED")]

    @property
    def said(self) -> list[str]:
        """Returns what to know of the front and its intervals, in sentences: how it was confirmed, the winner's curse,
        and the notes of its front view.
        """
        if not self.view:
            return [
                "It has not ended: intervals are 1.96 standard errors over examples, conditional on its one warm-up. "
                "Nothing is confirmed by further seeds yet, and the scores that lead flatter (the winner's curse)."
            ]
        one = self.view.get("confirmation", {})
        older = [f"{one['status']}: {one['reason']}"] if one.get("reason") else []
        return [*(self.view.get("trust") or older), *self.view.get("notes", [])]

    @property
    def lead(self) -> float:
        """Returns how far the search's own warm-up, on which its trials stand, is above the mean of all warm-ups."""
        return float(self.view.get("confirmation", {}).get("lead", 0.0))


def address() -> str:
    """Returns where the searches are tracked."""
    return os.environ.get("QRLORA_TRACKING", "sqlite:///runs/mlflow.db")


def client(address: str) -> Any:
    """Returns an MLflow client for a tracking address."""
    from mlflow.tracking import MlflowClient

    return MlflowClient(address)


def tasks(store: Any) -> dict[str, str]:
    """Returns the experiments of searches: task by experiment id."""
    found = store.search_experiments(filter_string="name LIKE 'qr-lora %'")
    names = {str(one.experiment_id): str(one.name).removeprefix("qr-lora ") for one in found}
    return {key: name for key, name in names.items() if name != "compare"}


def searches(store: Any, experiment: str, task: str) -> list[Search]:
    """Returns the searches of a task, the newest first."""
    runs = _runs(store, experiment, "tags.`qrlora.kind` = 'search'")
    return [_search(one, experiment, task) for one in runs if "qrlora.search" in one.data.tags]


def _search(run: Any, experiment: str, task: str) -> Search:
    tags = run.data.tags
    return Search(
        run=run.info.run_id, experiment=experiment, name=run.info.run_name, search_id=tags["qrlora.search"], task=task,
        status=run.info.status, output=tags.get("qrlora.output", ""), link=tags.get("qrlora.view", ""),
        objective=tags.get("qrlora.objective", "score"),
        metrics=dict(run.data.metrics), params=dict(run.data.params),
        picks={name.removeprefix("pick."): text for name, text in tags.items() if name.startswith("pick.")},
    )  # fmt: skip


def load(store: Any, search: Search) -> Loaded:
    """Returns a search with its trials and, where it has ended, its front view."""
    condition = f"tags.`qrlora.search` = '{search.search_id}' AND tags.`qrlora.kind` = 'trial'"
    children = _runs(store, search.experiment, condition)
    trials = [_trial(run, search) for run in children]
    trials = sorted(trials, key=lambda one: one.number)
    view = {} if search.live else json_file(store, search.run, "front.json")
    if view:  # a trial's run is tagged for what is derived of it, too
        whole = {one["trial"] for one in view["members"] if one.get("kept") is None}
        trials = [replace(one, on_front=one.number in whole) for one in trials]
    condition = f"tags.`qrlora.search` = '{search.search_id}' AND tags.`qrlora.kind` = 'derived'"
    runs = _runs(store, search.experiment, condition) if view else []
    own = {(int(one.data.tags["qrlora.derived_from"]), int(one.data.metrics.get("parameters", 0))): one for one in runs}
    news = newest(store, search, children) if search.live else None
    return Loaded(search, [*trials, *derived_of(view, trials, own)], view, front_of(view, trials), news)


def newest(store: Any, search: Search, children: list[Any]) -> float:
    """Returns when a trial of a search last began, reported or ended, or the search itself was heard of; in seconds of
    the epoch.
    """
    own = store.get_run(search.run)
    times = [int(own.info.start_time), 1000 * int(own.data.tags.get("qrlora.heard", "0"))]
    for one in children:
        times += [int(one.info.start_time), int(one.info.end_time or 0)]
        if one.info.status == "RUNNING":
            times += [int(point.timestamp) for point in store.get_metric_history(one.info.run_id, "score")]
    return max(times) / 1000


def derived_of(
    view: dict[str, Any], trials: list[Trial], own: Mapping[tuple[int, int], Any] = MappingProxyType({})
) -> list[Trial]:
    """Returns the derived adapters of a front view as points: their trial's own facts, with fewer coefficients. own:
    the MLflow runs of those that are members, by trial and number of coefficients.
    """
    by_number = {one.number: one for one in trials}
    members = {(one["trial"], one.get("kept")) for one in view.get("members", [])}
    found = []
    for point in view.get("points", []):
        if point["state"] == "derived" and point["trial"] in by_number:
            place = (point["trial"], point["parameters"])
            found.append(replace(
                by_number[point["trial"]], parameters=point["parameters"], score=point["score"], state="derived",
                on_front=place in members, kept=point["parameters"], rank="",
                own_run=own[place].info.run_id if place in own else "",
                reason="its coefficients of the largest effect, scored without training",
            ))  # fmt: skip
    return found


def _trial(run: Any, search: Search) -> Trial:
    tags, metrics = run.data.tags, run.data.metrics
    return Trial(
        run=run.info.run_id, search=search.name, number=int(tags["qrlora.trial"]),
        parameters=int(metrics.get("parameters", 0)), score=metrics.get("score"), error=metrics.get("score_error"),
        state=tags.get("qrlora.state", "running"), on_front=tags.get("pareto.on_front") == "true",
        rank=tags.get("pareto.rank", ""), reason=tags.get("qrlora.reason", ""),
        decisions=tags.get("qrlora.decisions", ""), params=dict(run.data.params), parent=search.run,
    )  # fmt: skip


def front_of(view: dict[str, Any], trials: list[Trial]) -> list[Member]:
    """Returns the front, smallest first: of the front view, or while a search runs of the trials' tags, with a band of
    1.96 standard errors.
    """
    if view:
        return [
            Member(
                one["trial"], one["parameters"], one["selection"]["score"], one["selection"]["low"],
                one["selection"]["high"], one["words"] + (f", {one['kept']} kept" if one.get("kept") else ""),
                "; ".join(f"{r['split']} {r['score']:.3f} [{r['low']:.3f}, {r['high']:.3f}], n = {r['n']}"
                          for r in one["report"]),
                one.get("kept"),
            )
            for one in sorted(view["members"], key=lambda one: one["parameters"])
        ]  # fmt: skip
    found = [one for one in trials if one.on_front and one.score is not None]
    members = []
    for one in sorted(found, key=lambda one: one.parameters):
        score, half = one.score or 0.0, 1.96 * (one.error or 0.0)
        members.append(Member(one.number, one.parameters, score, score - half, score + half, one.words, ""))
    return members


def json_file(store: Any, run: str, name: str) -> dict[str, Any]:
    """Returns a JSON file of a run, or {} where it has none."""
    if not any(one.path == name for one in store.list_artifacts(run)):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(store.download_artifacts(run, name, folder))
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def curve(store: Any, run: str, metric: str) -> tuple[list[int], list[float]]:
    """Returns a metric's epochs and values."""
    history = sorted(store.get_metric_history(run, metric), key=lambda one: one.step)
    return [one.step for one in history], [one.value for one in history]


def export_command(search: Search, trial: Trial) -> str:
    """Returns the command that exports a trial, or its largest coefficients."""
    which, to = f"--trial {trial.number}", f"adapter-{trial.number}"
    if trial.kept:
        which, to = f"{which} --keep {trial.kept}", f"{to}-{trial.kept}"
    return f"python -m platform.export {search.output or 'OUTPUT'} {which} --as {trial.form} --to {to}"


def run_link(address: str, experiment: str, run: str) -> str:
    """Returns the address of a run in MLflow's pages."""
    base = address.rstrip("/") if address.startswith(("http://", "https://")) else LOCAL_UI
    return f"{base}/#/experiments/{experiment}/runs/{run}"


def _runs(store: Any, experiment: str, condition: str) -> list[Any]:
    runs, token = [], None
    while True:
        page = store.search_runs([experiment], condition, max_results=PAGE, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def number(text: str | None) -> float | None:
    """Returns a parameter of a run as a number, or None where it is none."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return None if math.isnan(value) else value
