"""``python -m platform.explorer``: the Pareto explorer on this machine."""

from ._launch import launch

if __name__ == "__main__":
    raise SystemExit(launch("explorer"))
