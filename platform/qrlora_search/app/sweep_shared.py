"""Places that a sweep names and that must be there for every node, and after the job that runs it."""

from pathlib import Path

from qrlora_search.describe.sweep import SweepSpec
from qrlora_search.values.errors import UserError

VOLUME = "/runs"
"""Where the manifests mount the volume that outlives a cluster."""


def check_shared(spec: SweepSpec) -> None:
    """Raises UserError for a place that is not the same on every node of a cluster or goes with the job's folder, and
    for no cluster.
    """
    if spec.resources.address is None:
        raise UserError(
            'resources.address: without it a job searches beside the cluster, on one machine; write address = "auto"'
        )
    paths = [("storage.output", spec.storage.output)]
    paths += [("searches.spaces", one) for one in spec.searches.spaces if one != "default"]
    paths += [(f"data.{task}", one) for task, one in spec.data.items() if one not in {"auto", "hub", "stand-in"}]
    paths += [("searches.models", one) for one in spec.searches.models if one.startswith(".") or Path(one).is_dir()]
    for name, value in paths:
        if not value.startswith(("/", "$", "~")):
            raise UserError(
                f"{name} = {value!r}: a job runs in a folder of its own, which is removed; "
                "name an absolute path that the cluster's nodes share"
            )
    _check_tracking_stays(spec.storage.tracking_uri)


def _check_tracking_stays(address: str | None) -> None:
    """Raises UserError for an MLflow whose database would lie in the job's folder, as it does where none is named."""
    remedy = "name a server, http://HOST:PORT, or a file on an absolute path, sqlite:////FOLDER/mlflow.db"
    if address is None:
        raise UserError(
            f"storage.tracking_uri: without it MLflow would go into the job's own folder, which is removed; {remedy}"
        )
    if address.startswith("sqlite:") and not address.startswith(("sqlite:////", "sqlite:///$")):
        raise UserError(
            f"storage.tracking_uri = {address!r}: a job runs in a folder of its own, which is removed; {remedy}"
        )


def check_on_volume(spec: SweepSpec) -> None:
    """Raises UserError for a place that goes with the cluster that a manifest brings up: one beside its volume."""
    check_shared(spec)
    files = [("storage.output", spec.storage.output)]
    if (spec.storage.tracking_uri or "").startswith("sqlite:"):
        files.append(("storage.tracking_uri", (spec.storage.tracking_uri or "").removeprefix("sqlite:///")))
    for name, value in files:
        if not value.startswith((f"{VOLUME}/", "$")):
            raise UserError(
                f"{name} = {value!r} goes with the cluster, which is taken away: name a folder below {VOLUME}, "
                "where the manifests mount the volume qrlora-runs"
            )
