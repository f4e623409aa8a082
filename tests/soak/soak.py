"""make soak: 20 drivers and 20 workers killed at seeded moments, within an hour, and the promise checked at the end.

    python -m tests.soak.soak [--drivers 20] [--workers 20] [--minutes 60] [--seed 0]

Searches follow one another until the kills are spent or the time is over; each is killed several times, taken up again
and ended, then checked. One trial at a time, so that its front must be that of the same search without a kill.
"""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

for _folder in ("tests", "tests/integration"):
    sys.path.insert(0, str(Path(__file__).parents[2] / _folder))

import promise  # noqa: E402
from kills import all_ended, start, training  # noqa: E402
from search_runs import make_place  # noqa: E402

BUDGET = 12
KILLS_A_SEARCH = 5


def main() -> int:
    """Kill, resume and check; return 0 where the promise was kept throughout."""
    parser = argparse.ArgumentParser(description="kill drivers and workers, and check the promise")
    for name, value in (("drivers", 20), ("workers", 20), ("minutes", 60), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    chance, until = random.Random(asked.seed), time.monotonic() + 60 * asked.minutes - 240
    done = {"drivers": 0, "workers": 0}
    with tempfile.TemporaryDirectory(prefix="qrlora-soak-") as folder:
        place = make_place(Path(folder), Path(folder) / "cache", "sst2", "bert", rows=1500)
        options = ("--budget", str(BUDGET), "--concurrency", "1")
        result = place.run("--output", "whole", *options, timeout=900)
        if result.returncode:
            print(result.stdout + result.stderr)
            return 1
        whole, search, faults = promise.events(place.folder / "whole"), 0, []
        while (done["drivers"] < asked.drivers or done["workers"] < asked.workers) and time.monotonic() < until:
            search += 1
            name = f"search-{search}"
            run = start(place, name, *options)
            for _ in range(KILLS_A_SEARCH):
                seen = len(promise.events(run.output))
                if not run.events(seen + chance.randint(3, len(whole) // KILLS_A_SEARCH)) or run.over:
                    break
                if done["workers"] < asked.workers and run.until(training) and not run.over and run.kill_worker():
                    done["workers"] += 1
                if done["drivers"] < asked.drivers and not run.over:
                    time.sleep(chance.uniform(0, 0.5))
                    run.kill_driver()
                    done["drivers"] += 1
                    run = start(place, name, *options, "--resume")
            code = run.process.wait(900)
            found = [f"exit code {code}"] if code else []
            found += promise.broken(run.output, place.folder / "runs" / "mlflow.db", BUDGET)
            if promise.ends(promise.events(run.output)) != promise.ends(whole):
                found.append("other ends than without a kill")
            if promise.front(run.output) != promise.front(place.folder / "whole"):
                found.append("another front than without a kill")
            faults += [f"{name}: {one}" for one in found]
            print(
                f"{name}: {done['drivers']} drivers, {done['workers']} workers killed so far; {found or 'kept'}",
                flush=True,
            )
        all_ended()
    short = [f"only {done[kind]} {kind} killed" for kind in done if done[kind] < getattr(asked, kind)]
    print("\n".join([*faults, *short]) or "the promise was kept")
    return 1 if faults or short else 0


if __name__ == "__main__":
    sys.exit(main())
