"""What derived adapters add to a front, over whole searches that differ in their seed.

    python -m tests.benchmarks.derived --task stsb --data "$GLUE" [--train-limit 1000] [--budget 16] [--seeds 8]
        [--model embedded] [--to runs/derived]

Each search is the product's own command; one that has ended is not run again, one that was cut short goes on. Printed:
hypervolume of the raw front with and without them, by the scores that chose them, and what they add by further seeds,
which chose nothing; means over searches with 95 % intervals by Student's t. A front with no derived member counts as 0.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats


def searched(asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Run a search, or go on with it, and return the hypervolumes of its front view."""
    output = asked.to / f"{asked.task}-{asked.train_limit}-{asked.budget}-seed-{seed}"
    words = ["--task", asked.task, "--data", asked.data, "--train-limit", str(asked.train_limit), "--seed", str(seed),
             "--model", asked.model, "--budget", str(asked.budget), "--output", str(output)]  # fmt: skip
    if not (output / "front.json").is_file():
        resume = ["--resume"] if (output / "record.db").is_file() else []
        command = [sys.executable, "-m", "platform.search", *words, *resume]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr}")
    view = json.loads((output / "front.json").read_text(encoding="utf-8"))
    return {**view["hypervolume"], "members": len(view["members"]), "status": view["confirmation"]["status"],
            "parts": sum(one.get("kept") is not None for one in view["members"])}  # fmt: skip


def mean_of(values: list[float]) -> str:
    """Return a mean with its interval."""
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)) if len(values) > 1 else float("nan")
    return f"{np.mean(values):+.4f} ± {half:.4f}"


def main() -> None:
    """Run the searches one after the other and print what came of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--train-limit", type=int, default=1000)
    parser.add_argument("--budget", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--to", type=Path, default=Path("runs/derived"))
    asked = parser.parse_args()
    raw, further = [], []
    for seed in range(asked.seeds):
        one = searched(asked, seed)
        raw.append(one["raw"] - one["without_derived"])
        further.append(one["derived"][0] if one["derived"] else 0.0)
        members = f"{one['status']}, {one['parts']} of {one['members']} members derived"
        raws = f"{one['without_derived']:.4f} -> {one['raw']:.4f}"
        print(f"seed {seed}: {members}; raw {raws}; by further seeds {further[-1]:+.4f}", flush=True)
    kind = "stand-in, " if asked.data == "stand-in" else ""
    print(f"{asked.task} ({kind}{asked.train_limit} rows), {asked.budget} configurations, {len(raw)} searches: "
          f"raw {mean_of(raw)}, by further seeds {mean_of(further)}")  # fmt: skip


if __name__ == "__main__":
    main()
