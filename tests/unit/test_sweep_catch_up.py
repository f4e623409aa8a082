"""What MLflow lacks of earlier runs of a sweep, and what it still believes to run."""

from datetime import UTC, datetime, timedelta

from qrlora_search.adapters.mlflow_sink.tracking import connect
from qrlora_search.app.console import make_console
from qrlora_search.app.sweep_catch_up import catch_up
from qrlora_search.app.sweep_record import Entry, SweepRecord, home_of, load_record, save_record
from qrlora_search.describe.sweep import SweepSpec
from test_confirming import begin, the_plan


def test_what_was_given_up_is_ended_in_mlflow(tmp_path):
    """A driver that was killed left its runs open; the slot's grace is over, and another is chosen."""
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    spec = SweepSpec.model_validate({
        "name": "n", "searches": {"tasks": ["sst2"], "models": ["embedded"]}, "budget": {"configurations": 6},
        "data": {"default": "stand-in"}, "storage": {"output": str(tmp_path), "tracking_uri": address},
        "schedule": {"cron": "0 * * * *", "grace": "1h"},
    })  # fmt: skip
    client, home = connect(address), home_of(spec)
    experiment = client.create_experiment("sst2")
    runs = {}
    for slot, hours in (("old", 48), ("going", 0)):
        output = home / slot / "x"
        output.mkdir(parents=True)
        record, _ = begin(output, the_plan())
        record.append("opened", {"plan": the_plan().model_dump(mode="json"), "search_id": slot, "at": "now"})
        record.close()
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
