"""The record of a search: one append-only table of events, in the same database as the Optuna study."""

import json
import threading
import weakref
from pathlib import Path

from sqlalchemy import Column, Integer, MetaData, String, Table, Text, create_engine, event, func, insert, select
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from qrlora_search.describe.protocols import Event
from qrlora_search.record.storage import connect_arguments, make_schema, stored_elsewhere, went_away
from qrlora_search.values.errors import UserError
from qrlora_search.values.faults import passing
from qrlora_search.values.secrets import first_line

_METADATA = MetaData()
_EVENTS = Table(
    "qrlora_events",
    _METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("trial", Integer, nullable=True),
    Column("kind", String(32), nullable=False),
    Column("data", Text, nullable=False),
)


def record_url(folder: Path) -> str:
    """Returns the database address of an output folder's record; that of PostgreSQL holds a password, never show it."""
    return stored_elsewhere(folder) or f"sqlite:///{folder / 'record.db'}"


class Record:
    """Appends and reads events. One process appends; any number of threads may read and wait."""

    def __init__(self, url: str) -> None:
        self.url = url
        # Connections are kept: closing the last one to a SQLite file takes 20 ms, appending half a millisecond.
        self.engine: Engine = create_engine(
            url, connect_args=connect_arguments(url), pool_pre_ping=not url.startswith("sqlite")
        )
        weakref.finalize(self, self.engine.dispose)
        if url.startswith("sqlite"):
            event.listen(self.engine, "connect", _pragmas)
        try:
            make_schema(url)
            _METADATA.create_all(self.engine)
        except SQLAlchemyError as error:
            away = None if url.startswith("sqlite") else went_away(error)
            raise away or UserError(
                f"the record cannot be opened: {first_line(error, url)}; is the output folder writable and intact, "
                "and the database of QRLORA_STORAGE up?"
            ) from None
        self.changed = threading.Condition()

    def append(self, kind: str, data: dict[str, object], trial: int | None = None) -> Event:
        """Adds an event and returns it with its sequence number; it is on disk when this returns."""
        text = json.dumps(data, separators=(",", ":"), allow_nan=False)
        passing(f"before:{kind}")
        with self.changed:
            with self.engine.begin() as connection:
                sequence = _insert(connection, trial, kind, text)
            self.changed.notify_all()
        passing(f"after:{kind}")
        return Event(sequence, trial, kind, data)

    def read(self, after: int = 0, limit: int = 1000) -> list[Event]:
        """Returns up to `limit` events behind a sequence number, in order."""
        query = select(_EVENTS).where(_EVENTS.c.sequence > after).order_by(_EVENTS.c.sequence).limit(limit)
        with self.engine.connect() as connection:
            return [Event(row.sequence, row.trial, row.kind, json.loads(row.data)) for row in connection.execute(query)]

    def all(self) -> list[Event]:
        """Returns every event, in order."""
        events: list[Event] = []
        while block := self.read(events[-1].sequence if events else 0):
            events += block
        return events

    def last(self) -> int:
        """Returns the sequence number of the newest event, 0 where there is none."""
        with self.engine.connect() as connection:
            return int(connection.execute(select(func.max(_EVENTS.c.sequence))).scalar() or 0)

    def close(self) -> None:
        """Gives the database back."""
        self.engine.dispose()


def _insert(connection: Connection, trial: int | None, kind: str, text: str) -> int:
    key = connection.execute(insert(_EVENTS).values(trial=trial, kind=kind, data=text)).inserted_primary_key
    if key is None:
        raise RuntimeError("the database gave no sequence number")
    return int(key[0])


def _pragmas(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()
