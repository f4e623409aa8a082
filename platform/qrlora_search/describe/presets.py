"""The paper's rows (arXiv 2508.21810) as settings of a search, with the published cells that are known.

Where a model has fewer than the paper's twelve layers, "the last four" becomes the last third, which the words say.
Learning rates, batch size and epochs were not published: they are the middle of the space's ranges, and its settings.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from qrlora_search.describe.configuration import DIAGONAL, LOW_RANK, Method
from qrlora_search.describe.proposals import LEARNING_RATES
from qrlora_search.describe.protocols import Parameters
from qrlora_search.describe.space import SearchSpace

PAPER_LAYERS = 12
PAPER_MODEL = "roberta-base"
PAPER_ROWS = 10_000
"""The paper trains on min(10,000, all) rows of train."""
TAU, RANK = 0.5, 2

Cells = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Preset:
    """A row of the paper's tables.

    last: how many of twelve layers, counted from the last. parameters: the published count. cells: published scores by
    task, times 100, in the order of the task's report splits, or of its metrics where it has one split.
    """

    name: str
    method: Method
    matrices: str = ""
    last: int = PAPER_LAYERS
    parameters: int | None = None
    cells: Cells = field(default_factory=dict)

    def layers(self, depth: int) -> int:
        """Returns how many layers, counted from the last, of a model of this depth."""
        if self.last >= PAPER_LAYERS:
            return depth
        return self.last if depth >= PAPER_LAYERS else max(1, round(depth * self.last / PAPER_LAYERS))

    def scaled(self, depth: int) -> str:
        """Returns in words how the row differs from the paper's on a model of this depth, or an empty text."""
        if self.method == "full" or depth == PAPER_LAYERS:
            return ""
        return f"the last {self.layers(depth)} of {depth} layers for the last {self.last} of {PAPER_LAYERS}"

    def proposal(self, space: SearchSpace, depth: int) -> Parameters:
        """Returns the row as a proposal of a space, with the middle of the learning rate's range."""
        name = LEARNING_RATES[self.method]
        rates = getattr(space, name)
        proposal: Parameters = {"method": self.method}
        if self.method in DIAGONAL:
            proposal["tau"] = TAU
        if self.method in LOW_RANK:
            proposal["rank"] = RANK
        proposal[name] = math.sqrt(rates.low * rates.high)
        if self.method != "full":
            proposal |= {"matrices": self.matrices, "layers": "last", "last": self.layers(depth)}
        proposal["batch_size"] = space.training.batch_sizes[0]
        return proposal if self.method == "full" else {**proposal, "head": space.head.modes[0]}


_FULL: Cells = {"mnli": (81.99, 82.17), "mrpc": (87.99, 91.42), "sst2": (93.12,), "cola": (57.35,)}
_FIRST: Cells = {"sst2": (94.84,), "mrpc": (88.73,), "cola": (59.57,)}

PRESETS: tuple[Preset, ...] = (
    Preset("full fine-tuning", "full", cells=_FULL),
    Preset("LoRA, r = 2", "lora", "qv"),
    Preset("SVD-LoRA, r = 2", "svd-lora", "qv"),
    Preset("QR-LoRA1", "qr-lora", "qv", 4, 1311, _FIRST),
    Preset("QR-LoRA2", "qr-lora", "q", 4, 601),
    Preset("QR-LoRA, Wo, all layers", "qr-lora", "o", PAPER_LAYERS, 1702, {"mnli": (82.05, 82.29)}),
    Preset("QR-LoRA, Wo, last 4", "qr-lora", "o", 4, 614, {"mrpc": (88.97, 92.15)}),
    Preset("SVD-diagonal at QR-LoRA1's count", "svd-diagonal", "qv", 4),
    Preset("random basis at QR-LoRA1's count", "random-basis", "qv", 4),
)


def paper_space(space: SearchSpace) -> SearchSpace:
    """Returns a space that holds every row and trains each to its end, with the other settings as they are."""
    methods = tuple(dict.fromkeys(preset.method for preset in PRESETS))
    table = space.model_dump(mode="json")
    table["methods"] = {"of": methods, "ranks": sorted({RANK, *space.methods.ranks})}
    table["tau"] = {**table["tau"], "low": min(space.tau.low, TAU), "high": max(space.tau.high, TAU), "tilt": 0.0}
    table["matrices"] = {"of": ["q", "k", "v", "o"]}
    table["layers"] = {"families": list(dict.fromkeys([*table["layers"]["families"], "last"])), "lists": []}
    table["bases"] = {**table["bases"], "directions": ["order"]}
    table["training"] = {**table["training"], "rungs": []}
    table["sampler"] = {**table["sampler"], "start_points": False}
    table["confirm"] = {**table["confirm"], "share": 0.0}  # the seeds are the warm-ups, and nothing is selected
    table["derived"] = {**table["derived"], "halvings": 0}
    return SearchSpace.model_validate(table)
