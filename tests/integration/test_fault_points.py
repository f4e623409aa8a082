"""The driver is killed at every kind of write, and taken up again: nothing is lost, repeated or left open."""

import json

import pytest

import promise
from forking import KILLED, run_forked
from search_runs import SPACE, make_place

BUDGET = 4

EVENTS = ("opened", "prepared", "scored", "proposed", "started", "report", "decision", "ended", "resumed")
"""Kinds in a search's course, one kill after each; every run but the first resumes."""
FILES = ("before:base.json", "after:trial-.safetensors", "before:trial-.state.safetensors")
BETWEEN = ("before:report", "before:decision", "before:ended", "after:trial-.state.safetensors")
"""A file is written and the event that follows from it is not, or one event and not the next."""
IN_MLFLOW = ("opened", "scored", "started", "report", "ended")
"""MLflow has an event, and the note of that is missing."""
DERIVED = ("after:engine:1", "before:derived:2", "after:derived:1", "after:confirm_planned:1")
CONFIRMING = ("round", "started", "report", "scored", "ended", "closed")
"""Of trainings with further seeds: one kill after each."""
CONTINUING = ("after:trial--again-.state.safetensors:1", "before:confirm_report:2", "before:confirm_scored:1",
              "before:confirm_ended:1", "after:confirm_report:4")  # fmt: skip
"""A further training goes on from its own checkpoint, or is scored without being trained once more."""
AT_THE_END = ("before:scored:2", "before:confirm_scored:1", "after:front.json:1", "before:closed:1", "after:closed:1",
              "after:mlflow-closed:1", "before:delivered:1", "after:delivered:1")  # fmt: skip
"""Members are scored on the report split; the search is closed; then MLflow gets what it lacks."""

PREPARING = ("before:store-warm-ups:1", "after:store-warm-ups:1", "before:store-bases:1")
"""The cache's artefacts are made and not in place, or in place and not used."""

SCENARIOS = {
    "whole": [""],
    "events": [*(f"after:{kind}:1" for kind in EVENTS), "after:report:3", ""],
    "files": [*(f"{moment}:1" for moment in (*FILES, *BETWEEN)), ""],
    "mlflow": [*(f"after:mlflow-{kind}:1" for kind in IN_MLFLOW), "after:mlflow-report:4", ""],
    "derived": [*DERIVED, ""],
    "confirming": [*(f"after:confirm_{kind}:1" for kind in CONFIRMING), ""],
    "continuing": [*CONTINUING, ""],
    "the-end": [*AT_THE_END, ""],
}

TRAINED = 'epochs = 3\ndropout = 0.1\nprecision = "float32"\n'

MORE = """
[confirm]
share = 1.0
seeds = 2
[head]
modes = ["trained"]
[learning_rate]
low = 0.1
high = 3.0
"""
"""A front that has members, which are trained again."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder where every scenario was run, with the wait statuses of its runs."""
    folder = tmp_path_factory.mktemp("faults")
    make_place(folder, folder, "stsb", "bert", rows=60)
    (folder / "space.toml").write_text(SPACE.replace("epochs = 3\n", TRAINED, 1) + MORE)
    return folder, run_forked(folder, SCENARIOS, "stsb", BUDGET, PREPARING=json.dumps(PREPARING))


@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_a_driver_killed_at_every_kind_of_write_keeps_the_promise(place, scenario):
    folder, statuses = place
    expected = [KILLED] * (len(SCENARIOS[scenario]) - 1) + [0]
    assert dict(zip(SCENARIOS[scenario], statuses[scenario], strict=True)) == dict(
        zip(SCENARIOS[scenario], expected, strict=True)
    )
    assert promise.broken(folder / scenario, folder / "mlflow.db", BUDGET) == []


@pytest.mark.parametrize("scenario", [one for one in SCENARIOS if one != "whole"])
def test_one_trial_at_a_time_gives_the_same_front_and_ends(place, scenario):
    folder, _ = place
    whole, cut = promise.events(folder / "whole"), promise.events(folder / scenario)
    assert promise.ends(cut) == promise.ends(whole)
    assert [row.data for row in cut if row.kind == "proposed"] == [row.data for row in whole if row.kind == "proposed"]
    assert promise.front(folder / scenario) == promise.front(folder / "whole")


def test_a_preparation_killed_before_its_artefact_is_in_place_leaves_nothing_in_the_cache(place):
    folder, statuses = place
    assert statuses["PREPARING"] == [KILLED] * len(PREPARING)
    assert promise.drafts(folder / "own-cache") == []
    assert {len(list((folder / "own-cache" / kind).glob("*/inputs.json"))) for kind in ("warm-ups", "bases")} == {1}


def test_the_checker_sees_what_breaks_the_promise(place, tmp_path):
    """Else the tests above could not fail."""
    folder, _ = place
    rows = promise.events(folder / "whole")
    ended = next(row for row in rows if row.kind == "ended")
    report = next(row for row in rows if row.kind == "report")
    again = next(row for row in rows if row.kind == "confirm_ended")
    spoilt = ([*rows, ended], [one for one in rows if one != ended], [*rows[:-1], report])
    for some in (*spoilt, [*rows, again], [one for one in rows if one != again]):
        assert promise.in_the_record(some, BUDGET)
    assert promise.in_the_record(rows, BUDGET + 1)
    assert promise.in_mlflow(folder / "whole", folder / "mlflow.db", [row for row in rows if row != report])
