"""What every process of a search has in its environment, on this machine and on a cluster's nodes: nothing secret."""

import os

SETTINGS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # read when torch loads: threads that spin while they wait starve other trials
    "TOKENIZERS_PARALLELISM": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DO_NOT_TRACK": "true",
}


def set_here() -> None:
    """Sets them in this process, where the user has not set them."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def for_nodes() -> dict[str, str]:
    """Returns them for the processes of other machines, as they are here."""
    return {name: os.environ.get(name, value) for name, value in SETTINGS.items()}
