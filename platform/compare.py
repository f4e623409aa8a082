"""``python -m platform.compare A B ...``: several searches side by side."""

from ._launch import launch

if __name__ == "__main__":
    raise SystemExit(launch("compare"))
