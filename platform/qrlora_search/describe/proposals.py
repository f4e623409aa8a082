"""What a sampler proposes, and how a proposal becomes a configuration with an exact parameter count."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qrlora_search.describe.configuration import (
    ADAPTERS,
    DIAGONAL,
    LOW_RANK,
    MATRICES,
    METHODS,
    AdaptedMatrix,
    Configuration,
    Directions,
    HeadMode,
    Matrix,
    Method,
    round_learning_rate,
)
from qrlora_search.describe.protocols import Parameters
from qrlora_search.describe.space import SearchSpace
from qrlora_search.values.errors import UserError
from qrlora_search.values.ranks import rank_for

Spectra = Mapping[tuple[int, Matrix], NDArray[np.floating]]
"""|R_ii| of every projection, by (layer, matrix): all that is needed to count parameters before training."""
LEARNING_RATES: Mapping[Method, str] = {
    **dict.fromkeys(DIAGONAL, "learning_rate"),
    **dict.fromkeys(LOW_RANK, "low_rank_learning_rate"),
    "full": "full_learning_rate",
}
"""The name of each method's learning rate in a proposal."""


@dataclass(frozen=True)
class Dimension:
    """One parameter of a proposal: a choice, or a number from low to high.

    when: it is there only where an earlier parameter has one of these choices.
    """

    name: str
    choices: tuple[str | int, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    integer: bool = False
    when: tuple[str, tuple[str, ...]] | None = None

    def applies(self, parameters: Parameters) -> bool:
        """Returns whether a proposal with these earlier parameters has this one."""
        return self.when is None or parameters.get(self.when[0]) in self.when[1]


def dimensions(space: SearchSpace, depth: int) -> list[Dimension]:
    """Returns the parameters that a sampler proposes for an encoder of `depth` layers, in a fixed order."""
    kinds: list[str] = list(dict.fromkeys([*space.layers.families, *(["list"] if space.layers.lists else [])]))
    lists = tuple(dict.fromkeys(_list_name(one) for one in space.layers.lists))
    methods = tuple(dict.fromkeys(space.methods.of))
    result = [
        Dimension("method", choices=methods),
        Dimension("tau", low=space.tau.low, high=space.tau.high, when=("method", DIAGONAL)),
        Dimension("rank", choices=tuple(sorted(set(space.methods.ranks))), when=("method", LOW_RANK)),
        *_beyond_the_paper(space),
        *_learning_rates(space),
        Dimension("matrices", choices=space.matrices.names, when=("method", ADAPTERS)),
        Dimension("layers", choices=tuple(kinds), when=("method", ADAPTERS)),
        Dimension("last", low=1, high=depth, integer=True, when=("layers", ("last",))),
        Dimension("first", low=1, high=depth, integer=True, when=("layers", ("first",))),
        Dimension("range_low", low=0, high=depth - 1, integer=True, when=("layers", ("range",))),
        Dimension("range_length", low=1, high=depth, integer=True, when=("layers", ("range",))),
        Dimension("every", low=min(2, depth), high=max(2, depth), integer=True, when=("layers", ("every",))),
        Dimension("list", choices=lists, when=("layers", ("list",))),
        Dimension("batch_size", choices=tuple(dict.fromkeys(space.training.batch_sizes))),
        Dimension("head", choices=tuple(dict.fromkeys(space.head.modes)), when=("method", ADAPTERS)),
    ]
    there = {"layers": kinds if set(methods) & set(ADAPTERS) else [], "method": methods}
    return [one for one in result if one.when is None or set(one.when[1]) & set(there[one.when[0]])]


def _beyond_the_paper(space: SearchSpace) -> list[Dimension]:
    """Returns what the paper does not vary, where it is asked for: a tilt of tau for each kind of matrix, and which
    directions train.
    """
    tilt, ways = space.tau.tilt, tuple(dict.fromkeys(space.bases.directions))
    tilts = [Dimension(f"tilt_{kind}", low=-tilt, high=tilt, when=("method", DIAGONAL)) for kind in MATRICES]
    found = tilts if tilt > 0 else []
    return found if ways == ("order",) else [*found, Dimension("directions", choices=ways, when=("method", DIAGONAL))]


def _learning_rates(space: SearchSpace) -> list[Dimension]:
    """Returns the learning rate of each kind of method, on a log scale."""
    ranges = {
        LEARNING_RATES[DIAGONAL[0]]: (space.learning_rate, DIAGONAL),
        LEARNING_RATES[LOW_RANK[0]]: (space.low_rank_learning_rate, LOW_RANK),
        LEARNING_RATES["full"]: (space.full_learning_rate, ("full",)),
    }
    return [
        Dimension(name, low=one.low, high=one.high, log=True, when=("method", methods))
        for name, (one, methods) in ranges.items()
    ]


def fits(space: SearchSpace, depth: int, parameters: Parameters) -> bool:
    """Returns whether parameters, of another search perhaps, are a proposal of this space."""
    active = [one for one in dimensions(space, depth) if one.applies(parameters)]
    return sorted(one.name for one in active) == sorted(parameters) and all(
        parameters[one.name] in one.choices
        if one.choices
        else not isinstance(value := parameters[one.name], str) and one.low <= value <= one.high
        for one in active
    )


def _list_name(layers: tuple[int, ...]) -> str:
    return ",".join(map(str, sorted(set(layers))))


def layer_subset(parameters: Parameters, depth: int) -> tuple[int, ...]:
    """Returns the adapted layers of a proposal, rising. `every n` counts down from the last layer."""
    kind = parameters["layers"]
    if kind == "last":
        return tuple(range(depth - int(parameters["last"]), depth))
    if kind == "first":
        return tuple(range(int(parameters["first"])))
    if kind == "range":
        low = int(parameters["range_low"])
        return tuple(range(low, min(depth, low + int(parameters["range_length"]))))
    if kind == "every":
        return tuple(sorted(range(depth - 1, -1, -int(parameters["every"]))))
    return tuple(int(part) for part in str(parameters["list"]).split(","))


def check_depth(space: SearchSpace, depth: int, where: str) -> None:
    """Raises UserError where the space names a layer that a model of `depth` layers lacks."""
    for layers in space.layers.lists:
        for layer in layers:
            if layer >= depth:
                raise UserError(
                    f"{where}: layers.lists = {list(layers)}: the model has no layer {layer}; "
                    f"its layers are 0 to {depth - 1}"
                )


def check_ranks(space: SearchSpace, width: int, where: str) -> None:
    """Raises UserError where the space names a rank that no matrix of a model of this width has."""
    if set(space.methods.of) & set(LOW_RANK) and max(space.methods.ranks) > width:
        raise UserError(
            f"{where}: methods.ranks = {list(space.methods.ranks)}: the model's matrices have rank {width}; leave out "
            "what is above it"
        )


def canonical(
    space: SearchSpace, parameters: Parameters, spectra: Spectra, depth: int, whole: int = 0
) -> Configuration:
    """Returns the canonical form of a proposal: a rank vector and rounded settings, the same for equal trials.

    whole: the encoder's parameters, which full fine-tuning trains.
    """
    if parameters["method"] == "full":
        if whole < 1:
            raise ValueError("full fine-tuning needs the count of the encoder's parameters")
        return _configuration(space, parameters, (), whole)
    matrices = [matrix for matrix in MATRICES if matrix in str(parameters["matrices"])]
    places = [(layer, matrix) for layer in layer_subset(parameters, depth) for matrix in matrices]
    if parameters["method"] in LOW_RANK:
        ranks = tuple(AdaptedMatrix(*place, int(parameters["rank"])) for place in places)
    else:
        taus = {matrix: _tilted(space, parameters, matrix) for matrix in matrices}
        ranks = tuple(
            AdaptedMatrix(*place, rank_for(space.tau.rule, spectra[place], taus[place[1]])) for place in places
        )
    width = len(next(iter(spectra.values())))  # attention's projections are square
    return _configuration(space, parameters, ranks, width)


def _tilted(space: SearchSpace, parameters: Parameters, matrix: Matrix) -> float:
    """Returns a matrix's own tau: the proposal's, moved by the tilt of its kind and kept within the space's range."""
    tau, tilt = float(parameters["tau"]), parameters.get(f"tilt_{matrix}")
    return tau if tilt is None else min(max(tau + float(tilt), space.tau.low), space.tau.high)


def head_only(space: SearchSpace, batch_size: int) -> Configuration:
    """Returns the head-only control: the same epochs and head learning rate as the trials, no adapter."""
    none: Parameters = {"method": "qr-lora", "learning_rate": 0.0, "batch_size": batch_size, "head": "trained"}
    return _configuration(space, none, (), 0)


def _configuration(
    space: SearchSpace, parameters: Parameters, ranks: tuple[AdaptedMatrix, ...], size: int
) -> Configuration:
    """Returns a configuration. size: the width of a projection, or of full fine-tuning the encoder's parameters."""
    method = next(one for one in METHODS if one == parameters["method"])
    whole = method == "full"
    rate = round_learning_rate(float(parameters[LEARNING_RATES[method]]))
    head: HeadMode = "trained" if whole or parameters["head"] == "trained" else "frozen"
    head_rate = rate if whole else space.head.learning_rate
    directions: Directions = "gradient" if parameters.get("directions") == "gradient" else "order"
    return Configuration(
        ranks=ranks,
        learning_rate=rate,
        batch_size=int(parameters["batch_size"]),
        epochs=space.training.epochs,
        head=head,
        head_learning_rate=head_rate if head == "trained" else 0.0,
        dropout=space.training.dropout,
        method=method,
        per_rank=2 * size if method in LOW_RANK else 1,
        whole=size if whole else 0,
        directions=directions,
    )
