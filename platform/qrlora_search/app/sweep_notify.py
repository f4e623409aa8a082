"""Telling a person: a command with the report on its standard input, and a webhook. Neither can hold up a sweep."""

import http.client
import json
import os
import subprocess
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass

from qrlora_search.app.sweep_compare import SweepReport
from qrlora_search.app.sweep_files import headline
from qrlora_search.describe.sweep import Notify
from qrlora_search.values.errors import UserError
from qrlora_search.values.secrets import expand
from qrlora_search.values.times import parse_seconds


@dataclass(frozen=True)
class Message:
    """What people are told. text: all of it, in Markdown; headline: one line."""

    name: str
    slot: str
    exit_code: int
    headline: str
    text: str


def notify(wanted: Notify, text: str, report: SweepReport) -> list[str]:
    """Tells who is to be told of a sweep's end; returns what went wrong, for the report's notes."""
    trouble = bool(report.regressions or report.failures)
    if (wanted.when == "regression" and not report.regressions) or (wanted.when == "trouble" and not trouble):
        return []
    return send(wanted, Message(report.name, report.slot, report.exit_code, headline(report), text))


def send(wanted: Notify, message: Message) -> list[str]:
    """Gives a message to the command and to the webhook; returns what went wrong, without any secret."""
    limit = parse_seconds(wanted.timeout, "timeout")
    return _command(wanted, message, limit) + _webhook(wanted, message, limit)


def _command(wanted: Notify, message: Message, limit: float) -> list[str]:
    if not wanted.command:
        return []
    facts = {"SWEEP_NAME": message.name, "SWEEP_SLOT": message.slot, "SWEEP_EXIT_CODE": str(message.exit_code)}
    try:
        done = subprocess.run(
            list(wanted.command), input=message.text.encode(), timeout=limit, check=False, capture_output=True,
            env={**os.environ, **facts},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return [f"notify.command did not end within {wanted.timeout} and was ended"]
    except (OSError, ValueError) as error:
        return [f"notify.command {wanted.command[0]!r} cannot be run: {getattr(error, 'strerror', None) or error}"]
    return [f"notify.command ended with {done.returncode}"] if done.returncode else []


def _webhook(wanted: Notify, message: Message, limit: float) -> list[str]:
    """Posts JSON and waits for so long in all, however slowly the other side answers."""
    if not wanted.webhook:
        return []
    said: list[list[str]] = []
    posting = threading.Thread(target=lambda: said.append(_post(wanted, message, limit)), daemon=True)
    posting.start()
    posting.join(limit)
    return said[0] if said else [f"notify.webhook did not answer within {wanted.timeout}"]


def _post(wanted: Notify, message: Message, limit: float) -> list[str]:
    """Posts JSON; an address may be a secret as a whole, so no error shows any of it."""
    content = {"text": f"sweep {message.name} {message.slot}: {message.headline}", "exit_code": message.exit_code,
               "report": message.text}  # fmt: skip
    try:
        address = expand(wanted.webhook or "", os.environ, "notify.webhook")
        request = urllib.request.Request(
            address, json.dumps(content).encode(), {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=limit):
            return []
    except urllib.error.HTTPError as error:
        return [f"notify.webhook answered {error.code}"]
    except UserError as error:
        return [str(error)]
    except (OSError, ValueError, http.client.HTTPException) as error:
        return [f"notify.webhook was not reached within {wanted.timeout} ({type(error).__name__})"]
