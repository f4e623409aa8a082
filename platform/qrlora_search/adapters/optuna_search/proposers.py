"""Optuna's samplers as proposers: each proposal comes from a study in memory of the trials that a sampler may see.

A sampler restarted with the same seed would propose differently, so each proposal gets a sampler of its own, seeded by
(seed, number). Stopped trials are told PRUNED without values: a multi-objective TPE ranks them last, and fails once a
pruned trial carries intermediate values.
"""

import hashlib
from collections.abc import Callable, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial

from qrlora_search.describe.proposals import Dimension
from qrlora_search.describe.protocols import Parameters
from qrlora_search.describe.space import SamplerChoice
from qrlora_search.describe.tried import Seen, Tried
from qrlora_search.values.objectives import size_axis
from qrlora_search.values.states import TrialState

METRICS = ["score", "log10(1 + parameters)"]
DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE]
_STATES = {
    None: optuna.trial.TrialState.RUNNING,
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


def frozen(dimensions: Sequence[Dimension], one: Tried) -> FrozenTrial:
    """Returns Optuna's form of a proposal: Finished is COMPLETE, Stopped PRUNED, Failed FAIL, None is RUNNING."""
    values = None
    if one.state is TrialState.FINISHED and one.score is not None:
        values = [one.score, float(size_axis(one.size))]
    return create_trial(
        state=_STATES[one.state],
        params=dict(one.parameters),
        distributions={each.name: distribution(each) for each in dimensions if each.name in one.parameters},
        values=values,
    )


def sampler_of(choice: SamplerChoice, seed: int) -> BaseSampler:
    """Returns Optuna's sampler of a choice."""
    if choice.name == "random":
        return RandomSampler(seed=seed)
    return TPESampler(seed=seed, n_startup_trials=choice.random_first)


class OptunaProposer:
    """A `Proposer` by one of Optuna's samplers, which `make` makes from a seed."""

    def __init__(self, dimensions: Sequence[Dimension], make: Callable[[int], BaseSampler], seed: int) -> None:
        self.dimensions, self.make, self.seed = list(dimensions), make, seed
        self.cuts = -1
        self._forget(0)

    def _forget(self, cuts: int) -> None:
        self.study, self.taken, self.cuts = optuna.create_study(directions=DIRECTIONS), 0, cuts
        self.held = 0
        self.asked: dict[int, optuna.Trial] = {}

    def propose(self, number: int, tried: Seen, again: int = 0) -> Parameters:
        """Returns what the sampler proposes. again: counts further tries for the same number."""
        if tried.cuts != self.cuts or self.held > 2 * tried.most:  # it holds each proposal, and each one's end
            self._forget(tried.cuts)
        for ended in tried.trials[self.taken :]:
            self._take(ended)
        self.taken = len(tried.trials)
        text = f"{self.seed}/{number}" + (f"/{again}" if again else "")
        self.study.sampler = self.make(int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big"))
        trial, self.held = self.study.ask(), self.held + 1
        parameters: Parameters = {}
        for one in self.dimensions:
            if one.applies(parameters):
                parameters[one.name] = _suggest(trial, one)
        earlier = self.asked.pop(number, None)
        if earlier is not None:
            self.study.tell(earlier, state=optuna.trial.TrialState.FAIL)
        self.asked[number] = trial
        return parameters

    def _take(self, one: Tried) -> None:
        """Takes a trial's end. What the sampler noted of its proposal, such as an evolution's generation, is kept."""
        trial, end = self.asked.pop(one.number, None), frozen(self.dimensions, one)
        if trial is not None:
            end.system_attrs = dict(self.study.get_trials(deepcopy=False)[trial.number].system_attrs)
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        self.study.add_trial(end)
        self.held += 1


def _suggest(trial: optuna.Trial, one: Dimension) -> str | int | float:
    if one.choices:
        chosen = trial.suggest_categorical(one.name, one.choices)
        return chosen if isinstance(chosen, int) else str(chosen)
    if one.integer:
        return trial.suggest_int(one.name, int(one.low), int(one.high))
    return trial.suggest_float(one.name, one.low, one.high, log=one.log)
