"""Rules, trials and curves to draw, and what is known after them."""

from hypothesis import strategies as st

from qrlora_search.values.knowledge import Knowledge, Seen
from qrlora_search.values.stopping import StoppingRule

RULE = StoppingRule(rungs=(1, 2, 3), epochs=5)
SCORES = st.integers(0, 10).map(lambda tenths: tenths / 10)
SIZES = st.integers(1, 12)

points = st.lists(st.tuples(SIZES, SCORES), min_size=1, max_size=20)
curves = st.lists(st.tuples(SIZES, SCORES, SCORES), min_size=1, max_size=12)  # size, score at epoch 1, final score
rules = st.builds(
    StoppingRule,
    rungs=st.just((1, 2)),
    epochs=st.integers(3, 6),
    neighbours=st.integers(1, 12),
    fewest=st.integers(1, 4),
    share=st.sampled_from([0.2, 0.35, 0.5, 0.75]),
    around=st.integers(0, 3),
    curves=st.integers(1, 4),
    beyond=st.sampled_from([0.0, 1.0]),
    gains=st.integers(2, 16),
    seen=st.integers(1, 64),
)


def known_of(pairs, ended=(), control=None):
    """Return what is known after trials at epoch 1 (numbers from 0) and Finished ones (numbers from 100)."""
    known = Knowledge(control=None if control is None else Seen(-1, 0, control))
    for number, (size, score) in enumerate(pairs):
        known.add(1, Seen(number, size, score))
    for number, (size, score, final) in enumerate(ended, 100):
        known.add(1, Seen(number, size, score))
        known.finish(Seen(number, size, final))
    return known
