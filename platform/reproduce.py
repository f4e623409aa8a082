"""``python -m platform.reproduce``: the paper's table for a task, measured here, with intervals."""

from ._launch import launch

if __name__ == "__main__":
    raise SystemExit(launch("reproduce"))
