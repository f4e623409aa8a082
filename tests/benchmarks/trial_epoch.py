"""One trial-epoch: training and scoring once, against transformers' Trainer with a LoRA of PEFT.

    python -m tests.benchmarks.trial_epoch [--json] [--data DIR] [--task cola] [--model embedded] [--repeats 5] [--all]

A: Trainer + LoRA (r = 2) on the same matrices, padded to the batch, float32. B: the same in bfloat16. C: padded to 128
tokens. Each side has the whole machine in the form that suits it, found by a short pilot: one process with all threads,
or a process of one thread a core, each with a trial of its own. Figures are seconds a trial-epoch, medians of the
repeats, in which the sides take turns; a ratio is a baseline's median over ours. Where B or C takes longer than 15 s it
is measured on the first part of the rows and scaled, which the table says. The floor is the time of the products that
cannot be avoided (tests/benchmarks/floor.py) at the speed that the machine reaches on products of this size with all
its cores at work. Making the constant states is in no figure; it is printed beside them. --all adds other layers and
RTE (500 rows) and roberta-base's size (random weights, 200 rows), against A.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.update({"OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"})

from tests.benchmarks.sides import Case, prepare, work

PILOT_SHARE = 0.1
WHOLE = ("ours", "A")
LONGEST_S = 15.0


def say(words: str) -> None:
    """Tell how far it is; the result goes to the standard output."""
    print(words, file=sys.stderr, flush=True)


@dataclass
class Crew:
    """One process a core, kept for the whole run so that start-up is in no figure."""

    size: int
    pipes: list[Any] = field(default_factory=list)
    members: list[Any] = field(default_factory=list)

    def __enter__(self) -> "Crew":
        context = multiprocessing.get_context("spawn")
        for _ in range(self.size):
            here, there = context.Pipe()
            member = context.Process(target=work, args=(there,), daemon=True)
            member.start()
            there.close()
            self.pipes.append(here)
            self.members.append(member)
        return self

    def __exit__(self, *_: object) -> None:
        for pipe, member in zip(self.pipes, self.members, strict=True):
            try:
                pipe.send(None)
            except BrokenPipeError:
                continue
            member.join(timeout=20)

    def all(self, *command: Any) -> list[Any]:
        """Send a command to every member at once and return their answers."""
        for pipe in self.pipes:
            pipe.send(command)
        return [pipe.recv() for pipe in self.pipes]

    def one(self, *command: Any) -> Any:
        """Send a command to the first member alone."""
        self.pipes[0].send(command)
        return self.pipes[0].recv()

    def epoch(self, side: str, form: str, share: float = 1.0) -> tuple[float, float]:
        """Return seconds a trial-epoch of training and of scoring, scaled to the whole rows."""
        if form == "whole":
            trained, scored = self.one("epoch", side, self.size, share)
            return trained / share, scored / share
        answers = self.all("epoch", side, 1, share)
        slowest = max(answers, key=sum)
        return slowest[0] / share / self.size, slowest[1] / share / self.size


@dataclass
class Side:
    """How one side is measured, and what was measured."""

    form: str
    share: float
    training: list[float] = field(default_factory=list)
    scoring: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Return the median of a trial-epoch."""
        return statistics.median(a + b for a, b in zip(self.training, self.scoring, strict=True))


def choose(crew: Crew, name: str) -> Side:
    """Return the faster form of a side, by a short pilot after a shorter one that warms it up."""
    times, pilot = {}, 1.0 if name == "ours" else PILOT_SHARE
    for form in ("whole", "split") if crew.size > 1 else ("whole",):
        crew.epoch(name, form, pilot / 4 if pilot < 1 else pilot)
        times[form] = sum(crew.epoch(name, form, pilot))
    form = min(times, key=lambda one: times[one])
    taken = times[form] * (1 if form == "whole" else crew.size)
    share = 1.0 if name in WHOLE else min(1.0, max(0.05, round(LONGEST_S / taken, 2)))
    say(f"  {name}: {form}, about {times[form]:.1f} s a trial-epoch" + (f", on {share:.0%} of it" if share < 1 else ""))
    return Side(form, share)


def measure(crew: Crew, case: Case, names: list[str], repeats: int) -> dict[str, Any]:
    """Return the measurements of one case."""
    from qrlora_search.method.machine import native_precision

    stand_in = crew.all("case", case)[0]
    states_s = crew.one("states", crew.size)
    crew.all("states", 1)
    sides = {name: choose(crew, name) for name in names}
    for turn in range(repeats):
        for name, side in sides.items():
            trained, scored = crew.epoch(name, side.form, side.share)
            side.training.append(trained)
            side.scoring.append(scored)
        say(f"  turn {turn + 1}/{repeats}: " + ", ".join(f"{name} {one.seconds:.2f} s" for name, one in sides.items()))
    width, inner = crew.one("width")
    rate = sum(crew.all("speed", case.precision, width, inner))
    work_done, padding, parameters = crew.one("count")
    ours = sides["ours"].seconds
    ratios = {f"ratio_{name}": side.seconds / ours for name, side in sides.items() if name != "ours"}
    return {
        **ratios,
        "floor_share": work_done / rate / ours,
        "floor_s": work_done / rate,
        "states_s": states_s,
        "machine_gflops": 2 * rate / 1e9,
        "padding_share": padding,
        "parameters": parameters,
        "stand_in": stand_in,
        "native_precision": native_precision(),
        "case": asdict(case),
        "sides": {name: {**asdict(side), "seconds": side.seconds} for name, side in sides.items()},
    }


def cases(first: Case, everything: bool, data: str) -> list[tuple[str, Case, list[str]]]:
    """Return the cases by name, and the sides of each."""
    found = [("the last 2 layers", first, ["ours", "A", "B", "C"])]
    if not everything:
        return found
    depth = first.layers[-1] + 1
    less = replace(first, rows=500)
    found += [
        ("all layers, from 0", replace(less, layers=tuple(range(depth))), ["ours", "A"]),
        ("the last layer", replace(less, layers=(depth - 1,)), ["ours", "A"]),
    ]
    if data == "stand-in" or (Path(data) / "rte").is_dir():
        found.append(("RTE", replace(less, task="rte"), ["ours", "A"]))
    base = replace(first, rows=200, shape="roberta-base", layers=(10, 11))
    return [*found, ("roberta-base's size, random weights", base, ["ours", "A"])]


def lines(name: str, result: dict[str, Any]) -> list[str]:
    """Return one case as a table in text."""
    case = result["case"]
    title = f"{name}: {case['task']}{' (STAND-IN data, not GLUE)' if result['stand_in'] else ''}, {case['rows']} rows, "
    title += f"Wq and Wv of layers {list(case['layers'])}, {result['parameters']} parameters, {case['precision']}"
    table = [title]
    for side, one in result["sides"].items():
        ratio = f"{result[f'ratio_{side}']:6.1f} times" if side != "ours" else " " * 12
        spread = [a + b for a, b in zip(one["training"], one["scoring"], strict=True)]
        trained, scored = statistics.median(one["training"]), statistics.median(one["scoring"])
        part = f", measured on {one['share']:.0%}" if one["share"] < 1 else ""
        table.append(
            f"  {side:5} {one['seconds']:8.2f} s ({min(spread):.2f} to {max(spread):.2f}) {ratio}  "
            f"training {trained:.2f}, scoring {scored:.2f}; {one['form']}{part}"
        )
    table.append(
        f"  floor {result['floor_s']:8.2f} s at {result['machine_gflops']:.0f} GFLOP/s: "
        f"{result['floor_share']:.0%} of ours; constant states once {result['states_s']:.1f} s; "
        f"padding {result['padding_share']:.1%} of tokens"
    )
    if "B" in result["sides"] and result["native_precision"] != "bfloat16":
        table.append("  no bfloat16 in this processor: ours is float32, and B is slow emulation, no fair rival")
    return table


def arguments() -> argparse.Namespace:
    """Return what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="stand-in", help="a folder with <task>/train.tsv, or stand-in")
    parser.add_argument("--task", default="cola")
    parser.add_argument("--model", default="embedded", help="embedded, or a model's folder")
    parser.add_argument("--rows", type=int, default=2000, help="of train")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sides", default="A,B,C", help="baselines to measure, or nothing")
    parser.add_argument("--all", action="store_true", help="other layers, RTE, roberta-base's size")
    parser.add_argument("--only", default="", help="with --all: cases whose name holds this")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    return parser.parse_args()


def main() -> None:
    """Run the benchmark."""
    wanted = arguments()
    from qrlora_search.method.families import read_config
    from qrlora_search.method.machine import cpus_here, native_precision
    from qrlora_search.method.sources import find_model
    from qrlora_search.values.errors import UserError

    try:
        depth = int(read_config(Path(find_model(wanted.model).path))["num_hidden_layers"])
        if wanted.repeats < 1 or wanted.rows < 64:
            raise UserError(f"--repeats {wanted.repeats} --rows {wanted.rows}: give at least 1 repeat and 64 rows")
        with tempfile.TemporaryDirectory(prefix="trial-epoch-") as cache:
            first = Case(
                wanted.task, wanted.data, wanted.model, wanted.rows, (depth - 2, depth - 1), cache,
                precision=native_precision(),
            )  # fmt: skip
            prepare(first)  # bad input is told here, before anything starts
            results = {}
            with Crew(cpus_here()) as crew:
                for name, case, sides in cases(first, wanted.all, wanted.data):
                    if wanted.only not in name:
                        continue
                    say(name)
                    chosen = [side for side in sides if side == "ours" or side in wanted.sides.split(",")]
                    results[name] = measure(crew, case, chosen, wanted.repeats)
                    say("\n".join(lines(name, results[name])) if wanted.json else "")
    except UserError as error:
        say(f"error: {error}")
        raise SystemExit(2) from None
    if not results:
        say(f"error: --only {wanted.only!r} is in no case's name; leave it out, or give --all, too")
        raise SystemExit(2)
    main_case, *others = results.values()
    if wanted.json:
        print(json.dumps({**main_case, "others": dict(zip(list(results)[1:], others, strict=True))}, indent=1))
    else:
        for name, result in results.items():
            print("\n".join(lines(name, result)))


if __name__ == "__main__":
    main()
