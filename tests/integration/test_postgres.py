"""Records and studies in a real PostgreSQL: whole, apart, and without a password anywhere."""

import json

import optuna
import psycopg
import pytest

from qrlora_search.adapters.optuna_search.study import StudySink
from qrlora_search.record.events import Record, record_url
from qrlora_search.record.storage import (
    VARIABLE,
    check_storage,
    claim_place,
    drop_record,
    has_record,
    schema_of,
    went_away,
)
from qrlora_search.values.errors import AwayError, RefusedError, SinkError, UserError


@pytest.fixture
def storage(server, monkeypatch):
    monkeypatch.setenv(VARIABLE, server.url)
    return server


def record_in(folder) -> Record:
    folder.mkdir(exist_ok=True)
    claim_place(folder)
    return Record(record_url(folder))


def texts_below(folder) -> str:
    return "\n".join(path.read_bytes().decode("utf-8", "replace") for path in folder.rglob("*") if path.is_file())


def test_events_come_back_in_order_and_two_searches_never_mix(storage, tmp_path):
    one, other = record_in(tmp_path / "one"), record_in(tmp_path / "other")
    for number in range(30):
        assert one.append("started", {"n": number}, number).sequence == number + 1
        other.append("ended", {"m": number})
    assert [event.data["n"] for event in one.all()] == list(range(30))
    assert {event.kind for event in other.all()} == {"ended"}
    one.close()
    again = record_in(tmp_path / "one")
    assert [event.trial for event in again.read(after=27)] == [27, 28, 29]
    assert schema_of(one.url) == schema_of(again.url) != schema_of(other.url)
    for record in (again, other):
        record.close()


def test_an_output_folder_names_the_server_without_password_and_is_read_only_with_it(storage, tmp_path, monkeypatch):
    folder = tmp_path / "one"
    record_in(folder).close()
    assert has_record(folder)
    assert storage.password not in texts_below(tmp_path)
    assert json.loads((folder / "storage.json").read_text())["server"].endswith(f"127.0.0.1:{storage.port}/searches")
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(UserError, match="set QRLORA_STORAGE"):
        record_url(folder)


def test_a_folder_with_a_file_keeps_it_when_a_database_is_named_later(server, tmp_path, monkeypatch):
    record_in(tmp_path).close()
    assert (tmp_path / "record.db").is_file()
    monkeypatch.setenv(VARIABLE, server.url)
    claim_place(tmp_path)
    assert record_url(tmp_path).startswith("sqlite:")


def test_the_study_lies_beside_the_record(storage, tmp_path):
    record = record_in(tmp_path)
    sink = StudySink(record.url, [])
    found = optuna.load_study(study_name="search", storage=optuna.storages.RDBStorage(record.url))
    assert len(found.directions) == 2
    found._storage._backend.engine.dispose()
    sink.close()
    record.close()


def test_dropping_a_record_takes_its_schema_and_no_other(storage, tmp_path):
    one, other = record_in(tmp_path / "one"), record_in(tmp_path / "other")
    for record in (one, other):
        record.append("started", {}, 0)
        record.close()
    drop_record(tmp_path / "one")
    with psycopg.connect(storage.url) as connection:
        rows = connection.execute("select nspname from pg_namespace where nspname like 'qrlora_%'").fetchall()
    names = {row[0] for row in rows}
    assert schema_of(one.url) not in names
    assert schema_of(other.url) in names


@pytest.mark.parametrize("wrong", ["password", "port", "database"])
def test_what_is_wrong_is_said_without_the_password(server, monkeypatch, wrong):
    url = {
        "password": server.url.replace(server.password, "swordfish"),
        "port": server.url.replace(str(server.port), "9"),
        "database": server.url.replace("/searches", "/nothing"),
    }[wrong]
    monkeypatch.setenv(VARIABLE, url)
    with pytest.raises(UserError) as error:
        check_storage()
    assert "cannot be used" in str(error.value)
    assert type(error.value) is (AwayError if wrong == "port" else RefusedError)
    assert (went_away(error.value) is None) == (wrong != "port")
    assert "swordfish" not in str(error.value)
    assert server.password not in str(error.value)


@pytest.mark.parametrize("url", ["mysql://u:swordfish@h/d", "postgresql://u:swordfish@h", "swordfish", "://swordfish@"])
def test_another_kind_of_database_is_refused_without_the_password(monkeypatch, url):
    monkeypatch.setenv(VARIABLE, url)
    with pytest.raises(UserError) as error:
        check_storage()
    assert "swordfish@" not in str(error.value)


def test_a_study_that_is_gone_is_a_sink_error_without_the_password(storage, tmp_path):
    record = record_in(tmp_path)
    sink = StudySink(record.url, [])
    event = record.append("proposed", {"proposal": {}, "configuration": {}}, 0)
    with psycopg.connect(storage.url, autocommit=True) as connection:
        connection.execute(f'DROP SCHEMA "{schema_of(record.url)}" CASCADE')
    with pytest.raises(SinkError) as error:
        sink.take(event)
    assert storage.password not in str(error.value)
    record.close()
    sink.storage.remove_session()
    sink.storage.engine.dispose()
