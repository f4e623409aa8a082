"""Pages that other programs serve on the loopback address, until they are ended: the explorer and optuna-dashboard."""

import os
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from qrlora_search.adapters.mlflow_sink.address import check_tracking, tracking_address
from qrlora_search.record.events import record_url
from qrlora_search.record.storage import has_record
from qrlora_search.values.errors import UserError

_STREAMLIT = (
    "--server.address=127.0.0.1", "--server.headless=true", "--browser.gatherUsageStats=false",
    "--server.fileWatcherType=none", "--client.toolbarMode=minimal",
)  # fmt: skip

_DASHBOARD = (
    "import os, sys, optuna_dashboard; "
    "optuna_dashboard.run_server(os.environ['QRLORA_STUDY'], host='127.0.0.1', port=int(sys.argv[1]))"
)
"""The address is not among the arguments, which `ps` shows with their passwords."""


def explorer_script() -> Path:
    """Returns the explorer's script: in the checkout's dashboards/, or inside an installed package."""
    package = Path(__file__).parents[1]
    for folder in (package / "dashboards", package.parents[1] / "dashboards"):
        if (folder / "explorer.py").is_file():
            return folder / "explorer.py"
    raise UserError("the explorer's files are not installed; install the project again")


def serve_explorer(port: int, tracking_uri: str | None) -> int:
    """Serves the explorer and returns the exit code. Without any search yet it says so on its page."""
    address = tracking_address(tracking_uri, Path("runs"))
    check_tracking(address)
    check_port("--port", port)
    _check_installed("streamlit")
    script = explorer_script()
    start = str(script.with_name("exploring_start.py"))
    command = [sys.executable, start, "run", str(script), f"--server.port={port}", *_STREAMLIT]
    return _serve(command, {"QRLORA_TRACKING": address}, f"explorer at http://127.0.0.1:{port}")


def serve_study(output: Path, port: int) -> int:
    """Serves optuna-dashboard on a search's study and returns the exit code."""
    if not has_record(output):
        raise UserError(f"OUTPUT {str(output)!r} is no search's output: it has no record; name a folder of runs/")
    check_port("--port", port)
    _check_installed("optuna_dashboard")
    command = [sys.executable, "-c", _DASHBOARD, str(port)]
    return _serve(command, {"QRLORA_STUDY": record_url(output)}, f"optuna-dashboard at http://127.0.0.1:{port}")


def check_port(option: str, port: int) -> None:
    """Raises UserError where a port of the loopback address cannot be used; option: what the user gave it with."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{option} {port} cannot be used: {reason}; choose another with {option}") from None


def _check_installed(module: str) -> None:
    if find_spec(module) is None:
        name = module.replace("_", "-")
        raise UserError(f"{name} is not installed for {sys.executable}; install it with `pip install {name}`")


def _serve(command: list[str], environment: dict[str, str], words: str) -> int:
    sys.stdout.write(f"{words} (Ctrl-C ends it)\n")
    sys.stdout.flush()
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # a page says soon that its store is away
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "false",
        **environment,
    }
    try:
        return subprocess.run(command, check=False, env={**os.environ, **settings}).returncode
    except KeyboardInterrupt:
        return 0
