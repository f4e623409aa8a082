"""The stopping rule: pure functions of what is known at a rung.

At a rung a trial is compared with trials of similar or smaller size, and stopped where most of them score higher. A
trial that no smaller or equal trial beats at this rung goes on, whatever the rest does. Sizes enter by order alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from qrlora_search.values.states import Decision


@dataclass(frozen=True)
class RungEntry:
    """What is known of one trial at one rung: its size and its score there."""

    trial: int
    parameters: int
    score: float


@dataclass(frozen=True)
class StoppingRule:
    """Settings of the rule.

    rungs: epochs at which trials are compared. neighbours: how many of the next smaller (or equally large) trials a
    trial is compared with. fewest: fewer of them than this decide nothing. share: a trial is stopped when more than
    this share of them scores higher.
    """

    rungs: tuple[int, ...]
    neighbours: int = 8
    fewest: int = 3
    share: float = 0.5


@dataclass
class RungSummary:
    """The entries of every rung, kept as reports arrive; what the rule decides from."""

    rungs: dict[int, dict[int, RungEntry]] = field(default_factory=dict)

    def add(self, epoch: int, entry: RungEntry) -> None:
        """Notes a trial's score at an epoch; the same trial again replaces its entry."""
        self.rungs.setdefault(epoch, {})[entry.trial] = entry

    def at(self, epoch: int) -> list[RungEntry]:
        """Returns what is known at an epoch, in order of arrival."""
        return list(self.rungs.get(epoch, {}).values())


def decide(rule: StoppingRule, epoch: int, entry: RungEntry, known: Sequence[RungEntry]) -> Decision:
    """Returns whether a trial stops at this epoch, and why.

    known: entries of the same epoch, with or without the trial's own. The order of `known` does not matter.
    """
    if epoch not in rule.rungs:
        return Decision(stop=False, reason=f"epoch {epoch} is no rung")
    smaller = {
        (other.parameters, other.score)
        for other in known
        if other.trial != entry.trial and other.parameters <= entry.parameters
    }
    above = [pair for pair in smaller if pair[1] >= entry.score and pair != (entry.parameters, entry.score)]
    if not above:
        return Decision(
            stop=False, reason=f"no trial of {entry.parameters} parameters or fewer beats it at epoch {epoch}"
        )
    peers = sorted(smaller, key=lambda pair: (-pair[0], -pair[1]))[: rule.neighbours]
    if len(peers) < rule.fewest:
        return Decision(stop=False, reason=f"only {len(peers)} trials of similar or smaller size at epoch {epoch}")
    higher = sum(score > entry.score for _, score in peers)
    place = f"below {higher} of {len(peers)} trials of similar or smaller size at epoch {epoch}"
    return Decision(stop=higher > rule.share * len(peers), reason=place)
