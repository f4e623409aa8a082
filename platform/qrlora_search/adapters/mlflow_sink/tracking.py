"""A tracking store: the client, its errors told apart, and the few things that the sink and its readers do there."""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qrlora_search.values.errors import SinkError
from qrlora_search.values.secrets import first_line

MOST_TAG = 4000
"""Characters of a tag that is kept: below every store's limit."""


_CLIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the pump tries again, and looks first whether it was stored after all
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # else two lines for each trial that ends
}


@contextmanager
def told_apart(address: str) -> Iterator[None]:
    """Turns what MLflow raises where its store is away into a SinkError; anything else is a fault of the program.

    address: the store's, whose password is taken out of the message.
    """
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise SinkError(first_line(error, address)) from None


@contextmanager
def storing() -> Iterator[None]:
    """Turns whatever an artifact store raises into a SinkError: object stores that MLflow's client reaches by itself
    have errors of their own, and their libraries may lack.
    """
    try:
        yield
    except Exception as error:  # noqa: BLE001 - each store's library has its own, and none is told apart
        raise SinkError(f"MLflow's artifact store: {type(error).__name__}: {first_line(error)}") from None


def log_file(client: Any, run: str, path: Path) -> None:
    """Logs a file as an artifact."""
    with storing():
        client.log_artifact(run, str(path))


def log_folder(client: Any, run: str, folder: Path, name: str) -> None:
    """Logs what is in a folder as artifacts below a name."""
    with storing():
        client.log_artifacts(run, str(folder), name)


def connect(address: str) -> Any:
    """Returns an MLflow client, with the libraries' own messages kept to errors."""
    for name, value in _CLIENT.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow.tracking import MlflowClient

    return MlflowClient(address)


def find_experiment(client: Any, address: str, name: str) -> str:
    """Returns the id of an experiment, made where there is none; artifacts of a local database lie beside it."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    place = None
    if address.startswith("sqlite:///"):
        place = (Path(address.removeprefix("sqlite:///")).parent / "mlflow-artifacts").resolve().as_uri()
    return str(client.create_experiment(name, artifact_location=place))


def all_runs(client: Any, experiments: list[str], condition: str) -> Iterator[Any]:
    """Yields every run that a filter finds, page by page."""
    token = None
    while True:
        page = client.search_runs(experiments, condition, max_results=500, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def log_params(client: Any, run: str, params: dict[str, Any]) -> None:
    """Logs parameters in batches of a hundred."""
    from mlflow.entities import Param

    items = [Param(name, str(value)[:6000]) for name, value in params.items()]
    for start in range(0, len(items), 100):
        client.log_batch(run, params=items[start : start + 100])


def log_values(client: Any, run: str, metrics: dict[str, float], step: int, tags: dict[str, str] | None = None) -> None:
    """Logs metrics at a step, and tags, in one request."""
    from mlflow.entities import Metric, RunTag

    now = int(time.time() * 1000)
    client.log_batch(
        run,
        metrics=[Metric(name, float(value), now, step) for name, value in metrics.items()],
        tags=[RunTag(name, value[:MOST_TAG]) for name, value in (tags or {}).items()],
    )


def flat(content: dict[str, object]) -> dict[str, object]:
    """Returns nested plain data with dotted names."""
    result: dict[str, object] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            result |= {f"{key}.{name}": inner for name, inner in flat(value).items()}
        else:
            result[key] = value
    return result
