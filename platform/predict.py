"""``python -m platform.predict DIR "a text"``: predictions of an exported adapter as JSON lines."""

from ._launch import launch

if __name__ == "__main__":
    raise SystemExit(launch("predict"))
