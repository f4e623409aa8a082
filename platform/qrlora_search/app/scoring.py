"""Scores the control and the front's members on a split, in the driver, through one path for both."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from qrlora_search.app.report_files import write_atomically
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.method.metrics import compute_metrics
from qrlora_search.method.training import predict_with
from qrlora_search.method.workbench import Materials, Workbench, build_workbench
from qrlora_search.record.history import TrialHistory
from qrlora_search.values.packing import pack


class Weights:
    """The adapters of a search's trials as safetensors files, the newest epoch of each."""

    def __init__(self, output: Path) -> None:
        self.folder = output / "trials"

    def path(self, trial: int) -> Path:
        """Returns the file of a trial; the head-only control is trial -1."""
        return self.folder / (f"trial-{trial:05d}.safetensors" if trial >= 0 else "head-only.safetensors")

    def keep(self, trial: int, content: bytes) -> None:
        """Writes a trial's newest weights."""
        self.folder.mkdir(exist_ok=True)
        write_atomically(self.path(trial), content)


class Scorer:
    """Scores on the splits of a search, in float32 whatever the trials were trained in, as exports are scored.

    The workbench is built at the first use.
    """

    def __init__(self, materials: Materials, weights: Weights, seed: int) -> None:
        self.materials, self.weights, self.seed = replace(materials, precision="float32"), weights, seed
        self._bench: Workbench | None = None

    @property
    def bench(self) -> Workbench:
        """Returns the driver's own workbench."""
        if self._bench is None:
            self._bench = build_workbench(self.materials)
        return self._bench

    def score(self, trial: TrialHistory | None, split: str) -> dict[str, object]:
        """Returns the record's `scored` data: metrics, loss and packed predictions. trial None: the control."""
        order = None if trial is None else TrialOrder(trial.number, trial.configuration, self.seed)
        content = b"" if trial is None else self.weights.path(trial.number).read_bytes()
        predictions, loss = predict_with(self.bench, order, content, split)
        task = self.bench.task
        metrics = compute_metrics(task, self.bench.splits[split].labels_N, predictions)
        packed = pack(predictions if task.regression else predictions.astype(np.int64))
        return {"split": split, "metrics": metrics, "loss": loss, "packed": packed}


def copy_adapter(weights: Weights, trial: TrialHistory, folder: Path, facts: dict[str, object]) -> None:
    """Writes a member's adapter into a folder: coefficients (and head) as safetensors, what they belong to as JSON."""
    folder.mkdir(exist_ok=True)
    name = f"trial-{trial.number:05d}"
    write_atomically(folder / f"{name}.safetensors", weights.path(trial.number).read_bytes())
    what = trial.configuration
    content = {"trial": trial.number, "configuration": what.to_json(), "parameters": what.parameters, **facts}
    write_atomically(folder / f"{name}.json", json.dumps(content, indent=1).encode())
