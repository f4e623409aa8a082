"""The driver is killed at the writes that few searches have: a size refused, a configuration met again, a lost worker,
a space that is used up, and further warm-ups. Record, files, study and MLflow are the real ones.
"""

import json

import pytest

import promise
from forking import KILLED, run_forked
from search_runs import SPACE, make_place
from test_fault_points import TRAINED

BUDGET, LARGEST, UNUSED = 12, 8, 6
TAUS = [0.9, 0.7]
"""Tried first, and too large."""
SCENARIOS = {
    "whole": [""],
    "before": ["before:refused:1", "before:retried:1", "before:duplicate:2", "before:used_up:1",
               "before:confirm_control:1", "before:confirm_control:3", ""],
    "after": ["after:refused:2", "after:retried:1", "after:duplicate:2", "after:used_up:1",
              "after:confirm_control:2", "after:confirm_control:1", ""],
    "mlflow": ["after:mlflow-retried:1", ""],
}  # fmt: skip
NARROW = """
[matrices]
subsets = [["q"]]
[layers]
families = []
lists = [[1]]
[learning_rate]
low = 0.1
high = 0.104
[head]
modes = ["trained"]
[confirm]
share = 4.0
seeds = 3
warmups = 3
"""
"""One matrix and one learning rate: a rank is a configuration, and few are small enough."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder where every scenario was run, with the wait statuses of its runs."""
    folder = tmp_path_factory.mktemp("rare")
    make_place(folder, folder, "stsb", "bert", rows=60)
    (folder / "space.toml").write_text(SPACE.replace("epochs = 3\n", TRAINED, 1) + NARROW)
    same = {"method": "qr-lora", "learning_rate": 0.1, "matrices": "q", "layers": "list", "list": "1", "batch_size": 32,
            "head": "trained"}  # fmt: skip
    first = json.dumps([{**same, "tau": tau} for tau in TAUS])
    told = {"MAX_PARAMS": str(LARGEST), "UNUSED": str(UNUSED), "PROPOSALS": first,
            "LOST": json.dumps({len(TAUS): 2, len(TAUS) + 1: 3})}  # fmt: skip
    return folder, run_forked(folder, SCENARIOS, "stsb", BUDGET, **told)


@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_a_driver_killed_at_a_rarer_write_keeps_the_promise(place, scenario):
    folder, statuses = place
    kills = len(SCENARIOS[scenario]) - 1
    assert statuses[scenario] == [KILLED] * kills + [0]
    rows = promise.events(folder / scenario)
    assert {row.trial for row in rows if row.kind == "refused"} == set(range(len(TAUS)))
    assert promise.broken(folder / scenario, folder / "mlflow.db", len(promise.ends(rows)) - 1) == []


@pytest.mark.parametrize("scenario", [one for one in SCENARIOS if one != "whole"])
def test_it_is_the_same_search_down_to_what_was_proposed_in_vain(place, scenario):
    folder, _ = place
    whole, cut = promise.events(folder / "whole"), promise.events(folder / scenario)
    assert promise.ends(cut) == promise.ends(whole)
    for kind in ("proposed", "refused", "duplicate", "used_up", "confirm_control"):
        each = [[(row.trial, row.data) for row in rows if row.kind == kind] for rows in (whole, cut)]
        assert each[0] == each[1]
        assert each[0]
    assert promise.front(folder / scenario) == promise.front(folder / "whole")


def test_the_scenario_is_what_it_says(place):
    """A space used up after as many proposals in vain, two lost workers, and two further warm-ups with both splits."""
    folder, _ = place
    kinds = [row.kind for row in promise.events(folder / "whole")]
    assert kinds.count("duplicate") == UNUSED
    assert kinds.count("retried") == 2
    assert kinds.count("confirm_control") == 4
