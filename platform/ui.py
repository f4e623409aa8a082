"""``python -m platform.ui``: open the MLflow UI on this machine."""

from ._launch import launch

if __name__ == "__main__":
    raise SystemExit(launch("ui"))
