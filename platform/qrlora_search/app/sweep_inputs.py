"""What a search's outcome depends on, as hashes: equal ones need no second search."""

import hashlib
import json
from functools import cache
from pathlib import Path

from qrlora_search.app.planning import Planned
from qrlora_search.describe.plan import digest

COMPARED = ("data", "split", "model")
"""Where one of these differs, two fronts are scores of different things."""


@cache
def code_hash() -> str:
    """Returns the SHA-256 of the package's own sources."""
    package = Path(__file__).resolve().parent.parent
    total = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        total.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes() + b"\0")
    return total.hexdigest()


def inputs_of(planned: Planned) -> dict[str, str]:
    """Returns the hashes of data, split, model, code and space of a planned search."""
    plan = planned.plan
    space = plan.space.model_dump(mode="json")
    space.pop("states")
    split = [plan.counts.model_dump(mode="json"), plan.train_limit, plan.seed]
    return {
        "data": plan.data.fingerprint or digest(plan.data.name),
        "split": digest(split),
        "model": digest([plan.model.fingerprint, plan.precision]),
        "code": code_hash(),
        "space": digest(json.dumps([space, plan.max_params], sort_keys=True)),
    }


def changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Returns the names of the inputs that differ."""
    return [name for name in now if before.get(name) != now[name]]
