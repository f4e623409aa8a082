"""Ray's own pair in a real Ray Tune run against the same two objects on the virtual clock: are the decisions the same?

    python -m tests.benchmarks.ray_pair [--json] [--seeds 3] [--table steady] [--epochs 100]

stopping_rules and samplers drive Ray's OptunaSearch and ASHAScheduler as objects. Here Ray Tune drives them itself: a
real cluster of this process, its own controller, one actor a trial that reports the recorded curve of the recorded
configuration nearest to what OptunaSearch proposed. One trial at a time, so that both sides know the same at each
proposal. Printed for each seed: trials, epochs and hypervolume of both, and whether every trial is the same
configuration trained for the same epochs.
"""

import argparse
import json
import math
import sys
import tempfile
import warnings
from typing import Any

import optuna
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch
from tests.benchmarks.replayed import Replayed
from tests.benchmarks.rules import RayAsha, Table
from tests.benchmarks.samplers import Unused, optuna_space, settings_for, with_ray
from tests.benchmarks.stopping_rules import CURVES, table_of

from qrlora_search.adapters.ray_engine.cluster import ray_running
from qrlora_search.adapters.simulated.families import FAMILIES
from qrlora_search.describe.settings import Settings
from qrlora_search.values.fronts import hypervolume
from qrlora_search.values.states import FinishedTrial

Course = list[tuple[int, int]]
"""(place of the configuration, epochs trained) of every trial, in order."""


def virtual(table: Table, settings: Settings, seed: int, epochs: int) -> tuple[Course, float]:
    """Return the course and the hypervolume on the virtual clock."""
    picked = with_ray(table, settings, seed)
    run = Replayed(table, RayAsha(table), picked.pick, epochs, picked.tell).run(1)
    return [(run.places[trial], count) for trial, count in sorted(run.trained.items())], run.at(epochs)


class Nearest(Searcher):
    """OptunaSearch, and for each of its proposals the nearest recorded configuration that is not taken."""

    def __init__(self, table: Table, settings: Settings, seed: int) -> None:
        super().__init__(metric=["score", "size"], mode=["max", "min"])
        self.inner = OptunaSearch(optuna_space(settings), metric=["score", "size"], mode=["max", "min"], seed=seed)
        self.settings, self.unused = settings, Unused(table)
        self.places: list[int] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        place = self.unused.take(lambda: self.settings.canonical(self.inner.suggest(trial_id)))
        if place is None:
            return None
        self.places.append(place)
        return {"trial": len(self.places) - 1, "place": place}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self.inner.on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.inner.on_trial_complete(trial_id, result, error)


class Spent(tune.Stopper):
    """Ends the run when the epochs are spent, as the virtual clock does; keeps the scores of every trial."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs
        self.scores: dict[int, list[float]] = {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        self.left -= 1
        self.scores.setdefault(result["trial"], []).append(result["score"])
        return self.stop_all()

    def stop_all(self) -> bool:
        return self.left <= 0


def real(table: Table, settings: Settings, seed: int, epochs: int, folder: str) -> tuple[Course, float]:
    """Return the course and the hypervolume of a real run of Ray Tune; folder: for its own files."""
    scores = [[report.score for report in one.reports] for one in table.curves.curves]
    sizes = [one.configuration.parameters for one in table.curves.curves]

    def replay(config: dict[str, Any]) -> None:
        size = math.log10(1 + sizes[config["place"]])
        for epoch, score in enumerate(scores[config["place"]], start=1):
            tune.report({"epoch": epoch, "score": score, "size": size, "trial": config["trial"]})

    whole = table.curves.epochs
    searcher, spent = Nearest(table, settings, seed), Spent(epochs)
    scheduler = ASHAScheduler(time_attr="epoch", metric="score", mode="max", max_t=whole, reduction_factor=2)
    tuner = tune.Tuner(
        replay,
        tune_config=tune.TuneConfig(
            search_alg=searcher, scheduler=scheduler, num_samples=len(sizes), max_concurrent_trials=1
        ),
        run_config=tune.RunConfig(stop=spent, verbose=0, storage_path=folder),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tuner.fit()
    course = [(searcher.places[trial], len(reports)) for trial, reports in sorted(spent.scores.items())]
    finished = [
        FinishedTrial(trial, reports[-1], sizes[searcher.places[trial]])
        for trial, reports in sorted(spent.scores.items())
        if len(reports) == whole
    ]
    return course, hypervolume(finished, table.control.score, table.curves.encoder_parameters)


def main() -> None:
    """Run both sides for each seed and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=3)
    known = [*(file.stem for file in sorted(CURVES.glob("*.csv"))), *FAMILIES]
    parser.add_argument("--table", default="steady", choices=known)
    parser.add_argument("--epochs", type=int, default=100)
    wanted = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    settings, rows = settings_for(wanted.table), []
    with ray_running(None, 1), tempfile.TemporaryDirectory(prefix="ray-pair-") as folder:
        for seed in range(wanted.seeds):
            table = table_of(wanted.table, seed)
            ours, volume = virtual(table, settings, seed, wanted.epochs)
            theirs, real_volume = real(table, settings, seed, wanted.epochs, folder)
            rows.append({
                "table": wanted.table, "seed": seed, "trials": [len(ours), len(theirs)],
                "epochs": [sum(n for _, n in ours), sum(n for _, n in theirs)],
                "hypervolume": [volume, real_volume], "same": ours == theirs,
            })  # fmt: skip
            sys.stderr.write(f"seed {seed}: {rows[-1]}\n")
    if wanted.json:
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    for row in rows:
        trials, epochs, volumes = row["trials"], row["epochs"], row["hypervolume"]
        sys.stdout.write(
            f"{row['table']}, seed {row['seed']}: virtual {trials[0]} trials, {epochs[0]} epochs, {volumes[0]:.4f}; "
            f"real {trials[1]} trials, {epochs[1]} epochs, {volumes[1]:.4f}; "
            f"{'the same course' if row['same'] else 'NOT the same course'}\n"
        )


if __name__ == "__main__":
    main()
