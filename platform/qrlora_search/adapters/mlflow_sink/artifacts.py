"""What a parent run keeps beside its numbers: the front's files, the members' adapters, the data's name, the picks."""

import json
from pathlib import Path
from typing import Any

from qrlora_search.adapters.mlflow_sink.tracking import log_file, log_folder, storing
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.record.history import History

FILES = ("front.json", "front.csv", "front.html", "front.png", "trials.json", "spectra.json")


def keep_artifact(client: Any, run: str, path: Path) -> None:
    """Logs a file, where there is one."""
    if path.is_file():
        log_file(client, run, path)


def keep_files(client: Any, run: str, output: Path) -> None:
    """Logs the files of a front and, in the folder `front`, the adapters of its members alone."""
    for name in FILES:
        keep_artifact(client, run, output / name)
    if (output / "front").is_dir():
        _drop_others(client, run, {f"front/{one.name}" for one in (output / "front").iterdir()})
        log_folder(client, run, output / "front", "front")


def _drop_others(client: Any, run: str, kept: set[str]) -> None:
    """Removes what an earlier end of the search left in the folder `front`."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with storing():
        stale = [one.path for one in client.list_artifacts(run, "front") if one.path not in kept]
        if stale:
            place = client.get_run(run).info.artifact_uri
            repository = get_artifact_repository(place, tracking_uri=client.tracking_uri)
            for path in stale:
                repository.delete_artifacts(path)  # type: ignore[no-untyped-call]


def keep_dataset(client: Any, run: str, plan: SearchPlan) -> None:
    """Logs the data as an MLflow dataset: name, digest, kind of source and counts; no rows and no path."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    kind = plan.data.kind
    dataset = Dataset(
        name=f"{plan.task} STAND-IN" if plan.stand_in else plan.task,
        digest=(plan.data.fingerprint or "unknown")[:36],
        source_type=kind,
        source=json.dumps({"kind": kind, "name": plan.data.name if kind != "folder" else "a folder"}),
        profile=json.dumps(plan.counts.model_dump(mode="json")),
    )
    client.log_inputs(run, datasets=[DatasetInput(dataset, [InputTag("mlflow.data.context", "search")])])


def front_of(output: Path) -> dict[str, Any]:
    """Returns front.json as plain data; without controls, members and picks where there is none."""
    path = output / "front.json"
    empty: dict[str, Any] = {"controls": [], "members": [], "picks": []}
    return {**empty, **json.loads(path.read_text(encoding="utf-8"))} if path.is_file() else empty


def is_of(view: dict[str, Any], end: dict[str, Any], history: History) -> bool:
    """Returns whether a front is the one that an end of its search wrote. It is a later one's where MLflow was away
    when the search ended and comes back when that was extended: its files come with its own end. history: as far as
    the end.
    """
    value = view.get("hypervolume", {}).get("value", end["hypervolume"])
    return bool(value == end["hypervolume"]) and all(one["trial"] in history.trials for one in view["members"])


def best_of(view: dict[str, Any]) -> dict[str, float]:
    """Returns the best score on a front as it counts, of a member or the control."""
    scores = [float(one["selection"]["score"]) for one in (*view["controls"], *view["members"])]
    return {"front_best_score": max(scores)} if scores else {}


def picks_of(view: dict[str, Any]) -> dict[str, str]:
    """Returns the picks that a front names as tags, `pick.<name>`: which member and why, in words."""
    return {f"pick.{one['name']}": one["words"] for one in view["picks"]}
