"""What a table of the paper's rows says of how it is not the paper's experiment."""

import pytest

from qrlora_search.app.paper_table import warnings_of
from qrlora_search.app.reproducing import distinct
from qrlora_search.describe.presets import PRESETS
from scripted import plan

ROBERTA = {"family": "roberta", "layers": 12, "width": 768, "heads": 12, "parameters": 124_645_632}


def planned(kind="hub", model="roberta-base", of="hub", shape=ROBERTA, train=10_000, asked=None):
    """Return a plan like the paper's, but for what is given."""
    the_plan = plan()
    data = the_plan.data.model_copy(update={"kind": kind})
    counts = the_plan.counts.model_copy(update={"train": train, "selection": 400})
    limit = 10_000 if asked is None else asked
    return the_plan.model_copy(
        update={
            "data": data, "counts": counts, "train_limit": limit,
            "model": the_plan.model.model_copy(update={"name": model, "kind": of}),
            "encoder": the_plan.encoder.model_copy(update=shape),
        }
    )  # fmt: skip


def test_the_papers_own_experiment_is_warned_of_what_was_not_published_alone():
    (only,) = warnings_of(planned())
    assert only.startswith("not published: learning rates")
    assert len(warnings_of(planned(model="FacebookAI/roberta-base"))) == 1


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"kind": "stand-in"}, "STAND-IN data: generated, not GLUE"),
        ({"kind": "folder"}, "whether they are GLUE's complete rows is not known"),
        ({"model": "mine"}, "the model is mine, of roberta-base's shape; whether its weights are the paper's"),
        ({"of": "folder"}, "the model is roberta-base, of roberta-base's shape; whether its weights are the paper's"),
        ({"model": "small", "shape": {"layers": 6}}, "the model is small, the paper's roberta-base: scores and counts"),
        ({"train": 2_000}, "2,000 rows of train, the paper's min(10,000, all): 400 are set aside"),
        (
            {"train": 1_800, "asked": 2_000},
            "1,800 rows of train as asked, the paper's min(10,000, all); no cell is pub",
        ),
    ],
)
def test_each_difference_is_warned_of(changed, words):
    first, last = warnings_of(planned(**changed))
    assert words in first
    assert last.startswith("not published")


def test_rows_that_a_shallow_model_does_not_tell_apart_are_said_to_be_left_out():
    words = "QR-LoRA, Wo, last 4 is left out: on 1 layer it is the same as QR-LoRA, Wo, all layers"
    assert words in warnings_of(planned(shape={"layers": 1}))
    assert not [one for one in warnings_of(planned(shape={"layers": 2})) if "left out" in one]
    names = {one.name for one in PRESETS}
    assert {one.name for one in distinct(1)} == names - {"QR-LoRA, Wo, last 4"}
    assert {one.name for one in distinct(2)} == names
