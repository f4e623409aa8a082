"""Stopping rules at equal training epochs, on recorded and synthetic learning curves.

    python -m tests.benchmarks.stopping_rules [--json] [--seeds 50] [--tables cola,steady,...] [--epochs 200]
        [--first-seed 1000]

Every rule sees the same seeded order of configurations, four side by side on the virtual clock, until `epochs` epochs
are trained. Tables: what tests/benchmarks/curves holds, and the synthetic families (stand-ins). Printed for each rule:
mean hypervolume of Finished trials with its 95 % interval over seeds, relative to no stopping; the share of seeds not
worse than that (Wilson's interval); the median share of the epochs after which the hypervolume of no stopping is
reached (a miss counts as more than all); the mean distance to the front of all complete curves. On a recorded table
seeds shuffle the order of one set of curves; a synthetic family is drawn anew for each. Results are kept a seed a line
in --keep, not made again.
Syne Tune's rules need its package alone: pip install --no-deps 'syne-tune>=0.16,<1'.
"""

import argparse
import hashlib
import importlib.util
import json
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from tests.benchmarks.replayed import Replayed, in_order
from tests.benchmarks.rules import Table, make_rules

import qrlora_search
from qrlora_search.adapters.simulated.curves import load_curves
from qrlora_search.adapters.simulated.families import FAMILIES, make_family
from qrlora_search.method.machine import cpus_here

CURVES = Path(__file__).parent / "curves"
CONCURRENCY = 4
BASE = "no stopping"


@cache
def recorded(name: str) -> Table:
    """Return a recorded table."""
    return Table(load_curves(CURVES, name))


def table_of(name: str, seed: int) -> Table:
    """Return a table by name: a family's is drawn anew for each seed."""
    return Table(make_family(name, seed)) if name in FAMILIES else recorded(name)


def fingerprint(tables: list[str]) -> str:
    """Return a hash of the code and the curves that results depend on."""
    package, here = Path(str(qrlora_search.__file__)).parent, Path(__file__).parent
    parts = ("values", "describe", "adapters/simulated", "adapters/optuna_search")
    files = [file for part in parts for file in sorted((package / part).glob("*.py"))]
    files += [*sorted(here.glob("*.py")), *(one for name in tables for one in sorted(CURVES.glob(f"{name}.*")))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def one_seed(name: str, seed: int, epochs: int, wanted: list[str]) -> list[dict[str, Any]]:
    """Return a line for every rule on one table with one order."""
    table, rules = table_of(name, seed), make_rules()
    order = np.random.default_rng([seed, 11]).permutation(len(table.curves.curves)).tolist()
    runs = {
        rule: Replayed(table, rules[rule](table), in_order(order), epochs).run(CONCURRENCY) for rule in [BASE, *wanted]
    }
    return lines_of(runs, {"table": name, "seed": seed, "epochs": epochs})


def lines_of(runs: dict[str, Replayed], facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a line for every run; the first is what the others are measured against."""
    epochs = facts["epochs"]
    target = next(iter(runs.values())).at(epochs)
    return [
        {
            **facts, "rule": rule, "hypervolume": run.at(epochs), "reached": run.reaches(target),
            "distance": run.distance(), "started": run.started, "finished": len(run.finished), "refused": run.refused,
        }
        for rule, run in runs.items()
    ]  # fmt: skip


def gather(
    wanted: argparse.Namespace, rules: list[str], make: Callable[..., list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the lines of all seeds; those that are kept and came from the same code are not made again."""
    mark, kept = fingerprint(wanted.tables), {}
    seeds = range(wanted.first_seed, wanted.first_seed + wanted.seeds)
    if wanted.keep.is_file():
        for text in wanted.keep.read_text().splitlines():
            line = json.loads(text)
            if line["code"] == mark:
                kept[line["table"], line["seed"], line["rule"], line["epochs"]] = line
    jobs = []
    for name in wanted.tables:
        for seed in seeds:
            missing = [rule for rule in rules if (name, seed, rule, wanted.epochs) not in kept]
            if missing:
                jobs.append((name, seed, wanted.epochs, [rule for rule in missing if rule != rules[0]]))
    wanted.keep.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(cpus_here(), mp_context=get_context("spawn")) as pool, wanted.keep.open("a") as file:
        for done, lines in enumerate(pool.map(make, *zip(*jobs, strict=True)) if jobs else [], 1):
            for line in lines:
                kept[line["table"], line["seed"], line["rule"], line["epochs"]] = line
                file.write(json.dumps({**line, "code": mark}) + "\n")
            file.flush()
            if done % 25 == 0:
                print(f"{done} of {len(jobs)} seeds", file=sys.stderr, flush=True)
    return [
        line for (name, seed, rule, epochs), line in kept.items()
        if name in wanted.tables and seed in seeds and rule in rules and epochs == wanted.epochs
    ]  # fmt: skip


def half_width(values: np.ndarray) -> float:
    """Return half of the 95 % interval of a mean over seeds (Student's t)."""
    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)


def summarise(lines: list[dict[str, Any]], rules: list[str], epochs: int) -> dict[str, dict[str, float]]:
    """Return the figures of every rule on one table."""
    by_rule = {
        rule: sorted((one for one in lines if one["rule"] == rule), key=lambda one: one["seed"]) for rule in rules
    }
    base = np.array([one["hypervolume"] for one in by_rule[rules[0]]])
    best = np.max(
        [[one["hypervolume"] for one in some] for rule, some in by_rule.items() if "oracle" not in rule], axis=0
    )
    found = {}
    for rule, some in by_rule.items():
        volume = np.array([one["hypervolume"] for one in some])
        gain = (volume - base) / base.mean()
        reached = [one["reached"] / epochs if one["reached"] else np.inf for one in some]
        not_worse = volume >= base - 1e-12
        share = stats.binomtest(int(not_worse.sum()), len(volume)).proportion_ci(method="wilson")
        found[rule] = {
            "hypervolume": float(volume.mean()), "half_width": half_width(volume),
            "gain": float(gain.mean()), "gain_half_width": half_width(gain),
            "not_worse": float(not_worse.mean()),
            "not_worse_low": float(share.low), "not_worse_high": float(share.high),
            "wins": float(np.mean(volume >= best - 1e-12)),
            "reached": float(statistics.median(reached)), "distance": float(np.mean([one["distance"] for one in some])),
            "started": float(np.mean([one["started"] for one in some])),
            "finished": float(np.mean([one["finished"] for one in some])),
            "refused": float(np.mean([one["refused"] for one in some])), "seeds": len(some),
        }  # fmt: skip
    return found


def show(name: str, found: dict[str, dict[str, float]]) -> None:
    """Print one table's figures."""
    stand_in = " (STAND-IN: synthetic curves)" if name in FAMILIES else ""
    print(f"\n{name}{stand_in}, {next(iter(found.values()))['seeds']} seeds")
    print(f"{'rule':36s} {'hypervolume':>18s} {'gain':>16s} {'not worse':>18s} {'wins':>5s} {'reached':>7s} "
          f"{'distance':>8s} {'finished/started':>16s}")  # fmt: skip
    for rule, one in found.items():
        reached = f"{one['reached']:.0%}" if np.isfinite(one["reached"]) else "never"
        print(
            f"{rule:36s} {one['hypervolume']:9.4f} ± {one['half_width']:.4f} "
            f"{one['gain']:+8.1%} ± {one['gain_half_width']:4.1%} {one['not_worse']:7.0%} "
            f"[{one['not_worse_low']:3.0%}, {one['not_worse_high']:4.0%}] {one['wins']:5.0%} "
            f"{reached:>7s} {one['distance']:8.3f} {one['finished']:7.0f}/{one['started']:.0f}"
        )


def main() -> None:
    """Run and print."""
    wanted = parse(__doc__ or "", "--rules", list(make_rules()), "stopping_rules")
    rules = [BASE, *(rule for rule in wanted.chosen if rule != BASE)]
    if importlib.util.find_spec("syne_tune") is None:
        print("Syne Tune is not installed: its rules are left out", file=sys.stderr)
        rules = [rule for rule in rules if "Syne Tune" not in rule]
    finish(wanted, rules, gather(wanted, rules, one_seed))


def parse(words: str, option: str, known: list[str], name: str) -> argparse.Namespace:
    """Return the options of a benchmark; `chosen` is the list given with `option`."""
    parser = argparse.ArgumentParser(description=words, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=1000, help="the rule was chosen on seeds below 1000")
    parser.add_argument("--epochs", type=int, default=200)
    tables = [*(file.stem for file in sorted(CURVES.glob("*.csv"))), *FAMILIES]
    parser.add_argument("--tables", type=lambda text: text.split(","), help="by default all that are large enough")
    parser.add_argument(option, dest="chosen", type=lambda text: text.split(";"), default=known)
    parser.add_argument("--keep", type=Path, default=Path(f"runs/benchmarks/{name}.jsonl"))
    wanted = parser.parse_args()
    small = {one for one in tables if one not in FAMILIES and epochs_in(one) <= wanted.epochs}
    wanted.tables = wanted.tables or [one for one in tables if one not in small]
    for given, allowed, what in ((wanted.tables, tables, "--tables"), (wanted.chosen, known, option)):
        for one in given:
            if one not in allowed:
                parser.error(f"{what}: {one!r} is not known; there are {', '.join(allowed)}")
            if one in small:
                parser.error(
                    f"--tables: {one} has {epochs_in(one)} epochs, all of which {wanted.epochs} epochs train: "
                    "no rule can be told from another there"
                )
    return wanted


def epochs_in(name: str) -> int:
    """Return the epochs of all curves of a recorded table."""
    return recorded(name).curves.epochs * len(recorded(name).curves.curves)


def finish(wanted: argparse.Namespace, rules: list[str], lines: list[dict[str, Any]]) -> None:
    """Print the figures of every table."""
    found = {
        name: summarise([one for one in lines if one["table"] == name], rules, wanted.epochs) for name in wanted.tables
    }
    if wanted.json:
        print(json.dumps(found, indent=1))
        return
    for name in wanted.tables:
        show(name, found[name])


if __name__ == "__main__":
    main()
