"""Serves the MLflow UI on the loopback address."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from qrlora_search.adapters.mlflow_sink.address import check_tracking, tracking_address
from qrlora_search.values.errors import UserError


def serve_ui(port: int, tracking_uri: str | None) -> int:
    """Serves until it is ended and returns the exit code. Raises UserError where there is nothing to show."""
    runs = Path("runs")
    if tracking_uri is None and not (runs / "mlflow.db").is_file():
        raise UserError(f"{runs / 'mlflow.db'} does not exist: no search has run here; run one, or give --tracking-uri")
    address = tracking_address(tracking_uri, runs)
    check_tracking(address)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"--port {port} cannot be used: {error.strerror}; choose another with --port") from None
    command = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1"]  # one user: MLflow's four only take longer to start
    sys.stdout.write(f"MLflow at http://127.0.0.1:{port} (Ctrl-C ends it)\n")
    sys.stdout.flush()
    settings = {
        "MLFLOW_BACKEND_STORE_URI": address,  # not among the arguments, which `ps` shows with their passwords
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    try:
        return subprocess.run(command, check=False, env={**os.environ, **settings}).returncode
    except KeyboardInterrupt:
        return 0
