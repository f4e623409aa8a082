"""Scores the control and the front's members on a split, in the driver, through one path for both."""

import json
from collections.abc import Iterable
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
from qrlora_search.values.states import Report


class Weights:
    """The adapters of a search's trials as safetensors files, the newest epoch of each; and checkpoints of those that
    have not ended.
    """

    def __init__(self, output: Path) -> None:
        self.folder = output / "trials"

    def path(self, trial: int) -> Path:
        """Returns the file of a trial; the head-only control is trial -1."""
        return self.folder / (f"trial-{trial:05d}.safetensors" if trial >= 0 else "head-only.safetensors")

    def state_path(self, trial: int) -> Path:
        """Returns the file of a trial's checkpoint."""
        return self.path(trial).with_suffix(".state.safetensors")

    def keep(self, trial: int, report: Report) -> None:
        """Writes a trial's newest weights, then its checkpoint, which has the report in it."""
        self.folder.mkdir(exist_ok=True)
        if report.weights:
            write_atomically(self.path(trial), report.weights)
        if report.checkpoint:
            write_atomically(self.state_path(trial), report.checkpoint)

    def checkpoint(self, trial: int) -> bytes:
        """Returns a trial's checkpoint, or nothing."""
        file = self.state_path(trial)
        return file.read_bytes() if file.is_file() else b""

    def ended(self, trial: int) -> None:
        """Removes the checkpoint of a trial that ended."""
        self.state_path(trial).unlink(missing_ok=True)

    def clean(self, live: Iterable[int]) -> None:
        """Removes what a killed run left: parts of files, and checkpoints of trials that have ended."""
        kept = {self.state_path(trial).name for trial in live}
        for file in self.folder.glob("*"):
            if file.name.startswith(".") or (file.name.endswith(".state.safetensors") and file.name not in kept):
                file.unlink(missing_ok=True)


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
