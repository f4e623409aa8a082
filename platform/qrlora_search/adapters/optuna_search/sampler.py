"""The search's sampler: it proposes for both objectives at once and is told how every proposal ended.

First come given points (the front of an earlier search, sensible ones), then what a proposer makes of a bounded part
of the trials. A proposal that would train what was proposed before is drawn again. It keeps nothing but what the record
holds, and is made again from that on resume.
"""

from collections.abc import Iterable
from functools import partial

import numpy as np
import optuna

from qrlora_search.adapters.optuna_search.proposers import OptunaProposer, sampler_of
from qrlora_search.describe.protocols import Parameters
from qrlora_search.describe.settings import Settings
from qrlora_search.describe.space import SamplerChoice
from qrlora_search.describe.stratified import Stratified
from qrlora_search.describe.tried import Proposer, Seen, Tried
from qrlora_search.values.states import TrialState

_TRIES = 40
"""So many draws of a proposer, and then as many at random, before a proposal is a duplicate after all, or the smallest
there is.
"""


def make_proposer(settings: Settings, choice: SamplerChoice, seed: int) -> Proposer:
    """Returns the proposer of a choice: ours, or one of Optuna's."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if choice.name == "stratified":
        return Stratified(settings, choice.random_first, seed)
    return OptunaProposer(settings.dimensions, partial(sampler_of, choice), seed)


class SearchSampler:
    """A `Sampler`. first: points that are proposed before any other. tried: every proposal so far, in order of number;
    those that have not ended are told later.
    """

    def __init__(
        self,
        settings: Settings,
        choice: SamplerChoice,
        seed: int,
        first: Iterable[Parameters] = (),
        tried: Iterable[Tried] = (),
    ) -> None:
        self.settings, self.seed = settings, seed
        self.proposer, self.seen = make_proposer(settings, choice, seed), Seen(seed)
        self.pending, self.open = list(first), dict[int, Parameters]()
        self.identities: set[str] = set()
        self.used_up, self.asked = False, 0
        for one in tried:
            self.asked += 1
            self.used_up = not self._is_new(one.parameters)  # nothing is repeated before all is used up
            if one.state is None:
                self.open[one.number] = one.parameters
            else:
                self.seen.add(one)

    def ask(self) -> tuple[int, Parameters]:
        """Returns the number of a new proposal and its parameters."""
        number, parameters = self.asked, self._new()
        self.asked += 1
        self.open[number] = parameters
        return number, parameters

    def _new(self) -> Parameters:
        """Returns the next given point, or a proposal within the limit of parameters, that was not proposed before; a
        duplicate once there is none.
        """
        while self.pending:
            if self._is_new(point := self.pending.pop(0)):
                return point
        parameters = self.settings.spans[self.settings.methods[0]].smallest
        for again in range(1 if self.used_up else 2 * _TRIES):
            drawn = self._drawn(again)
            if not self.settings.allows(self.settings.size(drawn)):
                continue
            parameters = drawn
            if self._is_new(drawn):
                self.used_up = False
                return drawn
        self.used_up = True
        return parameters

    def _drawn(self, again: int) -> Parameters:
        if again <= _TRIES:
            return self.proposer.propose(self.asked, self.seen, again)
        return self.settings.draw(np.random.default_rng([self.seed, self.asked, again]))

    def _is_new(self, parameters: Parameters) -> bool:
        identity = self.settings.canonical(parameters).identity
        new = identity not in self.identities
        self.identities.add(identity)
        return new

    def tell(self, number: int, state: TrialState, score: float | None, parameters: int) -> None:
        """Takes the end of a proposal, once."""
        proposal = self.open.pop(number, None)
        if proposal is not None:
            self.seen.add(Tried(number, proposal, state, score, parameters))
