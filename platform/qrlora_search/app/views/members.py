"""The members of a front and its controls, with scores over seeds and examples and what the selection promised."""

from qrlora_search.app.front_view import ControlView, DifferenceView, MemberView, Over, ScoreView
from qrlora_search.app.views.candidates import WARM_UP, Standing
from qrlora_search.describe.configuration import Configuration
from qrlora_search.record.confirmation import Point, Scored
from qrlora_search.values.intervals import Interval, score_interval
from qrlora_search.values.packing import unpack
from qrlora_search.values.repeated import Repeated


def adapter_name(trial: int, kept: int | None) -> str:
    """Returns the name of an adapter's files without their endings."""
    return f"trial-{trial:05d}" + ("" if kept is None else f"-kept-{kept}")


def words_of(configuration: Configuration, kept: int | None) -> str:
    """Returns what is adapted, and how many coefficients of it are kept where not all are."""
    if kept is None:
        return configuration.words
    return f"largest {kept} of {configuration.parameters}: {configuration.words}"


def control_views(standing: Standing) -> list[ControlView]:
    """Returns the controls that are scored on the selection split, the warm-up as it is first."""
    plan, views = standing.plan, []
    for point in standing.control_points:
        kind = "warm-up" if point == WARM_UP else "head-only"
        views.append(
            ControlView(
                kind="warm-up" if kind == "warm-up" else "head-only",
                head_parameters=0 if kind == "warm-up" else plan.encoder.head_parameters,
                selection=_mean(standing, [point], "selection")[0],
                report=[
                    _mean(standing, [point], split)[0]
                    for split in standing.task.report_splits
                    if standing.scores(point, split)
                ],
            )
        )
    return views


def _mean(standing: Standing, points: list[Point], split: str) -> list[ScoreView]:
    """Returns the scores of points on a split, with a spread over seeds pooled over all of them."""
    drawn = standing.repeated(points, split)
    return [_counted(standing, split, point, drawn, place) for place, point in enumerate(points)]


def _counted(standing: Standing, split: str, point: Point, drawn: Repeated, place: int) -> ScoreView:
    """Returns a point's score on a split as it counts. One training has seeds in its interval, too, where the others
    tell their spread.
    """
    seeds = len(standing.scores(point, split))
    over: Over = "examples"
    if drawn.warm_ups > 1:
        seeded = drawn.spread is not None and point != WARM_UP
        over = "warm-ups, seeds and examples" if seeded else "warm-ups and examples"
    elif drawn.spread is not None and (seeds > 1 or (standing.is_confirmed and point != WARM_UP)):
        over = "seeds and examples"
    return _view(split, standing.metrics(point, split), drawn.interval(place), seeds, over)


def _view(
    split: str, metrics: dict[str, float], interval: Interval, seeds: int = 1, over: Over = "examples"
) -> ScoreView:
    return ScoreView(
        split=split,
        n=interval.n,
        score=interval.value,
        error=interval.error,
        low=interval.low,
        high=interval.high,
        metrics=metrics,
        seeds=seeds,
        over=over,
    )


def single_view(standing: Standing, split: str, scored: Scored) -> ScoreView:
    """Returns the score of one training with its interval over examples."""
    labels = unpack(standing.history.labels[split])
    interval = score_interval(standing.task.statistic, labels, unpack(scored.packed))
    return _view(split, scored.metrics, interval)


class MemberViews:
    """Makes the members' views; what all of them share is worked out once."""

    def __init__(self, standing: Standing) -> None:
        self.standing, self.controls = standing, standing.control_points
        self.points = [one.point for one in standing.members]
        self.drawn = {
            split: standing.repeated([*self.controls, *self.points], split)
            for split in standing.task.report_splits
            if all(standing.scores(point, split) for point in (*self.controls, *self.points))
        }

    def views(self) -> list[MemberView]:
        """Returns the members, smallest first."""
        return [self._view(point) for point in self.points]

    def _place(self, split: str, point: Point) -> tuple[Repeated, int]:
        """Returns the draws of a split and where a point stands in them."""
        if split == "selection":
            return self.standing.selection, [*self.controls, *self.standing.contenders].index(point)
        return self.drawn[split], [*self.controls, *self.points].index(point)

    def score(self, split: str, point: Point) -> ScoreView:
        """Returns a point's score on a split, as it counts."""
        drawn, place = self._place(split, point)
        return _counted(self.standing, split, point, drawn, place)

    def difference(self, split: str, point: Point) -> DifferenceView:
        """Returns a point's score minus the better control's."""
        drawn, place = self._place(split, point)
        _, other = self._place(split, self.standing.better_control)
        interval = drawn.difference(place, other)
        seeds = len(self.standing.scores(point, split))
        return DifferenceView(
            split=split,
            n=interval.n,
            difference=interval.value,
            low=interval.low,
            high=interval.high,
            seeds=seeds,
            over="seeds and examples" if drawn.spread is not None else "examples",
        )

    def _view(self, point: Point) -> MemberView:
        standing, (number, kept) = self.standing, point
        trial = standing.history.trials[number]
        configuration, tau = trial.configuration, trial.proposal.get("tau")
        own = [(split, standing.own(point, split)) for split in standing.task.report_splits]
        return MemberView(
            trial=number,
            kept=kept,
            parameters=standing.parameters(point),
            head_parameters=standing.plan.encoder.head_parameters if configuration.head == "trained" else 0,
            words=words_of(configuration, kept),
            method=configuration.method,
            tau=None if tau is None else float(tau),
            ranks=[(rank.layer, rank.matrix, rank.rank) for rank in configuration.ranks],
            learning_rate=configuration.learning_rate,
            batch_size=configuration.batch_size,
            epochs=configuration.epochs,
            head=configuration.head,
            confirmed=standing.is_confirmed,
            selection=self.score("selection", point),
            first=single_view(standing, "selection", standing.brought_in(point)),
            probability=standing.probabilities[point] if standing.is_confirmed else None,
            report=[self.score(split, point) for split in self.drawn],
            exported_report=[single_view(standing, split, one) for split, one in own if one is not None],
            against_control=[self.difference(split, point) for split in self.drawn],
            on_selection=self.difference("selection", point),
            adapter=f"front/{adapter_name(number, kept)}.safetensors",
        )
