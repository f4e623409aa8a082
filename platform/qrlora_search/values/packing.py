"""Per-example results as short text, so that paired errors and bootstraps can be made later from the record."""

import base64
import zlib

import numpy as np
from numpy.typing import NDArray


def pack(predictions: NDArray[np.generic]) -> str:
    """Returns predictions as text: class indices as bytes, real values as float32, compressed.

    predictions: shape (n,), integers from 0 to 255 (a class each) or floats (a regression's values). Raises ValueError
    for other integers.
    """
    if np.issubdtype(predictions.dtype, np.integer):
        classes = predictions.astype(np.int64)
        if ((classes < 0) | (classes > 255)).any():
            raise ValueError("classes are packed as bytes: they must lie from 0 to 255")
        kind, raw = "c", classes.astype(np.uint8).tobytes()
    else:
        kind, raw = "r", predictions.astype("<f4").tobytes()
    return kind + base64.b64encode(zlib.compress(raw, 9)).decode("ascii")


def unpack(text: str) -> NDArray[np.float64]:
    """Returns the predictions that `pack` made, shape (n,), as float64 (class indices are whole numbers)."""
    raw = zlib.decompress(base64.b64decode(text[1:]))
    return np.frombuffer(raw, dtype=np.uint8 if text[0] == "c" else "<f4").astype(np.float64)
