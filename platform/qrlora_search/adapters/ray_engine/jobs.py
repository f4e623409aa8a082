"""Ray jobs: a sweep that runs on a cluster without this machine. An id is sent once, however often it is asked for."""

import os
from pathlib import Path
from typing import Any

from qrlora_search.values.environment import for_nodes
from qrlora_search.values.errors import UserError
from qrlora_search.values.secrets import first_line, shown_address

DEFAULT = "http://127.0.0.1:8265"
GONE = "not sent"
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


class Jobs:
    """A cluster's job server. address: HOST:PORT with http://; else RAY_API_SERVER_ADDRESS, else this machine's."""

    def __init__(self, address: str | None) -> None:
        from qrlora_search.adapters.ray_engine.cluster import set_environment

        self.address = address or os.environ.get("RAY_API_SERVER_ADDRESS") or DEFAULT
        set_environment(self.address)
        from ray.exceptions import RayError
        from ray.job_submission import JobSubmissionClient

        self.refusals: tuple[type[Exception], ...] = (RuntimeError, RayError)  # a wrong token is the latter
        try:
            self.client: Any = JobSubmissionClient(self.address)
        except (ConnectionError, ValueError, OSError, *self.refusals) as error:
            raise UserError(
                f"--jobs {shown_address(self.address)!r}: no Ray job server answers ({first_line(error)}); give the "
                "head's http://HOST:8265, and where it asks for a token, RAY_AUTH_TOKEN"
            ) from None

    def state(self, job: str) -> str:
        """Returns PENDING, RUNNING, SUCCEEDED, FAILED, STOPPED, or `not sent`."""
        try:
            return str(self.client.get_job_status(job).value)
        except self.refusals as error:
            if "does not exist" in str(error) or "404" in str(error):
                return GONE
            raise UserError(f"--jobs {shown_address(self.address)!r}: {first_line(error)}") from None

    def message(self, job: str) -> str:
        """Returns what Ray says of a job."""
        return str(self.client.get_job_info(job).message or "")

    def exit_code(self, job: str) -> int | None:
        """Returns what a job's command ended with; None where it did not end by itself."""
        code = self.client.get_job_info(job).driver_exit_code
        return None if code is None else int(code)

    def send(self, job: str, entrypoint: str, folder: Path, environment: dict[str, str]) -> bool:
        """Sends a job with a folder as its working directory; returns False where that id was sent before.

        environment: nothing secret, since Ray shows it.
        """
        if self.state(job) != GONE:
            return False
        runtime = {"working_dir": str(folder), "env_vars": {**for_nodes(), **environment}}
        try:
            self.client.submit_job(entrypoint=entrypoint, submission_id=job, runtime_env=runtime)
        except RuntimeError as error:
            if self.state(job) != GONE:  # sent by somebody else in between
                return False
            raise UserError(f"the cluster does not take the job: {first_line(error)}") from None
        return True

    def forget(self, job: str) -> None:
        """Makes the id of an ended job free again."""
        self.client.delete_job(job)

    def logs(self, job: str) -> str:
        """Returns what a job has printed."""
        return str(self.client.get_job_logs(job))

    def stop(self, job: str) -> bool:
        """Asks a job to end, as by SIGTERM; returns whether it was running."""
        return bool(self.client.stop_job(job))
