"""Where a record lies: a SQLite file in the output folder, or a schema of its own in the PostgreSQL of QRLORA_STORAGE.

Each search has its own schema, so several in one database never mix, and one is dropped whole. The output folder keeps
the schema's name and the server's address without user and password; these stay in the environment.
"""

import errno
import json
import os
import re
import uuid
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, SQLAlchemyError

from qrlora_search.values.errors import AwayError, RefusedError, UserError
from qrlora_search.values.secrets import first_line, shown_address

VARIABLE = "QRLORA_STORAGE"
POINTER = "storage.json"
CONNECT_S = 10


def has_record(folder: Path) -> bool:
    """Returns whether an output folder has a record, wherever it lies."""
    return (folder / "record.db").is_file() or (folder / POINTER).is_file()


def stored_elsewhere(folder: Path) -> str | None:
    """Returns the database address of a record that is not in its folder, with what it takes to connect; else None.

    Raises UserError where QRLORA_STORAGE does not name the server that the record lies on.
    """
    pointer = folder / POINTER
    if not pointer.is_file():
        return None
    content = json.loads(pointer.read_text(encoding="utf-8"))
    server = storage_server()
    if server is None or shown_address(_text(server)) != content["server"]:
        raise UserError(
            f"the record of {str(folder)!r} is in {content['server']}; set {VARIABLE} to that database's address"
        )
    return _with_schema(server, content["schema"])


def claim_place(folder: Path) -> None:
    """Gives a new output folder its schema, where QRLORA_STORAGE names a database; a folder with a record keeps it."""
    server = storage_server()
    if server is None or has_record(folder):
        return
    content = {"server": shown_address(_text(server)), "schema": f"qrlora_{uuid.uuid4().hex[:20]}"}
    draft = folder / f".{POINTER}.{os.getpid()}"
    draft.write_text(json.dumps(content), encoding="utf-8")
    draft.replace(folder / POINTER)


def storage_server() -> URL | None:
    """Returns the database that QRLORA_STORAGE names, or None. Raises UserError for another kind."""
    given = os.environ.get(VARIABLE)
    if not given:
        return None
    try:
        address = make_url(given)
    except (ArgumentError, ValueError):
        raise UserError(f"{VARIABLE} is no database address; write postgresql://USER:PASSWORD@HOST:PORT/NAME") from None
    if address.get_backend_name() != "postgresql" or not address.database:
        raise UserError(
            f"{VARIABLE} {shown_address(given)!r}: only postgresql://HOST:PORT/NAME is supported; "
            "unset it for a SQLite file in the output folder"
        )
    if "@" in f"{address.host}{address.database}":  # else the rest of a password would be taken for them, and shown
        raise UserError(f"{VARIABLE}: its user or password holds @, / or :; write %40, %2F and %3A for them there")
    return address.set(drivername="postgresql+psycopg")


_REFUSALS = re.compile(
    "password authentication failed|no password supplied|no pg_hba.conf entry|(role|database) .+ does not exist"
)
"""What PostgreSQL says, in English, to whom it does not let in; its codes do not reach a client that could not connect.
In another language a refusal counts as a server that is away.
"""


def check_storage() -> None:
    """Raises AwayError where the database that QRLORA_STORAGE names does not answer, RefusedError where it does not let
    us in, UserError for another kind.
    """
    server = storage_server()
    if server is None:
        return
    engine = create_engine(server, connect_args={"connect_timeout": CONNECT_S})
    try:
        with engine.connect():
            pass
    except SQLAlchemyError as error:
        if _REFUSALS.search(str(error)):
            shown, said = shown_address(_text(server)), first_line(error, _text(server))
            raise RefusedError(
                f"{VARIABLE} {shown!r} cannot be used: {said}; correct its user, password or database"
            ) from None
        raise _away(server, error) from None
    finally:
        engine.dispose()


def _away(server: URL, error: BaseException) -> AwayError:
    shown = shown_address(_text(server))
    return AwayError(
        f"{VARIABLE} {shown!r} cannot be used: {first_line(error, _text(server))}; "
        "is the server up, and may this machine connect to it?"
    )


def went_away(error: BaseException | None) -> AwayError | None:
    """Returns what to say where an error, or what it came of, means that the database of QRLORA_STORAGE went away, or
    that a disk is full; None for another error. A SQLite file, of a search or of MLflow, does not go away.
    """
    server, one = storage_server(), error
    while one is not None:
        if isinstance(one, RefusedError):
            return None
        if isinstance(one, AwayError):
            return one
        if _is_full(one):
            return AwayError(
                f"a disk is full: {first_line(one)}; free some of it (Ray stores nothing on one that is 95 % used)"
            )
        driver = type(getattr(one, "orig", None)).__module__.partition(".")[0]
        if server is not None and isinstance(one, InterfaceError | OperationalError) and driver == "psycopg":
            return _away(server, one)
        one = one.__cause__ or one.__context__
    return None


def _is_full(error: BaseException) -> bool:
    """Returns whether an error of the system, of SQLite or of Ray's object store says that a disk is full."""
    said = str(getattr(error, "orig", ""))
    return (
        (isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT})
        or "database or disk is full" in said
        or type(error).__name__ == "OutOfDiskError"
    )


def connect_arguments(url: str) -> dict[str, object]:
    """Returns what drivers take beside the address: how long to wait."""
    return {"timeout": 60} if url.startswith("sqlite") else {"connect_timeout": CONNECT_S}


def make_schema(url: str) -> None:
    """Makes the schema that an address of PostgreSQL points into, where it is not there; nothing for SQLite."""
    schema = schema_of(url)
    if schema is None:
        return
    engine = create_engine(url, connect_args=connect_arguments(url))
    with engine.begin() as connection:
        connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
    engine.dispose()


def drop_record(folder: Path) -> None:
    """Drops a search's schema with its record and study; for a folder that is about to be removed."""
    url = stored_elsewhere(folder)
    schema = None if url is None else schema_of(url)
    if url is None or schema is None:
        return
    engine = create_engine(url, connect_args=connect_arguments(url))
    with engine.begin() as connection:
        connection.execute(text(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE'))
    engine.dispose()


def schema_of(url: str) -> str | None:
    """Returns the schema of a search's address, which this module made; None for SQLite."""
    options = str(make_url(url).query.get("options", ""))
    return options.removeprefix("-csearch_path=") or None


def _with_schema(server: URL, schema: str) -> str:
    if not schema.startswith("qrlora_") or not schema.removeprefix("qrlora_").isalnum():
        raise UserError(f"{POINTER} names the schema {schema!r}, which no search made; restore the file")
    return _text(server.update_query_dict({"options": f"-csearch_path={schema}"}))


def _text(address: URL) -> str:
    return address.render_as_string(hide_password=False)
