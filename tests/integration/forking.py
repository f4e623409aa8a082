"""Runs `forked_searches.py` in a place's folder, for the tests that kill a driver at its writes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

KILLED = 9
"""The wait status of a run that was killed."""
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
}


def run_forked(folder: Path, scenarios: dict[str, list[str]], task: str, budget: int, **told: str) -> dict[str, Any]:
    """Run scenarios in a place's folder and return the wait statuses of their runs. told: more for its environment."""
    script = Path(__file__).with_name("forked_searches.py")
    own = {**ONE_THREAD, "HF_HUB_OFFLINE": "1", "TASK": task, "BUDGET": str(budget), **told}
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(scenarios)], cwd=folder, timeout=300, check=False,
        env={**os.environ, **own}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    statuses: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return statuses
