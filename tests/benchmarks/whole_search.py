"""A whole search, split into where its core time goes, and against the same search without the engine.

    python -m tests.benchmarks.whole_search [--data DIR] [--task cola] [--budget 64] [--no-rival]

Runs `python -m platform.search` with an empty cache, as a user would, and reads its record. Core time is wall time by
the cores of this machine; what is in no other part is idle. The rival is the same proposals trained by transformers'
Trainer with PEFT (r = 2; bfloat16 where the processor has it, else float32), every epoch of every one, since Ray Tune's
OptunaSearch cannot stop trials of several objectives: extrapolated from trial-epochs measured here for lowest layers 0,
middle and last on a part of the rows, without its warm-up and its own overhead.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.benchmarks.sides import Case
from tests.benchmarks.trial_epoch import Crew, choose, say

from qrlora_search.method.machine import cpus_here, native_precision
from qrlora_search.record.events import Record, record_url
from qrlora_search.record.history import History, history_of


def run(wanted: argparse.Namespace, folder: Path) -> tuple[float, History, dict[str, float]]:
    """Run the command and return its wall time, its history, and its seconds by step."""
    command = [sys.executable, "-m", "platform.search", "--task", wanted.task, "--budget", str(wanted.budget)]
    command += ["--data", str(Path(wanted.data).resolve()) if Path(wanted.data).is_dir() else wanted.data]
    command += ["--model", wanted.model, "--output", str(folder / "out")]
    command += ["--tracking-uri", f"sqlite:///{folder}/mlflow.db"]
    started = time.perf_counter()
    with (folder / "log").open("w") as log:
        code = subprocess.run(
            command, env={**os.environ, "QRLORA_CACHE": str(folder / "cache")}, stdout=log, stderr=log, check=False
        ).returncode
    wall = time.perf_counter() - started
    if code:
        raise SystemExit(f"the search ended with {code}:\n{(folder / 'log').read_text()[-3000:]}")
    record = Record(record_url(folder / "out"))
    events = record.all()
    record.close()
    return wall, history_of(events), dict(events[-1].data["spent"])  # type: ignore[call-overload]


def split(wall: float, history: History, spent: dict[str, float], cores: int) -> dict[str, float]:
    """Return core seconds by part; they add up to wall time times cores."""
    reports = [line for trial in history.trials.values() for line in trial.reports]
    threads = max(1, cores // (history.plan.concurrency or 1)) if history.plan else 1
    states, scoring = (threads * sum(getattr(line, name) for line in reports) for name in ("states_s", "scoring_s"))
    training = threads * sum(line.seconds for line in reports) - states - scoring
    trials, warm_up = cores * spent["trials"], cores * spent["warm-up"]
    made = {
        "warm-up": warm_up,
        "tokenising": cores * spent["tokenising"],
        "factorisation": cores * spent["factorising"],
        "constant states": states,
        "training of trials": training,
        "scoring of trials": scoring,
        "tracking and display": spent["sinks"],
        "idle among trials": trials - states - training - scoring - spent["sinks"],
        "scoring of the front, files": cores * spent["ending"],
    }
    return {"start-up and end": cores * wall - sum(made.values()), **made}


def rival(wanted: argparse.Namespace, history: History) -> tuple[float, str]:
    """Return wall seconds of the same search with Trainer and PEFT, and how they were found."""
    plan, side = history.plan, "B" if native_precision() == "bfloat16" else "A"
    if plan is None:
        raise ValueError("a record without a plan")
    depth = plan.encoder.layers
    with tempfile.TemporaryDirectory() as cache, Crew(cpus_here()) as crew:
        rows = max(300, plan.counts.train // 10)
        case = Case(wanted.task, wanted.data, wanted.model, rows, (depth - 1,), cache, precision=plan.precision)
        seconds = {}
        for lowest in (0, depth // 2, depth - 1):
            crew.all("case", replace(case, layers=tuple(range(lowest, depth))))
            form = choose(crew, side).form
            times = [crew.epoch(side, form) for _ in range(3)]
            trained, scored = (statistics.median(one[part] for one in times) for part in (0, 1))
            report = sum(plan.counts.report.values())
            seconds[lowest] = trained * plan.counts.train / rows + scored * plan.counts.selection / report
    trials = [one.configuration for one in history.searched]
    places = sorted(seconds)

    def of(layer: int) -> float:
        below, above = max(one for one in places if one <= layer), min(one for one in places if one >= layer)
        share = 0.0 if above == below else (layer - below) / (above - below)
        return seconds[below] * (1 - share) + seconds[above] * share

    total = sum(of(one.lowest_layer or 0) * one.epochs for one in trials)
    return (
        total,
        f"side {side}, a trial-epoch of {', '.join(f'{seconds[one]:.1f} s from layer {one}' for one in places)}",
    )


def main() -> None:
    """Print the table, and as the last line one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="stand-in")
    parser.add_argument("--task", default="cola")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--budget", type=int, default=64)
    parser.add_argument("--no-rival", action="store_true")
    wanted = parser.parse_args()
    cores = cpus_here()
    with tempfile.TemporaryDirectory(prefix="whole-search-") as folder:
        say("searching")
        wall, history, spent = run(wanted, Path(folder))
        parts = split(wall, history, spent, cores)
    if history.plan is None:
        raise ValueError("a record without a plan")
    print(f"{history.plan.title}, budget {wanted.budget}, {history.plan.precision}: {wall:.0f} s on {cores} cores")
    for name, seconds in parts.items():
        print(f"  {name:28} {seconds:8.1f} core seconds {seconds / (wall * cores):6.1%}")
    useful = sum(parts[name] for name in ("warm-up", "training of trials", "scoring of trials")) / (wall * cores)
    print(f"  in training (warm-up included) and scoring: {useful:.1%} of core time")
    result: dict[str, Any] = {"wall_s": wall, "cores": cores, "parts": parts, "useful_share": useful}
    if not wanted.no_rival:
        seconds, how = rival(wanted, history)
        print(f"  the same with Trainer + PEFT, extrapolated: {seconds:.0f} s, {seconds / wall:.1f} times ({how})")
        result |= {"rival_s": seconds, "ratio": seconds / wall}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
