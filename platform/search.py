"""``python -m platform.search``: find the front of score against trained parameters for one task."""

from ._launch import launch

if __name__ == "__main__":
    raise SystemExit(launch("search"))
