"""A configuration in its canonical form: what is trained, with exact counts, before anything is trained."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

Matrix = Literal["q", "k", "v", "o"]
MATRICES: tuple[Matrix, ...] = ("q", "k", "v", "o")
HeadMode = Literal["frozen", "trained"]
RankRule = Literal["energy", "threshold"]


@dataclass(frozen=True, order=True)
class AdaptedMatrix:
    """One adapted weight: its layer (0 is the lowest), its kind and its rank, which is also its parameter count."""

    layer: int
    matrix: Matrix
    rank: int


@dataclass(frozen=True)
class Configuration:
    """What one trial trains. Two proposals with equal configurations are the same trial.

    ranks: the rank vector, ordered by layer and matrix. learning_rate: of the coefficients. head_learning_rate: of the
    head where it trains, else 0.
    """

    ranks: tuple[AdaptedMatrix, ...]
    learning_rate: float
    batch_size: int
    epochs: int
    head: HeadMode
    head_learning_rate: float
    dropout: float

    @property
    def parameters(self) -> int:
        """Returns the number of trained adapter parameters, exactly."""
        return sum(one.rank for one in self.ranks)

    @property
    def lowest_layer(self) -> int | None:
        """Returns the lowest adapted layer, or None where no layer is adapted."""
        return min((one.layer for one in self.ranks), default=None)

    def to_json(self) -> dict[str, object]:
        """Returns plain data that `configuration_from_json` reads back."""
        return {**asdict(self), "ranks": [[one.layer, one.matrix, one.rank] for one in self.ranks]}

    @property
    def identity(self) -> str:
        """Returns a text that is equal exactly for equal configurations."""
        return json.dumps(self.to_json(), sort_keys=True)

    @property
    def words(self) -> str:
        """Returns a short description for people: matrices and layers, e.g. `qv in layers 4-5, 102 parameters`."""
        if not self.ranks:
            return "no adapter"
        matrices = "".join(kind for kind in MATRICES if any(one.matrix == kind for one in self.ranks))
        layers = sorted({one.layer for one in self.ranks})
        return f"{matrices} in {layer_words(layers)}"


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
