"""Tracking addresses, checked before a search starts; light to import."""

import base64
import os
import re
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from qrlora_search.values.errors import UserError
from qrlora_search.values.secrets import expand, first_line, shown_address

CONNECT_S = 3.0
NAMED = re.compile(r"\$(\w+|\{\w+\})")


def local_tracking(runs: Path) -> str:
    """Returns the address of the MLflow database that all searches of a runs folder share."""
    return f"sqlite:///{runs.resolve() / 'mlflow.db'}"


def tracking_address(given: str | None, runs: Path) -> str:
    """Returns the address that is given, by itself or as `$NAME` of the environment, else that of the runs folder.

    By name, no password needs to be on a command line, which `ps` and Ray's table of jobs show. Raises UserError where
    the environment has no such name.
    """
    if given and NAMED.fullmatch(given):
        return expand(given, os.environ, "--tracking-uri")
    return given or local_tracking(runs)


def _health_of(address: str) -> urllib.request.Request:
    """Returns what asks a server whether it lives, with user and password as MLflow's client sends them."""
    parts = urlsplit(address)
    credentials, _, place = parts.netloc.rpartition("@")
    request = urllib.request.Request(urlunsplit((parts.scheme, place, f"{parts.path.rstrip('/')}/health", "", "")))
    if credentials:
        user, _, password = credentials.partition(":")
        text = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
        request.add_header("Authorization", f"Basic {text}")
    return request


def check_tracking(address: str) -> None:
    """Raises UserError where a tracking server does not answer, or an address is of no kind that MLflow knows."""
    scheme = address.split(":", 1)[0] if ":" in address else ""
    if scheme in {"http", "https"} and "://" in address:
        try:
            with urllib.request.urlopen(_health_of(address), timeout=CONNECT_S):
                return
        except urllib.error.HTTPError:
            return
        except (OSError, ValueError, HTTPException) as error:
            reason = first_line(error, address)
            raise UserError(
                f"--tracking-uri {shown_address(address)!r}: no MLflow server answers ({reason}); start one, "
                "or leave the option out to use a local database"
            ) from None
    if scheme == "file" or not scheme:
        raise UserError(
            f"--tracking-uri {shown_address(address)!r}: plain folders are not supported by MLflow's search; "
            "use sqlite:///FILE or http://HOST:PORT"
        )
    known = scheme in {"sqlite", "postgresql", "mysql", "mssql", "databricks"} or "+" in scheme
    if not known or "://" not in address:
        raise UserError(
            f"--tracking-uri {shown_address(address)!r} is of no known kind; use sqlite:///FILE or http://HOST:PORT"
        )
