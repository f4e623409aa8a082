"""Optuna proposes for both objectives at once, and is told how every proposal ended.

A sampler restarted with the same seed would propose differently, so each proposal gets a sampler of its own, seeded by
(seed, number). Stopped trials are told PRUNED without values: a multi-objective TPE ranks them last, and fails once a
pruned trial carries intermediate values. The study is derived from the record and made again from it on resume.
"""

import hashlib
import warnings
from collections.abc import Iterable

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, create_trial

from qrlora_search.describe.proposals import Dimension
from qrlora_search.describe.protocols import Parameters
from qrlora_search.describe.space import SamplerChoice
from qrlora_search.values.objectives import size_axis
from qrlora_search.values.states import TrialState

METRICS = ["score", "log10(1 + parameters)"]
_STATES = {
    TrialState.FINISHED: optuna.trial.TrialState.COMPLETE,
    TrialState.STOPPED: optuna.trial.TrialState.PRUNED,
    TrialState.FAILED: optuna.trial.TrialState.FAIL,
}


def distribution(dimension: Dimension) -> BaseDistribution:
    """Returns Optuna's form of a parameter."""
    if dimension.choices:
        return CategoricalDistribution(dimension.choices)
    if dimension.integer:
        return IntDistribution(int(dimension.low), int(dimension.high))
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


class OptunaSampler:
    """A `Sampler` over an Optuna study in the record's database."""

    def __init__(self, url: str, name: str, dimensions: list[Dimension], choice: SamplerChoice, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.url, self.name, self.choice, self.seed = url, name, choice, seed
        self.dimensions = dimensions
        self.storage = optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
        self.study = self._open()

    def _open(self) -> optuna.Study:
        study = optuna.create_study(
            study_name=self.name, storage=self.storage, directions=["maximize", "minimize"], load_if_exists=True
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(METRICS)
        return study

    def rebuild(self, ended: Iterable[tuple[Parameters, TrialState | None, float | None, int]]) -> None:
        """Makes the study again from what the record says of every proposal, in order.

        Each row: parameters, state (None: still to be trained), score, adapter parameters.
        """
        optuna.delete_study(study_name=self.name, storage=self.storage)
        self.study = self._open()
        self.study.add_trials([self._frozen(*row) for row in ended])

    def _frozen(self, given: Parameters, state: TrialState | None, score: float | None, count: int) -> FrozenTrial:
        active = {one.name: distribution(one) for one in self.dimensions if one.name in given}
        complete = state is TrialState.FINISHED and score is not None
        return create_trial(
            state=optuna.trial.TrialState.RUNNING if state is None else _STATES[state],
            params=dict(given),
            distributions=active,
            values=[score, float(size_axis(count))] if complete and score is not None else None,
        )

    def ask(self) -> tuple[int, Parameters]:
        """Returns the number of a new proposal and its parameters."""
        number = len(self.study.get_trials(deepcopy=False))
        self.study.sampler = self._seeded(number)
        trial = self.study.ask()
        parameters: Parameters = {}
        for one in self.dimensions:
            if one.when is None or parameters[one.when[0]] == one.when[1]:
                parameters[one.name] = _suggest(trial, one)
        return trial.number, parameters

    def tell(self, number: int, state: TrialState, score: float | None, parameters: int) -> None:
        """Takes the end of a proposal: Finished is told COMPLETE, Stopped PRUNED, Failed FAIL. Told once."""
        if self.study.get_trials(deepcopy=False)[number].state.is_finished():
            return
        if state is TrialState.FINISHED and score is not None:
            self.study.tell(number, [score, float(size_axis(parameters))])
        else:
            self.study.tell(number, state=_STATES[state])

    def close(self) -> None:
        """Gives the database back; the sampler is of no use after that."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def running(self) -> list[int]:
        """Returns the numbers of proposals that Optuna holds for running."""
        states = (optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.WAITING)
        return [trial.number for trial in self.study.get_trials(deepcopy=False, states=states)]

    def _seeded(self, number: int) -> BaseSampler:
        text = f"{self.seed}/{number}".encode()
        seed = int.from_bytes(hashlib.sha256(text).digest()[:4], "big")
        if self.choice.name == "random":
            return RandomSampler(seed=seed)
        if self.choice.name == "nsga2":
            return NSGAIISampler(seed=seed, population_size=max(4, self.choice.random_first))
        return TPESampler(seed=seed, n_startup_trials=self.choice.random_first)


def _suggest(trial: optuna.Trial, one: Dimension) -> str | int | float:
    if one.choices:
        chosen = trial.suggest_categorical(one.name, one.choices)
        return chosen if isinstance(chosen, int) else str(chosen)
    if one.integer:
        return trial.suggest_int(one.name, int(one.low), int(one.high))
    return trial.suggest_float(one.name, one.low, one.high, log=one.log)
