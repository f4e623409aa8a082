"""MLflow with many trials: the sink's time for each, and how long its pages and the explorer take in a real browser.

    python -m tests.benchmarks.mlflow_pages --trials 1000 --trial-seconds 6

The record is generated (scores drawn at random, no training): nothing here says how good a search is. The share is the
sink's time, of the processor and of the clock, over trials times --trial-seconds, the time of a trial of a real search.
A page counts as there when its charts hold data, or its text is drawn.
"""

import argparse
import json
import logging
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "integration"), str(ROOT / "tests" / "unit")]

from browser.pages import CHARTS, Seen, browser_page, served  # noqa: E402
from qrlora_search.adapters.mlflow_sink.sink import MlflowSink  # noqa: E402
from qrlora_search.describe.protocols import Event  # noqa: E402
from qrlora_search.values.packing import pack  # noqa: E402
from scripted import plan  # noqa: E402
from search_runs import Place, free_port  # noqa: E402

EPOCHS, ROWS = 10, 1000
FRONT = """trials => [...document.querySelectorAll('.js-plotly-plot')].some(one => one.querySelector('.main-svg')
    && (one.data || []).reduce((points, trace) => points + (trace.x || []).length, 0) >= trials)"""
"""Whether the explorer has drawn a front with all trials."""


def record(trials: int) -> Iterator[Event]:
    """Yield the events of a search whose scores are drawn at random."""
    random, labels = np.random.default_rng(0), np.random.default_rng(1).integers(0, 2, ROWS)
    at = 0

    def event(trial: int | None, kind: str, data: dict[str, object]) -> Event:
        nonlocal at
        at += 1
        return Event(at, trial, kind, data)

    plain = plan(trials).model_dump(mode="json")
    yield event(None, "opened", {"plan": plain, "search_id": "benchmark", "at": "now"})
    yield event(None, "prepared", {"made": [], "labels": {"selection": pack(labels)}})
    packed = pack(random.integers(0, 2, ROWS))
    yield event(None, "scored", {"split": "selection", "metrics": {"accuracy": 0.6}, "packed": packed, "loss": 0.5})
    for number in range(trials):
        ranks = [[3, "q", int(size)] for size in 10 ** random.uniform(0.5, 3.5, 1)]
        what = {
            "ranks": ranks, "learning_rate": 0.01, "batch_size": 32, "epochs": EPOCHS, "head": "frozen",
            "head_learning_rate": 0.0, "dropout": 0.0,
        }  # fmt: skip
        proposal = {"tau": float(random.uniform(0.1, 0.9)), "learning_rate": 0.01}
        yield event(number, "proposed", {"proposal": proposal, "configuration": what})
        yield event(number, "started", {})
        for epoch in range(1, EPOCHS + 1):
            score = float(0.6 + 0.1 * random.normal())
            report = {"epoch": epoch, "score": score, "loss": 0.5, "seconds": 0.5, "metrics": {"accuracy": score}}
            yield event(number, "report", {**report, "packed": packed})
            yield event(number, "decision", {"stop": False, "reason": "no known trial is smaller or scores higher"})
        yield event(number, "ended", {"state": "finished", "reason": f"all {EPOCHS} epochs"})


def logged(address: str, output: Path, trials: int, trial_s: float) -> str:
    """Feed the record to a sink, print what it took, and return the link of the search."""
    sink, busy, began = MlflowSink(address, output), 0.0, 0.0
    for event in record(trials):
        sink.take(event)
        if event.kind == "opened":  # a new database is made once for all searches
            busy, began = time.thread_time(), time.monotonic()
    busy, clock = time.thread_time() - busy, time.monotonic() - began
    end = {"outcome": "complete", "hypervolume": 0.1, "front_size": 0, "trials": trials, "seconds": 1.0, "members": []}
    sink.take(Event(sink.seen + 1, None, "closed", end))
    whole = trials * trial_s
    print(f"logging {trials} trials of {EPOCHS} epochs: {busy:.1f} s of a processor, {clock:.1f} s by the clock")
    print(f"share of {whole:.0f} s of trials: {busy / whole:.1%} of a processor, {clock / whole:.1%} by the clock")
    sink.client._tracking_client.store.engine.dispose()
    return sink.link


def pages(place: Place, address: str, link: str) -> None:
    """Print how long each page takes, the first time and again."""
    port = free_port()
    with served(place, ["ui", "--port", str(port), "--tracking-uri", address], f"http://127.0.0.1:{port}") as ui:
        path, seen = link[link.index("#") :], Seen()
        experiment = path.split("/")[2]
        with browser_page(seen) as page:
            for turn in ("first", "again"):
                for name, address_of, there in (
                    ("charts of the search", f"{ui}/{path}", CHARTS),
                    ("table of runs", f"{ui}/#/experiments/{experiment}/runs", "() => document.querySelectorAll("
                     "'[role=row]').length > 5"),
                ):  # fmt: skip
                    page.goto("about:blank")
                    began = time.monotonic()
                    page.goto(address_of)
                    page.wait_for_function(there)
                    print(f"{name}, {turn}: {time.monotonic() - began:.2f} s")
        print("errors:", json.dumps(seen.errors[:3]))


def explorer(place: Place, address: str, trials: int) -> None:
    """Print how long the explorer takes until its front is drawn, the first time and again."""
    port, seen = free_port(), Seen()
    command = ["explorer", "--port", str(port), "--tracking-uri", address]
    with served(place, command, f"http://127.0.0.1:{port}") as ready, browser_page(seen) as page:
        for turn in ("first", "again"):
            page.goto("about:blank")
            began = time.monotonic()
            page.goto(ready)
            page.wait_for_function(FRONT, arg=trials)
            print(f"explorer, {turn}: {time.monotonic() - began:.2f} s")
    print("errors:", json.dumps(seen.errors[:3]))


def main() -> None:
    """Run it all in a folder that is removed in the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--trial-seconds", type=float, default=6.0)
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        address = f"sqlite:///{folder}/mlflow.db"
        link = logged(address, folder, given.trials, given.trial_seconds)
        place = Place(folder, folder / "cache", "sst2")
        pages(place, address, link)
        explorer(place, address, given.trials)


if __name__ == "__main__":
    main()
