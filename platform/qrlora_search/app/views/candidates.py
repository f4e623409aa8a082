"""Which points a front is made of: Finished trials and what is derived from them, confirmed by further seeds or not."""

from functools import cached_property
from statistics import fmean

from qrlora_search.describe.tasks import Task, find_task
from qrlora_search.record.confirmation import Point, Scored
from qrlora_search.record.history import HEAD_ONLY, History
from qrlora_search.values.fronts import front
from qrlora_search.values.packing import unpack
from qrlora_search.values.repeated import Repeated, Trained, levelled, repeated
from qrlora_search.values.states import FinishedTrial, TrialState

WARM_UP: Point = (-2, None)
"""The control as the warm-up left it, as a point among others."""
HEAD_CONTROL: Point = (HEAD_ONLY, None)
NOT_TRAINED = "not trained again: the epochs for confirmation were used up"


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

    def score_of(self, scored: Scored) -> float:
        """Returns the objective of a score."""
        return scored.metrics[self.task.objective]

    def first_score(self, point: Point) -> float:
        """Returns the score that the search itself saw."""
        return self.score_of(self.first(point))

    def brought_in(self, point: Point) -> Scored:
        """Returns the selection score of the training that brought a point in: in float32, as all scores that it is
        compared with, where that has been scored.
        """
        return self.own(point, "selection") or self.first(point)

    @property
    def raw_control(self) -> float:
        """Returns the better control's score as the search saw it."""
        return max(self.first_score(point) for point in self.control_points)

    def derived(self) -> list[FinishedTrial]:
        """Returns the derived adapters that were scored, as points of their own."""
        return [
            FinishedTrial(trial, self.score_of(scored), kept, kept=kept)
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

    @cached_property
    def whole(self) -> list[Point]:
        """Returns the trials of the confirmed points as they were trained, none of their coefficients left out,
        smallest first: what the front would be made of without derived adapters. None where one was not scored so.
        """
        trials = sorted({trial for trial, _ in self.confirmed}, key=lambda one: self.parameters((one, None)))
        scored = all((None, "selection") in run.scored for one in trials for run in self.confirmation.runs_of(one))
        return [(one, None) for one in trials] if scored else []

    @property
    def is_confirmed(self) -> bool:
        """Returns whether membership is decided by further seeds: confirmation has ended and could afford a training,
        or there was nothing to confirm.
        """
        done = self.confirmation.closed and self.plan.space.confirm.share > 0
        return done and (bool(self.confirmed) or not self.confirmation.candidates)

    @property
    def untrained(self) -> list[Point]:
        """Returns the candidates that confirmation had no epochs left for: nothing is known of their membership."""
        return [one for one in self.confirmation.candidates if self.fault(one) == NOT_TRAINED]

    def fault(self, point: Point) -> str:
        """Returns why a candidate cannot be confirmed, or an empty text."""
        trial, kept = point
        runs = self.confirmation.runs_of(trial)
        failed = [run for run in runs if run.state is not TrialState.FINISHED]
        if failed:
            return f"seed {failed[0].seed} failed: {failed[0].reason}"
        if not runs or not all((kept, "selection") in run.scored for run in runs):
            return NOT_TRAINED
        return ""

    def scores(self, point: Point, split: str) -> list[tuple[int, Scored]]:
        """Returns the scores that count for a point on a split, with the warm-up of each: one a further seed where
        confirmed, one a warm-up for the control as it is, else the one.
        """
        grounds = self._grounds(split, self.is_confirmed)
        if point == WARM_UP or not grounds:
            return list(enumerate(grounds))
        again = self.confirmation.scores_of(point, split)
        if again and (self.is_confirmed or (point == HEAD_CONTROL and len(self.plan.warm_up_seeds) == 1)):
            return again
        own = self.own(point, split)
        return [] if own is None or (self.is_confirmed and point != HEAD_CONTROL) else [(0, own)]

    def _grounds(self, split: str, all_of_them: bool) -> list[Scored]:
        """Returns what the search's own warm-up scores without adapter, or each of the plan's; none where one is not
        scored.
        """
        controls, numbers = self.confirmation.controls, range(1, len(self.plan.warm_up_seeds) if all_of_them else 1)
        if (None, split) not in self.history.scored or any((one, split) not in controls for one in numbers):
            return []
        return [self.history.scored[None, split], *(controls[one, split] for one in numbers)]

    def further(self, point: Point) -> list[float]:
        """Returns the selection scores of a point's further trainings, as they compare over warm-ups."""
        again = self.confirmation.scores_of(point, "selection")
        return levelled([self.score_of(one) for _, one in again], [warm_up for warm_up, _ in again], self.levels)

    @property
    def levels(self) -> list[float]:
        """Returns the selection score of each of the plan's warm-ups without adapter; the own one's alone until all of
        them are scored.
        """
        return [self.score_of(one) for one in self._grounds("selection", True) or self._grounds("selection", False)]

    @property
    def lead(self) -> float:
        """Returns how far the search's own warm-up is above the mean of the plan's; the scores that it saw are, too."""
        return self.levels[0] - fmean(self.levels) if self.is_confirmed else 0.0

    def metrics(self, point: Point, split: str) -> dict[str, float]:
        """Returns the metrics that count for a point on a split: means, levelled over warm-ups as its score is."""
        scores, grounds = self.scores(point, split), self._grounds(split, self.is_confirmed)
        numbers = [warm_up for warm_up, _ in scores]
        return {
            name: fmean(
                levelled([one.metrics[name] for _, one in scores], numbers, [one.metrics[name] for one in grounds])
            )
            for name in scores[0][1].metrics
        }

    def own(self, point: Point, split: str) -> Scored | None:
        """Returns the score of a point's exported adapter on a split: the trial's own one."""
        trial, kept = point
        if kept is not None:
            return self.confirmation.derived.get((trial, kept, split))
        found = self.history.scored.get((trial, split))
        return self.first(point) if found is None and split == "selection" else found

    def repeated(self, points: list[Point], split: str) -> Repeated:
        """Returns joint draws of points' scores on a split; every point must have been scored there."""
        labels, grounds = unpack(self.history.labels[split]), self._grounds(split, self.is_confirmed)
        trained = [self._trained(point, split) for point in points]
        controls = [unpack(one.packed) for one in grounds] if len(grounds) > 1 else []
        return repeated(self.task.statistic, labels, trained, controls=controls)

    def _trained(self, point: Point, split: str) -> Trained:
        scores = self.scores(point, split)
        runs, warm_ups = [unpack(one.packed) for _, one in scores], [warm_up for warm_up, _ in scores]
        return Trained(point[0], runs, point != WARM_UP, warm_ups)

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
