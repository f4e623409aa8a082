"""Tokenised splits: batches hold every example once, and places and masks point at the right tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrlora_search.method.tokens import POOL_BATCHES, TokenSet, scoring_batches, tokenize, training_batches

lengths = st.lists(st.integers(1, 40), min_size=1, max_size=300)


def tokens_of(lengths):
    """Return a split in which token t of example n is n * 100 + t."""
    ids = [n * 100 + np.arange(length) for n, length in enumerate(lengths)]
    return TokenSet(
        np.concatenate(ids).astype(np.int32),
        np.zeros(sum(lengths), dtype=np.int8),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.zeros(len(lengths)),
    )


def as_lists(batches):
    return [batch.tolist() for batch in batches]


@given(lengths, st.integers(1, 40), st.integers(0, 5), st.integers(0, 5))
def test_an_epoch_sees_every_example_once(sizes, batch_size, seed, epoch):
    batches = training_batches(tokens_of(sizes), batch_size, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(sizes)))
    assert all(1 <= len(batch) <= batch_size for batch in batches)
    assert len(batches) == -(-len(sizes) // batch_size)  # one short batch at most, pools included


@given(lengths, st.integers(1, 40), st.integers(0, 5), st.integers(0, 5))
def test_the_same_seed_and_epoch_give_the_same_batches(sizes, batch_size, seed, epoch):
    tokens = tokens_of(sizes)
    first = training_batches(tokens, batch_size, seed, epoch)
    assert as_lists(first) == as_lists(training_batches(tokens, batch_size, seed, epoch))


def test_another_seed_or_epoch_gives_other_batches():
    tokens = tokens_of([5, 9, 7, 20] * 50)
    found = {
        (seed, epoch): as_lists(training_batches(tokens, 8, seed, epoch)) for seed in range(3) for epoch in range(3)
    }
    together = [{tuple(sorted(batch)) for batch in batches} for batches in found.values()]
    for place, one in enumerate(together):
        assert all(one != other for other in together[:place])


def test_batches_of_a_pool_are_of_similar_length_and_come_in_random_order():
    sizes = np.random.default_rng(0).integers(1, 100, 32 * POOL_BATCHES)
    batches = training_batches(tokens_of(sizes.tolist()), 32, 0, 1)
    spans = [np.ptp(sizes[batch]) for batch in batches]
    assert max(spans) <= 10
    means = [sizes[batch].mean() for batch in batches]
    assert 0.3 < np.mean(np.diff(means) > 0) < 0.7


@given(lengths, st.integers(1, 300))
def test_scoring_sees_every_example_once_within_the_bound(sizes, most):
    tokens = tokens_of(sizes)
    batches = list(scoring_batches(tokens, most))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * tokens.lengths_N[batch].max() <= most


def test_scoring_batches_are_not_needlessly_small():
    tokens = tokens_of([16] * 1000)
    assert [len(batch) for batch in scoring_batches(tokens, 2048)] == [128] * 7 + [104]


@given(lengths, st.data())
def test_places_and_mask_point_at_the_tokens_of_each_example(sizes, data):
    tokens = tokens_of(sizes)
    examples = np.array(data.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=12)))
    places, mask = tokens.index(examples)
    assert places.shape == (len(examples), max(sizes[one] for one in examples))
    assert (mask is None) == (len({sizes[one] for one in examples}) == 1)
    whole = np.ones(places.shape, dtype=bool) if mask is None else mask
    for example, row, inside in zip(examples, tokens.ids_T[places], whole, strict=True):
        assert row[inside].tolist() == [example * 100 + step for step in range(sizes[example])]
        assert inside[: sizes[example]].all()
        assert (row[~inside] == example * 100).all()  # padding is the example's own first token


def test_the_length_is_the_number_of_examples():
    tokens = tokens_of([3, 1, 2])
    assert len(tokens) == 3
    assert tokens.lengths_N.tolist() == [3, 1, 2]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """Return a folder with a tokenizer of four words and no model."""
    from transformers import BertTokenizerFast

    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "sat", "here"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_a_pair_is_tokenised_with_segments_and_cut(bert):
    tokens = tokenize(bert, [["a cat", ""], ["sat here", "a"]], [1, 0], 128)
    pad, unknown, start, end = 0, 1, 2, 3
    first = [start, 5, 6, end, 7, 8, end]
    assert tokens.ids_T.tolist() == [*first, start, end, 5, end]
    assert tokens.types_T.tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1]
    assert tokens.starts_N1.tolist() == [0, 7, 11]
    assert tokens.labels_N.tolist() == [1.0, 0.0]
    assert not {pad, unknown} & set(tokens.ids_T.tolist())
    assert tokens.ids_T.dtype == np.int32
    cut = tokenize(bert, [["a cat sat here " * 10]], [0], 8)
    assert cut.lengths_N.tolist() == [8]
    assert cut.ids_T[-1] == end


@settings(max_examples=10, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=20))
def test_any_text_becomes_at_least_its_two_marks(bert, texts):
    assert tokenize(bert, [texts], [0] * len(texts), 16).lengths_N.min() >= 2
