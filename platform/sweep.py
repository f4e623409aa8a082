"""``python -m platform.sweep``: many searches described once, run together, scheduled, compared with the last time."""

from ._launch import launch

if __name__ == "__main__":
    raise SystemExit(launch("sweep"))
