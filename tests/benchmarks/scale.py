"""One search of 100,000 trials on 1,000 workers, on the virtual clock: what a decision, a proposal and the memory cost.

    python -m tests.benchmarks.scale [--json] [--trials 100000] [--workers 1000] [--plot FILE.png]

The real loop and a real record in a SQLite file; curves are synthetic (a stand-in) and drawn as trials start, with
1,000 answers a report; proposals of the run itself are random. At 100 points of the growth the product's sampler is
asked for a proposal, with all proposals so far among those that it may not repeat. Prints the memory and percentiles of
the time of a decision (taking a report into what is known, and the rule; wall time, and this thread's own, which other
processes do not lengthen), of taking an end into what is known, both in the last tenth of the run, and of being asked.
"""

import argparse
import json
import math
import resource
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from qrlora_search.adapters.optuna_search.sampler import SearchSampler
from qrlora_search.adapters.simulated.engine import SimulatedEngine
from qrlora_search.adapters.simulated.families import DEPTH, ENCODER_PARAMETERS, synthetic_settings
from qrlora_search.app.loop import SearchLoop
from qrlora_search.describe.plan import DataCounts, EncoderShape, SearchPlan, Source
from qrlora_search.describe.protocols import Parameters, TrialOrder
from qrlora_search.describe.space import SamplerChoice, SearchSpace
from qrlora_search.describe.tried import Tried
from qrlora_search.record.events import Record
from qrlora_search.record.history import History
from qrlora_search.values.packing import pack
from qrlora_search.values.states import Decision, Report, TrialState

N = 1000
POINTS = 100
DIFFICULTY = 0.96 * np.random.default_rng(0).normal(size=N)
SPACE, SETTINGS = synthetic_settings()


def plan_of(trials: int, workers: int) -> SearchPlan:
    """Return a plan of that size; nothing in it but the space, the budget and the rungs is read."""
    nowhere = Source(kind="stand-in", asked="stand-in", name="synthetic")
    shape = EncoderShape(
        family="bert", layers=DEPTH, width=384, heads=12, parameters=ENCODER_PARAMETERS, head_parameters=0
    )
    return SearchPlan(
        task="sst2", seed=0, space=SearchSpace.model_validate({"training": {"promotion": 0}}),
        model=nowhere, data=nowhere, encoder=shape,
        counts=DataCounts(train=0, selection=N, report={}, dropped=0), train_limit=None, precision="float32",
        budget=trials, max_params=None, time_limit_s=None, concurrency=workers, gpus_per_trial=0.0, address=None,
        tracking_uri="", output="",
    )  # fmt: skip


@dataclass
class Synthetic:
    """A trial whose quality rises with its size and saturates, with noise of its own."""

    order: TrialOrder
    epoch: int = 0

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.order.trial)
        size = math.log10(1 + self.order.configuration.parameters)
        self.final = 0.72 + 0.12 * (1 - math.exp(-0.7 * size)) * self.random.beta(3, 2)
        self.own = 0.23 * self.random.normal(size=N)

    def step(self) -> Report:
        self.epoch += 1
        quality = 0.72 + (self.final - 0.72) * (1 - math.exp(-self.epoch))
        answers = DIFFICULTY + self.own + 0.12 * self.random.normal(size=N) < norm.ppf(quality)
        score = float(answers.mean())
        seconds = 1.0 + self.random.random()
        return Report(self.epoch, score, 1 - score, seconds, pack(answers.astype(np.int64)), {"accuracy": score})


@dataclass
class AtRandom:
    """Proposes at random, tells the product's sampler all of it, and times that one's own proposal at some points."""

    points: set[int]
    product: SearchSampler = field(default_factory=lambda: SearchSampler(SETTINGS, SamplerChoice(), 0))
    open: dict[int, Parameters] = field(default_factory=dict)
    asked: int = 0
    told: int = 0
    proposals_s: list[float] = field(default_factory=list)

    def ask(self) -> tuple[int, Parameters]:
        proposal = SETTINGS.draw(np.random.default_rng([1, self.asked]))
        self.open[self.asked] = proposal
        self.product.identities.add(SETTINGS.canonical(proposal).identity)
        self.asked += 1
        return self.asked - 1, proposal

    def tell(self, number: int, state: TrialState, score: float | None, parameters: int) -> None:
        self.product.seen.add(Tried(number, self.open.pop(number), state, score, parameters))
        self.told += 1
        if self.told in self.points:
            self.product.asked = self.told
            began = time.perf_counter()
            self.product.ask()
            self.proposals_s.append(time.perf_counter() - began)


class NoFiles:
    """Keeps nothing: synthetic trials have no weights."""

    def keep(self, trial: int, report: Report) -> None:
        pass

    def checkpoint(self, trial: int) -> bytes:
        return b""

    def ended(self, trial: int) -> None:
        pass

    def stopped(self, trial: int) -> bool:
        return False


class Timed(SearchLoop):
    """The product's loop; what its judge does with a report is timed."""

    decisions_s: list[tuple[float, float]]
    ends_s: list[float]

    def reported(self, trial: int, report: Report) -> Decision:
        if not hasattr(self, "decisions_s"):
            self.decisions_s, self.ends_s, judge = [], [], self.judge
            note, decide, finished = judge.note, judge.decide, judge.finished

            def timed_note(number: int, line: Any) -> None:
                self.began = time.perf_counter(), time.thread_time()
                note(number, line)

            def timed_decide(number: int, line: Any) -> Decision:
                decision = decide(number, line)
                wall, own = self.began
                self.decisions_s.append((time.perf_counter() - wall, time.thread_time() - own))
                return decision

            def timed_finished(number: int) -> None:
                began = time.perf_counter()
                finished(number)
                self.ends_s.append(time.perf_counter() - began)

            judge.note, judge.decide = timed_note, timed_decide  # type: ignore[method-assign]
            judge.finished = timed_finished  # type: ignore[method-assign]
        return super().reported(trial, report)


def resident_mb() -> float:
    """Return this process's resident memory in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def run(trials: int, workers: int, folder: Path) -> dict[str, Any]:
    """Run one search and return what was measured."""
    plan = plan_of(trials, workers)
    record = Record(f"sqlite:///{folder / 'record.db'}")
    labels = pack(np.ones(N, dtype=np.int64))
    control = DIFFICULTY + 0.26 * np.random.default_rng(1).normal(size=N) < norm.ppf(0.72)
    history = History()
    for kind, data in (
        ("opened", {"plan": plan.model_dump(mode="json"), "search_id": "scale", "at": ""}),
        ("prepared", {"made": [], "labels": {"selection": labels}}),
        ("scored", {"split": "selection", "metrics": {"accuracy": float(control.mean())}, "loss": 0.3,
                    "packed": pack(control.astype(np.int64))}),
    ):  # fmt: skip
        history.apply(record.append(kind, data))
    sampler = AtRandom({round(trials * point / POINTS) for point in range(1, POINTS + 1)})
    loop = Timed(plan, record, history, sampler, SETTINGS.canonical, NoFiles())
    loop.judge.known.chance = 0.5
    engine = SimulatedEngine(Synthetic, (), workers)
    growth: list[dict[str, float]] = []
    before, began = resident_mb(), time.perf_counter()
    ends = iter([round(trials * part / 20) for part in range(1, 21)])
    following = next(ends)
    tell = sampler.tell

    def watched(number: int, state: TrialState, score: float | None, parameters: int) -> None:
        nonlocal following
        tell(number, state, score, parameters)
        if sampler.told >= following:
            recent = np.array(loop.decisions_s[-5000:] or [(0.0, 0.0)])[:, 0]
            growth.append(
                {"trials": sampler.told, "seconds": time.perf_counter() - began, "resident_mb": resident_mb(),
                 "decision_p50_ms": 1e3 * float(np.median(recent)),
                 "decision_p99_ms": 1e3 * float(np.quantile(recent, 0.99)),
                 "proposal_ms": 1e3 * max(sampler.proposals_s[-5:], default=0.0)}
            )  # fmt: skip
            following = next(ends, trials * 2)

    sampler.tell = watched  # type: ignore[method-assign]
    engine.run(loop)
    for one in history.in_state(TrialState.STOPPED):
        loop.judge.stopped(one)
    taken = time.perf_counter()
    loop.judge.most_promising(trials)
    taking_up_s = time.perf_counter() - taken
    last, own = np.array(loop.decisions_s[-max(1000, len(loop.decisions_s) // 10) :]).T
    return {
        "trials": trials, "workers": workers, "seconds": time.perf_counter() - began,
        "virtual_seconds": engine.now, "reports": len(loop.decisions_s),
        "decision_p50_ms": 1e3 * float(np.median(last)), "decision_p99_ms": 1e3 * float(np.quantile(last, 0.99)),
        "decision_own_p99_ms": 1e3 * float(np.quantile(own, 0.99)), "decision_max_ms": 1e3 * float(last.max()),
        "end_p99_ms": 1e3 * float(np.quantile(loop.ends_s[-max(1000, len(loop.ends_s) // 10) :], 0.99)),
        "taking_up_ms": 1e3 * taking_up_s, "proposal_max_ms": 1e3 * max(sampler.proposals_s),
        "proposal_median_ms": 1e3 * float(np.median(sampler.proposals_s)), "proposals": len(sampler.proposals_s),
        "resident_mb": resident_mb(), "grown_mb": resident_mb() - before,
        "record_mb": (folder / "record.db").stat().st_size / 1e6,
        "states": {str(state): count for state, count in history.ended.items()},
        "not_started": sum(one.refused for one in history.trials.values()), "growth": growth,
    }  # fmt: skip


def plot(found: dict[str, Any], file: Path) -> None:
    """Draw the growth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    axes = figure.subplots(1, 3)
    trials = [one["trials"] for one in found["growth"]]
    for axis, names, title in (
        (axes[0], ("decision_p50_ms", "decision_p99_ms"), "a decision, ms"),
        (axes[1], ("proposal_ms",), "a proposal, ms (worst of 5)"),
        (axes[2], ("resident_mb",), "resident memory, MB"),
    ):
        for name in names:
            axis.plot(trials, [one[name] for one in found["growth"]], marker="o", label=name)
        axis.set(title=title, xlabel="trials on the record", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0].legend()
    figure.suptitle(f"Growth of one search, {found['workers']} workers (STAND-IN: synthetic curves)")
    figure.savefig(file, dpi=120)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--plot", type=Path)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        found = run(wanted.trials, wanted.workers, Path(folder))
    if wanted.plot is not None:
        plot(found, wanted.plot)
    if wanted.json:
        print(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        if name != "growth":
            print(f"{name:20s} {value:.3f}" if isinstance(value, float) else f"{name:20s} {value}")
    for one in found["growth"]:
        print("  ".join(f"{name} {value:.2f}" for name, value in one.items()))


if __name__ == "__main__":
    main()
