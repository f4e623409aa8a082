"""`explain`: every epoch with the rule's words, every kind of ending, and clear errors."""

from io import StringIO

import pytest
from rich.console import Console

from qrlora_search.app.explaining import explain
from qrlora_search.values.errors import UserError
from scripted import Scripted, plan, search


@pytest.fixture
def output(tmp_path):
    """Make a search of six proposals: finished, a duplicate, stopped, failed, refused."""
    scores = {0: 0.9, 2: 0.8, 3: 0.7, 4: 0.6}
    begin = lambda one: Scripted(scores.get(one.trial, 0.1), fails_at=2 if one.trial == 7 else 99)  # noqa: E731
    the_plan = plan(6, max_params=380)
    taus = [0.2, 0.2, 0.3, 0.4, 0.5, 0.9, 0.99, 0.01]
    _, _, record, _ = search(tmp_path, the_plan, taus, begin)
    record.append("opened", {"plan": the_plan.model_dump(mode="json"), "search_id": "x", "at": "now"})
    return tmp_path


def told(output, trial):
    console = Console(width=160, file=StringIO())
    explain(output, trial, console)
    return console.file.getvalue()


def test_each_ending_is_told_in_words(output):
    finished = told(output, "0")
    assert "qv in layers 2-3, 80 parameters" in finished
    assert "no known trial is smaller or scores higher at epoch 1" in finished
    assert "finished: all 5 epochs" in finished
    assert "not started: the same as trial 0, which is finished: all 5 epochs" in told(output, "1")
    stopped = told(output, "5")
    assert "below 4 of 4 trials of similar or smaller size at epoch 1" in stopped
    assert "stopped: below 4 of 4" in stopped
    assert "failed: diverged: on purpose" in told(output, "7")
    assert "not started: 396 parameters are over the limit of 380" in told(output, "6")


@pytest.mark.parametrize("asked", ["99", "x", "-2", "control", "1.5"])
def test_an_unknown_trial_is_named_with_those_that_are_known(output, asked):
    with pytest.raises(UserError, match=rf"TRIAL '{asked}' is not in this search: the proposals are 0 to "):
        told(output, asked)


def test_a_folder_without_a_record_is_refused_and_left_as_it_is(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        told(tmp_path / "none", "1")
    with pytest.raises(UserError, match=r"is no search's output: it has no record\.db"):
        told(tmp_path, "1")
    assert not list(tmp_path.iterdir())
