"""What a trial's run shows: flat numeric parameters, so that MLflow's charts and filters work on them."""

import json
import math
from typing import Any

from qrlora_search.describe.configuration import MATRICES, Configuration
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.protocols import Parameters
from qrlora_search.record.history import HEAD_ONLY, TrialHistory


def trial_params(one: TrialHistory) -> dict[str, Any]:
    """Returns the parameters of a trial's run; numbers wherever they can be."""
    return params_of(one.proposal, one.configuration)


def params_of(proposal: Parameters, configuration: Configuration) -> dict[str, Any]:
    """Returns the parameters of a run that shows a configuration, and what was proposed for it."""
    layers = sorted({rank.layer for rank in configuration.ranks})
    by_kind = {kind: [rank.rank for rank in configuration.ranks if rank.matrix == kind] for kind in MATRICES}
    params = {name: value for name, value in proposal.items() if name != "matrices"}
    params |= {
        "parameters": configuration.parameters,
        "learning_rate": configuration.learning_rate,
        "head": configuration.head,
        "lowest_layer": layers[0] if layers else -1,
        "layer_count": len(layers),
        "adapted_layers": ",".join(map(str, layers)),
        "matrices": "".join(kind for kind in MATRICES if by_kind[kind]),
        "matrix_count": sum(bool(ranks) for ranks in by_kind.values()),
        "epochs": configuration.epochs,
        "words": configuration.words,
        "ranks": json.dumps(
            [[rank.layer, rank.matrix, rank.rank] for rank in configuration.ranks], separators=(",", ":")
        ),
    }
    for kind, ranks in by_kind.items():
        params |= {f"adapts_{kind}": int(bool(ranks)), f"ranks_{kind}": sum(ranks)}
    return params


def size_metrics(configuration: Configuration) -> dict[str, float]:
    """Returns a size as metrics, which MLflow's scatter chart can put on an axis: counted, and as log10(1 +
    parameters), the axis of the hypervolume.
    """
    count = configuration.parameters
    return {"parameters": float(count), "log10_parameters": math.log10(1 + count)}


def run_name(trial: int) -> str:
    """Returns the name of a trial's run."""
    return "head-only control" if trial == HEAD_ONLY else f"trial-{trial:05d}"


def marked(plan: SearchPlan) -> str:
    """Returns what a run's name says of scores that are not what they seem; empty for real data, held-out selection."""
    return (" STAND-IN" if plan.stand_in else "") + (" SELECTED ON VALIDATION" if plan.on_validation else "")
