"""Tracking addresses, checked before a search starts; light to import."""

import urllib.error
import urllib.request
from pathlib import Path

from qrlora_search.values.errors import UserError
from qrlora_search.values.secrets import first_line, shown_address

CONNECT_S = 3.0


def local_tracking(runs: Path) -> str:
    """Returns the address of the MLflow database that all searches of a runs folder share."""
    return f"sqlite:///{runs.resolve() / 'mlflow.db'}"


def check_tracking(address: str) -> None:
    """Raises UserError where a tracking server does not answer, or an address is of no kind that MLflow knows."""
    scheme = address.split(":", 1)[0] if ":" in address else ""
    if scheme in {"http", "https"}:
        try:
            with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=CONNECT_S):
                return
        except urllib.error.HTTPError:
            return
        except (OSError, ValueError) as error:
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
    if scheme not in {"sqlite", "postgresql", "mysql", "mssql", "databricks"} and "+" not in scheme:
        raise UserError(
            f"--tracking-uri {shown_address(address)!r} is of no known kind; use sqlite:///FILE or http://HOST:PORT"
        )
