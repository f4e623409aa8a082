"""What a sampler sees of the trials before: a bounded part of the record, however large it grows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from qrlora_search.describe.protocols import Parameters
from qrlora_search.values.fronts import pareto_ranks
from qrlora_search.values.states import TrialState

MOST_SEEN = 1000


@dataclass(frozen=True)
class Tried:
    """A proposal and how it ended. state: None where it has not. score: its newest one, None where it was never
    trained. size: adapter parameters.
    """

    number: int
    parameters: Parameters
    state: TrialState | None
    score: float | None
    size: int


class Proposer(Protocol):
    """Chooses parameters from what was tried."""

    def propose(self, number: int, tried: "Seen", again: int = 0) -> Parameters:
        """Returns parameters for proposal `number`, the same for the same number and trials.

        again: counts further tries, where the ones before would train what was proposed already.
        """


@dataclass
class Seen:
    """The trials that a sampler sees: all of them, and beyond `most` the front, the next ranks and a seeded rest.

    Cut to three quarters whenever it is full, so that a trial costs little however many there were. cuts: how often.
    """

    seed: int
    most: int = MOST_SEEN
    trials: list[Tried] = field(default_factory=list)
    cuts: int = 0

    def add(self, one: Tried) -> None:
        """Takes a trial that ended."""
        self.trials.append(one)
        if len(self.trials) > self.most:
            self.cuts += 1
            self.trials = cut(self.trials, self.most * 3 // 4, [self.seed, self.cuts])


def cut(trials: Sequence[Tried], keep: int, seed: Sequence[int]) -> list[Tried]:
    """Returns `keep` of the trials in their order: the front of the Finished ones, the others of them by non-dominated
    rank up to half of the places, then a seeded sample of the rest.
    """
    finished = [place for place, one in enumerate(trials) if one.state is TrialState.FINISHED and one.score is not None]
    ranks = pareto_ranks([trials[place].score or 0.0 for place in finished], [trials[place].size for place in finished])
    most = max(keep // 2, min(keep, int(np.count_nonzero(ranks == 0))))
    best = [finished[place] for place in np.argsort(ranks, kind="stable")[:most]]
    rest = sorted(set(range(len(trials))) - set(best))
    random = np.random.default_rng(list(seed))
    others = random.permutation(len(rest))[: keep - len(best)].tolist()
    return [trials[place] for place in sorted([*best, *(rest[other] for other in others)])]
