"""Several searches side by side, as plain data: what the console, the picture, the page and MLflow all show."""

from typing import Literal

from qrlora_search.describe.plan import Frozen


class FrontPoint(Frozen):
    """A point of a search's front: its score on the selection split with its 95 % interval. seeds: trainings behind it;
    intervals are over examples, and over seeds where there are several.
    """

    trial: int
    kept: int | None
    seeds: int
    words: str
    parameters: int
    score: float
    low: float
    high: float


class SearchLine(Frozen):
    """One search. hypervolume: above the group's reference, with its interval. finished: trials. control: the better
    control's score, with its interval. warm_ups: how many its trainings stand on.
    """

    name: str
    search_id: str
    model: str
    seed: int
    finished: int
    control: float
    control_low: float
    control_high: float
    warm_ups: int
    front: list[FrontPoint]
    hypervolume: float
    low: float
    high: float


class OnlyPoint(Frozen):
    """A front point of one search that nothing of the other reaches at its size or below it.

    against: the other's best there, in words. difference: paired, on the same examples, with its 95 % interval.
    """

    of: str
    trial: int
    parameters: int
    words: str
    score: float
    against: str
    difference: float
    low: float
    high: float

    @property
    def told_apart(self) -> bool:
        """Returns whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


class PairLine(Frozen):
    """Two searches: hypervolume of the first minus the second, and what only one of them reaches.

    difference is None where areas have no common reference, for the reason given.
    """

    first: str
    second: str
    difference: float | None
    low: float | None
    high: float | None
    reason: str
    only: list[OnlyPoint]


class Group(Frozen):
    """Searches scored on the same examples. reference: the lowest control among them, and P by model.

    confirmed: fronts are those by further seeds; else, since one of the searches has none, by the scores that brought
    members in. unconfirmed: the searches without.
    """

    task: str
    title: str
    stand_in: bool
    objective: str
    n: int
    confirmed: bool
    unconfirmed: list[str]
    reference: float
    reference_parameters: list[int]
    searches: list[SearchLine]
    pairs: list[PairLine]

    @property
    def over(self) -> str:
        """Returns in words what the intervals of the group's scores are over."""
        parts = ["warm-ups"] if any(one.warm_ups > 1 for one in self.searches) else []
        parts += ["seeds"] if any(point.seeds > 1 for one in self.searches for point in one.front) else []
        return "examples" if not parts else f"{', '.join(parts)} and examples"


class SharesByTask(Frozen):
    """A share for each task, with its 95 % bootstrap interval over trials; counts: the Finished trials behind it."""

    shares: dict[str, float | None]
    lows: dict[str, float | None]
    highs: dict[str, float | None]
    counts: dict[str, int]


class SettingLine(SharesByTask):
    """One setting over tasks: the share of the best front's area that its trials alone reach, by task.

    counts: with the setting. worst: the lowest share, None where a task has under MIN_TRIALS of them.
    """

    kind: Literal["matrices", "layers", "tau", "method", "learning rate"]
    value: str
    worst: float | None


class ImportanceLine(SharesByTask):
    """How much one setting matters over tasks: its share of the importance, by task.

    question: as in a front view. mean: over the tasks with enough trials; one that does not vary the setting counts as
    a share of 0, without an interval.
    """

    question: Literal["front", "score at size"]
    setting: str
    mean: float


class Comparison(Frozen):
    """The whole comparison. not_compared: what cannot be set side by side, and why."""

    version: Literal[1] = 1
    groups: list[Group]
    settings: list[SettingLine]
    importance: list[ImportanceLine]
    not_compared: list[str]
    notes: list[str]
