"""A trial that goes on from its checkpoint gives the very numbers of one that was never interrupted."""

from dataclasses import replace

import pytest

from qrlora_search.describe.configuration import AdaptedMatrix, Configuration
from qrlora_search.describe.protocols import TrialOrder
from qrlora_search.method.checkpoint import report_in
from qrlora_search.method.training import TrialTrainer
from test_methods import METHODS, bench_for

EPOCHS = 4
RANKS = (AdaptedMatrix(1, "k", 2), AdaptedMatrix(2, "q", 3), AdaptedMatrix(2, "v", 1))


def order(method: str, head: str, directions: str = "order") -> TrialOrder:
    per_rank = 64 if method in {"lora", "svd-lora"} else 1
    if method == "full":
        configuration = Configuration((), 1e-3, 8, EPOCHS, "trained", 1e-3, 0.2, "full", 1, 1)
    else:
        rate = 1e-3 if head == "trained" else 0.0
        configuration = Configuration(RANKS, 1e-2, 8, EPOCHS, head, rate, 0.2, method, per_rank)
    return TrialOrder(3, replace(configuration, directions=directions), 7)


def told(report):
    """Return everything of a report that is no time."""
    return report.epoch, report.score, report.loss, report.packed, report.metrics, report.weights


CASES = [(method, head, "order") for method in METHODS for head in ("frozen", "trained")]


@pytest.mark.parametrize(
    ("method", "head", "directions"), [*CASES, ("qr-lora", "trained", "gradient"), ("full", "trained", "order")]
)
def test_a_continued_trial_is_bit_equal_to_an_uninterrupted_one(method, head, directions):
    """With dropout, so that the random state counts, and cut at every epoch."""
    bench, _ = bench_for("bert", "cola")
    one = order(method, head, directions)
    trainer = TrialTrainer(bench, one)
    whole = [trainer.step() for _ in range(EPOCHS)]
    assert len({report.weights for report in whole}) == (2 if method == "full" else EPOCHS)  # it learns
    assert whole[-1].checkpoint == b""  # nothing follows
    content, cut = b"", []
    for _ in range(EPOCHS):
        cut.append(TrialTrainer(bench, replace(one, checkpoint=content)).step())
        content = cut[-1].checkpoint
    assert [told(report) for report in cut] == [told(report) for report in whole]


def test_a_checkpoint_holds_the_report_of_its_epoch_and_is_of_one_trial_alone():
    bench, _ = bench_for("bert", "cola")
    one = order("qr-lora", "frozen")
    trainer = TrialTrainer(bench, one)
    trainer.step()
    second = trainer.step()
    kept = replace(one, checkpoint=second.checkpoint)
    assert report_in(kept) == replace(second, weights=b"", checkpoint=b"")
    others = [
        replace(kept, trial=4),
        replace(kept, seed=8),
        replace(kept, configuration=order("qr-lora", "trained").configuration),
        replace(kept, checkpoint=b""),
        replace(kept, checkpoint=second.checkpoint[:-8]),
        replace(kept, checkpoint=b"\x00" * 40),
    ]
    for other in others:
        assert report_in(other) is None
        assert TrialTrainer(bench, other).epoch == 0  # it begins
