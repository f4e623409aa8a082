"""The front's members as MLflow models: their code is `served.py`, their data the adapter's own files, without pickle.

The base is an artifact of the parent run, logged once and shared: a member's model names it and holds a few kilobytes.
"""

import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qrlora_search.adapters.mlflow_sink.tracking import log_folder

MODEL, BASE = "model", "base"
_WHOLE = "qrlora.whole."
"""Tag of a run that has an artifact folder whole: an upload may be cut short."""
_SERVED = Path(__file__).with_name("served.py")


def keep_models(client: Any, parent: str, members: Mapping[str, str], output: Path) -> None:
    """Logs the base on the parent run, once, and each member's model as `model` on its own run. What is there whole,
    by a tag that is set behind it, stays; where the search kept no base, there is nothing to log.

    members: runs by adapter, its file under output. output: of the search, with `base` and `front`.
    """
    described = output / BASE / "base.json"
    if not described.is_file():
        return
    weights = str(json.loads(described.read_text(encoding="utf-8"))["weights"])
    if members and not _is_whole(client, parent, BASE):
        log_folder(client, parent, output / BASE, BASE)
        client.set_tag(parent, _WHOLE + BASE, "true")
    for adapter, run in members.items():
        if not _is_whole(client, run, MODEL):
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder) / MODEL
                save_model(place, output / adapter, f"runs:/{parent}/{BASE}", weights)
                log_folder(client, run, place, MODEL)
                client.set_tag(run, _WHOLE + MODEL, "true")


def _is_whole(client: Any, run: str, name: str) -> bool:
    return bool(client.get_run(run).data.tags.get(_WHOLE + name) == "true")


def save_model(place: Path, adapter: Path, base: str, weights: str) -> None:
    """Writes a model that `mlflow.pyfunc.load_model` loads. adapter: safetensors with its JSON beside it. base: where
    the base lies, a folder or an artifact's address. weights: its hash, without which no other base is taken.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of its own classes
        import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    from qrlora_search.describe.tasks import find_task

    facts = json.loads(adapter.with_suffix(".json").read_text(encoding="utf-8"))
    task = find_task(facts["task"])
    texts = Schema([ColSpec(DataType.string, name) for name in task.texts])
    kind = DataType.double if task.regression else DataType.string
    answers = Schema([ColSpec(kind, "prediction"), ColSpec(DataType.double, "probability", required=False)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it asks for an input example, which would be a row of the data
        mlflow.pyfunc.save_model(
            str(place),
            python_model=str(_SERVED),
            artifacts={"adapter": str(adapter), "facts": str(adapter.with_suffix(".json"))},
            model_config={"base": base, "weights": weights},
            signature=ModelSignature(inputs=texts, outputs=answers),
            pip_requirements=["qrlora-search"],
            metadata={"stand_in": facts["stand_in"], "parameters": facts["parameters"], "task": task.name},
        )
