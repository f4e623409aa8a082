"""An earlier search's front as first proposals: in the space, smallest first; clear errors for what cannot serve."""

import pytest

from qrlora_search.app.warm_start import front_proposals
from qrlora_search.describe.space import SearchSpace
from qrlora_search.values.errors import UserError
from scripted import Scripted, plan, search

TAUS = [0.5, 0.2, 0.8, 0.3]


@pytest.fixture
def output(tmp_path):
    """Make an earlier search whose larger trials score higher, but for one."""
    scores = [0.8, 0.7, 0.9, 0.6]
    the_plan = plan(4, training={"rungs": []})
    _, _, record, _ = search(tmp_path, the_plan, TAUS, lambda one: Scripted(scores[one.trial]))
    record.append("opened", {"plan": the_plan.model_dump(mode="json"), "search_id": "x", "at": "now"})
    scored = {"split": "selection", "metrics": {"accuracy": 0.5}, "loss": 1.0, "packed": ""}
    record.append("scored", scored)
    record.close()
    return tmp_path


def test_the_front_comes_smallest_first_and_only_what_is_in_the_space(output):
    assert front_proposals(None, SearchSpace(), 4) == ()
    found = front_proposals(str(output), SearchSpace(), 4)
    assert [one["tau"] for one in found] == [0.2, 0.5, 0.8]
    narrow = SearchSpace.model_validate({"tau": {"low": 0.4, "high": 0.6}})
    assert [one["tau"] for one in front_proposals(str(output), narrow, 4)] == [0.5]


@pytest.mark.parametrize(
    "space", [{"matrices": {"of": ["k"]}}, {"layers": {"families": ["first"]}}, {"training": {"batch_sizes": [8]}}]
)
def test_a_front_outside_the_space_is_refused(output, space):
    with pytest.raises(UserError, match="none of its 3 front members is in this space"):
        front_proposals(str(output), SearchSpace.model_validate(space), 4)


def test_an_empty_front_and_no_search_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"--warm-start .* does not exist: it has no record\.db"):
        front_proposals(str(tmp_path / "none"), SearchSpace(), 4)
    the_plan = plan(1)
    _, _, record, _ = search(tmp_path, the_plan, [0.5], lambda one: Scripted(0.4))
    record.append("opened", {"plan": the_plan.model_dump(mode="json"), "search_id": "x", "at": "now"})
    with pytest.raises(UserError, match="had not begun its trials"):
        front_proposals(str(tmp_path), SearchSpace(), 4)
    record.append("scored", {"split": "selection", "metrics": {"accuracy": 0.5}, "loss": 1.0, "packed": ""})
    record.close()
    with pytest.raises(UserError, match="its front is empty"):
        front_proposals(str(tmp_path), SearchSpace(), 4)
