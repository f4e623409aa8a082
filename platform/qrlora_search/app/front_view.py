"""The front as plain, versioned data: what console, files, MLflow and dashboards all draw.

Version 2. `views.building` makes it from the record alone.
"""

from typing import Literal

from pydantic import Field

from qrlora_search.describe.plan import Frozen, SearchPlan

VERSION = 2
Over = Literal["examples", "seeds and examples", "warm-ups and examples", "warm-ups, seeds and examples"]


class ScoreView(Frozen):
    """A score on one split over n examples, with its standard error and 95 % interval.

    error: without the level that warm-ups move all scores by alike. seeds: how many trainings it is the mean of, for
    the control as it is how many warm-ups. over: what the interval is over; with one seed examples alone.
    """

    split: str
    n: int
    score: float
    error: float
    low: float
    high: float
    metrics: dict[str, float]
    seeds: int = 1
    over: Over = "examples"

    @property
    def repeats(self) -> str:
        """Returns how many trainings or warm-ups it is the mean of, where it is of several."""
        if self.seeds == 1:
            return ""
        return f"{self.seeds} {'warm-ups' if self.over == 'warm-ups and examples' else 'seeds'}"


class DifferenceView(Frozen):
    """Member minus the better control on the same examples, with its 95 % interval. over: what that is over; what a
    warm-up moves both by is in no difference.
    """

    split: str
    n: int
    difference: float
    low: float
    high: float
    seeds: int = 1
    over: Literal["examples", "seeds and examples"] = "examples"

    @property
    def told_apart(self) -> bool:
        """Returns whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


class ControlView(Frozen):
    """A model without adapter: `warm-up` as it is, or `head-only`, whose head was trained like a trial's.

    selection: for the head-only control the mean over its further seeds, where there are any. The warm-up as it is has
    no seeds: its variation is over examples, and over warm-ups where there are several.
    """

    kind: Literal["warm-up", "head-only"]
    head_parameters: int
    selection: ScoreView
    report: list[ScoreView]


class MemberView(Frozen):
    """One member of the front.

    kept: None for a trial as it was trained; else this is a derived adapter, the trial's `kept` largest coefficients.
    parameters: exact, equal to kept where that is given. selection: what membership was decided by: the mean over
    further seeds where confirmed, else the score that brought it in. first: the score that brought it in. probability:
    of being on the front, by bootstrap over seeds and examples; None where not confirmed. report: the mean over the
    same seeds' adapters. exported_report: of the one adapter that is exported, the trial's own. against_control: on
    the report splits; on_selection: the same on the selection split. adapter: its file in the output folder.
    """

    trial: int
    kept: int | None
    parameters: int
    head_parameters: int
    words: str
    method: str
    tau: float | None
    ranks: list[tuple[int, str, int]]
    learning_rate: float
    batch_size: int
    epochs: int
    head: str
    confirmed: bool
    selection: ScoreView
    first: ScoreView
    probability: float | None
    report: list[ScoreView]
    exported_report: list[ScoreView]
    against_control: list[DifferenceView]
    on_selection: DifferenceView | None
    adapter: str

    @property
    def name(self) -> str:
        """Returns the trial's number, and the coefficients kept where it is derived, e.g. `17` or `17, 64 kept`."""
        return str(self.trial) if self.kept is None else f"{self.trial}, {self.kept} kept"


class PointView(Frozen):
    """One trial as a point of a plot: its size, its newest score on the selection split, and how it ended. The score is
    as the trial was trained, in the plan's precision, which is what the stopping rule and the raw front go by; that of
    a member, a candidate, a derived point or a control is in float32.

    state: finished, stopped, failed, unfinished, or derived: `kept` largest coefficients of a Finished trial.
    """

    trial: int
    parameters: int
    score: float | None
    epochs: int
    state: str
    words: str
    reason: str
    kept: int | None = None


class CandidateView(Frozen):
    """A point of the raw front, and what became of it when it was trained again with further seeds.

    first: the selection score of the training that brought it in. confirmed: the mean over further seeds, None without
    any.
    """

    trial: int
    kept: int | None
    parameters: int
    first: float
    confirmed: float | None
    seeds: int
    probability: float | None
    member: bool
    reason: str


class ConfirmationView(Frozen):
    """How far the front can be trusted. status: `confirmed`: membership was decided by further seeds; `unconfirmed`:
    by the scores that brought the members in, for the reason given.

    epochs_allowed, epochs_spent: of confirmation, against search_epochs of the search itself. seeds: of batch order.
    curse: mean over candidates of first minus confirmed score; curse_report: mean over members of first minus the score
    on the first report split, less splits_apart, which is the same of the better control: nothing brought it in, so
    that it tells how the two splits differ (None, and not taken off, in files of earlier versions). lead: how far the
    search's own warm-up is above the mean of all of them, by their controls; the scores that the search saw have it in
    them, curse and curse_report do not.
    """

    status: Literal["confirmed", "unconfirmed"]
    reason: str
    share: float
    search_epochs: int
    epochs_allowed: int
    epochs_spent: int
    seeds: list[int]
    warmups: int
    candidates: list[CandidateView]
    curse: float | None
    curse_report: float | None
    splits_apart: float | None = None
    lead: float = 0.0


class PickView(Frozen):
    """A member that one would take, or why there is none. name: knee, best, one-se, beats-control, or under-N."""

    name: str
    trial: int | None
    kept: int | None
    parameters: int | None
    words: str


class SettingView(Frozen):
    """How much one setting matters, as a share of all, with its 95 % bootstrap interval over trials. chance: what it
    reaches in one of twenty shuffles of the trials' results, where nothing matters, in the same unit.
    """

    setting: str
    share: float
    low: float
    high: float
    chance: float = 0.0

    @property
    def told_apart(self) -> bool:
        """Returns whether its share is larger than chance gives it."""
        return self.share > self.chance


class ImportanceView(Frozen):
    """What buys accuracy per parameter, by PED-ANOVA over n Finished trials.

    question: `front`: reaching the front; `score at size`: a high score for the size. settings: most important first,
    empty where there are too few trials, which `words` says.
    """

    question: Literal["front", "score at size"]
    n: int
    settings: list[SettingView]
    words: str


class BillLine(Frozen):
    """Epochs and seconds that were spent or saved. estimated: not measured but worked out, as `words` says."""

    name: str
    kind: Literal["spent", "saved"]
    epochs: int
    seconds: float
    estimated: bool
    words: str


class BillView(Frozen):
    """What the search cost, from its record. unit: core-seconds or GPU-seconds. counterfactual: epochs and seconds of
    the same proposals without stopping, duplicates and constant states.
    """

    unit: Literal["core-seconds", "GPU-seconds"]
    lines: list[BillLine]
    counterfactual_epochs: int
    counterfactual_seconds: float

    def total(self, kind: Literal["spent", "saved"]) -> float:
        """Returns the seconds of all lines of a kind."""
        return sum(line.seconds for line in self.lines if line.kind == kind)


class HypervolumeView(Frozen):
    """Area in score x log10(1 + parameters), quoted with its split and reference.

    value: of the members by the scores that decided. low, high: its 95 % interval over what the members' are over,
    given who the members are; n: examples; None in files of earlier versions. raw: of the raw front by the scores that
    brought it in, which flatter it. without_derived: raw without derived adapters: the difference is what they add.
    derived: what they add to the value by further seeds, and its 95 % interval: against the front of the same trials
    whole. None where nothing was confirmed, or no trial's part was.
    """

    value: float
    split: Literal["selection"] = "selection"
    reference_score: float
    reference_parameters: int
    raw: float
    without_derived: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    derived: tuple[float, float, float] | None = None

    @property
    def words(self) -> str:
        """Returns the value with its interval and n."""
        if self.low is None or self.high is None:
            return f"{self.value:.4f}"
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}] (n = {self.n})"


class FrontView(Frozen):
    """Everything a picture or a table of a search needs. counts: trials by state, duplicates and refusals.

    marks: what must be said wherever the front is shown, e.g. STAND-IN, UNCONFIRMED; empty for none. trust: how the
    front was confirmed, the winner's curse, and what derived adapters add, in words; empty in older files.
    """

    version: Literal[2] = 2
    search_id: str
    title: str
    marks: list[str]
    stand_in: bool
    selected_on: Literal["held-out", "validation"]
    task: str
    objective: str
    outcome: str
    seconds: float
    plan: SearchPlan
    controls: list[ControlView]
    members: list[MemberView]
    points: list[PointView]
    confirmation: ConfirmationView
    picks: list[PickView]
    importance: list[ImportanceView]
    bill: BillView
    hypervolume: HypervolumeView
    counts: dict[str, int]
    notes: list[str]
    trust: list[str] = Field(default_factory=list)

    @property
    def better_control(self) -> ControlView:
        """Returns the control with the higher score on the selection split."""
        return max(self.controls, key=lambda one: one.selection.score)
