"""``python -m platform.export OUTPUT --as lora --to DIR``: a trial of a search as a folder that others can load."""

from ._launch import launch

if __name__ == "__main__":
    raise SystemExit(launch("export"))
