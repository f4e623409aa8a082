"""The stopping rule in real searches: equal epochs of real training, with the rule and without it.

    python -m tests.benchmarks.real_runs --data "$GLUE" [--task cola] [--seeds 5] [--epochs 100] [--train-limit 500]

For every seed two searches are run as a user runs them: `platform.search` over random configurations, the same ones in
the same order and from the same warm-up, once with the rungs of the space and once without. Each is extended until it
has trained `epochs` epochs; what came after them is left out. Printed: hypervolume of Finished trials with the rule and
without, by seed, and the mean gain with its 95 % interval over seeds. Outputs are kept in --keep and not made again.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tests.benchmarks.stopping_rules import half_width

from qrlora_search.app.reading import read_search
from qrlora_search.describe.space import SearchSpace
from qrlora_search.describe.tasks import find_task
from qrlora_search.record.events import Record, record_url
from qrlora_search.values.fronts import hypervolume
from qrlora_search.values.states import FinishedTrial

SPACE = '[sampler]\nname = "random"\nstart_points = false\n[confirm]\nshare = 0\n[derived]\nhalvings = 0\n'
ARMS = {"with the rule": SPACE + "[training]\npromotion = 0\n", "without": SPACE + "[training]\nrungs = []\n"}


def trained(output: Path, epochs: int | None = None) -> tuple[int, float, int]:
    """Return the epochs that a search trained; hypervolume and number of Finished trials after the first `epochs`."""
    history, plan = read_search(output, "OUTPUT")
    record = Record(record_url(output))
    events = record.all()
    record.close()
    control = history.scored[None, "selection"].metrics[find_task(plan.task).objective]
    used, finished = 0, []
    for one in events:
        if one.kind != "report" or one.trial is None or one.trial < 0:
            continue
        used += 1
        last = one.data["epoch"] == plan.space.training.epochs
        if last and (epochs is None or used <= epochs):
            size = history.trials[one.trial].configuration.parameters
            finished.append(FinishedTrial(one.trial, float(str(one.data["score"])), size))
    return used, hypervolume(finished, control, plan.encoder.parameters), len(finished)


def search(wanted: argparse.Namespace, arm: str, seed: int) -> dict[str, Any]:
    """Run a search until it has trained enough epochs and return its figures."""
    folder = wanted.keep / f"{wanted.task}-{wanted.train_limit}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    name = arm.replace(" ", "-")
    space, output = folder / f"{name}.toml", folder / name
    space.write_text(ARMS[arm], encoding="utf-8")
    budget, used = -(-wanted.epochs // SearchSpace().training.epochs), 0
    while used < wanted.epochs:
        command = [sys.executable, "-m", "platform.search", "--task", wanted.task, "--data", str(wanted.data)]
        command += ["--space", str(space), "--output", str(output), "--seed", str(seed), "--budget", str(budget)]
        command += ["--tracking-uri", f"sqlite:///{folder.resolve()}/mlflow.db", "--resume"]
        command += ["--train-limit", str(wanted.train_limit)] if wanted.train_limit else []
        with (folder / f"{name}.log").open("a") as log:
            code = subprocess.run(command, env=os.environ, stdout=log, stderr=log, check=False).returncode
        if code:
            raise SystemExit(f"a search ended with {code}; its log is {folder / name}.log")
        used, _, _ = trained(output)
        budget += max(1, -(-(wanted.epochs - used) // 2))
    used, volume, finished = trained(output, wanted.epochs)
    return {"seed": seed, "arm": arm, "epochs": min(used, wanted.epochs), "hypervolume": volume, "finished": finished}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", default="cola")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--train-limit", type=int)
    parser.add_argument("--keep", type=Path, default=Path("runs/benchmarks/real"))
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    rows = []
    for seed in range(wanted.seeds):
        for arm in ARMS:
            rows.append(search(wanted, arm, seed))
            print(rows[-1], file=sys.stderr, flush=True)
    by_arm = {arm: np.array([one["hypervolume"] for one in rows if one["arm"] == arm]) for arm in ARMS}
    ours, without = by_arm["with the rule"], by_arm["without"]
    gain = (ours - without) / without.mean() if without.mean() > 0 else ours - without
    spread = half_width(gain) if len(gain) > 1 else float("nan")
    if wanted.json:
        print(json.dumps({"rows": rows, "gain": float(gain.mean()), "half_width": spread}))
        return
    for seed, (one, other) in enumerate(zip(ours, without, strict=True)):
        print(f"seed {seed}: {one:.4f} with the rule, {other:.4f} without")
    print(f"gain {gain.mean():+.1%} ± {spread:.1%} over {len(gain)} seeds, {(gain >= 0).mean():.0%} not worse")


if __name__ == "__main__":
    main()
