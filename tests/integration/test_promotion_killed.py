"""The driver is killed while a stopped trial is taken up again; record, files, study and MLflow are the real ones."""

import json

import pytest

import promise
from forking import KILLED, run_forked
from search_runs import SPACE, make_place

TAUS = [0.1, 0.15, 0.2, 0.25, 0.35, 0.6, 0.65, 0.7, 0.75, 0.8]
LATE = 4
CURVES = [
    *([0.5 + trial / 1000] * 5 for trial in range(LATE)),
    [0.3, 0.6, 0.7, 0.75, 0.8],
    *([0.62 + trial / 100 + 0.08 * epoch for epoch in range(5)] for trial in range(5)),
]
"""Small trials are flat; the fifth is below them at first; larger ones rise."""
SCENARIOS = {
    "whole": [""],
    "cut": ["before:promoted:1", "after:promoted:1", "after:started:1", "after:report:1", "before:ended:1", ""],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder where both scenarios were run, with the wait statuses of their runs."""
    folder = tmp_path_factory.mktemp("promotion")
    make_place(folder, folder, "sst2", "bert", rows=400)
    space = SPACE.replace("epochs = 3\nrungs = [1, 2]", 'epochs = 5\nrungs = [1, 2, 3]\nprecision = "float32"', 1)
    (folder / "space.toml").write_text(f"{space}\n[confirm]\nshare = 0\n[derived]\nhalvings = 0\n")
    same = {"method": "qr-lora", "learning_rate": 0.01, "matrices": "qv", "layers": "last", "last": 2, "batch_size": 32,
            "head": "frozen"}  # fmt: skip
    first = json.dumps([{**same, "tau": tau} for tau in TAUS])
    told = {"PROPOSALS": first, "CURVES": json.dumps(CURVES)}
    return folder, run_forked(folder, SCENARIOS, "sst2", len(TAUS), **told)


@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_a_stopped_trial_is_taken_up_once_whenever_the_driver_is_killed(place, scenario):
    folder, statuses = place
    assert statuses[scenario] == [KILLED] * (len(SCENARIOS[scenario]) - 1) + [0]
    rows = promise.events(folder / scenario)
    assert [row.trial for row in rows if row.kind == "promoted"] == [LATE]
    assert promise.broken(folder / scenario, folder / "mlflow.db", len(TAUS)) == []
    assert promise.ends(rows)[LATE] == ("finished", "all 5 epochs", 0.8)
    assert not list((folder / scenario / "trials").glob(f"trial-{LATE:05d}.state.*"))


def test_killed_or_not_it_is_the_same_search(place):
    folder, _ = place
    whole, cut = promise.events(folder / "whole"), promise.events(folder / "cut")
    assert promise.ends(cut) == promise.ends(whole)
    assert promise.front(folder / "cut") == promise.front(folder / "whole")
    assert LATE in {one["trial"] for one in promise.front(folder / "whole")["members"]}


def test_the_checker_sees_a_trial_that_was_taken_up_wrongly(place):
    folder, _ = place
    rows = promise.events(folder / "whole")
    taken = next(row for row in rows if row.kind == "promoted")
    for some in ([one for one in rows if one != taken], [*rows, taken]):
        assert promise.in_the_record(some, len(TAUS))
