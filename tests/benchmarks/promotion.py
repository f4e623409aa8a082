"""What it is worth to take stopped trials up again when a search has no new one to start.

    python -m tests.benchmarks.promotion [--json] [--seeds 50] [--tables cola,steady,...] [--configurations 64]
        [--share 0.2] [--first-seed 1000]

A search of so many configurations, the same seeded order for all, four side by side on the virtual clock: the product's
rule alone, with its promotion for at most `share` of the epochs it trained, and, for comparison, a larger search that
is given as many epochs as the second may take. Printed: hypervolume of Finished trials minus that of the rule alone, in
shares of no stopping's, its 95 % interval over seeds, how often it is lower, and the epochs. A recorded table must hold
twice as many configurations for the last line.
"""

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tests.benchmarks.replayed import Replayed, in_order
from tests.benchmarks.rules import NoStopping, Ours, Promoting
from tests.benchmarks.stopping_rules import CURVES, half_width, recorded, table_of

from qrlora_search.adapters.simulated.families import FAMILIES
from qrlora_search.method.machine import cpus_here

NAMES = ("with promotion", "a larger search")


def one_seed(configurations: int, share: float, given: tuple[str, int]) -> dict[str, Any]:
    """Return hypervolumes and epochs of the ways on one table and order."""
    name, seed = given
    table = table_of(name, seed)
    order = np.random.default_rng([seed, 11]).permutation(len(table.curves.curves)).tolist()
    first, whole = order[:configurations], configurations * table.curves.epochs
    base = Replayed(table, NoStopping(table), in_order(first), whole).run(4)
    alone = Replayed(table, Ours(table), in_order(first), whole).run(4)
    with_promotion = Replayed(table, Promoting(table, share), in_order(first), whole).run(4)
    most = max(with_promotion.used, int((1 + share) * alone.used))
    larger = Replayed(table, Ours(table), in_order(order[: 2 * configurations]), most).run(4)
    runs = {"alone": alone, NAMES[0]: with_promotion, NAMES[1]: larger}
    found = {way: {"hypervolume": run.at(most), "epochs": run.used} for way, run in runs.items()}
    return {"table": name, "seed": seed, "base": base.at(whole), **found}


def summarise(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the figures of one table."""
    base, alone = (np.array(values) for values in zip(*((one["base"], one["alone"]["hypervolume"]) for one in rows),
                                                      strict=True))  # fmt: skip
    found = {"alone": {"of_no_stopping": float(alone.mean() / base.mean()),
                       "epochs": float(np.mean([one["alone"]["epochs"] for one in rows]))}}  # fmt: skip
    for way in NAMES:
        gain = (np.array([one[way]["hypervolume"] for one in rows]) - alone) / base.mean()
        found[way] = {
            "gain": float(gain.mean()), "half_width": half_width(gain), "lower": float((gain < -1e-12).mean()),
            "epochs": float(np.mean([one[way]["epochs"] for one in rows])), "seeds": len(rows),
        }  # fmt: skip
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--first-seed", type=int, default=1000)
    parser.add_argument("--configurations", type=int, default=64)
    parser.add_argument("--share", type=float, default=0.2)
    tables = [*(Path(file).stem for file in sorted(CURVES.glob("*.csv"))), *FAMILIES]
    parser.add_argument("--tables", type=lambda text: text.split(","), help="by default all that are large enough")
    wanted = parser.parse_args()
    fewest = 2 * wanted.configurations
    small = {one for one in tables if one not in FAMILIES and len(recorded(one).curves.curves) < fewest}
    wanted.tables = wanted.tables or [one for one in tables if one not in small]
    for one in wanted.tables:
        if one in small or one not in tables:
            parser.error(
                f"--tables: {one!r} is not known or has fewer than {fewest} curves; there are {', '.join(tables)}"
            )
    seeds = range(wanted.first_seed, wanted.first_seed + wanted.seeds)
    jobs = [(name, seed) for name in wanted.tables for seed in seeds]
    work = partial(one_seed, wanted.configurations, wanted.share)
    with ProcessPoolExecutor(cpus_here(), mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(work, jobs))
    found = {name: summarise([one for one in rows if one["table"] == name]) for name in wanted.tables}
    if wanted.json:
        print(json.dumps(found, indent=1))
        return
    for name, figures in found.items():
        stand_in = " (STAND-IN: synthetic curves)" if name in FAMILIES else ""
        alone = figures["alone"]
        print(f"\n{name}{stand_in}, {len(seeds)} seeds, {wanted.configurations} configurations: the rule alone has "
              f"{alone['of_no_stopping']:.1%} of no stopping after {alone['epochs']:.0f} epochs")  # fmt: skip
        for way in NAMES:
            one = figures[way]
            print(f"{way:20s} {one['gain']:+7.2%} ± {one['half_width']:5.2%}, lower in {one['lower']:4.0%}, "
                  f"{one['epochs']:.0f} epochs")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
