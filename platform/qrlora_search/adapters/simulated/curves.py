"""Complete learning curves of many configurations: kept as a small table of numbers, replayed behind an engine.

A table is two files: NAME.csv with a row for each (trial, epoch), and NAME.json with what is true of all of them. There
are no texts in it: the selection split appears as packed labels and packed predictions.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qrlora_search.describe.configuration import Configuration, configuration_from_json
from qrlora_search.describe.protocols import Parameters, TrialOrder
from qrlora_search.values.intervals import Statistic
from qrlora_search.values.packing import unpack
from qrlora_search.values.states import Report

VERSION = 1


class ReplayedFailureError(Exception):
    """A trial that failed when its curve was made."""


@dataclass(frozen=True)
class Curve:
    """One configuration trained to its end, or to where it failed: fails_at is that epoch, 0 for none."""

    configuration: Configuration
    proposal: Parameters
    reports: tuple[Report, ...]
    fails_at: int = 0


@dataclass(frozen=True)
class Curves:
    """A table of curves. facts: what they were made with, for people. encoder_parameters: P of the hypervolume."""

    name: str
    statistic: Statistic
    encoder_parameters: int
    labels: str
    control: Report
    curves: tuple[Curve, ...]
    facts: dict[str, Any]

    @cached_property
    def by_identity(self) -> dict[str, Curve]:
        """Returns the curves by their configuration's identity."""
        return {one.configuration.identity: one for one in self.curves}

    @property
    def labels_N(self) -> NDArray[np.float64]:
        """Returns the labels of the selection split."""
        return unpack(self.labels)

    @property
    def epochs(self) -> int:
        """Returns the number of epochs of a whole curve."""
        return self.curves[0].configuration.epochs

    def begin(self, order: TrialOrder) -> "Replay":
        """Returns the trial of an order, for a `SimulatedEngine`; raises KeyError where its curve was not recorded."""
        return Replay(self.by_identity[order.configuration.identity])


@dataclass
class Replay:
    """A recorded trial, epoch by epoch."""

    curve: Curve
    epoch: int = 0

    def step(self) -> Report:
        """Returns the next epoch's report; raises ReplayedFailureError where the trial failed."""
        self.epoch += 1
        if self.epoch == self.curve.fails_at:
            raise ReplayedFailureError(f"failed in epoch {self.epoch}, as when it was recorded")
        return self.curve.reports[self.epoch - 1]


def save_curves(table: Curves, folder: Path) -> None:
    """Writes a table's two files."""
    head = {
        "version": VERSION,
        "name": table.name,
        "statistic": table.statistic,
        "encoder_parameters": table.encoder_parameters,
        "labels": table.labels,
        "control": {"score": table.control.score, "loss": table.control.loss, "packed": table.control.packed},
        "facts": table.facts,
    }
    rows = [
        {
            "trial": number,
            "configuration": json.dumps(one.configuration.to_json(), separators=(",", ":")) if not place else "",
            "proposal": json.dumps(one.proposal, separators=(",", ":")) if not place else "",
            "epoch": report.epoch,
            "score": round(report.score, 6),
            "loss": round(report.loss, 6),
            "seconds": round(report.seconds, 2),
            "packed": report.packed,
        }
        for number, one in enumerate(table.curves)
        for place, report in enumerate(one.reports)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{table.name}.json").write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")
    pd.DataFrame(rows).to_csv(folder / f"{table.name}.csv", index=False, lineterminator="\n")


def load_curves(folder: Path, name: str) -> Curves:
    """Returns a table that `save_curves` wrote. Raises ValueError for another version."""
    head = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    if head["version"] != VERSION:
        raise ValueError(f"{name}: version {head['version']} of a table of curves; this code reads {VERSION}")
    frame = pd.read_csv(folder / f"{name}.csv", keep_default_na=False)
    curves = tuple(_curve(rows.to_dict("records")) for _, rows in frame.groupby("trial", sort=True))
    control = Report(0, head["control"]["score"], head["control"]["loss"], 0.0, head["control"]["packed"])
    return Curves(
        head["name"], head["statistic"], head["encoder_parameters"], head["labels"], control, curves, head["facts"]
    )


def _curve(rows: Sequence[dict[Any, Any]]) -> Curve:
    configuration = configuration_from_json(json.loads(rows[0]["configuration"]))
    reports = tuple(
        Report(int(row["epoch"]), float(row["score"]), float(row["loss"]), float(row["seconds"]), str(row["packed"]))
        for row in rows
    )
    fails_at = 0 if len(reports) == configuration.epochs else len(reports) + 1
    return Curve(configuration, json.loads(rows[0]["proposal"]), reports, fails_at)
