"""The search's sampler: it proposes for both objectives at once, is told how every proposal ended, and keeps an Optuna
study of all of it in the record's database, for whoever opens that.

First come given points (sensible ones, or the front of an earlier search), then what a proposer makes of a bounded part
of the trials. A proposal that would train what was proposed before is drawn again. The study is derived from the
record and made again from it on resume.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning

from qrlora_search.adapters.optuna_search.proposers import DIRECTIONS, METRICS, OptunaProposer, frozen, sampler_of
from qrlora_search.describe.protocols import Parameters
from qrlora_search.describe.settings import Settings
from qrlora_search.describe.space import SamplerChoice
from qrlora_search.describe.stratified import Stratified
from qrlora_search.describe.tried import Proposer, Seen, Tried
from qrlora_search.values.objectives import size_axis
from qrlora_search.values.states import TrialState

_TRIES = 40
"""So many draws of a proposer, and then as many at random, before a proposal is a duplicate after all."""


@dataclass(frozen=True)
class Place:
    """Where the study is kept: the database's address and the study's name."""

    url: str
    name: str = "search"


class OptunaSampler:
    """A `Sampler` over an Optuna study in the record's database. first: points that are proposed before any other."""

    def __init__(
        self, place: Place, settings: Settings, choice: SamplerChoice, seed: int, first: Iterable[Parameters] = ()
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.place, self.settings, self.choice, self.seed = place, settings, choice, seed
        self.storage = optuna.storages.RDBStorage(place.url, engine_kwargs={"connect_args": {"timeout": 60}})
        self.first = list(first)
        self._begin([])

    def rebuild(self, rows: Iterable[Tried]) -> None:
        """Makes the study again from what the record says of every proposal, in order of number from 0."""
        optuna.delete_study(study_name=self.place.name, storage=self.storage)
        self._begin(list(rows))

    def _begin(self, rows: list[Tried]) -> None:
        self.study = optuna.create_study(
            study_name=self.place.name, storage=self.storage, directions=DIRECTIONS, load_if_exists=True
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self.study.set_metric_names(METRICS)
        dimensions = self.settings.dimensions
        self.seen = Seen(self.seed)
        self.proposer: Proposer = (
            Stratified(self.settings, self.choice.random_first, self.seed)
            if self.choice.name == "stratified"
            else OptunaProposer(dimensions, partial(sampler_of, self.choice), self.seed)
        )
        self.open: dict[int, Parameters] = {}
        self.identities: set[str] = set()
        self.used_up, self.pending = False, list(self.first)
        self.study.add_trials([frozen(dimensions, one) for one in rows])
        self.asked = len(rows)
        for one in rows:
            self.identities.add(self.settings.canonical(one.parameters).identity)
            if one.state is None:
                self.open[one.number] = one.parameters
            else:
                self.seen.add(one)

    def ask(self) -> tuple[int, Parameters]:
        """Returns the number of a new proposal and its parameters."""
        number, parameters = self.asked, self._new()
        self.study.add_trial(frozen(self.settings.dimensions, Tried(number, parameters, None, None, 0)))
        self.asked += 1
        self.open[number] = parameters
        return number, parameters

    def _new(self) -> Parameters:
        """Returns the next given point or proposal that was not proposed before; a duplicate once there is none."""
        while self.pending:
            if self._is_new(point := self.pending.pop(0)):
                return point
        parameters = self.proposer.propose(self.asked, self.seen)
        for again in range(1, 2 * _TRIES):
            if self.used_up or self._is_new(parameters):
                break
            at_random = (
                self.settings.draw(np.random.default_rng([self.seed, self.asked, again])) if again > _TRIES else None
            )
            parameters = at_random or self.proposer.propose(self.asked, self.seen, again)
        else:
            self.used_up = True
        return parameters

    def _is_new(self, parameters: Parameters) -> bool:
        identity = self.settings.canonical(parameters).identity
        new = identity not in self.identities
        self.identities.add(identity)
        return new

    def tell(self, number: int, state: TrialState, score: float | None, parameters: int) -> None:
        """Takes the end of a proposal: Finished is told COMPLETE, Stopped PRUNED, Failed FAIL. Told once."""
        proposal = self.open.pop(number, None)
        if proposal is None:
            return
        self.seen.add(Tried(number, proposal, state, score, parameters))
        if state is TrialState.FINISHED and score is not None:
            self.study.tell(number, [score, float(size_axis(parameters))])
        else:
            pruned, failed = optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL
            self.study.tell(number, state=pruned if state is TrialState.STOPPED else failed)

    def close(self) -> None:
        """Gives the database back; the sampler is of no use after that."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def running(self) -> list[int]:
        """Returns the numbers of proposals that were not told how they ended."""
        return sorted(self.open)
