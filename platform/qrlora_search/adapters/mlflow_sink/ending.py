"""Ending in MLflow what a search that nobody goes on with has left open."""

from typing import Any

from qrlora_search.adapters.mlflow_sink.tracking import all_runs, connect, told_apart


def end_search(address: str, search_id: str) -> None:
    """Ends the open runs of a search as an interrupted one leaves them. Raises SinkError where MLflow is away."""
    with told_apart(address):
        client = connect(address)
        experiments = [str(one.experiment_id) for one in client.search_experiments()]
        for run in all_runs(client, experiments, f"tags.`qrlora.search` = '{search_id}'"):
            end_unfinished(client, run)


def end_unfinished(client: Any, run: Any) -> None:
    """Ends a run that is still open, and says of a trial that it did not end."""
    if run.info.status != "RUNNING":
        return
    if run.data.tags.get("qrlora.kind") == "trial":
        client.set_tag(run.info.run_id, "qrlora.state", "unfinished")
    client.set_terminated(run.info.run_id, "KILLED")
