"""Samplers under the product's stopping rule, on recorded and synthetic learning curves.

    python -m tests.benchmarks.samplers [--json] [--seeds 50] [--tables cola,steady,...] [--epochs 200]

What a sampler proposes is answered by the nearest recorded configuration that is not used yet (in log size, matrices,
layers and log learning rate), so that nothing is interpolated; the sampler is told that configuration's end. One trial
at a time, so that a proposal knows all ends before it. Optuna in Ray is told that end for its own proposal, as
Ray tells it; our proposers for the recorded configuration's. The first row, which the others are measured against, is
random search without stopping. Ray's OptunaSearch with ASHA on the score is driven as Ray drives it. Optuna's Gaussian
process takes seconds a proposal: 5 seeds are enough for it (--samplers 'gp + ours' --seeds 5).
"""

import math
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from tests.benchmarks.replayed import Replayed
from tests.benchmarks.rules import NoStopping, Ours, RayAsha, Table
from tests.benchmarks.stopping_rules import finish, gather, lines_of, parse, table_of

from qrlora_search.adapters.optuna_search.proposers import OptunaProposer, sampler_of
from qrlora_search.adapters.simulated.families import FAMILIES, synthetic_settings
from qrlora_search.describe.configuration import MATRICES, Configuration
from qrlora_search.describe.proposals import canonical, dimensions
from qrlora_search.describe.protocols import Parameters
from qrlora_search.describe.settings import Settings
from qrlora_search.describe.space import SamplerChoice, SearchSpace
from qrlora_search.describe.stratified import Stratified
from qrlora_search.describe.tried import Proposer, Seen, Tried
from qrlora_search.method.bases import factorise
from qrlora_search.method.families import attention_weights, read_config
from qrlora_search.method.fine_tuning import read_weights
from qrlora_search.method.machine import cpus_here
from qrlora_search.method.sources import find_model
from qrlora_search.values.states import TrialState

RANDOM_FIRST = 10


@cache
def settings_for(name: str) -> Settings:
    """Return the settings of a table's space: a family's, or those of the embedded model."""
    if name in FAMILIES:
        return synthetic_settings()[1]
    folder = Path(find_model("embedded").path)
    config = read_config(folder)
    found, depth = attention_weights(config, read_weights(folder)), int(config["num_hidden_layers"])
    spectra = {place: basis.diagonal_D for place, basis in factorise(found, cpus_here()).items()}
    space = SearchSpace()
    return Settings(dimensions(space, depth), lambda one: canonical(space, one, spectra, depth))


def features(one: Configuration) -> np.ndarray:
    """Return a configuration as numbers between which distances mean something: 2 + 4 + layers, shape (2 + 4 + 12,)."""
    layers = {rank.layer for rank in one.ranks}
    kinds = {rank.matrix for rank in one.ranks}
    return np.array(
        [
            2 * math.log10(one.parameters),
            2 * math.log10(one.learning_rate),
            *(0.5 * (kind in kinds) for kind in MATRICES),
            *(0.4 * (layer in layers) for layer in range(12)),
        ]
    )


class Unused:
    """The recorded configurations that were not taken yet."""

    def __init__(self, table: Table) -> None:
        self.features = np.array([features(one.configuration) for one in table.curves.curves])
        self.free = np.ones(len(self.features), dtype=bool)

    def take(self, propose: Callable[[], Configuration]) -> int | None:
        """Return the place of the one nearest to a proposal, which is asked for then; None when all are taken."""
        if not self.free.any():
            return None
        away = np.abs(self.features - features(propose())).sum(axis=1)
        place = int(np.argmin(np.where(self.free, away, np.inf)))
        self.free[place] = False
        return place


class Picked:
    """Chooses the recorded configuration nearest to a proposal among those that are not used."""

    def __init__(self, table: Table, propose: Callable[[], Configuration], told: Callable[[Tried], None]) -> None:
        self.table, self.propose, self.told = table, propose, told
        self.unused = Unused(table)
        self.number = 0

    def pick(self) -> int | None:
        """Return a place, or None when all are used."""
        return self.unused.take(self.propose)

    def tell(self, place: int, state: TrialState, score: float | None) -> None:
        """Pass on how a configuration ended."""
        one = self.table.curves.curves[place]
        proposal = {"method": one.configuration.method, **one.proposal}  # recorded before there were several
        self.told(Tried(self.number, proposal, state, score, one.configuration.parameters))
        self.number += 1


def with_proposer(table: Table, settings: Settings, proposer: Proposer, seed: int, start: bool) -> Picked:
    """Return a picker by one of the product's proposers, with its start points or without."""
    seen, first, asked = Seen(seed), settings.start_points() if start else [], iter(range(10**9))

    def propose() -> Configuration:
        number = next(asked)
        return settings.canonical(first[number] if number < len(first) else proposer.propose(number, seen))

    return Picked(table, propose, seen.add)


def optuna_space(settings: Settings) -> Callable[[optuna.Trial], None]:
    """Return the space as OptunaSearch takes it: a function of a trial."""

    def space(trial: optuna.Trial) -> None:
        for one in settings.dimensions:
            if not one.applies(trial.params):
                continue
            if one.choices:
                trial.suggest_categorical(one.name, one.choices)
            elif one.integer:
                trial.suggest_int(one.name, int(one.low), int(one.high))
            else:
                trial.suggest_float(one.name, one.low, one.high, log=one.log)

    return space


def with_ray(table: Table, settings: Settings, seed: int) -> Picked:
    """Return a picker by Ray's OptunaSearch, with both objectives, which tells Optuna stopped trials as complete."""
    from ray.tune.search.optuna import OptunaSearch

    searcher = OptunaSearch(optuna_space(settings), metric=["score", "size"], mode=["max", "min"], seed=seed)
    names: list[str] = []

    def propose() -> Configuration:
        names.append(f"trial-{len(names)}")
        given: Parameters = searcher.suggest(names[-1])
        return settings.canonical(given)

    def told(one: Tried) -> None:
        failed = one.state is TrialState.FAILED
        result = {"score": one.score, "size": math.log10(1 + one.size), "training_iteration": 1}
        searcher.on_trial_complete(names[-1], None if failed else result, error=failed)

    return Picked(table, propose, told)


def gp_sampler(seed: int) -> optuna.samplers.BaseSampler:
    """Return Optuna's Gaussian-process sampler."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=RANDOM_FIRST)


def nsga_sampler(seed: int) -> optuna.samplers.BaseSampler:
    """Return Optuna's NSGA-II."""
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=RANDOM_FIRST)


OTHERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {"gp": gp_sampler, "nsga2": nsga_sampler}
"""Optuna's samplers that are compared and not on offer."""


def make_runs() -> dict[str, tuple[Callable[[Table, Settings, int], Picked], Any]]:
    """Return (picker, rule) by name."""

    def optuna_by(name: str, start: bool) -> Callable[[Table, Settings, int], Picked]:
        if name in OTHERS:
            made = OTHERS[name]
        else:
            made = partial(sampler_of, SamplerChoice.model_validate({"name": name, "random_first": RANDOM_FIRST}))
        return lambda table, settings, seed: with_proposer(
            table, settings, OptunaProposer(settings.dimensions, made, seed), seed, start
        )

    def stratified(start: bool) -> Callable[[Table, Settings, int], Picked]:
        return lambda table, settings, seed: with_proposer(
            table, settings, Stratified(settings, RANDOM_FIRST, seed), seed, start
        )

    every: dict[str, tuple[Callable[[Table, Settings, int], Picked], Any]] = {
        "random + no stopping": (optuna_by("random", False), NoStopping),
        "random + ours": (optuna_by("random", False), Ours),
        "tpe + ours": (optuna_by("tpe", False), Ours),
        "nsga2 + ours": (optuna_by("nsga2", False), Ours),
        "stratified + ours": (stratified(False), Ours),
        "stratified, start points + ours": (stratified(True), Ours),
        "tpe, start points + ours": (optuna_by("tpe", True), Ours),
        "gp + ours": (optuna_by("gp", False), Ours),
        "Ray OptunaSearch + ASHA": (with_ray, RayAsha),
        "Ray OptunaSearch + no stopping": (with_ray, NoStopping),
    }
    return every


BASE = "random + no stopping"
KNOWN = list(make_runs())


def one_seed(name: str, seed: int, epochs: int, wanted: list[str]) -> list[dict[str, Any]]:
    """Return a line for every sampler on one table."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table, settings = table_of(name, seed), settings_for(name)
    makers, runs = make_runs(), {}
    for each in [BASE, *wanted]:
        make, rule = makers[each]
        picked = make(table, settings, seed)
        runs[each] = Replayed(table, rule(table), picked.pick, epochs, picked.tell).run(1)
    return lines_of(runs, {"table": name, "seed": seed, "epochs": epochs})


def main() -> None:
    """Run and print."""
    wanted = parse(__doc__ or "", "--samplers", KNOWN, "samplers")
    if wanted.chosen == KNOWN:
        wanted.chosen = [name for name in KNOWN if not name.startswith("gp")]
    names = [BASE, *(name for name in wanted.chosen if name != BASE)]
    finish(wanted, names, gather(wanted, names, one_seed))


if __name__ == "__main__":
    main()
