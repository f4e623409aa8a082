"""A sweep's report as one MLflow run, found again by its tag, so that reporting twice makes no second run."""

from pathlib import Path

from qrlora_search.adapters.mlflow_sink.tracking import connect, find_experiment, log_file, told_apart

EXPERIMENT = "qr-lora sweeps"


def log_sweep(
    address: str, sweep: tuple[str, str], metrics: dict[str, float], tags: dict[str, str], files: list[Path]
) -> None:
    """Writes metrics, tags and files of a sweep's run. sweep: its name and slot. Raises SinkError."""
    with told_apart(address):
        client = connect(address)
        experiment = find_experiment(client, address, EXPERIMENT)
        mark = "/".join(sweep)
        found = client.search_runs([experiment], f"tags.`qrlora.sweep` = '{mark}'")
        all_tags = {"mlflow.runName": mark, "qrlora.kind": "sweep", "qrlora.sweep": mark, **tags}
        run = found[0].info.run_id if found else client.create_run(experiment, tags=all_tags).info.run_id
        for name, value in all_tags.items():
            client.set_tag(run, name, value)
        there = found[0].data.metrics if found else {}
        for metric, number in metrics.items():
            if there.get(metric) != number:
                client.log_metric(run, metric, number)
        for file in files:
            log_file(client, run, file)
        client.set_terminated(run, "FINISHED")
