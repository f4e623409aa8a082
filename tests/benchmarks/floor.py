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
    d, inner, heads, last = _sizes(bench)
    lengths = split.lengths_N.astype(np.float64)
    tokens, texts = lengths.sum(), float(len(lengths))
    lowest = configuration.lowest_layer if configuration.ranks else last
    total = texts * (d * d + d * bench.task.outputs + 4 * d * d + 2 * d * inner + _thin(configuration, last, d) / 2)
    total += 3 * heads * d * tokens
    for layer in range(lowest, last):
        reached = 1 if layer == lowest else 4  # below the lowest layer's q, k and v nothing asks for a gradient
        total += tokens * (reached * d * d + 2 * d * inner + _thin(configuration, layer, d) / 2)
        total += 4 * d * (lengths**2).sum()
    return total
