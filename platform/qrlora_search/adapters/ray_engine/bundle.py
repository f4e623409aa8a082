"""This program as a folder that Ray carries to nodes: the package with its search spaces inside, and no more."""

import shutil
from pathlib import Path

from qrlora_search.describe.space import spaces_folder


def write_bundle(folder: Path) -> Path:
    """Writes the package into a folder, as a wheel would install it, and returns the folder."""
    package = Path(__file__).resolve().parents[2]
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(package, folder / package.name, ignore=ignored)
    inside = folder / package.name / "search_spaces"
    if not inside.is_dir():
        shutil.copytree(spaces_folder(), inside, ignore=ignored)
    return folder
