"""Whether a form moves a front: the difference is the hypervolumes', and a form that does nothing has none."""

import numpy as np
import pytest
from tests.benchmarks.findings import FRONT
from tests.benchmarks.findings_fronts import FORMS, moved

from qrlora_search.values.fronts import hypervolume
from qrlora_search.values.packing import pack, unpack
from qrlora_search.values.states import FinishedTrial

WHOLE = 10**7
FORM = next(iter(FORMS.values()))
LABELS = np.random.default_rng(0).integers(0, 2, 200)


def table(accuracy: float, seeds: int = 3):
    """Return rows in which the other form answers so many right, the plain one 75 %, the control 70 %."""
    random = np.random.default_rng(1)

    def row(parameters, right):
        answers = [np.where(random.random(200) < right, LABELS, 1 - LABELS) for _ in range(seeds)]
        return {str(seed): {"parameters": parameters, "packed": pack(one)} for seed, one in enumerate(answers)}

    rows = {"control": row(0, 0.7)}
    for place, name in enumerate(FRONT):
        rows[name], rows[FORM[name]] = row(100 * (place + 1), 0.75), row(90 * (place + 1), accuracy)
    return rows


def area(rows, names, seed):
    score = {name: float((unpack(rows[name][seed]["packed"]) == LABELS).mean()) for name in [*names, "control"]}
    members = [FinishedTrial(place, score[one], rows[one][seed]["parameters"]) for place, one in enumerate(names)]
    return hypervolume(members, score["control"], WHOLE)


@pytest.mark.parametrize("accuracy", [0.7, 0.85])
def test_the_difference_is_that_of_the_hypervolumes(accuracy):
    rows = table(accuracy)
    found, p, seeds = moved("mean", LABELS, rows, "control", FORM, WHOLE)
    exact = [area(rows, list(FORM.values()), seed) - area(rows, list(FRONT), seed) for seed in rows["control"]]
    assert found.value == pytest.approx(np.mean(exact))
    assert found.low < found.value < found.high
    assert (p < 0.05) == (found.low > 0 or found.high < 0)
    assert seeds == 3


def test_the_same_rows_do_not_move_it_and_missing_ones_or_one_seed_are_no_answer():
    rows = table(0.8)
    same = {**rows, **{FORM[name]: rows[name] for name in FRONT}}
    found, p, _ = moved("mean", LABELS, same, "control", FORM, WHOLE)
    assert (found.value, found.error, p) == (0.0, 0.0, 1.0)
    assert moved("mean", LABELS, table(0.8, seeds=1), "control", FORM, WHOLE) is None
    rows.pop(FORM["tau 0.25"])
    assert moved("mean", LABELS, rows, "control", FORM, WHOLE) is None
