"""Tokenised splits as flat arrays, and batches of similar length.

Legend: N examples, T tokens of all examples, B batch, L length of the longest text of a batch.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

POOL_BATCHES = 50


@dataclass(frozen=True)
class TokenSet:
    """A tokenised split, without padding. ids_T, types_T: token and segment; starts_N1: where each text starts in them,
    and the end; labels_N: class or value.
    """

    ids_T: NDArray[np.int32]
    types_T: NDArray[np.int8]
    starts_N1: Integers
    labels_N: NDArray[np.float64]

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self.labels_N)

    @property
    def lengths_N(self) -> Integers:
        """Returns tokens of each example."""
        return np.diff(self.starts_N1)

    def index(self, examples_B: Integers) -> tuple[Integers, NDArray[np.bool_] | None]:
        """Returns places (B, L) in the flat arrays and the mask (B, L), None where all are of one length.

        Padding points at the example's own first token, whatever it is: it is masked.
        """
        starts, lengths = self.starts_N1[examples_B], self.lengths_N[examples_B]
        steps = np.arange(int(np.max(lengths)))
        mask = steps[None, :] < lengths[:, None]
        places = starts[:, None] + np.where(mask, steps[None, :], 0)
        return places, None if mask.all() else mask


def tokenize(folder: Path, texts: Sequence[Sequence[str]], labels: Sequence[float], max_length: int) -> TokenSet:
    """Returns a tokenised split. folder: a model's. texts: one or two columns of equal length."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    encoded = tokenizer(*[list(column) for column in texts], truncation=True, max_length=max_length)
    rows = encoded["input_ids"]
    types = encoded.get("token_type_ids") or [[0] * len(row) for row in rows]
    return TokenSet(
        ids_T=np.fromiter((token for row in rows for token in row), dtype=np.int32),
        types_T=np.fromiter((kind for row in types for kind in row), dtype=np.int8),
        starts_N1=np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64),
        labels_N=np.asarray(labels, dtype=np.float64),
    )


def training_batches(tokens: TokenSet, batch_size: int, seed: int, epoch: int) -> list[Integers]:
    """Returns the batches of one epoch, the same for the same (seed, epoch): shuffled, similar lengths together."""
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(tokens))
    lengths = tokens.lengths_N
    batches: list[Integers] = []
    for start in range(0, len(order), batch_size * POOL_BATCHES):
        pool = order[start : start + batch_size * POOL_BATCHES]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[at : at + batch_size] for at in range(0, len(pool), batch_size)]
    return [batches[place] for place in random.permutation(len(batches))]


def padding_share(tokens: TokenSet, batches: Iterable[Integers]) -> float:
    """Returns the share of padding among all places of these batches, each as long as its longest text."""
    places, real = 0, 0
    for batch in batches:
        lengths = tokens.lengths_N[batch]
        places, real = places + len(batch) * int(lengths.max()), real + int(lengths.sum())
    return 1 - real / places if places else 0.0


def scoring_batches(tokens: TokenSet, most_tokens: int = 2048) -> Iterator[Integers]:
    """Yields all examples in batches of similar length with about `most_tokens` tokens each."""
    lengths = tokens.lengths_N
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        size = max(1, min(most_tokens // int(lengths[order[start]]), len(order) - start))
        while size > 1 and size * int(lengths[order[start + size - 1]]) > most_tokens:
            size -= max(1, size // 8)
        yield order[start : start + size]
        start += size
