"""Which reading of the paper gives its parameter counts: energy or threshold, W or its transpose, raw or warmed-up.

The paper (arXiv 2508.21810) states both rules of tau and factorises "the frozen weight", which torch stores transposed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from qrlora_search.describe.plan import EncoderShape
from qrlora_search.describe.presets import PAPER_LAYERS, PRESETS, TAU
from qrlora_search.describe.proposals import Spectra
from qrlora_search.method.bases import factorise
from qrlora_search.method.families import attention_weights, read_config
from qrlora_search.method.fine_tuning import read_weights
from qrlora_search.method.machine import cpus_here
from qrlora_search.values.ranks import rank_for

ONE_MATRIX = 150
"""The published rank of one 768 x 768 matrix; which one is not said, so how many have it is counted."""
ROWS = tuple(sorted({(one.parameters, one.matrices, one.last) for one in PRESETS if one.parameters is not None}))


@dataclass(frozen=True)
class Reading:
    """One reading and what it counts: by published count, and how many matrices have the published rank."""

    rule: str
    transposed: bool
    weights: str
    counts: dict[int, int]
    with_rank: int

    @property
    def off(self) -> float:
        """Returns the largest |ln(count / published)|: 0 where every count fits exactly."""
        return max(abs(float(np.log(ours / published))) for published, ours in self.counts.items())

    @property
    def words(self) -> str:
        """Returns the reading in words."""
        return f"{self.rule} of {'W transposed' if self.transposed else 'W'}, {self.weights}"

    @property
    def fits(self) -> bool:
        """Returns whether every count is the published one, and some matrix has the published rank."""
        return self.off == 0 and self.with_rank > 0


def can_be_checked(shape: EncoderShape) -> bool:
    """Returns whether a model has the paper's shape, which the counts belong to."""
    return (shape.family, shape.layers, shape.width) == ("roberta", PAPER_LAYERS, 768)


def count_parameters(spectra: Spectra, rule: str) -> tuple[dict[int, int], int]:
    """Returns our counts by published count, and how many matrices have the published rank. spectra: |R_ii|."""
    depth = 1 + max(layer for layer, _ in spectra)
    ranks = {place: rank_for(rule, diagonal, TAU) for place, diagonal in spectra.items()}
    counts = {
        published: sum(rank for (layer, matrix), rank in ranks.items() if matrix in matrices and layer >= depth - last)
        for published, matrices, last in ROWS
    }
    return counts, sum(rank == ONE_MATRIX for rank in ranks.values())


def readings(models: Mapping[str, Path]) -> list[Reading]:
    """Returns every reading, the best first. models: folders by what their weights are, `raw` or `warmed-up`."""
    found = []
    for (weights, folder), transposed in product(models.items(), (False, True)):
        config: dict[str, Any] = read_config(folder)
        arrays = attention_weights(config, read_weights(folder))
        turned = {place: one.T if transposed else one for place, one in arrays.items()}
        spectra = {place: basis.diagonal_D for place, basis in factorise(turned, cpus_here()).items()}
        found += [
            Reading(rule, transposed, weights, *count_parameters(spectra, rule)) for rule in ("energy", "threshold")
        ]
    return sorted(found, key=lambda one: one.off)


def show_readings(console: Console, found: list[Reading]) -> None:
    """Prints every reading's counts and which one fits."""
    shown = Table(title=f"The paper's counts at tau = {TAU:g}, read in {len(found)} ways", title_justify="left")
    published = [count for count, *_ in ROWS]
    for name in ("reading", *(f"{one:,}" for one in published), f"matrices of rank {ONE_MATRIX}"):
        shown.add_column(name)
    for one in found:
        counts = [f"{one.counts[count]:,}" for count in published]
        shown.add_row(one.words, *counts, str(one.with_rank))
    console.print(shown)
    exact, nearest = [one.words for one in found if one.fits], found[0]
    console.print(
        f"exact: {'; '.join(exact)}"
        if exact
        else f"no reading gives all counts; the nearest is {nearest.words}: off by at most {np.expm1(nearest.off):.1%}"
    )
