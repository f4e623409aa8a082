"""How time and memory grow: with examples, tokens, adapted layers, rank, trials side by side, and number of trials.

    python -m tests.benchmarks.growth [--trials 500] [--repeats 5]

The first tables train one epoch of a model of MiniLM's size with random weights on random tokens, one thread, constant
states at hand, and vary one thing at a time; `x` is time against the first row. The last runs trials of a tiny model
through Ray Tune: seconds a trial beyond its training, and resident memory of the driver and of all workers as trials
go by.
"""

import argparse
import resource
import statistics
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from qrlora_search.describe.configuration import AdaptedMatrix, Configuration
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.describe.space import States
from qrlora_search.method.bases import pivoted_qr
from qrlora_search.method.families import projection_name
from qrlora_search.method.fine_tuning import export_state
from qrlora_search.method.machine import native_precision
from qrlora_search.method.tokens import TokenSet
from qrlora_search.method.training import TrialTrainer
from qrlora_search.method.workbench import Materials, Workbench, build_workbench
from qrlora_search.prepare.states import MappedStates
from qrlora_search.prepare.store import Store
from qrlora_search.values.states import Decision, Report

DEPTH, WIDTH = 6, 384


def texts(n: int, length: int) -> TokenSet:
    """Return n texts of a length, give or take a quarter, of random tokens."""
    random = np.random.default_rng([n, length])
    lengths = random.integers(max(3, 3 * length // 4), 5 * length // 4 + 1, size=n)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = random.integers(5, 1000, size=int(starts[-1])).astype(np.int32)
    labels = random.integers(0, 2, size=n).astype(np.float64)
    return TokenSet(ids, np.zeros(len(ids), dtype=np.int8), starts, labels)


def materials() -> Materials:
    """Return a model of MiniLM's size with random weights and its bases."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    config = {
        "model_type": "bert", "hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": 12,
        "intermediate_size": 4 * WIDTH, "vocab_size": 1000, "max_position_embeddings": 512, "type_vocab_size": 2,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0,
    }  # fmt: skip
    torch.manual_seed(0)
    state = export_state(AutoModelForSequenceClassification.from_config(AutoConfig.for_model(**config, num_labels=2)))
    bases = {
        (layer, matrix): pivoted_qr(state[projection_name("bert", layer, matrix) + ".weight"])
        for layer in range(DEPTH)
        for matrix in ("q", "v")
    }
    return Materials("cola", config, state, bases, {}, native_precision(), "growth")  # type: ignore[arg-type]


def epoch(bench: Workbench, lowest: int, rank: int, repeats: int) -> float:
    """Return the median seconds of one epoch of Wq and Wv from a layer up."""
    ranks = tuple(AdaptedMatrix(layer, matrix, rank) for layer in range(lowest, DEPTH) for matrix in ("q", "v"))
    trainer = TrialTrainer(bench, TrialOrder(0, Configuration(ranks, 1e-3, 32, 99, "frozen", 0.0, 0.0), 0))
    trainer.step()
    times = []
    for _ in range(repeats):
        report = trainer.step()
        times.append(report.seconds - report.states_s)
    return statistics.median(times)


def peak_mb() -> float:
    """Return the peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def tables(repeats: int) -> None:
    """Print the first tables."""
    torch.set_num_threads(1)
    given = materials()
    first = {"examples": 500, "tokens": 16, "lowest": DEPTH - 2, "rank": 32}
    values = {
        "examples": (500, 1000, 2000, 4000),
        "tokens": (8, 16, 32, 64, 128),
        "lowest": (5, 4, 2, 0),
        "rank": (16, 64, 256),
    }
    with tempfile.TemporaryDirectory() as cache:
        for name, series in values.items():
            before = 0.0
            for value in series:
                one = {**first, name: value}
                splits = {"train": texts(one["examples"], one["tokens"]), "selection": texts(200, one["tokens"])}
                keeper = MappedStates(Store(Path(cache)), States())
                bench = build_workbench(replace(given, splits=splits), keeper=keeper)
                seconds = epoch(bench, one["lowest"], one["rank"], repeats)
                before = before or seconds
                label = f"{DEPTH - value} layers" if name == "lowest" else f"{name} {value}"
                print(f"{label:16} {seconds:7.3f} s  x {seconds / before:5.2f}  peak memory {peak_mb():6.0f} MB")


@dataclass
class Counter:
    """A driver that hands out equal trials of one epoch and notes memory as they go by."""

    trials: int
    every: int
    done: int = 0
    given: int = 0
    trained_s: float = 0.0
    memory: list[tuple[int, float, float]] = field(default_factory=list)
    interrupted: bool = False

    def next_trial(self) -> TrialOrder | None:
        """Return the next trial."""
        if self.exhausted:
            return None
        self.given += 1
        ranks = (AdaptedMatrix(1, "q", 4), AdaptedMatrix(2, "v", 1 + self.given % 8))
        return TrialOrder(self.given, Configuration(ranks, 1e-3, 8, 1, "frozen", 0.0, 0.0), self.given)

    @property
    def exhausted(self) -> bool:
        """Return whether all were handed out."""
        return self.given >= self.trials

    def reported(self, trial: int, report: Report) -> Decision:
        """Count, and note memory now and then."""
        import psutil

        self.done += 1
        self.trained_s += report.seconds
        if self.done % self.every == 0:
            driver = psutil.Process()
            workers = [one for one in driver.children(recursive=True) if "TrialActor" in " ".join(one.cmdline())]
            mine = driver.memory_info().rss / 2**20
            self.memory.append((self.done, mine, sum(one.memory_info().rss for one in workers) / 2**20))
        return Decision(stop=True, reason="one epoch")

    def failed(self, trial: int, reason: str) -> None:
        """End the run: no trial here may fail."""
        raise RuntimeError(f"trial {trial} failed: {reason}")

    def lost(self, trial: int, reason: str, *, counted: bool = True) -> None:
        """End the run: no worker here may be lost."""
        raise RuntimeError(f"trial {trial} lost its worker: {reason}")


def through_ray(trials: int) -> None:
    """Print the last table."""
    from qrlora_search.adapters.ray_engine.cluster import ray_running

    with ray_running(None, 2):
        from tests.tiny import tiny_materials

        from qrlora_search.adapters.ray_engine.engine import RayEngine
        from qrlora_search.adapters.ray_engine.resources import TrialResources

        given, _ = tiny_materials("bert", "cola")
        for concurrency in (1, 2):
            spans = {}
            for count in (20, 120):
                driver = Counter(count, count)
                started = time.perf_counter()
                RayEngine(given, States(), concurrency, TrialResources()).run(driver)
                spans[count] = time.perf_counter() - started, driver.trained_s
            wall, trained = (b - a for a, b in zip(spans[20], spans[120], strict=True))
            print(
                f"{concurrency} side by side: a trial takes {wall / 100:.3f} s, "
                f"{wall / 100 * concurrency - trained / 100:.3f} s of its place beyond its training"
            )
        driver = Counter(trials, max(1, trials // 10))
        RayEngine(given, States(), 2, TrialResources()).run(driver)
        for done, mine, workers in driver.memory:
            print(f"after {done:4} trials: driver {mine:6.0f} MB, workers {workers:6.0f} MB resident")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=5)
    wanted = parser.parse_args()
    tables(wanted.repeats)
    through_ray(wanted.trials)


if __name__ == "__main__":
    main()
