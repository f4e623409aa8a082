"""Searches with scripted trials: the real loop and record, a list for a sampler, scores for training."""

from dataclasses import dataclass, field

import numpy as np

from qrlora_search.adapters.simulated.engine import SimulatedEngine
from qrlora_search.app.loop import SearchLoop
from qrlora_search.describe.plan import DataCounts, EncoderShape, SearchPlan, Source
from qrlora_search.describe.proposals import canonical
from qrlora_search.describe.space import SearchSpace
from qrlora_search.record.events import Record
from qrlora_search.record.history import History
from qrlora_search.values.states import Report, TrialState

SPECTRA = {(layer, matrix): np.ones(100) for layer in range(4) for matrix in "qkvo"}


class ScriptedError(Exception):
    """A trial's own failure."""


def plan(budget=4, max_params=None, **space: object) -> SearchPlan:
    source = Source(kind="folder", asked="x", name="x")
    return SearchPlan(
        task="sst2", seed=0, space=SearchSpace.model_validate(space), model=source, data=source,
        encoder=EncoderShape(family="bert", layers=4, width=16, heads=2, parameters=10_000, head_parameters=300),
        counts=DataCounts(train=10, selection=10, report={"validation": 10}, dropped=0), train_limit=None,
        precision="float32", budget=budget, max_params=max_params, time_limit_s=None, concurrency=1,
        gpus_per_trial=0.0, address=None, tracking_uri="sqlite:///x", output="out",
    )  # fmt: skip


@dataclass
class ListSampler:
    """Proposes tau after tau from a list, for ever from its start again."""

    taus: list[float]
    asked: int = 0
    told: dict[int, tuple[TrialState, float | None, int]] = field(default_factory=dict)

    def ask(self):
        number, self.asked = self.asked, self.asked + 1
        tau = self.taus[number % len(self.taus)]
        return number, {
            "method": "qr-lora", "tau": tau, "learning_rate": 0.01, "matrices": "qv", "layers": "last", "last": 2,
            "batch_size": 32, "head": "frozen",
        }  # fmt: skip

    def tell(self, number, state, score, parameters):
        assert number not in self.told
        self.told[number] = (state, score, parameters)


@dataclass
class Scripted:
    """A trial whose score is fixed; it fails at `fails_at`."""

    score: float
    fails_at: int = 99
    epoch: int = 0

    def step(self) -> Report:
        self.epoch += 1
        if self.epoch == self.fails_at:
            raise ScriptedError("diverged: on purpose")
        return Report(self.epoch, self.score, 0.5, 0.1, "cxx", {"accuracy": self.score}, b"w")


@dataclass
class KeptFiles:
    """Weights and checkpoints of trials, in memory. kept: everything that was ever kept, by trial."""

    kept: dict[int, bytes] = field(default_factory=dict)
    checkpoints: dict[int, bytes] = field(default_factory=dict)

    def keep(self, trial: int, report: Report) -> None:
        if report.weights:
            self.kept[trial] = report.weights
        if report.checkpoint:
            self.checkpoints[trial] = report.checkpoint

    def checkpoint(self, trial: int) -> bytes:
        return self.checkpoints.get(trial, b"")

    def ended(self, trial: int) -> None:
        self.checkpoints.pop(trial, None)

    def stopped(self, trial: int) -> bool:
        return trial in self.checkpoints


def search(tmp_path, the_plan, taus, begin, concurrency=1, history=None, first=0):
    record = Record(f"sqlite:///{tmp_path / 'record.db'}")
    sampler, files = ListSampler(taus, first), KeptFiles()
    loop = SearchLoop(
        the_plan, record, history or History(plan=the_plan), sampler,
        lambda proposal: canonical(the_plan.space, proposal, SPECTRA, 4), files,
    )  # fmt: skip
    SimulatedEngine(begin, (ScriptedError,), concurrency).run(loop)
    return loop, sampler, record, files.kept
