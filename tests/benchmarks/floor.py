"""The products that one trial-epoch cannot avoid, counted: what no implementation on constant states can leave out.

Counted are real tokens (no padding) and what this engine's own algorithm needs, which is less than the textbook's: in
the lowest adapted layer the frozen q, k and v are stored, and in the last layer one query a text meets the states.
"""

from typing import Any

import numpy as np

from qrlora_search.describe.configuration import Configuration
from qrlora_search.method.tokens import TokenSet


def multiply_adds(bench: Any, configuration: Configuration) -> float:
    """Return multiply-adds of one epoch over the train split, forward and backward, and of scoring the other split."""
    train, scored = (_forward(bench, configuration, bench.splits[name]) for name in ("train", "selection"))
    return train + _backward(bench, configuration, bench.splits["train"]) + scored


def _sizes(bench: Any) -> tuple[int, int, int, int]:
    layer = bench.encoder.layers[0]
    inner, width = layer.up[0].shape
    return width, inner, bench.encoder.heads, bench.depth - 1


def _thin(configuration: Configuration, layer: int, width: int) -> float:
    """Return multiply-adds a row for the thin products of one direction, both factors."""
    return sum(2.0 * one.rank * width for one in configuration.ranks if one.layer == layer)


def _forward(bench: Any, configuration: Configuration, split: TokenSet) -> float:
    d, inner, heads, last = _sizes(bench)
    lengths = split.lengths_N.astype(np.float64)
    tokens, texts = lengths.sum(), float(len(lengths))
    lowest = configuration.lowest_layer if configuration.ranks else last
    total = texts * (d * d + d * bench.task.outputs)  # the head
    for layer in range(lowest, last):
        stored = layer == lowest
        total += tokens * ((1 if stored else 4) * d * d + 2 * d * inner + _thin(configuration, layer, d))
        total += 2 * d * (lengths**2).sum()
    total += texts * (4 * d * d + 2 * d * inner + _thin(configuration, last, d))
    return total + 2 * heads * d * tokens


def _backward(bench: Any, configuration: Configuration, split: TokenSet) -> float:
    """Gradients go down to the lowest layer's adapted projections and no further."""
    d, inner, heads, last = _sizes(bench)
    lengths = split.lengths_N.astype(np.float64)
    tokens, texts = lengths.sum(), float(len(lengths))
    lowest = configuration.lowest_layer if configuration.ranks else last
    adapted = {one.matrix for one in configuration.ranks if one.layer == lowest}
    above = lowest < last  # whether states that enter the last layer want a gradient
    total = texts * (d * d + d * bench.task.outputs + (4 if above else 3) * d * d + 2 * d * inner)
    total += texts * _thin(configuration, last, d) / 2 + (4 if above else 2) * heads * d * tokens
    for layer in range(lowest, last):
        if layer > lowest:
            projected, attended = 4.0, 4
        else:
            projected = 1.0
            attended = bool({"q", "k"} & adapted) + sum(matrix in adapted for matrix in ("q", "k", "v"))
        total += tokens * (projected * d * d + 2 * d * inner + _thin(configuration, layer, d) / 2)
        total += attended * d * (lengths**2).sum()
    return total
