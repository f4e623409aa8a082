"""bfloat16 against float32 in the engine: the same trials over seeds, from one warm-up, paired.

    python -m tests.benchmarks.precision [--data DIR] [--task cola] [--rows 2000] [--trial-rows 2000] [--epochs 5]

Warms the embedded model up on `rows` in float32, then trains Wq and Wv of its last two layers on the first `trial-rows`
with each seed (the order of batches) in both precisions and scores the validation set. Prints both scores a seed, the
mean difference with its 95 % interval over seeds (Student's t), the spread between seeds, and how many predictions
differ. Emulated, and slow, where the processor lacks bfloat16.
"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from scipy import stats
from tests.benchmarks.sides import Case, Ours, prepare

from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.describe.space import WarmUp
from qrlora_search.describe.tasks import find_task
from qrlora_search.method.fine_tuning import Share, WarmUpJob, build_classifier, export_state, fine_tune, read_weights
from qrlora_search.method.machine import cpus_here
from qrlora_search.method.training import TrialTrainer
from qrlora_search.method.workbench import build_workbench
from qrlora_search.values.packing import unpack

KINDS = ("float32", "bfloat16")
LEARNING_RATE = 1e-2


def warm_up(ours: Ours, folder: Path) -> dict[str, np.ndarray]:
    """Return the weights after full fine-tuning in float32."""
    materials, task = ours.bench.materials, find_task(ours.case.task)
    job = WarmUpJob(task, materials.config, read_weights(folder), materials.splits["train"], WarmUp(), 0)
    torch.manual_seed(0)
    model = build_classifier(job.config, job.weights, task.outputs)
    fine_tune(model, job, torch.device("cpu"), Share(), lambda epoch, loss: print(f"warm-up {epoch}: {loss:.3f}"))
    return export_state(model)


def one_seed(ours: Ours, epochs: int, seed: int) -> list[tuple[float, np.ndarray]]:
    """Return score and predictions after the last epoch, in both precisions."""
    torch.set_num_threads(1)
    found = []
    for kind in KINDS:
        materials = replace(ours.bench.materials, precision=kind)
        bench = build_workbench(materials, keeper=ours.bench.keeper)
        trial = replace(ours.configuration(), epochs=epochs, learning_rate=LEARNING_RATE)
        trainer = TrialTrainer(bench, TrialOrder(seed, trial, seed))
        report = [trainer.step() for _ in range(epochs)][-1]
        found.append((report.score, unpack(report.packed)))
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="stand-in")
    parser.add_argument("--task", default="cola")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--trial-rows", type=int, default=2000)
    parser.add_argument("--scored-rows", type=int, default=10**6, help="of the validation set")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=10)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="precision-") as cache:
        prepared = prepare(Case(wanted.task, wanted.data, "embedded", wanted.rows, (4, 5), cache))
        ours = Ours(prepared)
        ours.bench.materials = replace(ours.bench.materials, state=warm_up(ours, prepared.folder))
        sizes = {"train": wanted.trial_rows, "selection": wanted.scored_rows}
        few = replace(prepared, frames={name: prepared.frames[name].head(size) for name, size in sizes.items()})
        trained, ours = ours.bench.materials, Ours(few)
        ours.bench.materials = replace(ours.bench.materials, state=trained.state)
        title = f"{wanted.task}{' (STAND-IN data, not GLUE)' if prepared.stand_in else ''}"
        print(
            f"{title}, {wanted.rows} rows of warm-up, {wanted.trial_rows} of training, {wanted.epochs} epochs, "
            f"{ours.configuration().parameters} parameters, n = {len(ours.bench.splits['selection'])}"
        )
        with ProcessPoolExecutor(cpus_here(), mp_context=get_context("fork")) as pool:
            seeds = range(wanted.seeds)
            results = list(pool.map(one_seed, [ours] * wanted.seeds, [wanted.epochs] * wanted.seeds, seeds))
    regression = find_task(wanted.task).regression
    scores = np.array([[score for score, _ in pair] for pair in results])
    for seed, (one, two) in enumerate(scores):
        gap = np.abs(results[seed][0][1] - results[seed][1][1])
        how = (
            f"predictions differ by {gap.mean():.4f}" if regression else f"{np.mean(gap > 0):.1%} of predictions differ"
        )
        print(f"  seed {seed}: {KINDS[0]} {one:.4f}, {KINDS[1]} {two:.4f}, {how}")
    gap = scores[:, 1] - scores[:, 0]
    half = stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / len(gap) ** 0.5
    spread = scores.std(axis=0, ddof=1)
    low, high = gap.mean() - half, gap.mean() + half
    print(
        f"bfloat16 minus float32: {gap.mean():+.4f}, 95 % interval [{low:+.4f}, {high:+.4f}]; "
        f"standard deviation between seeds {spread[0]:.4f} and {spread[1]:.4f}"
    )


if __name__ == "__main__":
    main()
