"""The bill of a search, against sums by hand."""

import pytest

from qrlora_search.app.views.billing import bill_view
from qrlora_search.describe.configuration import AdaptedMatrix, Configuration
from qrlora_search.describe.plan import DataCounts
from qrlora_search.describe.protocols import Event
from qrlora_search.record.history import history_of
from scripted import plan


def report(number, epoch, seconds, **more: object):
    data = {"epoch": epoch, "score": 0.5, "loss": 0.4, "seconds": seconds, "packed": "", "metrics": {}, "states_s": 0.5}
    return number, "report", data | more


def history(**changes: object):
    """Return 4 trials of at most 3 epochs on layer 2 of 4: one Finished, one stopped, a duplicate of each."""
    counts = DataCounts(train=300, selection=100, report={"validation": 10}, dropped=0)
    a_plan = plan().model_copy(update={"counts": counts, **changes})
    configuration = Configuration((AdaptedMatrix(2, "q", 3),), 0.01, 32, 3, "frozen", 0.0, 0.0).to_json()
    proposed = {"proposal": {}, "configuration": configuration}
    events = [
        (None, "opened", {"plan": a_plan.model_dump(mode="json"), "search_id": "s", "at": "now"}),
        (None, "engine", {"threads": 2, "preparation_s": 7.0}),
        (0, "proposed", proposed), (0, "started", {}), *(report(0, epoch, 10.0) for epoch in (1, 2, 3)),
        (0, "ended", {"state": "finished", "reason": ""}),
        (1, "proposed", proposed), (1, "started", {}), report(1, 1, 20.0),
        (1, "ended", {"state": "stopped", "reason": ""}),
        (2, "proposed", proposed), (2, "duplicate", {"of": 0}), (3, "proposed", proposed), (3, "duplicate", {"of": 1}),
        (0, "confirm_started", {"run": 0, "seed": 1}), report(0, 1, 4.0, run=0),
    ]  # fmt: skip
    events[-1] = (0, "confirm_report", events[-1][2])
    return history_of(Event(at, *one) for at, one in enumerate(events, start=1)), a_plan


def test_every_line_is_the_sum_by_hand():
    bill = bill_view(*history())
    lines = {(one.kind, one.name): (one.epochs, one.seconds, one.estimated) for one in bill.lines}
    assert bill.unit == "core-seconds"
    assert lines["spent", "trials"] == (4, 2 * 50.0, False)
    assert lines["spent", "confirmation"] == (1, 2 * 4.0, False)
    assert lines["spent", "preparation"] == (0, 7.0, True)
    assert lines["saved", "stopping"] == (2, 2 * 2 * 19.5, True)  # without half a second of constant states
    assert lines["saved", "duplicates"] == (3 + 1, 2 * (28.5 + 19.5), True)
    share = (300 + 100) * 2 / ((2 * 300 + 100) * 2)  # two constant layers forward, two others forward and backward
    assert lines["saved", "constant states"][1] == pytest.approx(2 * (48.0 * share - 4 * 0.5))
    assert bill.counterfactual_epochs == 4 + 2 + 4
    assert bill.counterfactual_seconds == pytest.approx(100 + bill.total("saved"))


def test_gpus_are_counted_where_trials_run_on_them():
    bill = bill_view(*history(gpus_per_trial=0.5))
    assert bill.unit == "GPU-seconds"
    assert bill.lines[0].seconds == 0.5 * 50.0


def test_without_room_for_states_nothing_is_saved_by_them():
    space = plan(states={"memory_gib": 0.0}).space
    counts = DataCounts(train=300, selection=100, report={"validation": 10}, dropped=0, words=1000)
    a_history, a_plan = history(space=space)
    bill = bill_view(a_history, a_plan.model_copy(update={"counts": counts}))
    assert next(one for one in bill.lines if one.name == "constant states").seconds == 0.0
