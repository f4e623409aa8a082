"""Which points a front is made of: Finished trials and what is derived from them, confirmed by further seeds or not."""

from functools import cached_property

from qrlora_search.describe.tasks import Task, find_task
from qrlora_search.record.confirmation import Point, Scored
from qrlora_search.record.history import HEAD_ONLY, History
from qrlora_search.values.fronts import front
from qrlora_search.values.packing import unpack
from qrlora_search.values.repeated import Repeated, Trained, repeated
from qrlora_search.values.states import FinishedTrial, TrialState

WARM_UP: Point = (-2, None)
"""The control as the warm-up left it, as a point among others."""
HEAD_CONTROL: Point = (HEAD_ONLY, None)


class Standing:
    """The points of a search and where they stand. Nothing is kept but the history; built anew for every view.

    Confirmed, everything but the raw front comes from further seeds; else all from the scores that the search saw.
    """

    def __init__(self, history: History) -> None:
        if history.plan is None:
            raise ValueError("a front needs the search's plan")
        self.history, self.plan = history, history.plan
        self.task: Task = find_task(self.plan.task)
        self.confirmation = history.confirmation

    @property
    def control_points(self) -> list[Point]:
        """Returns the controls that are there: the warm-up as it is, and the head-only one where it is trained."""
        head_only = self.history.trials.get(HEAD_ONLY)
        trained = head_only is not None and head_only.state is TrialState.FINISHED
        return [WARM_UP, *([HEAD_CONTROL] if trained else [])]

    def parameters(self, point: Point) -> int:
        """Returns a point's adapter parameters, exactly."""
        trial, kept = point
        if trial < 0:
            return 0
        return self.history.trials[trial].configuration.parameters if kept is None else kept

    def first(self, point: Point) -> Scored:
        """Returns what the search itself saw of a point on the selection split."""
        trial, kept = point
        if point == WARM_UP:
            return self.history.scored[None, "selection"]
        if kept is not None:
            return self.confirmation.derived[trial, kept, "selection"]
        newest = self.history.trials[trial].reports[-1]
        return Scored(newest.metrics, newest.packed, newest.loss)

    def _score(self, scored: Scored) -> float:
        return scored.metrics[self.task.objective]

    def first_score(self, point: Point) -> float:
        """Returns the score that the search itself saw."""
        return self._score(self.first(point))

    @property
    def raw_control(self) -> float:
        """Returns the better control's score as the search saw it."""
        return max(self.first_score(point) for point in self.control_points)

    def derived(self) -> list[FinishedTrial]:
        """Returns the derived adapters that were scored, as points of their own."""
        return [
            FinishedTrial(trial, self._score(scored), kept, kept=kept)
            for (trial, kept, split), scored in self.confirmation.derived.items()
            if split == "selection"
        ]

    def raw_front(self, with_derived: bool = True) -> list[FinishedTrial]:
        """Returns the front by the scores that the search saw, smallest first."""
        points = [*self.history.finished(), *(self.derived() if with_derived else [])]
        return front(points, self.raw_control)

    @cached_property
    def confirmed(self) -> list[Point]:
        """Returns the candidates that were trained again with every training well, smallest first; none without."""
        if not self.confirmation.closed:
            return []
        return [point for point in self.confirmation.candidates if self.fault(point) == ""]

    @property
    def is_confirmed(self) -> bool:
        """Returns whether membership is decided by further seeds: confirmation has ended and could afford a training,
        or there was nothing to confirm.
        """
        done = self.confirmation.closed and self.plan.space.confirm.share > 0
        return done and (bool(self.confirmed) or not self.confirmation.candidates)

    def fault(self, point: Point) -> str:
        """Returns why a candidate cannot be confirmed, or an empty text."""
        trial, kept = point
        runs = self.confirmation.runs_of(trial)
        failed = [run for run in runs if run.state is not TrialState.FINISHED]
        if failed:
            return f"seed {failed[0].seed} failed: {failed[0].reason}"
        if not runs or not all((kept, "selection") in run.scored for run in runs):
            return "not trained again: the epochs for confirmation were used up"
        return ""

    def scores(self, point: Point, split: str) -> list[Scored]:
        """Returns the scores that count for a point on a split: one a further seed where confirmed, else the one."""
        if point == WARM_UP:
            return [self.history.scored[None, split]] if (None, split) in self.history.scored else []
        again = self.confirmation.scores_of(point, split)
        if again and (self.is_confirmed or point == HEAD_CONTROL):
            return again
        own = self.own(point, split)
        return [] if own is None or (self.is_confirmed and point != HEAD_CONTROL) else [own]

    def own(self, point: Point, split: str) -> Scored | None:
        """Returns the score of a point's exported adapter on a split: the trial's own one."""
        trial, kept = point
        if kept is not None:
            return self.confirmation.derived.get((trial, kept, split))
        found = self.history.scored.get((trial, split))
        return self.first(point) if found is None and split == "selection" else found

    def repeated(self, points: list[Point], split: str) -> Repeated:
        """Returns joint draws of points' scores on a split; every point must have been scored there."""
        labels = unpack(self.history.labels[split])
        trained = [
            Trained(trial, [unpack(one.packed) for one in self.scores((trial, kept), split)], (trial, kept) != WARM_UP)
            for trial, kept in points
        ]
        return repeated(self.task.statistic, labels, trained)

    @cached_property
    def contenders(self) -> list[Point]:
        """Returns the points among which membership is decided."""
        return self.confirmed if self.is_confirmed else [one.point for one in self.raw_front()]

    @cached_property
    def selection(self) -> Repeated:
        """Returns the controls' and the contenders' scores on the selection split, in this order."""
        return self.repeated([*self.control_points, *self.contenders], "selection")

    def control_score(self, point: Point) -> float:
        """Returns a control's score on the selection split, as it counts."""
        return float(self.selection.values_P[self.control_points.index(point)])

    @cached_property
    def better_control(self) -> Point:
        """Returns the control with the higher score on the selection split."""
        return max(self.control_points, key=self.control_score)

    @cached_property
    def probabilities(self) -> dict[Point, float]:
        """Returns each contender's probability of being on the front."""
        points = [*self.control_points, *self.contenders]
        found = self.selection.on_front([self.parameters(point) for point in points])
        return {point: float(share) for point, share in zip(points, found, strict=True) if point[0] >= 0}

    @cached_property
    def members(self) -> list[FinishedTrial]:
        """Returns the front, smallest first, by the scores that count."""
        if not self.is_confirmed:
            return self.raw_front()
        offset = len(self.control_points)
        points = [
            FinishedTrial(
                trial, float(self.selection.values_P[offset + place]), self.parameters((trial, kept)), 0, kept
            )
            for place, (trial, kept) in enumerate(self.contenders)
        ]
        return front(points, self.control_score(self.better_control))


def members_of(history: History) -> list[Point]:
    """Returns the front's points, smallest first: confirmed where there was confirmation, else by the raw scores."""
    return [one.point for one in Standing(history).members]
