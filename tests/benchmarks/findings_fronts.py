"""Do other forms of the adapters move a front? Four sizes in one form against the same four in another.

The area is the hypervolume of the four configurations over the control of their warm-up, on the report split, which
chose none of them; a difference is paired by seed and example, with a 95 % interval over both (`app/over_seeds.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.benchmarks.findings import BY_GRADIENT, FIRST, FRONT, MORE_Q, MORE_V

from qrlora_search.app.over_seeds import combined, example_weights
from qrlora_search.values.intervals import Interval, Statistic, statistic
from qrlora_search.values.objectives import size_axis
from qrlora_search.values.packing import unpack

Floats = NDArray[np.float64]
Rows = Mapping[str, Mapping[str, Any]]
FORMS = {
    "The front of four sizes: directions by gradient against their order": {
        FIRST: "directions by gradient", **{name: f"{name}{BY_GRADIENT}" for name in FRONT if name != FIRST},
    },
    "The front of four sizes: more of Wq against one tau": {
        FIRST: "more of Wq than of Wv", **{name: f"{name}{MORE_Q}" for name in FRONT if name != FIRST},
    },
    "The front of four sizes: more of Wv against one tau": {
        FIRST: "more of Wv than of Wq", **{name: f"{name}{MORE_V}" for name in FRONT if name != FIRST},
    },
}  # fmt: skip
"""Questions, and what stands in each form for each of the front's configurations."""


def areas(kind: Statistic, labels_N: Floats, control_N: Floats, members: Sequence[tuple[int, Floats]], whole: int,
          weights_BN: Floats) -> Floats:  # fmt: skip
    """Return the hypervolume over the control for every row of example weights, (B,).

    members: (adapter parameters, predictions (N,)). whole: the encoder's parameters, the reference.
    """
    reached = statistic(kind, labels_N, control_N, weights_BN)
    area, right = np.zeros(len(weights_BN)), float(size_axis(whole))
    for parameters, predictions_N in sorted(members, key=lambda one: one[0]):
        score = np.maximum(reached, statistic(kind, labels_N, predictions_N, weights_BN))
        area += (score - reached) * max(0.0, right - float(size_axis(parameters)))
        reached = score
    return area


def moved(
    kind: Statistic, labels_N: Floats, rows: Rows, control: str, form: Mapping[str, str], whole: int
) -> tuple[Interval, float, int] | None:
    """Return how much more area a form's front covers than the plain one's, with its p-value and the number of seeds;
    None where the rows are not there, or for one seed alone.
    """
    wanted = [control, *FRONT, *form.values()]
    if not set(wanted) <= set(rows):
        return None
    seeds = sorted(set.intersection(*(set(rows[name]) for name in wanted)), key=int)
    if len(seeds) < 2:
        return None
    values, parts = [], []
    for weights_BN in example_weights(len(labels_N), 0):
        found = []
        for seed in seeds:
            of = unpack(rows[control][seed]["packed"])
            sides = [[rows[name][seed] for name in names] for names in (form.values(), FRONT)]
            ours, plain = (
                areas(kind, labels_N, of, [(one["parameters"], unpack(one["packed"])) for one in side], whole,
                      weights_BN)
                for side in sides
            )  # fmt: skip
            found.append(ours - plain)
        (values if len(weights_BN) == 1 else parts).append(np.stack(found))
    return *combined(values[0][:, 0], np.concatenate(parts, axis=1), len(labels_N)), len(seeds)
