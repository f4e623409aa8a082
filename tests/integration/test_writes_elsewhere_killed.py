"""The driver is killed at writes into a real PostgreSQL, and before and after its calls to MLflow."""

import promise
from forking import KILLED, run_forked
from search_runs import SPACE, make_place
from test_fault_points import MORE, TRAINED

BUDGET = 3
IN_POSTGRES = ("before:opened:1", "after:opened:1", "before:report:2", "after:decision:1", "before:ended:1",
               "after:derived:1", "before:confirm_report:1", "before:closed:1", "after:mlflow-closed:1",
               "before:delivered:1")  # fmt: skip
OPENING = ("create_run", "log_batch", "log_inputs", "set_tag", "log_artifact")
"""Calls to MLflow in their order, before anything of a trial is there: each is the first of its kind of a new sink."""
TRIALS = ("create_run", "update_run", "set_terminated")
"""A trial's, whose events stand behind all of those, wherever the search itself had got to."""
ENDING = ("log_artifacts",)
CALLS = dict.fromkeys((*OPENING, *TRIALS, *ENDING))
AT_CALLS = tuple(
    f"{side}:call-{name}:1 {part}" for part, names in enumerate((OPENING, TRIALS, ENDING)) for name in names
    for side in ("before", "after")
)  # fmt: skip


def resumed(folder, faults: tuple[str, ...], **told: str):
    """Return the wait statuses of a whole search, and of one that is killed at each of these and taken up again."""
    make_place(folder, folder, "stsb", "bert", rows=60)
    (folder / "space.toml").write_text(SPACE.replace("epochs = 3\n", TRAINED, 1) + MORE)
    moments = [one.partition(" ")[0] for one in faults]
    statuses = run_forked(folder, {"whole": [""], "cut": [*moments, ""]}, "stsb", BUDGET, **told)
    assert statuses["whole"] == [0]
    return dict(zip([*faults, ""], statuses["cut"], strict=True))


def is_whole(folder) -> None:
    for output in ("whole", "cut"):
        assert promise.broken(folder / output, folder / "mlflow.db", BUDGET) == []
    assert promise.ends(promise.events(folder / "cut")) == promise.ends(promise.events(folder / "whole"))
    assert promise.front(folder / "cut") == promise.front(folder / "whole")


def test_a_driver_killed_at_its_writes_into_postgres_keeps_the_promise(tmp_path, server, monkeypatch):
    monkeypatch.setenv("QRLORA_STORAGE", server.url)
    statuses = resumed(tmp_path, IN_POSTGRES)
    assert statuses == {**dict.fromkeys(IN_POSTGRES, KILLED), "": 0}
    assert (tmp_path / "cut" / "storage.json").is_file()
    assert not (tmp_path / "cut" / "record.db").exists()
    is_whole(tmp_path)


def test_a_driver_killed_at_its_calls_to_mlflow_keeps_the_promise(tmp_path):
    statuses = resumed(tmp_path, AT_CALLS, CALLS=" ".join(CALLS))
    assert statuses == {**dict.fromkeys(AT_CALLS, KILLED), "": 0}
    is_whole(tmp_path)
