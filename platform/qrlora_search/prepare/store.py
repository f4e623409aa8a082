"""A content-addressed store: an artefact's place is the hash of what makes it, so asking twice makes it once."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from qrlora_search.describe.plan import digest
from qrlora_search.values.errors import UserError
from qrlora_search.values.faults import passing


def default_root() -> Path:
    """Returns the folder shared by all searches of a user: QRLORA_CACHE, or ~/.cache/qrlora-search."""
    named = os.environ.get("QRLORA_CACHE")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "qrlora-search"


class Store:
    """Folders addressed by (kind, inputs). Each appears whole or not at all; concurrent makers wait for the first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
        except OSError as error:
            raise UserError(
                f"the cache {str(root)!r} cannot be written: {error.strerror}; set QRLORA_CACHE to a folder that can"
            ) from None

    def place(self, kind: str, inputs: dict[str, object]) -> Path:
        """Returns where the artefact lies, or would lie."""
        return self.root / kind / digest(inputs)[:32]

    def has(self, kind: str, inputs: dict[str, object]) -> bool:
        """Returns whether the artefact is there, whole."""
        return self.place(kind, inputs).is_dir()

    def get_or_make(self, kind: str, inputs: dict[str, object], make: Callable[[Path], None]) -> Path:
        """Returns the artefact's folder. make: fills an empty folder; called at most once, by one process at a time.

        inputs are kept beside the artefact as inputs.json. Drafts that a killed maker of it left are removed: whoever
        holds the lock is the only one that makes it.
        """
        place = self.place(kind, inputs)
        if place.is_dir():
            return place
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            for left in place.parent.glob(f".draft-{place.name}-*"):
                shutil.rmtree(left, ignore_errors=True)
            if not place.is_dir():
                draft = Path(tempfile.mkdtemp(prefix=f".draft-{place.name}-", dir=place.parent))
                try:
                    make(draft)
                    (draft / "inputs.json").write_text(json.dumps(inputs, indent=1, sort_keys=True), encoding="utf-8")
                    passing(f"before:store-{kind}")
                    draft.rename(place)
                    passing(f"after:store-{kind}")
                finally:
                    shutil.rmtree(draft, ignore_errors=True)
        return place
