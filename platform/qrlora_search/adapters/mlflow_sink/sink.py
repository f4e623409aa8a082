"""MLflow keeps what happened: one parent run a search, one child a trial. It follows the record and decides nothing.

Runs are found again by their tags, so seeing an event twice, or starting anew, makes no second run.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qrlora_search.describe.configuration import MATRICES, configuration_from_json
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.protocols import Event
from qrlora_search.record.history import HEAD_ONLY
from qrlora_search.values.errors import SinkError

_SEEN = "qrlora.event"
"""Tag of the parent run: the last event of the record that is stored."""
_REBUILDING = {"opened", "proposed"}
"""Kinds that a sink which starts anew takes again: they only find runs and fill memory."""
_STATUS = {"finished": "FINISHED", "stopped": "FINISHED", "failed": "FAILED"}


@contextmanager
def _told_apart() -> Iterator[None]:
    """Turns what MLflow raises where its store is away into a SinkError; anything else is a fault of the program."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise SinkError((str(error).splitlines() or [type(error).__name__])[0]) from error


class MlflowSink:
    """A `Sink` that writes to a tracking store. output: where the front's files lie when the search closes."""

    def __init__(self, address: str, output: Path) -> None:
        self.address, self.output = address, output
        self.client: Any = None
        self.experiment = ""
        self.parent = ""
        self.search_id = ""
        self.plan: SearchPlan | None = None
        self.seen = 0
        self.children: dict[int, str] = {}
        self.pending: dict[int, dict[str, Any]] = {}

    def take(self, event: Event) -> None:
        """Takes one event; kinds that MLflow does not show are passed over."""
        handler = getattr(self, f"_on_{event.kind}", None)
        if handler is None or (event.sequence <= self.seen and event.kind not in _REBUILDING):
            return
        with _told_apart():
            handler(event.trial, event.data)
            if event.sequence > self.seen and event.kind != "proposed":
                self.client.set_tag(self.parent, _SEEN, str(event.sequence))
                self.seen = event.sequence

    def close(self) -> None:
        """Ends the parent run where the search did not."""
        with _told_apart():
            if self.parent and self.client.get_run(self.parent).info.status == "RUNNING":
                self.client.set_terminated(self.parent, "KILLED")

    def _connect(self) -> None:
        import logging

        for name in ("mlflow", "alembic", "sqlalchemy"):
            logging.getLogger(name).setLevel(logging.ERROR)
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(self.address)

    def _on_opened(self, _: int | None, data: dict[str, Any]) -> None:
        self._connect()
        plan = SearchPlan.model_validate(data["plan"])
        self.plan, self.search_id = plan, data["search_id"]
        self.experiment = self._find_experiment(f"qr-lora {plan.task}")
        found = self.client.search_runs(
            [self.experiment], f"tags.`qrlora.search` = '{self.search_id}' AND tags.`qrlora.kind` = 'search'"
        )
        if found:
            self.parent = found[0].info.run_id
            self.seen = int(found[0].data.tags.get(_SEEN, "0"))
            return
        name = f"{plan.task}-{plan.hash}" + (" STAND-IN" if plan.stand_in else "")
        tags = {
            "mlflow.runName": name,
            "qrlora.search": self.search_id,
            "qrlora.kind": "search",
            "qrlora.data": plan.data.kind,
            "qrlora.model": plan.model.name,
            "qrlora.output": str(self.output),
            "qrlora.selected_on": plan.space.selection.on,
        }
        if plan.stand_in:
            tags["mlflow.note.content"] = "Data: generated STAND-IN, not GLUE. Scores say nothing about the real task."
        self.parent = self.client.create_run(self.experiment, tags=tags).info.run_id
        self._log_params(self.parent, _flat(plan))

    def _on_resumed(self, _: int | None, _data: dict[str, Any]) -> None:
        self.client.update_run(self.parent, status="RUNNING")

    def _find_experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        place = None
        if self.address.startswith("sqlite:///"):
            place = (Path(self.address.removeprefix("sqlite:///")).parent / "mlflow-artifacts").resolve().as_uri()
        return str(self.client.create_experiment(name, artifact_location=place))

    def _on_scored(self, trial: int | None, data: dict[str, Any]) -> None:
        split = data["split"]
        prefix = "control" if trial is None else split
        run = self.parent if trial is None else self._child(trial)
        label = f"{prefix}.{split}" if trial is None else prefix
        self._log_metrics(run, {f"{label}.{name}": value for name, value in data["metrics"].items()}, step=0)

    def _on_proposed(self, trial: int | None, data: dict[str, Any]) -> None:
        configuration = configuration_from_json(dict(data["configuration"]))
        params = {name: value for name, value in data["proposal"].items() if name != "matrices"}
        layers = sorted({one.layer for one in configuration.ranks})
        params |= {
            "parameters": configuration.parameters,
            "learning_rate": configuration.learning_rate,
            "head": configuration.head,
            "lowest_layer": layers[0] if layers else -1,
            "layer_count": len(layers),
            "adapted_layers": ",".join(map(str, layers)),
            "matrices": "".join(kind for kind in MATRICES if any(one.matrix == kind for one in configuration.ranks)),
        }
        params |= {f"adapts_{kind}": int(kind in str(params["matrices"])) for kind in MATRICES}
        if trial is not None:
            self.pending[trial] = params

    def _on_started(self, trial: int | None, _: dict[str, Any]) -> None:
        if trial is None:
            return
        params = self.pending.pop(trial, {})
        earlier = self._find_child(trial)
        if earlier is not None:  # taken up again after an interruption: it is trained from its beginning
            self.client.delete_run(earlier)
            self.children.pop(trial, None)
        run = self._child(trial)
        self._log_params(run, params)
        self._log_metrics(run, {"parameters": float(params.get("parameters", 0))}, step=0)

    def _find_child(self, trial: int) -> str | None:
        condition = f"tags.`qrlora.search` = '{self.search_id}' AND tags.`qrlora.trial` = '{trial}'"
        found = self.client.search_runs([self.experiment], condition)
        return str(found[0].info.run_id) if found else None

    def _child(self, trial: int) -> str:
        if trial in self.children:
            return self.children[trial]
        run = self._find_child(trial)
        if run is None:
            stand_in = " STAND-IN" if self.plan is not None and self.plan.stand_in else ""
            tags = {
                "mlflow.runName": ("head-only control" if trial == HEAD_ONLY else f"trial-{trial:05d}") + stand_in,
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
        self._log_metrics(self._child(trial), values, step=int(data["epoch"]))

    def _on_ended(self, trial: int | None, data: dict[str, Any]) -> None:
        if trial is None:
            return
        run = self._child(trial)
        self.client.set_tag(run, "qrlora.state", data["state"])
        self.client.set_tag(run, "qrlora.reason", str(data["reason"])[:4000])
        self.client.set_terminated(run, _STATUS[data["state"]])

    def _on_closed(self, _: int | None, data: dict[str, Any]) -> None:
        values = {name: float(data[name]) for name in ("hypervolume", "front_size", "trials", "seconds")}
        self._log_metrics(self.parent, values, step=int(data["trials"]))
        for run in self._all_children():
            on_front = int(run.data.tags["qrlora.trial"]) in data["members"]
            self.client.set_tag(run.info.run_id, "qrlora.on_front", str(on_front).lower())
            if run.info.status == "RUNNING":
                self.client.set_tag(run.info.run_id, "qrlora.state", "unfinished")
                self.client.set_terminated(run.info.run_id, "KILLED")
        for name in ("front.json", "front.csv", "front.html", "front.png"):
            if (self.output / name).is_file():
                self.client.log_artifact(self.parent, str(self.output / name))
        self.client.set_tag(self.parent, "qrlora.outcome", data["outcome"])
        self.client.set_tag(self.parent, "qrlora.marks", "; ".join(data.get("marks", ())) or "none")
        self.client.set_terminated(self.parent, "FINISHED" if data["outcome"] == "complete" else "KILLED")

    def _all_children(self) -> Iterator[Any]:
        condition, token = f"tags.`qrlora.search` = '{self.search_id}' AND tags.`qrlora.kind` = 'trial'", None
        while True:
            page = self.client.search_runs([self.experiment], condition, max_results=500, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _log_params(self, run: str, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        items = [Param(name, str(value)[:6000]) for name, value in params.items()]
        for start in range(0, len(items), 100):
            self.client.log_batch(run, params=items[start : start + 100])

    def _log_metrics(self, run: str, values: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(run, metrics=[Metric(name, float(value), now, step) for name, value in values.items()])


def _flat(plan: SearchPlan) -> dict[str, object]:
    result: dict[str, object] = {}

    def walk(path: str, value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{path}.{key}" if path else key, inner)
        else:
            result[path] = value

    walk("", plan.model_dump(mode="json", exclude={"tracking_uri", "address"}))
    return result
