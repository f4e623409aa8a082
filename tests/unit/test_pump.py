"""Sinks that are away for a while: everything arrives, in order, and a slow one is waited for while it gets on."""

import time

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from qrlora_search.record.events import Record
from qrlora_search.record.pump import Pump
from qrlora_search.values.errors import SinkError


class Sometimes:
    """Refuses every third offer, as a store that is away; takes its time over each event."""

    def __init__(self, taken, takes_s) -> None:
        self.taken, self.takes_s, self.offers = taken, takes_s, 0

    def take(self, event):
        self.offers += 1
        if self.offers % 3 == 0:
            raise SinkError("away")
        time.sleep(self.takes_s)
        self.taken.append(event.sequence)

    def close(self):
        self.taken.append("closed")


def test_what_a_sink_refuses_is_offered_again_and_a_slow_one_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr("qrlora_search.record.pump.RETRY_S", (0.0,))
    record, taken = Record(f"sqlite:///{tmp_path / 'record.db'}"), []
    for number in range(12):
        record.append("ended", {}, number)
    pump = Pump(record, lambda: Sometimes(taken, 0.1), "slow", patience_s=1.0)
    assert pump.close(record.last()) == ""  # longer than its patience in all, never for one event
    assert taken == [*range(1, 13), "closed"]


def test_one_that_stays_away_is_given_up_and_named(tmp_path):
    record = Record(f"sqlite:///{tmp_path / 'record.db'}")
    record.append("ended", {}, 0)

    def away():
        raise SinkError("no route to the store")

    assert Pump(record, away, "gone", patience_s=0.1).close(1) == "no route to the store"


def test_a_record_that_is_away_for_a_moment_ends_no_pump(tmp_path, monkeypatch):
    monkeypatch.setattr("qrlora_search.record.pump.RETRY_S", (0.0,))
    record, taken = Record(f"sqlite:///{tmp_path / 'record.db'}"), []
    for number in range(2):
        record.append("ended", {}, number)
    read, asked = record.read, []

    def away_at_first(*given: int):
        asked.append(given)
        if len(asked) < 4:
            raise OperationalError("select", {}, psycopg.OperationalError("connection refused"))
        return read(*given)

    monkeypatch.setattr(record, "read", away_at_first)
    pump = Pump(record, lambda: Sometimes(taken, 0.0), "slow", patience_s=5.0)
    assert pump.close(2) == ""
    assert taken == [1, 2, "closed"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_the_program_ends_the_thread_and_is_named_at_once(tmp_path):
    class Faulty(Sometimes):
        def take(self, event):
            raise KeyError(event.trial)

    record = Record(f"sqlite:///{tmp_path / 'record.db'}")
    record.append("ended", {}, 24)
    pump, began = Pump(record, lambda: Faulty([], 0.0), "faulty", patience_s=30.0), time.monotonic()
    assert pump.close(record.last()) == "KeyError: 24"
    assert time.monotonic() < began + 25
