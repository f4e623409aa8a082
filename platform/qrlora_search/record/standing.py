"""Where a search stands: its front, ranks and hypervolume, and what it has spent, from its history alone."""

import math
import time
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass

from qrlora_search.describe.tasks import find_task
from qrlora_search.record.history import HEAD_ONLY, History, TrialHistory
from qrlora_search.values.fronts import front, hypervolume, pareto_ranks
from qrlora_search.values.states import TrialState


@dataclass(frozen=True)
class Standing:
    """members: trials on the front. best: the highest score of a member, else the better control's.

    epochs, spent_s: of all trials so far. saved_epochs: planned for Stopped trials and not run; saved_s: the same in
    seconds, at the mean of each trial's own epochs.
    """

    hypervolume: float
    members: tuple[int, ...]
    best: float
    epochs: int
    spent_s: float
    saved_epochs: int
    saved_s: float


class Sparing:
    """Says when something is due again that costs more the longer a search is: where it took longer than `least_s`, it
    gets at most `share` of the time. clock: in seconds.
    """

    def __init__(self, share: float = 0.02, least_s: float = 0.02, clock: Callable[[], float] = time.monotonic) -> None:
        self.share, self.least_s, self.clock = share, least_s, clock
        self.next = -math.inf

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Measures what is done."""
        began = self.clock()
        yield
        took = self.clock() - began
        self.next = self.clock() + took / self.share if took > self.least_s else -math.inf

    @property
    def due(self) -> bool:
        """Returns whether it may be done again."""
        return self.clock() >= self.next


def control_score(history: History) -> float:
    """Returns the better control's score on the selection split."""
    if history.plan is None:
        raise ValueError("a control needs the search's plan")
    score = history.scored[None, "selection"].metrics[find_task(history.plan.task).objective]
    head_only = history.trials.get(HEAD_ONLY)
    if head_only is not None and head_only.state is TrialState.FINISHED:
        return max(score, head_only.reports[-1].score)
    return score


def standing_of(history: History) -> Standing:
    """Returns where a search stands; the control must be scored. Hypervolume is on the selection split."""
    if history.plan is None:
        raise ValueError("a standing needs the search's plan")
    finished, control = history.finished(), control_score(history)
    members, searched = front(finished, control), history.searched
    stopped = [one for one in searched if one.state is TrialState.STOPPED and one.reports]
    return Standing(
        hypervolume=hypervolume(members, control, history.plan.encoder.parameters),
        members=tuple(one.trial for one in members),
        best=members[-1].score if members else control,
        epochs=sum(len(one.reports) for one in searched),
        spent_s=sum(line.seconds for one in searched for line in one.reports),
        saved_epochs=sum(map(_left, stopped)),
        saved_s=sum(_left(one) * sum(line.seconds for line in one.reports) / len(one.reports) for one in stopped),
    )


def _left(one: TrialHistory) -> int:
    return one.configuration.epochs - len(one.reports)


def ranks_of(history: History, members: Set[int] | None = None) -> dict[int, int]:
    """Returns the non-dominated rank of every Finished trial, 0 for the best; the control is not ranked.

    members: the front as it was decided, whose trials are rank 0; the others then rank behind, from 1, by their scores.
    """
    finished = history.finished()
    others = [one for one in finished if members is None or one.trial not in members]
    found = pareto_ranks([one.score for one in others], [one.parameters for one in others])
    ranks = {one.trial: int(rank) + (members is not None) for one, rank in zip(others, found, strict=True)}
    return {one.trial: ranks.get(one.trial, 0) for one in finished}
