"""A night whose database or cluster is away: nothing ends, nothing fails, a code of its own, and the same goes on."""

import errno
import traceback
from contextlib import nullcontext

import psycopg
import pytest
from ray.exceptions import OutOfDiskError
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from qrlora_search.adapters.ray_engine import cluster
from qrlora_search.app import run_search, sweep_run
from qrlora_search.app.cli import main
from qrlora_search.app.sweep_record import load_record
from qrlora_search.record.events import Record
from qrlora_search.record.storage import went_away
from qrlora_search.values.errors import AwayError, UserError

SPEC = """
name = "night"
[searches]
tasks = ["cola", "rte"]
models = ["embedded"]
[budget]
configurations = 4
rounds = 1
[data]
default = "stand-in"
[storage]
database = "$NIGHT_DATABASE"
"""
NOBODY = "postgresql://u:swordfish@127.0.0.1:9/d"
CLOSED = OperationalError("insert", {}, psycopg.OperationalError("server closed the connection unexpectedly"))


@pytest.fixture
def night(tmp_path, monkeypatch):
    """Go into a folder with a sweep whose database nobody serves; return its command."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHT_DATABASE", NOBODY)
    monkeypatch.setenv("QRLORA_STORAGE", "")  # the sweep sets it
    (tmp_path / "sweep.toml").write_text(SPEC)
    return ["sweep", "run", "sweep.toml", "--slot", "one"]


@pytest.fixture
def searched(monkeypatch):
    """Let searches be done by what a test puts in here, by task: without Ray, record or front."""
    turns = {}

    def begin(_spec, _job, entry, _last):
        entry.inputs = {"data": "d"}

    def run_turn(_spec, job, _entry, _turn, _console):
        return turns[job.task]()

    monkeypatch.setattr(cluster, "ray_running", lambda *_: nullcontext())
    for name, what in {"begin": begin, "run_turn": run_turn, "measure": lambda _: None, "check_storage": lambda: None,
                       "take_snapshot": lambda *_: None, "save_snapshot": lambda *_: None,
                       "end_sweep": lambda *_: 0}.items():  # fmt: skip
        monkeypatch.setattr(sweep_run, name, what)
    return turns


def raising(error: Exception):
    def go():
        raise error

    return go


def test_a_database_that_is_away_ends_no_night_and_the_code_says_ask_again(night, tmp_path, capsys):
    for _ in range(2):  # the second time it has not "ended"
        assert main(night) == 5
        said = capsys.readouterr()
        assert "QRLORA_STORAGE 'postgresql://127.0.0.1:9/d' cannot be used" in said.err.replace("+psycopg", "")
        assert "the same command goes on" in said.err
        assert "swordfish" not in said.err + said.out
        assert "ended at" not in said.out
    assert load_record(tmp_path / "runs/sweeps/night/one") is None


@pytest.mark.parametrize(
    "error",
    [CLOSED, AwayError("the record cannot be opened"), RuntimeError("of it"), OSError(errno.ENOSPC, "No space left"),
     OutOfDiskError("Local disk is full")],
)  # fmt: skip
def test_a_database_that_goes_away_in_mid_night_is_an_interruption(night, searched, tmp_path, capsys, error):
    if isinstance(error, RuntimeError):
        error.__cause__ = CLOSED
    searched.update(cola=lambda: 0, rte=raising(error))
    assert main(night) == 5
    assert ("a disk is full: " in capsys.readouterr().err) == isinstance(error, OSError | OutOfDiskError)
    record = load_record(tmp_path / "runs/sweeps/night/one")
    assert record.ended == ""
    assert {one.task: one.state for one in record.entries.values()} == {"cola": "done", "rte": "waiting"}
    again = []
    searched.update(cola=raising(AssertionError("it was done")), rte=lambda: again.append(1) or 0)
    assert main(night) == 0
    assert again == [1]
    assert load_record(tmp_path / "runs/sweeps/night/one").entries["rte-embedded-s0"].state == "done"


def test_what_failed_while_the_database_is_away_did_not_fail(night, searched, monkeypatch, tmp_path):
    def fail():
        searched["begun"] = True
        raise ValueError("something strange")

    searched.update(cola=fail, rte=lambda: 0)
    away = raising(AwayError("nobody answers"))
    monkeypatch.setattr(sweep_run, "check_storage", lambda: away() if searched.pop("begun", None) else None)
    assert main(night) == 5
    states = {one.state for one in load_record(tmp_path / "runs/sweeps/night/one").entries.values()}
    assert states == {"waiting"}


def test_a_search_that_fails_by_itself_is_failed_as_before(night, searched, tmp_path):
    searched.update(cola=raising(UserError("its data are gone")), rte=lambda: 0)
    main(night)
    states = [one.state for one in load_record(tmp_path / "runs/sweeps/night/one").entries.values()]
    assert states == ["failed", "done"]


def test_of_a_traceback_in_an_error_the_first_error_is_the_reason(night, searched, tmp_path):
    """As Ray Tune raises what its callbacks raised."""
    try:
        try:
            raise KeyError("trial 7")
        except KeyError as error:
            raise ValueError("of it") from error
    except ValueError:
        said = traceback.format_exc()
    searched.update(cola=raising(RuntimeError(said)), rte=lambda: 0)
    main(night)
    assert load_record(tmp_path / "runs/sweeps/night/one").entries["cola-embedded-s0"].reason == (
        "searching: KeyError: 'trial 7'"
    )


def test_planning_that_was_cut_short_is_begun_again(night, searched, monkeypatch, tmp_path):
    def half(_spec, _job, entry, _last):
        entry.inputs = {"data": "d"}
        raise CLOSED

    with monkeypatch.context() as patch:
        patch.setattr(sweep_run, "begin", half)
        assert main(night) == 5
    entries = load_record(tmp_path / "runs/sweeps/night/one").entries
    assert not any(one.inputs for one in entries.values()), "the next run would take it for planned"


def test_a_cluster_that_is_away_has_the_same_code_and_an_address_that_is_none_is_bad_input(
    night, searched, tmp_path, capsys
):
    for address, code in (("127.0.0.1:9", 5), ("nonsense", 2)):
        (tmp_path / "sweep.toml").write_text(f'{SPEC}[resources]\naddress = "{address}"\n')
        assert main(night) == code
        assert f"--address '{address}'" in capsys.readouterr().err
    assert load_record(tmp_path / "runs/sweeps/night/one").ended == ""


def told(folder) -> list[str]:
    """Return what the command was given, a message each."""
    file = folder / "told"
    return file.read_text().split("# Sweep ")[1:] if file.is_file() else []


TELL = '[notify]\ncommand = ["sh", "-c", "cat >> told; echo $SWEEP_SLOT $SWEEP_EXIT_CODE >> told"]\n'


def test_whoever_is_to_be_told_is_told_of_a_night_that_cannot_begin_once(night, tmp_path, monkeypatch):
    (tmp_path / "sweep.toml").write_text(SPEC + TELL)
    assert main(night) == 5
    assert told(tmp_path) == [], "somebody gave the command by hand and has seen it"
    for _ in range(2):  # as cron does each quarter of an hour
        assert main([*night, "--scheduled"]) == 5
    (message,) = told(tmp_path)
    assert message.startswith("night, one\n\nIt did not end (exit code 5): QRLORA_STORAGE")
    assert message.endswith("one 5\n")
    assert "swordfish" not in message
    monkeypatch.delenv("NIGHT_DATABASE")
    assert main([*night, "--scheduled"]) == 2
    assert "(exit code 2): storage.database '$NIGHT_DATABASE': the environment has no" in told(tmp_path)[1]


def test_a_night_that_is_away_again_after_one_that_ended_is_told_again(night, searched, tmp_path, monkeypatch):
    (tmp_path / "sweep.toml").write_text(SPEC + TELL)
    for _ in range(2):
        searched.update(cola=raising(CLOSED), rte=lambda: 0)
        assert main([*night, "--scheduled"]) == 5
        searched.update(cola=lambda: 0)
        assert main([*night, "--scheduled"]) == 0
        (tmp_path / "runs/sweeps/night/one/sweep.json").unlink()
    assert len(told(tmp_path)) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [("configurations = 4", "configurationss = 4"), ('tasks = ["cola", "rte"]', "tasks = []"), ("[data]", "[dataa]")],
)
def test_a_spec_that_is_wrong_elsewhere_is_told(night, tmp_path, old, new):
    assert old in SPEC
    (tmp_path / "sweep.toml").write_text(SPEC.replace(old, new) + TELL)
    assert main([*night, "--scheduled"]) == 2
    (message,) = told(tmp_path)
    assert "(exit code 2): sweep.toml" in message


@pytest.mark.parametrize(
    ("notify", "said"),
    [
        ('command = ["sleep", "60"]\ntimeout = "1s"', "did not end within 1s"),
        ('command = ["/no/such"]', "cannot be run"),
        ('webhook = "$HOOK"\ntimeout = "1s"', "notify.webhook was not reached"),
        ('command = ["touch", "x"]\nwhen = "regression"', ""),
    ],
)
def test_a_notification_that_fails_changes_nothing(night, tmp_path, monkeypatch, capsys, notify, said):
    monkeypatch.setenv("HOOK", "http://127.0.0.1:9/secret")
    (tmp_path / "sweep.toml").write_text(f"{SPEC}[notify]\n{notify}\n")
    assert main([*night, "--scheduled"]) == 5
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.fixture
def full(tmp_path):
    """Return what appends to a record until SQLite says so as of a full disk, and the record: its file may not grow."""
    record = Record(f"sqlite:///{tmp_path / 'record.db'}")
    record.engine.dispose()
    event.listen(record.engine, "connect", lambda connection, _: connection.execute("PRAGMA max_page_count = 8"))

    def fill():
        while True:
            record.append("told", {"what": "x" * 1000})

    return fill, record


def test_a_record_on_a_full_disk_keeps_what_it_has_and_is_not_the_searchs_fault(full):
    fill, record = full
    with pytest.raises(OperationalError) as error:
        fill()
    assert len(record.all()) == record.last() > 0
    assert str(went_away(error.value)).startswith("a disk is full: database or disk is full")


def test_a_search_on_a_full_disk_says_so_and_how_to_go_on(full, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_search, "_run", lambda *_, **__: full[0]())
    given = ["search", "--task", "sst2", "--data", "stand-in", "--model", "embedded", "--budget", "1"]
    assert main(given) == 5
    said = capsys.readouterr().err
    assert said.startswith("error: a disk is full: database or disk is full; free some of it")
    assert said.count("\n") == 1
    monkeypatch.setattr(run_search, "_run", lambda *_, **__: raising(ZeroDivisionError("a fault of the program"))())
    with pytest.raises(ZeroDivisionError):
        main(given)
