"""MLflow keeps what happened: one parent run a search, one child a trial. It follows the record and decides nothing.

Runs are found again by their tags, so seeing an event twice, or starting anew, makes no second run. Where it is not
known whether an event was stored before the store or this process went away, metrics that are there are not sent again.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qrlora_search.adapters.mlflow_sink import tracking
from qrlora_search.adapters.mlflow_sink.artifacts import (
    best_of,
    front_of,
    is_of,
    keep_artifact,
    keep_dataset,
    keep_files,
    picks_of,
)
from qrlora_search.adapters.mlflow_sink.children import marked, run_name, size_metrics, trial_params
from qrlora_search.adapters.mlflow_sink.derived import keep_derived
from qrlora_search.adapters.mlflow_sink.ending import end_unfinished
from qrlora_search.adapters.mlflow_sink.models import keep_models
from qrlora_search.adapters.mlflow_sink.shared_view import full_link, keep_view
from qrlora_search.adapters.mlflow_sink.tracking import log_params, log_values, told_apart
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.protocols import Event
from qrlora_search.describe.tasks import find_task
from qrlora_search.record.history import AS_ASKED, History
from qrlora_search.record.standing import Sparing, ranks_of, standing_of
from qrlora_search.values.faults import passing
from qrlora_search.values.packing import unpack
from qrlora_search.values.paired import Examples

_SEEN = "qrlora.event"
"""Tag of the parent run: the last event that is stored, reports aside; whether those behind it are, is looked up."""
_REBUILDING = {"opened", "proposed"}
"""Kinds that a sink which starts anew takes again: they only find runs and fill memory."""
_STATUS = {"finished": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}


class MlflowSink:
    """A `Sink` that writes to a tracking store. output: where the front's files lie when the search closes.

    link: opens MLflow on this search, its charts in place; empty before the search was opened.
    """

    def __init__(self, address: str, output: Path) -> None:
        self.address, self.output = address, output
        self.client: Any = None
        self.experiment = ""
        self.parent = ""
        self.search_id = ""
        self.link = ""
        self.plan: SearchPlan | None = None
        self.seen = 0
        self.unsure = True
        self.made = False
        self.children: dict[int, str] = {}
        self.history, self.applied = History(), 0
        self.examples: Examples | None = None
        self.shown: dict[int, dict[str, str]] = {}
        self.standing, self.refreshing = Sparing(), Sparing(least_s=0.0)

    def take(self, event: Event) -> None:
        """Takes one event; kinds that MLflow does not show are passed over."""
        if event.sequence > self.applied:
            self._remember(event)
        handler = getattr(self, f"_on_{event.kind}", None)
        if handler is None or (event.sequence <= self.seen and event.kind not in _REBUILDING):
            return
        with told_apart(self.address), self._doubt():
            handler(event.trial, event.data)
            passing(f"after:mlflow-{event.kind}")
            if event.sequence > self.seen and event.kind != "proposed":
                if event.kind != "report":
                    self.client.set_tag(self.parent, _SEEN, str(event.sequence))
                    self.unsure = False
                self.seen = event.sequence

    @contextmanager
    def _doubt(self) -> Iterator[None]:
        """After an error it is not known what of an event was stored."""
        try:
            yield
        except BaseException:
            self.unsure = True
            raise

    def _remember(self, event: Event) -> None:
        """Adds an event to this sink's own history, once, without the per-example results."""
        packed = {"packed": ""} if "packed" in event.data else {}
        self.history.apply(Event(event.sequence, event.trial, event.kind, {**event.data, **packed}))
        self.applied = event.sequence
        if event.kind == "prepared" and "selection" in self.history.labels and self.history.plan is not None:
            statistic = find_task(self.history.plan.task).statistic
            self.examples = Examples(statistic, unpack(self.history.labels["selection"]))

    def close(self) -> None:
        """Ends the parent run where the search did not."""
        with told_apart(self.address):
            if self.parent and self.client.get_run(self.parent).info.status == "RUNNING":
                self.client.set_terminated(self.parent, "KILLED")

    def _on_opened(self, _: int | None, data: dict[str, Any]) -> None:
        self.client = tracking.connect(self.address)
        plan = SearchPlan.model_validate(data["plan"])
        self.plan, self.search_id = plan, data["search_id"]
        self.experiment = tracking.find_experiment(self.client, self.address, f"qr-lora {plan.task}")
        path = keep_view(self.client, self.experiment, self.search_id, plan)
        self.link = full_link(self.address, path)
        found = self.client.search_runs(
            [self.experiment], f"tags.`qrlora.search` = '{self.search_id}' AND tags.`qrlora.kind` = 'search'"
        )
        if found:
            self.parent = found[0].info.run_id
            self.seen = int(found[0].data.tags.get(_SEEN, "0"))
            if not self.seen:
                self._describe(plan)
            return
        tags = {
            "mlflow.runName": f"{plan.task}-{plan.hash}{marked(plan)}",
            "mlflow.note.content": _note(plan, path),
            "qrlora.search": self.search_id,
            "qrlora.kind": "search",
            "qrlora.data": plan.data.kind,
            "qrlora.model": plan.model.name,
            "qrlora.objective": find_task(plan.task).objective,
            "qrlora.output": str(self.output),
            "qrlora.view": self.link,
            "qrlora.selected_on": plan.space.selection.on,
        }
        self.parent, self.made = self.client.create_run(self.experiment, tags=tags).info.run_id, True
        self._describe(plan)

    def _describe(self, plan: SearchPlan) -> None:
        """Logs the plan and the data's name; again where it is not known whether that was stored."""
        plain = plan.model_dump(mode="json", exclude={"tracking_uri", "address"})
        log_params(self.client, self.parent, tracking.flat(plain))
        keep_dataset(self.client, self.parent, plan)

    def _on_resumed(self, _: int | None, _data: dict[str, Any]) -> None:
        self.client.update_run(self.parent, status="RUNNING")
        self._heard()

    def _on_confirm_report(self, _: int | None, _data: dict[str, Any]) -> None:
        self._heard()

    def _heard(self) -> None:
        """Says that the search lives, where no trial's run does: seconds of the epoch."""
        self.client.set_tag(self.parent, "qrlora.heard", str(round(time.time())))

    def _on_prepared(self, _: int | None, _data: dict[str, Any]) -> None:
        keep_artifact(self.client, self.parent, self.output / "spectra.json")

    def _on_scored(self, trial: int | None, data: dict[str, Any]) -> None:
        split = data["split"]
        run = self.parent if trial is None else self._child(trial)
        label = f"control.{split}" if trial is None else split
        values = {f"{label}.{name}": value for name, value in data["metrics"].items()}
        if split == "selection":
            values |= self._error(f"{label}.error", data)
        self._values(run, values, step=0)

    def _error(self, name: str, data: dict[str, Any]) -> dict[str, float]:
        """Returns the standard error of a score over the selection examples, under a name."""
        if self.examples is None or not data.get("packed"):
            return {}
        return {name: self.examples.error(self.examples.results(unpack(data["packed"])))}

    def _on_started(self, trial: int | None, _: dict[str, Any]) -> None:
        if trial is None:
            return
        known = trial in self.children or self._find_child(trial) is not None
        run, one = self._child(trial), self.history.trials[trial]
        if known:  # it goes on after an interruption or a lost worker, as the same run
            self.client.update_run(run, status="RUNNING")
        log_params(self.client, run, trial_params(one))
        there = known and self._has(run, "parameters", 0)
        self._values(run, {} if there else size_metrics(one.configuration), 0, {"qrlora.state": "running"})

    def _on_retried(self, trial: int | None, data: dict[str, Any]) -> None:
        if trial is not None:
            tags = {"qrlora.retries": str(data["retry"]), "qrlora.retried": str(data["reason"])}
            self._values(self._child(trial), {}, 0, tags)

    def _values(self, run: str, metrics: dict[str, float], step: int, tags: dict[str, str] | None = None) -> None:
        """Logs metrics and tags; where it is not known what was stored, only metrics that are not there."""
        if self.unsure:
            metrics = {name: value for name, value in metrics.items() if not self._has(run, name, step)}
        log_values(self.client, run, metrics, step, tags)

    def _has(self, run: str, name: str, step: int) -> bool:
        return any(point.step == step for point in self.client.get_metric_history(run, name))

    def _find_child(self, trial: int) -> str | None:
        if self.made and not self.unsure:
            return None
        condition = f"tags.`qrlora.search` = '{self.search_id}' AND tags.`qrlora.trial` = '{trial}'"
        found = self.client.search_runs([self.experiment], condition)
        return str(found[0].info.run_id) if found else None

    def _child(self, trial: int) -> str:
        if trial in self.children:
            return self.children[trial]
        run = self._find_child(trial)
        if run is None:
            tags = {
                "mlflow.runName": run_name(trial) + ("" if self.plan is None else marked(self.plan)),
                "mlflow.parentRunId": self.parent,
                "qrlora.search": self.search_id,
                "qrlora.kind": "trial",
                "qrlora.trial": str(trial),
            }
            run = str(self.client.create_run(self.experiment, tags=tags).info.run_id)
        self.children[trial] = run
        return run

    def _on_report(self, trial: int | None, data: dict[str, Any]) -> None:
        if trial is None:
            return
        values = {"score": data["score"], "held_out_loss": data["loss"], "seconds": data["seconds"], **data["metrics"]}
        values |= self._error("score_error", data)
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._values(self._child(trial), finite, int(data["epoch"]), self._decisions(trial))

    def _decisions(self, trial: int) -> dict[str, str]:
        """Returns what the rule said of a trial so far, an epoch a line; it goes with the next report or the end."""
        one = self.history.trials[trial]
        again = {epoch: f"; taken up again: {why}" for epoch, why in one.promoted.items()}
        lines = [f"{line.epoch}: {line.decision}{again.get(line.epoch, '')}" for line in one.reports if line.decision]
        return {"qrlora.decisions": "\n".join(lines)[-tracking.MOST_TAG :]} if lines else {}

    def _on_ended(self, trial: int | None, data: dict[str, Any]) -> None:
        if trial is None:
            return
        run, state, reason = self._child(trial), str(data["state"]), str(data["reason"])
        tags = {"qrlora.state": state, "qrlora.reason": reason, "mlflow.note.content": f"{state}: {reason}"}
        self._values(run, {}, 0, {**tags, **self._decisions(trial)})
        self.client.set_terminated(run, _STATUS[state])
        self._stand()
        if self.refreshing.due:
            self._refresh()

    def _stand(self, last: bool = False) -> None:
        """Logs where the search stands by the scores that it sees, stepped by the trials that have ended; of a large
        one not at each end, but at the `last`. What the front is worth as it counts has names of its own, `front_...`.
        """
        step = sum(self.history.ended.values()) + self.history.promotions
        told = last and self._has(self.parent, "hypervolume", step)
        if (None, "selection") not in self.history.scored or told or not (last or self.standing.due):
            return
        with self.standing.taking():
            standing, ended = standing_of(self.history), self.history.ended
        values = {
            "hypervolume": standing.hypervolume,
            "front_size": float(len(standing.members)),
            "best_score": standing.best,
            "spent_seconds": standing.spent_s,
            "saved_epochs": float(standing.saved_epochs),
        }
        values |= {f"trials_{state}": float(count) for state, count in ended.items()}
        self._values(self.parent, values, step)

    def _refresh(self) -> None:
        """Brings the tags `pareto.rank` and `pareto.on_front` of Finished trials up to date; only changes are sent."""
        if (None, "selection") not in self.history.scored:
            return
        with self.refreshing.taking():
            members = standing_of(self.history).members
            for trial, rank in ranks_of(self.history).items():
                tags = {"pareto.rank": str(rank), "pareto.on_front": str(trial in members).lower()}
                if self.shown.get(trial) != tags:
                    self._values(self._child(trial), {}, 0, tags)
                    self.shown[trial] = tags

    def _on_closed(self, _: int | None, data: dict[str, Any]) -> None:
        self._stand(last=True)
        view = front_of(self.output)
        mine = is_of(view, data, self.history)
        values = {"trials": float(data["trials"]), "seconds": float(data["seconds"]), **(best_of(view) if mine else {})}
        values |= {"front_hypervolume": float(data["hypervolume"]), "front_members": float(data["front_size"])}
        self._values(self.parent, values, step=int(data["trials"]))
        if mine:
            self._keep_front(view)
        marks = "; ".join(data.get("marks", ())) or "none"
        self._values(self.parent, {}, 0, {"qrlora.outcome": data["outcome"], "qrlora.marks": marks})
        self.client.set_terminated(self.parent, "FINISHED" if data["outcome"] in AS_ASKED else "KILLED")

    def _keep_front(self, view: dict[str, Any]) -> None:
        """Logs a front's files, members and picks, and says of every trial whether it is on it."""
        self._refresh()
        whole = {one["adapter"]: int(one["trial"]) for one in view["members"] if one["kept"] is None}
        self._end_children(set(whole.values()))
        keep_files(self.client, self.parent, self.output)
        runs = keep_derived(self.client, self.experiment, self.parent, self.history, view["members"], self.output)
        runs |= {adapter: self._child(trial) for adapter, trial in whole.items()}
        keep_models(self.client, self.parent, runs, self.output)
        picks = picks_of(view)
        for stale in set(self.client.get_run(self.parent).data.tags):
            if stale.startswith("pick.") and stale not in picks:
                self.client.delete_tag(self.parent, stale)
        self._values(self.parent, {}, 0, picks)

    def _end_children(self, members: set[int]) -> None:
        """Says of every trial whether it is on the front as it was trained, and ends the ones that did not end. Rank 0
        is the front as it counts; the others rank behind it by their own scores.
        """
        ranks = ranks_of(self.history, members)
        condition = f"tags.`qrlora.search` = '{self.search_id}' AND tags.`qrlora.kind` = 'trial'"
        for run in tracking.all_runs(self.client, [self.experiment], condition):
            on_front = str(int(run.data.tags["qrlora.trial"]) in members).lower()
            if run.data.tags.get("pareto.on_front") != on_front:
                self.client.set_tag(run.info.run_id, "pareto.on_front", on_front)
            rank = ranks.get(int(run.data.tags["qrlora.trial"]))
            if rank is not None and run.data.tags.get("pareto.rank") != str(rank):
                self.client.set_tag(run.info.run_id, "pareto.rank", str(rank))
            end_unfinished(self.client, run)


def _note(plan: SearchPlan, path: str) -> str:
    """Returns the description of a parent run, which MLflow shows as Markdown."""
    lines = ["Data: generated STAND-IN, not GLUE. Scores say nothing about the real task."] if plan.stand_in else []
    if plan.on_validation:
        lines.append("SELECTED ON THE VALIDATION SET: its report scores flatter the front.")
    return "\n\n".join([*lines, f"[Score against parameters, and parallel coordinates, of its trials]({path})"])
