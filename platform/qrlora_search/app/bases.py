"""The base of a search's adapters: the warmed-up model and the factors, kept once in the output folder."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file

from qrlora_search.app.report_files import write_atomically
from qrlora_search.describe.plan import SearchPlan
from qrlora_search.describe.tasks import find_task
from qrlora_search.prepare.preparation import Prepared, hash_state
from qrlora_search.values.errors import UserError

BASE = "base"
BASE_FILE = "base.json"
MODEL, MADE = "model.safetensors", "bases.safetensors"
FACTORS_PREFIX = "factors-"
_NOT_COPIED = {"inputs.json"}


def keep_base(prepared: Prepared, plan: SearchPlan, output: Path) -> None:
    """Puts the base into an output folder, once. Tensors of the cache are linked where the file system can; what
    programs rewrite in place, such as a configuration, is copied.

    Raises UserError where trials were trained on another base: a warm-up that was made again has other last bits.
    """
    folder, further = output / BASE, [one.fingerprint for one in prepared.further]
    if (folder / BASE_FILE).is_file():
        there = read_base(folder)
        if [there["weights"], *there.get("further", [])] != [prepared.materials.fingerprint, *further]:
            raise UserError(
                f"--output {str(output)!r} has trials on another warm-up than the one that is now in the cache, which "
                "was made again since; put the cache of that time back (QRLORA_CACHE), or name another output"
            )
        return
    folder.mkdir(exist_ok=True)
    for source in sorted(prepared.warm_up.iterdir()):
        if source.name not in _NOT_COPIED:
            (link_or_copy if source.suffix == ".safetensors" else shutil.copyfile)(source, folder / source.name)
    for how, place in prepared.bases.items():
        link_or_copy(place / MADE, folder / factors_file(how))
    facts = {
        "version": 1,
        "task": plan.task,
        "labels": list(find_task(plan.task).labels),
        "max_length": plan.space.training.max_length,
        "weights": prepared.materials.fingerprint,
        "factors": {how: hash_file(folder / factors_file(how)) for how in prepared.bases},
        "files": {one.name: hash_file(one) for one in sorted(folder.iterdir()) if one.suffix != ".safetensors"},
        "bases_of": plan.space.bases.of,
        "stand_in": plan.stand_in,
        "further": further,
    }
    write_atomically(folder / BASE_FILE, json.dumps(facts, indent=1).encode())


def factors_file(how: str) -> str:
    """Returns the name of the file with a factorisation of every projection."""
    return f"{FACTORS_PREFIX}{how}.safetensors"


def read_base(folder: Path, remedy: str = "name the search's `base` folder with --base") -> dict[str, Any]:
    """Returns a base's facts; raises UserError where the folder is none, with what to do about it."""
    file = folder / BASE_FILE
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        facts = None
    if not isinstance(facts, dict) or "weights" not in facts or not (folder / MODEL).is_file():
        raise UserError(f"the base {str(folder)!r} is missing or incomplete; {remedy}")
    return facts


def check_base(
    folder: Path, wanted: dict[str, Any], remedy: str = "name the base of the search that trained it with --base"
) -> None:
    """Raises UserError where weights, factors, configuration or tokenizer that lie in a base are not those an adapter
    was trained on.

    They are hashed themselves: what base.json says of them proves nothing.
    """
    read_base(folder)
    try:
        found = hash_state(load_file(folder / MODEL))
    except (OSError, SafetensorError) as error:
        raise UserError(f"the base {str(folder)!r} cannot be read ({error}); name another copy with --base") from None
    if found != wanted["weights"]:
        raise UserError(
            f"the base {str(folder)!r} is another model (weights {found[:12]}, the adapter's "
            f"{str(wanted['weights'])[:12]}); {remedy}"
        )
    files = {factors_file(how): content for how, content in wanted["factors"].items()} | wanted.get("files", {})
    for name, content in files.items():
        if not (folder / name).is_file() or hash_file(folder / name) != content:
            raise UserError(f"the base {str(folder)!r} lacks {name} as it was made; {remedy}")


def link_or_copy(source: Path, target: Path) -> None:
    """Links a file, or copies it where that cannot be done; a link to a link is resolved first."""
    target.unlink(missing_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
