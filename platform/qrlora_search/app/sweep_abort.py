"""A scheduled sweep that cannot begin, or cannot go on: whoever is to be told of its end is told of that, once.

A scheduler asks again and again, so what was said of a slot is kept in the cache until a run goes through.
"""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from qrlora_search.app.sweep_notify import Message, send
from qrlora_search.describe.plan import digest
from qrlora_search.describe.sweep import load_notify, load_sweep
from qrlora_search.prepare.store import default_root
from qrlora_search.values.errors import UserError
from qrlora_search.values.secrets import first_line


def tell_abort(path: Path, slot: str | None, error: Exception, code: int) -> list[str]:
    """Tells by [notify] that a sweep ended with an error and no report; returns what went wrong with telling.

    It reads [notify] also where the rest of the spec is wrong. The same of the same slot is told once.
    """
    name, wanted = load_notify(path)
    if wanted.when == "regression" or not (wanted.command or wanted.webhook):
        return []
    why, meant = first_line(error), slot or _slot(path)
    said, place = json.dumps([meant, why]), _place(path)
    with suppress(OSError):  # what cannot be read was not told
        if place.read_text(encoding="utf-8") == said:
            return []
    headline = f"did not end (exit code {code}): {why}"
    text = f"# Sweep {name}, {meant}\n\nIt {headline}\n\nThere is no report; what is done is kept.\n"
    trouble = send(wanted, Message(name, meant, code, headline, text))
    if not trouble:
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(said, encoding="utf-8")
    return trouble


def forget_abort(path: Path) -> None:
    """Notes that a run went through: the next abort is told again."""
    with suppress(OSError):
        _place(path).unlink(missing_ok=True)


def _place(path: Path) -> Path:
    return default_root() / "told" / f"{digest(os.fspath(path.resolve()))[:20]}.json"


def _slot(path: Path) -> str:
    """Returns the slot of a schedule, or the day where the spec tells none."""
    now = datetime.now(UTC)
    with suppress(UserError):
        schedule = load_sweep(path).schedule
        if schedule is not None:
            return schedule.slot(now)
    return f"{now:%Y-%m-%d}"
