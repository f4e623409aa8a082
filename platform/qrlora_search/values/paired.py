"""How sure a difference of two scores is on the same examples, from compact per-example results, in microseconds.

A score's influence function says what one example adds to it; the standard error of a difference is the standard
deviation of the difference of two influences over sqrt(n) (the delta method; van der Vaart, Asymptotic Statistics,
chapters 3 and 20). For a mean the influence is the example's own value; for a correlation r of standardised x and y it
is x y - r (x^2 + y^2) / 2.
"""

import math
from itertools import product

import numpy as np
from numpy.typing import NDArray

from qrlora_search.values.intervals import Statistic

Results = int | NDArray[np.float32]
"""One trial's results: a bit an example (correctness, or the predicted one of two classes), or an influence each."""


def _bits(flags_N: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(flags_N).tobytes(), "big")


def _influences(x_N: NDArray[np.float64], y_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the influence of each example on the correlation of x and y; zeros where it is not defined."""
    if x_N.std() < 1e-12 or y_N.std() < 1e-12:
        return np.zeros(len(x_N))
    x, y = (x_N - x_N.mean()) / x_N.std(), (y_N - y_N.mean()) / y_N.std()
    r = float((x * y).mean())
    influences: NDArray[np.float64] = x * y - r * (x * x + y * y) / 2
    return influences


class Examples:
    """The examples that scores are compared on: their labels, shape (N,), and the statistic that the score is."""

    def __init__(self, kind: Statistic, labels_N: NDArray[np.float64]) -> None:
        self.kind, self.labels_N = kind, labels_N
        self.two_classes = kind == "correlation" and bool(np.isin(labels_N, (0.0, 1.0)).all())
        self.label_bits, self.all_bits = _bits(labels_N > 0.5), _bits(np.ones(len(labels_N), dtype=np.bool_))

    @property
    def n(self) -> int:
        """Returns the number of examples."""
        return len(self.labels_N)

    def results(self, predictions_N: NDArray[np.float64]) -> Results:
        """Returns the compact form of predictions, shape (N,); raises ValueError for another number of them."""
        if len(predictions_N) != self.n:
            raise ValueError(f"{len(predictions_N)} predictions for {self.n} examples")
        if self.kind == "mean":
            return _bits(predictions_N == self.labels_N)
        if self.two_classes:
            return _bits(predictions_N > 0.5)
        return _influences(self.labels_N, predictions_N).astype(np.float32)

    def paired_error(self, one: Results, other: Results) -> float:
        """Returns the standard error of the difference of two scores on these examples."""
        if isinstance(one, int) and isinstance(other, int):
            return self._error_of_bits(one, other)
        difference = np.asarray(one) - np.asarray(other)
        return float(difference.std()) / math.sqrt(self.n)

    def error(self, one: Results) -> float:
        """Returns the standard error of one score."""
        if isinstance(one, int):
            return self._error_of_bits(one, None)
        return float(np.asarray(one).std()) / math.sqrt(self.n)

    def _error_of_bits(self, one: int, other: int | None) -> float:
        """Counts the cells of (label, one, other), whose influences are alike, and takes their spread."""
        labels, whole = self.label_bits, self.all_bits
        first = self._cell_influences(one)
        second = None if other is None else self._cell_influences(other)
        total, squares = 0.0, 0.0
        for label, a, b in product((0, 1), (0, 1), (0, 1) if other is not None else (0,)):
            cell = (labels if label else whole ^ labels) & (one if a else whole ^ one)
            value = first[label, a]
            if other is not None and second is not None:
                cell &= other if b else whole ^ other
                value -= second[label, b]
            count = cell.bit_count()
            total += count * value
            squares += count * value * value
        mean = total / self.n
        return math.sqrt(max(0.0, squares / self.n - mean * mean) / self.n)

    def _cell_influences(self, bits: int) -> dict[tuple[int, int], float]:
        """Returns the influence of an example by (label, bit)."""
        cells = list(product((0, 1), (0, 1)))
        if self.kind == "mean":
            return {(label, bit): float(bit) for label, bit in cells}
        y, p, both = (value.bit_count() / self.n for value in (self.label_bits, bits, self.label_bits & bits))
        spread_y, spread_p = math.sqrt(y * (1 - y)), math.sqrt(p * (1 - p))
        if spread_y < 1e-12 or spread_p < 1e-12:
            return dict.fromkeys(cells, 0.0)
        r = (both - y * p) / (spread_y * spread_p)
        found = {}
        for label, bit in cells:
            a, b = (label - y) / spread_y, (bit - p) / spread_p
            found[label, bit] = a * b - r * (a * a + b * b) / 2
        return found
