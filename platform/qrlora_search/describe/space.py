"""The search space, read from TOML and checked when read."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from qrlora_search.describe.configuration import MATRICES, HeadMode, Matrix, Method, RankRule
from qrlora_search.describe.tables import Table, check_keys, read_toml, validate

LayerKind = Literal["last", "first", "range", "every"]


class _Range(Table):
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> "_Range":
        if not self.low < self.high:
            raise ValueError(f"low = {self.low:g} must be below high = {self.high:g}; exchange or widen them")
        return self


class Tau(_Range):
    """tau, the share of a matrix that a rank keeps (energy rule) or the cut below |R_11| (threshold rule).

    tilt: how far the tau of one kind of matrix may be from the others'; 0: one tau for all.
    """

    low: Annotated[float, Field(gt=0, lt=1)] = 0.05
    high: Annotated[float, Field(gt=0, lt=1)] = 0.9
    rule: RankRule = "energy"
    tilt: Annotated[float, Field(ge=0, lt=1)] = 0.0


class LearningRate(_Range):
    """The learning rate of the coefficients, sampled on a log scale."""

    low: Annotated[float, Field(gt=0, le=10)] = 1e-3
    high: Annotated[float, Field(gt=0, le=10)] = 1e-1


class Methods(Table):
    """Which methods are searched, and the ranks of those that train both factors of an update."""

    of: Annotated[tuple[Method, ...], Field(min_length=1)] = ("qr-lora",)
    ranks: Annotated[tuple[Annotated[int, Field(ge=1, le=1024)], ...], Field(min_length=1)] = (1, 2, 4, 8)


class LowRankLearningRate(_Range):
    """The learning rate of a low-rank update's factors, sampled on a log scale."""

    low: Annotated[float, Field(gt=0, le=10)] = 1e-4
    high: Annotated[float, Field(gt=0, le=10)] = 1e-2


class FullLearningRate(_Range):
    """The learning rate of full fine-tuning, sampled on a log scale."""

    low: Annotated[float, Field(gt=0, le=1)] = 1e-5
    high: Annotated[float, Field(gt=0, le=1)] = 1e-4


class Matrices(Table):
    """Which projections may be adapted: any non-empty subset of `of`, or one of the listed `subsets`."""

    of: Annotated[tuple[Matrix, ...], Field(min_length=1)] = MATRICES
    subsets: tuple[Annotated[tuple[Matrix, ...], Field(min_length=1)], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the subsets by name, e.g. `qv`, in a fixed order."""
        if self.subsets:
            chosen: list[str] = ["".join(m for m in MATRICES if m in subset) for subset in self.subsets]
        else:
            kinds = [matrix for matrix in MATRICES if matrix in self.of]
            masks = range(1, 2 ** len(kinds))
            chosen = ["".join(kind for bit, kind in enumerate(kinds) if mask >> bit & 1) for mask in masks]
        return tuple(dict.fromkeys(chosen))


class Layers(Table):
    """Which layers may be adapted: families of subsets, and explicit lists (0 is the lowest layer)."""

    families: tuple[LayerKind, ...] = ("last", "first", "range", "every")
    lists: tuple[Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)], ...] = ()

    @model_validator(mode="after")
    def _some(self) -> "Layers":
        if not self.families and not self.lists:
            raise ValueError("families and lists are both empty; name at least one layer subset")
        return self


class Training(Table):
    """How a trial trains: epochs, the rungs at which it is compared, batch size, dropout, and the precision of frozen
    weights and states (auto: bfloat16 where the machine that makes the plan computes in it). report_timeout_s: a
    running trial that gives no report for so long fails. promotion: when no new trial starts, stopped ones are taken up
    again for at most so many epochs, as a share of those that the search trained; 0: none is.
    """

    epochs: Annotated[int, Field(ge=1, le=1000)] = 5
    rungs: tuple[Annotated[int, Field(ge=1)], ...] = (1, 2, 3)
    batch_sizes: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=1)] = (32,)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    max_length: Annotated[int, Field(ge=8, le=8192)] = 128
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    report_timeout_s: Annotated[float, Field(gt=0)] = 7200.0
    promotion: Annotated[float, Field(ge=0, le=10)] = 0.2

    @model_validator(mode="after")
    def _rungs_before_the_end(self) -> "Training":
        if list(self.rungs) != sorted(set(self.rungs)) or any(rung >= self.epochs for rung in self.rungs):
            raise ValueError(f"rungs = {list(self.rungs)} must rise and stay below epochs = {self.epochs}")
        return self


class Head(Table):
    """The classification head in trials: frozen as the warm-up left it, or trained with a learning rate of its own."""

    modes: Annotated[tuple[HeadMode, ...], Field(min_length=1)] = ("frozen",)
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-3


class Bases(Table):
    """Which weights are factorised: the pretrained ones, or those that the warm-up left; and which directions of a
    basis train: the first r, or the r with the largest gradient on the first batches, or both in turn.
    """

    of: Literal["pretrained", "warmed-up"] = "pretrained"
    directions: Annotated[tuple[Literal["order", "gradient"], ...], Field(min_length=1)] = ("order",)


class WarmUp(Table):
    """Full fine-tuning before every trial: the shared start of all trials and of the control."""

    epochs: Annotated[int, Field(ge=1, le=100)] = 3
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 32
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    workers: Annotated[int, Field(ge=1, le=1024)] = 1


class States(Table):
    """Room for constant hidden states: bytes that one worker keeps mapped, and bytes on disk a node. 0 keeps none.

    It changes no number, only the time, and so is no part of a search's identity.
    """

    memory_gib: Annotated[float, Field(ge=0, le=100_000)] = 4.0
    disk_gib: Annotated[float, Field(ge=0, le=100_000)] = 20.0


class SamplerChoice(Table):
    """Which sampler proposes, and after how many random proposals it starts to learn: Optuna's, or one that spreads
    over sizes. start_points: whether the sensible points come first.
    """

    name: Literal["tpe", "random", "stratified"] = "stratified"
    random_first: Annotated[int, Field(ge=1)] = 10
    start_points: bool = True


class Selection(Table):
    """Which examples every decision looks at: some held out of train, or the official validation set, as is common.

    On `validation` the report split feeds the decisions, so its scores flatter; that is said wherever they stand.
    """

    on: Literal["held-out", "validation"] = "held-out"


class Confirm(Table):
    """Training the front's members and the control again, with further seeds, before the front is believed.

    share: the most epochs for it, as a share of those that the search trained; 0: the front stays unconfirmed. seeds:
    the most further seeds a member. warmups: how many warm-ups the seeds are spread over, the search's own first.
    """

    share: Annotated[float, Field(ge=0, le=10)] = 0.2
    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    warmups: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _enough(self) -> "Confirm":
        if self.warmups == 2:
            raise ValueError(
                "warmups = 2: two leave one degree of freedom, and an interval over them is wider than any score; "
                "use 1, or 3 and more"
            )
        if self.warmups > self.seeds:
            raise ValueError(
                f"warmups = {self.warmups} is more than seeds = {self.seeds}: a warm-up would go unused; raise seeds"
            )
        return self


class Derived(Table):
    """Smaller adapters from Finished ones, without training: the largest half of the coefficients, and so on.

    halvings: how often; 0 for none. trials: of how many Finished trials on or nearest to the front, at most.
    """

    halvings: Annotated[int, Field(ge=0, le=10)] = 3
    trials: Annotated[int, Field(ge=1, le=1000)] = 12


class SearchSpace(Table):
    """Everything a search may vary, and the settings that it holds fixed."""

    tau: Tau = Tau()
    matrices: Matrices = Matrices()
    layers: Layers = Layers()
    learning_rate: LearningRate = LearningRate()
    methods: Methods = Methods()
    low_rank_learning_rate: LowRankLearningRate = LowRankLearningRate()
    full_learning_rate: FullLearningRate = FullLearningRate()
    training: Training = Training()
    head: Head = Head()
    bases: Bases = Bases()
    warm_up: WarmUp = WarmUp()
    states: States = States()
    sampler: SamplerChoice = SamplerChoice()
    selection: Selection = Selection()
    confirm: Confirm = Confirm()
    derived: Derived = Derived()


def spaces_folder() -> Path:
    """Returns the folder of the shipped spaces: inside an installed package, or at the top of a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "search_spaces"
    return inside if inside.is_dir() else package.parent.parent / "search_spaces"


def load_space(task: str, path: Path | None = None) -> SearchSpace:
    """Returns the space of a task: common.toml, then `<task>.toml` or the file at `path` on top of it.

    Raises UserError that names file, key, value and remedy.
    """
    common = spaces_folder() / "common.toml"
    special = path if path is not None else spaces_folder() / f"{task}.toml"
    merged: dict[str, Any] = {}
    space = SearchSpace()
    for file in (common, special):
        table = read_toml(file, "--space", "search_spaces/")
        check_keys(file, table, SearchSpace)
        merged = _merge(merged, table)
        space = validate(file, merged, SearchSpace)
    return space


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    return {key: {**below.get(key, {}), **above.get(key, {})} for key in {**below, **above}}
