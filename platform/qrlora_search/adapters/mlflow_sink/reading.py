"""What a tracking store holds of searches: their parent runs and files, for comparisons."""

import tempfile
from pathlib import Path
from typing import Any

from qrlora_search.adapters.mlflow_sink import tracking
from qrlora_search.adapters.mlflow_sink.address import check_tracking
from qrlora_search.values.errors import SinkError, UserError
from qrlora_search.values.secrets import shown_address

EXPERIMENT = "qr-lora compare"


class Store:
    """A tracking store, opened for reading; `close` gives its database back."""

    def __init__(self, address: str) -> None:
        check_tracking(address)
        path = Path(address.removeprefix("sqlite:///"))
        if address.startswith("sqlite:///") and not path.is_file():
            raise UserError(f"{path} does not exist: no search has run there; name output folders, or --tracking-uri")
        self.address = address
        self.client: Any = tracking.connect(address)

    def searches_of(self, task: str) -> list[str]:
        """Returns the run ids of all searches of a task, the oldest first."""
        try:
            with tracking.told_apart(self.address):
                experiment = self.client.get_experiment_by_name(f"qr-lora {task}")
                if experiment is None:
                    return []
                runs = tracking.all_runs(self.client, [experiment.experiment_id], "tags.`qrlora.kind` = 'search'")
                found = sorted(runs, key=lambda run: run.info.start_time)
        except SinkError as error:
            raise UserError(f"--tracking-uri {shown_address(self.address)!r}: {error}") from None
        return [str(run.info.run_id) for run in found]

    def file(self, run: str, name: str) -> tuple[str, str]:
        """Returns a run's name and the text of one of its files; raises UserError where there is none."""
        try:
            with tracking.told_apart(self.address), tempfile.TemporaryDirectory() as folder:
                found = self.client.get_run(run)
                with tracking.storing():
                    path = self.client.download_artifacts(run, name, folder)
                return str(found.info.run_name), Path(path).read_text(encoding="utf-8")
        except SinkError as error:
            raise UserError(
                f"MLflow run {run!r} has no {name} ({error}): it is no search's run, or the search has not ended; "
                "name its output folder instead"
            ) from None

    def keep(self, name: str, metrics: dict[str, float], tags: dict[str, str], files: list[Path]) -> str:
        """Keeps a comparison as a run of its own and returns the run's id."""
        with tracking.told_apart(self.address):
            experiment = tracking.find_experiment(self.client, self.address, EXPERIMENT)
            run = self.client.create_run(experiment, tags={"mlflow.runName": name, "qrlora.kind": "comparison"})
            tracking.log_values(self.client, run.info.run_id, metrics, 0, tags)
            for path in files:
                tracking.log_file(self.client, run.info.run_id, path)
            self.client.set_terminated(run.info.run_id)
        return str(run.info.run_id)

    def close(self) -> None:
        """Gives the database back, where the store is one."""
        engine = getattr(self.client._tracking_client.store, "engine", None)
        if engine is not None:
            engine.dispose()
