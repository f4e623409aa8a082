"""``python -m platform.explain OUTPUT TRIAL``: what happened to one trial of a search, and why."""

from ._launch import launch

if __name__ == "__main__":
    raise SystemExit(launch("explain"))
