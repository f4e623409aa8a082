"""Do other forms of the adapters move a front? Four sizes in one form against the same four in another.

The area is the hypervolume of the four configurations over the control of their warm-up, on the report split, which
chose none of them; a difference is paired by seed and example, with a 95 % interval over both (`app/over_seeds.py`).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from tests.benchmarks.findings import BY_GRADIENT, FIRST, FRONT, MORE_Q, MORE_V

from qrlora_search.app.over_seeds import combined
from qrlora_search.values.comparing import Floats, areas, example_weights
from qrlora_search.values.intervals import Interval, Statistic, statistic
from qrlora_search.values.packing import unpack

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
    weights = example_weights(len(labels_N))
    exact, drawn = (
        np.stack([_more_area(kind, labels_N, rows, control, form, whole, seed, each_BN) for seed in seeds])
        for each_BN in (np.ones((1, len(labels_N))), weights)
    )
    return *combined(exact[:, 0], drawn, len(labels_N)), len(seeds)


def _more_area(
    kind: Statistic, labels_N: Floats, rows: Rows, control: str, form: Mapping[str, str], whole: int, seed: str,
    weights_BN: Floats,
) -> Floats:  # fmt: skip
    """Return a form's area less the plain one's, of one seed, for every row of example weights, (B,)."""

    def scores(name: str) -> Floats:
        return statistic(kind, labels_N, unpack(rows[name][seed]["packed"]), weights_BN)

    reference = scores(control)
    ours, plain = (
        areas(
            np.stack([scores(name) for name in names], axis=1), [rows[name][seed]["parameters"] for name in names],
            reference, whole,
        )
        for names in (list(form.values()), list(FRONT))
    )  # fmt: skip
    return ours - plain
