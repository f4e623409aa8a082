"""Scores the control and the front's members on a split, in the driver, through one path for both."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qrlora_search.app.report_files import write_atomically
from qrlora_search.app.views.members import adapter_name
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.method.metrics import compute_metrics
from qrlora_search.method.subsets import keep_largest_of
from qrlora_search.method.training import predict_with
from qrlora_search.method.workbench import Materials, Workbench, build_workbench
from qrlora_search.record.history import TrialHistory
from qrlora_search.values.packing import pack
from qrlora_search.values.states import Report

MOST_STATE = 64 * 2**20
"""The largest checkpoint that is kept of a stopped trial, in bytes: all but those of full fine-tuning are smaller."""


class Weights:
    """The adapters of a search's trials as safetensors files, the newest epoch of each, and of their confirmation; and
    checkpoints of trials that have not ended.
    """

    def __init__(self, output: Path) -> None:
        self.folder = output / "trials"

    def path(self, trial: int, run: int | None = None) -> Path:
        """Returns the file of a trial, or of a further training of it; the head-only control is trial -1."""
        name = f"trial-{trial:05d}" if trial >= 0 else "head-only"
        return self.folder / (f"{name}.safetensors" if run is None else f"{name}-again-{run:04d}.safetensors")

    def state_path(self, trial: int, run: int | None = None) -> Path:
        """Returns the file of a trial's checkpoint, or of a further training's."""
        return self.path(trial, run).with_suffix(".state.safetensors")

    def keep(self, trial: int, report: Report, run: int | None = None) -> None:
        """Writes a trial's newest weights, then its checkpoint, which has the report in it. run: a further training."""
        self.folder.mkdir(exist_ok=True)
        if report.weights:
            write_atomically(self.path(trial, run), report.weights)
        if report.checkpoint:
            write_atomically(self.state_path(trial, run), report.checkpoint)

    def checkpoint(self, trial: int, run: int | None = None) -> bytes:
        """Returns the checkpoint of a trial, or of a further training of it, or nothing."""
        file = self.state_path(trial, run)
        return file.read_bytes() if file.is_file() else b""

    def ended(self, trial: int, run: int | None = None) -> None:
        """Removes the checkpoint of what ended."""
        self.state_path(trial, run).unlink(missing_ok=True)

    def stopped(self, trial: int) -> bool:
        """Removes the checkpoint of a trial that was stopped where it is large; returns whether there is one."""
        file = self.state_path(trial)
        if file.is_file() and file.stat().st_size > MOST_STATE:
            file.unlink()
        return file.is_file()

    def clean(self, live: Iterable[tuple[int, int | None]]) -> None:
        """Removes what a killed run left: parts of files, and checkpoints of what will not go on. live: trials, and of
        a further training its number.
        """
        kept = {self.state_path(trial, run).name for trial, run in live}
        for file in self.folder.glob("*"):
            if file.name.startswith(".") or (file.name.endswith(".state.safetensors") and file.name not in kept):
                file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Wanted:
    """An adapter to be scored. trial: None for a warm-up without adapter. kept: so many of its coefficients, the
    largest; None for all. run: a further training, with its seed; None for the trial's own. warm_up: its number.
    """

    trial: TrialHistory | None
    kept: int | None = None
    run: int | None = None
    seed: int | None = None
    warm_up: int = 0


class Scorer:
    """Scores on the splits of a search, in float32 whatever the trials were trained in, as exports are scored.

    further: materials of further warm-ups. A workbench is built at the first use, and one at a time is kept.
    """

    def __init__(self, materials: Materials, weights: Weights, seed: int, further: Sequence[Materials] = ()) -> None:
        self.grounds = [replace(one, precision="float32") for one in (materials, *further)]
        self.weights, self.seed = weights, seed
        self._benches: dict[int, Workbench] = {}

    @property
    def materials(self) -> Materials:
        """Returns the materials of the search's own warm-up."""
        return self.grounds[0]

    def bench(self, warm_up: int = 0) -> Workbench:
        """Returns the driver's own workbench on a warm-up."""
        if warm_up not in self._benches:
            self._benches.clear()
            self._benches[warm_up] = build_workbench(self.grounds[warm_up])
        return self._benches[warm_up]

    def score(self, wanted: TrialHistory | Wanted | None, split: str) -> dict[str, object]:
        """Returns the record's `scored` data: metrics, loss and packed predictions. None: the search's own warm-up."""
        what = wanted if isinstance(wanted, Wanted) else Wanted(wanted)
        order, content = (None, b"") if what.trial is None else self.adapter(what)
        bench = self.bench(what.warm_up)
        predictions, loss = predict_with(bench, order, content, split)
        task = bench.task
        metrics = compute_metrics(task, bench.splits[split].labels_N, predictions)
        packed = pack(predictions if task.regression else predictions.astype(np.int64))
        return {"split": split, "metrics": metrics, "loss": loss, "packed": packed}

    def adapter(self, wanted: Wanted) -> tuple[TrialOrder, bytes]:
        """Returns an adapter's order and its weights, cut to the coefficients that are kept."""
        one = wanted.trial
        if one is None:
            raise ValueError("a warm-up without adapter has no weights of its own")
        configuration, content = one.configuration, self.weights.path(one.number, wanted.run).read_bytes()
        if wanted.kept is not None:
            configuration, content = keep_largest_of(self.grounds[wanted.warm_up], configuration, content, wanted.kept)
        return TrialOrder(one.number, configuration, self.seed if wanted.seed is None else wanted.seed), content


def copy_adapter(scorer: Scorer, wanted: Wanted, folder: Path, facts: dict[str, object]) -> None:
    """Writes a member's adapter into a folder: coefficients (and head) as safetensors, what they belong to as JSON."""
    folder.mkdir(exist_ok=True)
    order, content = scorer.adapter(wanted)
    name = adapter_name(order.trial, wanted.kept)
    write_atomically(folder / f"{name}.safetensors", content)
    what = order.configuration
    told = {"trial": order.trial, "kept": wanted.kept, "configuration": what.to_json(), "parameters": what.parameters}
    write_atomically(folder / f"{name}.json", json.dumps({**told, **facts}, indent=1).encode())
