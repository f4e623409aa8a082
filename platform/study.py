"""``python -m platform.study OUTPUT``: optuna-dashboard on a search's study."""

from ._launch import launch

if __name__ == "__main__":
    raise SystemExit(launch("study"))
