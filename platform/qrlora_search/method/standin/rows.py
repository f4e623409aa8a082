"""Rows, and how a split is filled with them."""

from __future__ import annotations

from collections.abc import Callable

from qrlora_search.method.standin.draw import Draw

Value = str | int | float
Row = dict[str, Value]
MakeRow = Callable[[Draw], Row]

TRIES_PER_ROW = 200


def texts_of(row: Row) -> list[str]:
    """The row's texts, to compare rows by what they say."""
    return [value for name, value in row.items() if name != "label" and isinstance(value, str)]


def fill(make: MakeRow, draw: Draw, count: int, seen: set[str]) -> list[Row]:
    """As many rows as asked for, no text of which is in `seen` or in another row; their texts are added to it.

    So neither a row nor one of its texts can stand twice in a split, or in two splits that share `seen`.
    """
    rows: list[Row] = []
    for _ in range(count * TRIES_PER_ROW):
        row = make(draw)
        texts = texts_of(row)
        if seen.isdisjoint(texts) and len(set(texts)) == len(texts):
            seen.update(texts)
            rows.append(row)
            if len(rows) == count:
                return rows
    raise ValueError(f"only {len(rows)} of {count} rows have new texts; the grammar needs more words")
