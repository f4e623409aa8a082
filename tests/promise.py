"""The promise of a search that may be killed at any moment, checked from outside.

It reads the record, the study, MLflow's database and the files by itself, with sqlite3, psycopg and json, and shares no
code with what wrote them.
"""

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from safetensors.numpy import load_file

CONTROL = -1


class Row(NamedTuple):
    """An event of the record."""

    sequence: int
    trial: int | None
    kind: str
    data: dict[str, Any]


AT_EACH_END = {"front_hypervolume", "front_members", "front_best_score", "trials", "seconds"}
"""What a parent run has of every end of a search: one that was interrupted has several."""


def ask(place: Path | str, query: str, values: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    """Return what a database answers: a file of SQLite's, or an address of PostgreSQL's."""
    if isinstance(place, Path):
        with closing(sqlite3.connect(place, timeout=30)) as connection:
            return connection.execute(query, list(values)).fetchall()
    with psycopg.connect(place, connect_timeout=10) as connection:
        return connection.execute(query.replace("?", "%s"), list(values)).fetchall()


def events(output: Path) -> list[Row]:
    """Return the record's events; none where there is no record yet."""
    place: Path | str = output / "record.db"
    table = "qrlora_events"
    if (output / "storage.json").is_file():
        place, table = os.environ["QRLORA_STORAGE"], f"{schema(output)}.qrlora_events"
    elif not (output / "record.db").is_file():
        return []
    try:
        rows = ask(place, f"select sequence, trial, kind, data from {table} order by sequence")
    except (sqlite3.OperationalError, psycopg.errors.UndefinedTable):
        return []  # it is about to be made
    return [
        Row(sequence, trial, kind, json.loads(data) if isinstance(data, str) else data)
        for sequence, trial, kind, data in rows
    ]


def schema(output: Path) -> str:
    """Return the schema of a record that lies in PostgreSQL."""
    return str(json.loads((output / "storage.json").read_text())["schema"])


def ends(rows: list[Row]) -> dict[int, tuple[str, str, float | None]]:
    """Return how trials ended: state, reason and last score."""
    scores = {row.trial: row.data["score"] for row in rows if row.kind == "report"}
    return {
        row.trial: (row.data["state"], row.data["reason"], scores.get(row.trial))
        for row in rows
        if row.kind == "ended" and row.trial is not None
    }


def front(output: Path) -> dict[str, Any]:
    """Return the front as far as no clock is in it."""
    content = json.loads((output / "front.json").read_text())
    return {name: content[name] for name in ("members", "controls", "hypervolume", "counts")}


def broken(output: Path, tracking: Path | str, budget: int) -> list[str]:
    """Return where a search that says it is complete breaks the promise; nothing where it keeps it."""
    rows = events(output)
    return [*in_the_record(rows, budget), *in_the_files(output, rows), *in_the_study(output, rows),
            *in_mlflow(output, tracking, rows)]  # fmt: skip


def in_the_record(rows: list[Row], budget: int) -> list[str]:
    found = []
    kinds = Counter(row.kind for row in rows)
    if kinds["opened"] != 1 or kinds["prepared"] != 1:
        found.append(f"{kinds['opened']} openings, {kinds['prepared']} preparations")
    twice = [one for one, n in Counter((r.trial, r.data["split"]) for r in rows if r.kind == "scored").items() if n > 1]
    found += [f"scored twice: {one}" for one in twice]
    configurations = {row.trial: row.data["configuration"] for row in rows if row.kind == "proposed"}
    if kinds["proposed"] != len(configurations):
        found.append("a number was proposed twice")
    started = {row.trial for row in rows if row.kind == "started"}
    if len(started - {CONTROL}) != budget:
        found.append(f"{len(started - {CONTROL})} trials for a budget of {budget}")
    same = Counter(json.dumps(configurations[trial], sort_keys=True) for trial in started)
    found += [f"trained twice: {one}" for one, count in same.items() if count > 1]
    for trial in sorted(started):
        found += [f"trial {trial}: {fault}" for fault in of_trial([r for r in rows if r.trial == trial])]
    return [*found, *in_confirmation(rows)]


def in_confirmation(rows: list[Row]) -> list[str]:
    """Return what is wrong with further trainings and derived adapters: each has its epochs once, in order, ends once
    and is scored once, however often it was begun.
    """
    found, kinds = [], ("confirm_started", "confirm_report", "confirm_ended")
    for run in {row.data["run"] for row in rows if row.kind in kinds}:
        mine = [row for row in rows if row.kind in kinds and row.data["run"] == run]
        reports = [row.data["epoch"] for row in mine if row.kind == "confirm_report"]
        if reports != list(range(1, len(reports) + 1)):
            found.append(f"further training {run}: reports of epochs {reports}")
        if [row.kind for row in mine].count("confirm_ended") != 1 or mine[-1].kind != "confirm_ended":
            found.append(f"further training {run} did not end once, and last")
        if len({(row.trial, row.data["seed"]) for row in mine if row.kind == "confirm_started"}) != 1:
            found.append(f"further training {run} was begun as two")
    scores = Counter((row.kind, row.trial, *(row.data.get(name) for name in ("run", "warm_up", "kept", "split")))
                     for row in rows if row.kind in {"derived", "confirm_scored", "confirm_control"})  # fmt: skip
    return found + [f"scored twice: {one}" for one, count in scores.items() if count > 1]


def of_trial(rows: list[Row]) -> list[str]:
    """Return what is wrong with one trial's events."""
    found, epochs = [], next(row.data["configuration"]["epochs"] for row in rows if row.kind == "proposed")
    reports = [row.data["epoch"] for row in rows if row.kind == "report"]
    if reports != list(range(1, len(reports) + 1)):
        found.append(f"reports of epochs {reports}")
    over = [row for row in rows if row.kind == "ended"]
    again = [row for row in rows if row.kind == "promoted"]
    if len(over) != 1 + len(again):
        return [*found, f"{len(over)} ends, taken up again {len(again)} times"]
    found += taken_up_wrongly(rows, over, again)
    after = [row.kind for row in rows if row.sequence > over[-1].sequence
             and row.kind not in {"scored", "derived"} and not row.kind.startswith("confirm_")]  # fmt: skip
    if after:
        found.append(f"{after} after its end")
    state, decisions = over[-1].data["state"], [row for row in rows if row.kind == "decision"]
    if state == "finished" and len(reports) != epochs:
        found.append(f"finished after {len(reports)} of {epochs} epochs")
    if rows[0].trial != CONTROL:
        wanted = len(reports) - (1 if state == "finished" else 0)
        if len(decisions) != wanted:
            found.append(f"{len(decisions)} decisions on {len(reports)} reports, {state}")
    if (state == "stopped") + len(again) != sum(row.data["stop"] for row in decisions):
        found.append(f"{state} against its decisions")
    if sum(row.kind == "retried" for row in rows) > 3:
        found.append("ordered again more than three times")
    return found


def taken_up_wrongly(rows: list[Row], over: list[Row], again: list[Row]) -> list[str]:
    """Return where a trial was taken up again that had not been stopped just before."""
    found = []
    for end, taken in zip(over, again, strict=False):
        between = {row.kind for row in rows if end.sequence < row.sequence < taken.sequence} - {"scored", "derived"}
        if end.data["state"] != "stopped" or taken.sequence < end.sequence or between:
            found.append(f"taken up again after it {end.data['state']}, {between}")
    return found


def in_the_files(output: Path, rows: list[Row]) -> list[str]:
    kept = {f"trial-{trial:05d}.state.safetensors" for trial, (state, *_) in ends(rows).items() if state == "stopped"}
    found = [
        f"left behind: {file.relative_to(output)}"
        for file in output.rglob("*")
        if file.is_file()
        and ((file.name.startswith(".") and file.name != ".lock") or ".state." in file.name)
        and file.name not in kept
    ]
    finished = {trial for trial, (state, *_) in ends(rows).items() if state == "finished"}
    for trial in finished - {CONTROL}:
        file = output / "trials" / f"trial-{trial:05d}.safetensors"
        if not file.is_file() or not load_file(file):
            found.append(f"no weights of trial {trial}")
    members = {one["trial"] for one in front(output)["members"]}
    if not members <= finished:
        found.append(f"on the front, not finished: {sorted(members - finished)}")
    files = {int(file.stem.split("-")[1]) for file in (output / "front").glob("*.safetensors")}
    if files != members:
        found.append(f"files of the front {sorted(files)}, members {sorted(members)}")
    return found


def drafts(cache: Path) -> list[str]:
    """Return what killed makers of artefacts left in the cache."""
    return [str(one.relative_to(cache)) for one in cache.rglob(".draft-*")]


def in_the_study(output: Path, rows: list[Row]) -> list[str]:
    proposed = {row.trial for row in rows if row.kind == "proposed"} - {CONTROL}
    if (output / "storage.json").is_file():
        states = dict(ask(os.environ["QRLORA_STORAGE"], f"select number, state from {schema(output)}.trials"))
    else:
        states = dict(ask(output / "record.db", "select number, state from trials"))
    found = [f"the study has trial {number} {state}" for number, state in states.items()
             if state not in {"COMPLETE", "PRUNED", "FAIL"}]  # fmt: skip
    wanted = len(proposed) + sum(row.kind == "promoted" for row in rows)  # taken up again is a further trial
    return found if set(states) == set(range(wanted)) else [*found, f"the study has {sorted(states)} of {wanted}"]


def in_mlflow(output: Path, tracking: Path | str, rows: list[Row]) -> list[str]:
    search = next(row.data["search_id"] for row in rows if row.kind == "opened")
    query = "select run_uuid, status, lifecycle_stage from runs where run_uuid in "
    query += "(select run_uuid from tags where key = 'qrlora.search' and value = ?)"
    runs = {run: (status, stage) for run, status, stage in ask(tracking, query, [search])}
    tags = {run: dict(ask(tracking, "select key, value from tags where run_uuid = ?", [run])) for run in runs}
    points = {run: ask(tracking, "select key, step, value from metrics where run_uuid = ?", [run]) for run in runs}
    found = [f"MLflow run {run} is {status}, {stage}" for run, (status, stage) in runs.items()
             if status not in {"FINISHED", "FAILED"} or stage != "active"]  # fmt: skip
    parents = [run for run in runs if tags[run]["qrlora.kind"] == "search"]
    children = Counter(int(tags[run]["qrlora.trial"]) for run in runs if tags[run]["qrlora.kind"] == "trial")
    started = {row.trial for row in rows if row.kind == "started"}
    if len(parents) != 1:
        found.append(f"{len(parents)} parent runs")
    derived = Counter(tags[run]["qrlora.adapter"] for run in runs if tags[run]["qrlora.kind"] == "derived"
                      and tags[run].get("pareto.on_front") == "true")  # fmt: skip
    if derived != Counter(one["adapter"] for one in front(output)["members"] if one["kept"] is not None):
        found.append(f"derived members in MLflow {sorted(derived.elements())}")
    if children != Counter(started):
        found.append(f"children in MLflow {sorted(children.elements())}, trials {sorted(started)}")
    for run in runs:
        for (key, step), count in Counter((key, step) for key, step, _ in points[run]).items():
            if count > 1 and not (run in parents and key in AT_EACH_END):
                found.append(f"MLflow has {key} at step {step} {count} times in {tags[run]['mlflow.runName']}")
        if tags[run]["qrlora.kind"] == "trial":
            trial = int(tags[run]["qrlora.trial"])
            mine = {row.data["epoch"]: row.data["score"] for row in rows if row.kind == "report" and row.trial == trial}
            if {step: value for key, step, value in points[run] if key == "score"} != mine:
                found.append(f"MLflow has other scores of trial {trial} than the record")
            if tags[run].get("qrlora.state") != ends(rows)[trial][0]:
                found.append(f"MLflow has trial {trial} {tags[run].get('qrlora.state')}")
    return found
