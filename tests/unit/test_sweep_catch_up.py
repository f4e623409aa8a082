"""What MLflow lacks of earlier runs of a sweep, and what it still believes to run."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from qrlora_search.adapters.mlflow_sink.tracking import connect
from qrlora_search.app.console import make_console
from qrlora_search.app.sweep_catch_up import catch_up
from qrlora_search.app.sweep_record import Entry, SweepRecord, home_of, load_record, save_record
from qrlora_search.describe.sweep import SweepSpec
from qrlora_search.record.events import Record
from test_confirming import begin, the_plan


def spec_of(folder: Path, address: str) -> SweepSpec:
    return SweepSpec.model_validate({
        "name": "n", "searches": {"tasks": ["sst2"], "models": ["embedded"]}, "budget": {"configurations": 6},
        "data": {"default": "stand-in"}, "storage": {"output": str(folder), "tracking_uri": address},
        "schedule": {"cron": "0 * * * *", "grace": "1h"},
    })  # fmt: skip


def opened(output: Path, search_id: str) -> Record:
    output.mkdir(parents=True)
    record, _ = begin(output, the_plan())
    record.append("opened", {"plan": the_plan().model_dump(mode="json"), "search_id": search_id, "at": "now"})
    return record


@pytest.mark.parametrize("outcome", ["complete", "time limit"])
def test_what_mlflow_lacks_of_an_ended_run_is_brought_however_its_budget_is_counted(tmp_path, outcome):
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    spec = spec_of(tmp_path, address)
    output = home_of(spec) / "old" / "x"
    record = opened(output, "one")
    record.append("closed", {"outcome": outcome, "seconds": 9.0, "spent": {}, "hypervolume": 0.5, "front_size": 0,
                             "trials": 0, "members": [], "marks": []})  # fmt: skip
    record.close()
    entries = {"x": Entry(task="sst2", output=str(output), state="done")}
    save_record(output.parent, SweepRecord(name="n", slot="old", spec={}, started="2026-01-01", ended="then",
                                           entries=entries, undelivered=True))  # fmt: skip
    catch_up(spec, home_of(spec), "new", make_console())
    client = connect(address)
    experiments = [one.experiment_id for one in client.search_experiments()]
    (parent,) = client.search_runs(experiments, "tags.`qrlora.search` = 'one'")
    assert (parent.info.status, parent.data.tags["qrlora.outcome"]) == ("FINISHED", outcome)
    assert not load_record(output.parent).undelivered


def test_what_was_given_up_is_ended_in_mlflow(tmp_path):
    """A driver that was killed left its runs open; the slot's grace is over, and another is chosen."""
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    spec = spec_of(tmp_path, address)
    client, home = connect(address), home_of(spec)
    experiment = client.create_experiment("sst2")
    runs = {}
    for slot, hours in (("old", 48), ("going", 0)):
        output = home / slot / "x"
        opened(output, slot).close()
        started = (datetime.now(UTC) - timedelta(hours=hours)).isoformat()
        entries = {"x": Entry(task="sst2", output=str(output))}
        save_record(home / slot, SweepRecord(name="n", slot=slot, spec={}, started=started, entries=entries))
        runs[slot] = client.create_run(experiment, tags={"qrlora.search": slot, "qrlora.kind": "trial"}).info.run_id
    for _ in range(2):
        catch_up(spec, home, "new", make_console())
        states = {slot: client.get_run(run).info.status for slot, run in runs.items()}
        assert states == {"old": "KILLED", "going": "RUNNING"}
    assert client.get_run(runs["old"]).data.tags["qrlora.state"] == "unfinished"
    assert {slot: load_record(home / slot).left for slot in runs} == {"old": True, "going": False}
