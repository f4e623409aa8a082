"""``python -m platform.evaluate DIR --data FOLDER``: the scores of an exported adapter on a task's data."""

from ._launch import launch

if __name__ == "__main__":
    raise SystemExit(launch("evaluate"))
