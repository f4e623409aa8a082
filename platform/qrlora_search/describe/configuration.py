"""A configuration in its canonical form: what is trained, with exact counts, before anything is trained."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

Matrix = Literal["q", "k", "v", "o"]
MATRICES: tuple[Matrix, ...] = ("q", "k", "v", "o")
HeadMode = Literal["frozen", "trained"]
RankRule = Literal["energy", "threshold"]
Method = Literal["qr-lora", "svd-diagonal", "random-basis", "lora", "svd-lora", "full"]
Directions = Literal["order", "gradient", "largest"]
DIAGONAL: tuple[Method, ...] = ("qr-lora", "svd-diagonal", "random-basis")
"""Methods that train one coefficient a direction of a fixed basis: of the pivoted QR, of the SVD, or a random one."""
LOW_RANK: tuple[Method, ...] = ("lora", "svd-lora")
"""Methods that train both factors of an update of rank r: from nothing, or from the top singular vectors."""
ADAPTERS: tuple[Method, ...] = (*DIAGONAL, *LOW_RANK)
METHODS: tuple[Method, ...] = (*ADAPTERS, "full")
"""`full` trains every weight of the encoder, and the head with it."""


@dataclass(frozen=True, order=True)
class AdaptedMatrix:
    """One adapted weight: its layer (0 is the lowest), its kind and the rank of its update."""

    layer: int
    matrix: Matrix
    rank: int


@dataclass(frozen=True)
class Configuration:
    """What one trial trains. Two proposals with equal configurations are the same trial.

    ranks: the rank vector, ordered by layer and matrix. learning_rate: of the coefficients. head_learning_rate: of the
    head where it trains, else 0. per_rank: parameters trained for each rank: one coefficient, or a row and a column.
    whole: the encoder's parameters where all of them train, else 0. directions: which r directions of a basis train:
    the first in its own order, those with the largest gradient on the first batches, or, of an adapter that is
    trained, those with the largest effect.
    """

    ranks: tuple[AdaptedMatrix, ...]
    learning_rate: float
    batch_size: int
    epochs: int
    head: HeadMode
    head_learning_rate: float
    dropout: float
    method: Method = "qr-lora"
    per_rank: int = 1
    whole: int = 0
    directions: Directions = "order"

    @property
    def parameters(self) -> int:
        """Returns the number of trained parameters without the head's, exactly."""
        return self.whole or self.per_rank * sum(one.rank for one in self.ranks)

    @property
    def lowest_layer(self) -> int | None:
        """Returns the lowest layer that trains, or None where none does."""
        return 0 if self.whole else min((one.layer for one in self.ranks), default=None)

    def to_json(self) -> dict[str, object]:
        """Returns plain data that `configuration_from_json` reads back."""
        return {**asdict(self), "ranks": [[one.layer, one.matrix, one.rank] for one in self.ranks]}

    @property
    def identity(self) -> str:
        """Returns a text that is equal exactly for equal configurations."""
        return json.dumps(self.to_json(), sort_keys=True)

    @property
    def words(self) -> str:
        """Returns a short description for people: matrices and layers, and the method where it is not QR-LoRA's own,
        e.g. `qv in layers 4-5` or `lora r = 2, qv in layers 4-5`.
        """
        if self.whole:
            return "full fine-tuning"
        if not self.ranks:
            return "no adapter"
        rank = f" r = {self.ranks[0].rank}" if self.method in LOW_RANK else ""
        method = "" if self.method == "qr-lora" else f"{self.method}{rank}, "
        method += {"order": "", "gradient": "directions by gradient, ", "largest": "largest of "}[self.directions]
        matrices = "".join(kind for kind in MATRICES if any(one.matrix == kind for one in self.ranks))
        layers = sorted({one.layer for one in self.ranks})
        return f"{method}{matrices} in {layer_words(layers)}"


def layer_words(layers: list[int]) -> str:
    """Returns layers in words: `layer 5`, `layers 2-5` or `layers 0,2,4`."""
    if len(layers) == 1:
        return f"layer {layers[0]}"
    if layers == list(range(layers[0], layers[-1] + 1)):
        return f"layers {layers[0]}-{layers[-1]}"
    return "layers " + ",".join(map(str, layers))


def configuration_from_json(data: dict[str, object]) -> Configuration:
    """Returns the configuration that `Configuration.to_json` wrote."""
    values = dict(data)
    ranks = values.pop("ranks")
    if not isinstance(ranks, list):
        raise TypeError("ranks must be a list of [layer, matrix, rank]")
    return Configuration(ranks=tuple(AdaptedMatrix(*one) for one in ranks), **values)  # type: ignore[arg-type]


def round_learning_rate(value: float) -> float:
    """Returns a learning rate with two significant digits: finer differences are no difference to a search."""
    return float(f"{value:.1e}")
