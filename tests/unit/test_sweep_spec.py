"""Sweep specs: what is refused and how, the searches they describe, and the names of their runs."""

import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from qrlora_search.adapters.ray_engine.jobs import GONE
from qrlora_search.app import sweep_submit
from qrlora_search.app.cli import main
from qrlora_search.app.sweep_budget import check_budget
from qrlora_search.app.sweep_jobs import check_jobs
from qrlora_search.describe.space import spaces_folder
from qrlora_search.describe.sweep import load_sweep
from qrlora_search.values.errors import UserError
from qrlora_search.values.secrets import expand, without_secrets

GOOD = """
name = "night"
[searches]
tasks = ["cola", "rte"]
models = ["embedded"]
seeds = [0, 1]
[budget]
configurations = 40
rounds = 2
[data]
cola = "$GLUE"
default = "stand-in"
"""


def load(tmp_path, text):
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    return load_sweep(path)


@pytest.mark.parametrize("name", ["nightly", "small"])
def test_the_shipped_sweeps_are_sound(name):
    spec = load_sweep(spaces_folder() / "sweeps" / f"{name}.toml")
    assert spec.name == name
    assert len({job.key for job in spec.jobs()}) == (8 if name == "nightly" else 2)


def test_every_task_model_space_and_seed_is_one_search(tmp_path):
    jobs = load(tmp_path, GOOD).jobs()
    assert [one.key for one in jobs] == [
        "cola-embedded-s0", "cola-embedded-s1", "rte-embedded-s0", "rte-embedded-s1",
    ]  # fmt: skip
    assert [one.data for one in jobs] == ["$GLUE", "$GLUE", "stand-in", "stand-in"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[budget]", "[budgett]", ["unknown key 'budgett'", "did you mean 'budget'"]),
        ("rounds = 2", "round = 2", ["budget.'round'", "did you mean 'rounds'"]),
        ("rounds = 2", "rounds = 0", ["budget.rounds = 0", "greater than or equal to 1"]),
        ('"rte"', '"rtee"', ["'rtee' is not known", "did you mean 'rte'"]),
        ('"rte"', '"cola"', ["names something twice"]),
        ("configurations = 40", 'configurations = 40\ntime = "1h"', ["exactly one of"]),
        ("configurations = 40", 'time = "soon"', ["'soon' is no time"]),
        ("configurations = 40", "configurations = 7", ["too little", "at least 8"]),
        ('default = "stand-in"', "", ["no source for rte"]),
        ('default = "stand-in"', 'default = "auto"', ["may fall back to stand-in"]),
        ('models = ["embedded"]', 'models = ["auto"]', ["may fall back to the embedded model"]),
        ('default = "stand-in"', 'colaa = "hub"\ndefault = "hub"', ["data.'colaa'", "did you mean 'cola'"]),
        ("[data]", "[shares]\nmnli = 2\n[data]", ["shares.'mnli'"]),
        ("[data]", '[schedule]\ncron = "61 * * * *"\n[data]', ["no cron expression"]),
        ("[data]", '[schedule]\ncron = "* * * *"\n[data]', ["five fields"]),
        ("[data]", '[schedule]\ncron = "0 1 * * *"\ntime_zone = "Mars"\n[data]', ["'Mars' is not known"]),
        ("[data]", '[storage]\ndatabase = "postgresql://u:pass@h/d"\n[data]', ["holds a password", "$NAME"]),
        ("[data]", '[storage]\ndatabase = "postgresql://u:pa/ss@h/d"\n[data]', ["holds a password", "$NAME"]),
        ("[data]", '[storage]\ntracking_uri = "https://h/?token=abc"\n[data]', ["holds a password", "$NAME"]),
        ("[data]", '[storage]\ntracking_uri = "https://swordfish@h/x"\n[data]', ["holds a password", "$NAME"]),
        ("[data]", '[notify]\nwebhook = "https://hooks/T0/B0/xyz"\n[data]', ["webhook", "is a secret", "$NAME"]),
        ("[data]", '[notify]\ncommand = ["curl", "https://me:swordfish@h/x"]\n[data]', ["command", "holds a password"]),
        (
            'default = "stand-in"',
            'default = "https://me:swordfish@h/x"',
            ["data.default", "with a password is no source"],
        ),
        ('name = "night"', 'name = "a night"', ["name = 'a night'"]),
        ("[data]", '[storage]\noutput = "https://me:swordfish@h/x"\n[data]', ["storage.output", "holds a password"]),
        ('models = ["embedded"]', 'models = ["https://me:swordfish@h/x"]', ["models: an address with a password"]),
        ("[data]", '[notify]\ncommand = ["curl", "-H", "Authorization: Bearer swordfish"]\n[data]', ["holds a passw"]),
        ("[data]", '[schedule]\ncron = "0 1 * * *"\ntime_zonee = "UTC"\n[data]', ["did you mean 'time_zone'"]),
        ("[data]", '[notify]\ncommand = "mail me"\n[data]', ["notify.command = 'mail me'", "write a list"]),
        ("[data]", "[dota]", ["unknown key 'dota'", "did you mean 'data'"]),
        ("seeds = [0, 1]", 'seeds = ["0"]', ["searches.seeds.0 = '0'", "without quotes"]),
    ],
)
def test_a_bad_spec_is_refused_with_its_key_and_the_remedy(tmp_path, old, new, words):
    assert old in GOOD
    with pytest.raises(UserError) as error:
        load(tmp_path, GOOD.replace(old, new))
    assert all(word in str(error.value) for word in words), error.value
    assert "sweep.toml" in str(error.value)
    assert not any(secret in str(error.value) for secret in ("pass@", "pa/ss", "token=abc", "swordfish"))


def check_all(spec):
    check_jobs(spec)
    check_budget(spec)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[data]", "[resources]\ngpus_per_trial = 1.5\n[data]", ["--gpus-per-trial 1.5 is out of range"]),
        ("[data]", '[resources]\nlabels = { zone = "a" }\n[data]', ["give --address, too"]),
        ("[data]", '[notify]\nwebhook = "$NOPE_HOOK"\n[data]', ["notify.webhook", "no NOPE_HOOK"]),
        (
            'models = ["embedded"]',
            'models = ["embedded"]\nspaces = ["nowhere.toml"]',
            ["nowhere.toml", "does not exist"],
        ),
        ("configurations = 40", "epochs = 20", ["budget.epochs = 20", "4 searches in 2 rounds", "at least 40,"]),
        ("configurations = 40", 'time = "75s"', ["budget.time = '75s'", 'at least "80s"']),
        ('models = ["embedded"]', 'models = ["$SECRET"]', ["searches.models = '$SECRET'", "with a password"]),
        ('"stand-in"', '"$SECRET"', ["data = '$SECRET'", "with a password"]),
    ],
)
def test_what_a_search_could_not_be_asked_for_is_said_before_anything_begins(tmp_path, monkeypatch, old, new, words):
    monkeypatch.setenv("GLUE", "/there")
    assert old in GOOD
    monkeypatch.setenv("SECRET", "https://me:swordfish@h/x")
    sound = ("configurations = 40", "epochs = 400", 'time = "80s"', '[notify]\ncommand = ["curl", "Bearer $TOKEN"]\n')
    for more in sound:
        good = load(tmp_path, GOOD.replace("configurations = 40", more) if "[" not in more else GOOD + more)
        check_all(good)
    spec = load(tmp_path, GOOD.replace(old, new))
    with pytest.raises(UserError) as error:
        check_all(spec)
    assert "swordfish" not in str(error.value)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('default = "stand-in"', 'default = "$MINE"', "data = '$MINE' is 'auto' in the environment"),
        ('models = ["embedded"]', 'models = ["${MINE}"]', "searches.models = '${MINE}' is 'auto' in the environment"),
    ],
)
def test_auto_does_not_come_in_by_a_variable(tmp_path, monkeypatch, old, new, words):
    monkeypatch.setenv("GLUE", "/there")
    monkeypatch.setenv("MINE", "auto")
    assert old in GOOD
    with pytest.raises(UserError) as error:
        check_jobs(load(tmp_path, GOOD.replace(old, new)))
    assert words in str(error.value)
    assert "fall_back = true" in str(error.value)
    check_jobs(load(tmp_path, "fall_back = true\n" + GOOD.replace(old, new)))
    monkeypatch.setenv("MINE", "embedded")
    check_jobs(load(tmp_path, GOOD.replace(old, new)))


SENT = """
[resources]
address = "auto"
[storage]
output = "/shared/runs"
tracking_uri = "http://mlflow:5000"
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('tracking_uri = "http://mlflow:5000"', "", "storage.tracking_uri: without it"),
        ("http://mlflow:5000", "sqlite:///runs/mlflow.db", "storage.tracking_uri = 'sqlite:///runs/mlflow.db'"),
        ("http://mlflow:5000", "sqlite://", "storage.tracking_uri = 'sqlite://'"),
        ('models = ["embedded"]', 'models = ["models/mine"]', "searches.models = 'models/mine'"),
        ('models = ["embedded"]', 'models = ["./elsewhere"]', "searches.models = './elsewhere'"),
        ("/shared/runs", "runs", "storage.output = 'runs'"),
        ('address = "auto"', "", "resources.address"),
    ],
)
def test_what_would_go_with_the_jobs_folder_is_not_sent(tmp_path, monkeypatch, capsys, old, new, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/mine").mkdir(parents=True)
    assert old in GOOD + SENT
    load(tmp_path, (GOOD + SENT).replace(old, new))
    assert main(["sweep", "submit", "sweep.toml", "--slot", "one", "--jobs", "http://127.0.0.1:9"]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("tracking", ["http://mlflow:5000", "sqlite:////shared/mlflow.db", "$MLFLOW_TRACKING_URI"])
def test_what_stays_is_sent(tmp_path, monkeypatch, capsys, tracking):
    class SentError(RuntimeError):
        """Where a job would go."""

    def go(_address):
        raise SentError

    monkeypatch.setattr(sweep_submit, "Jobs", go)
    load(tmp_path, (GOOD + SENT).replace("http://mlflow:5000", tracking).replace('"embedded"', '"google/bert"'))
    with pytest.raises(SentError):
        main(["sweep", "submit", str(tmp_path / "sweep.toml"), "--slot", "one"])


def test_a_job_that_was_not_sent_is_said_without_the_servers_password(tmp_path, monkeypatch, capsys):
    class Nobody:
        def __init__(self, address) -> None:
            self.address = address

        def state(self, job):
            return GONE

    monkeypatch.setenv("GLUE", "/there")
    monkeypatch.setattr(sweep_submit, "Jobs", Nobody)
    load(tmp_path, GOOD)
    given = ["sweep", "logs", str(tmp_path / "sweep.toml"), "--slot", "one", "--jobs", "http://admin:swordfish@h:8265"]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert "was not sent to http://h:8265" in said
    assert "swordfish" not in said


@pytest.mark.parametrize(
    ("state", "code", "returned", "words"),
    [
        ("RUNNING", None, 0, "RUNNING"),
        ("SUCCEEDED", 0, 0, "SUCCEEDED (it said so)"),
        ("FAILED", 1, 1, "FAILED (it said so)"),
        ("FAILED", 3, 3, "it ended, with a regression (exit code 3)"),
        ("FAILED", None, 1, "FAILED (it said so)"),
    ],
)
def test_the_status_of_a_job_tells_a_regression_from_a_failure(
    tmp_path, monkeypatch, capsys, state, code, returned, words
):
    class Server(BaseHTTPRequestHandler):
        """What Ray's job server answers of a job."""

        def do_GET(self):
            body = {"version": "4", "ray_version": "2", "ray_commit": "c", "session_name": "s"}
            if "/api/jobs/" in self.path:
                name = self.path.split("/")[-1]
                body = {"type": "SUBMISSION", "submission_id": name, "status": state, "entrypoint": "x",
                        "message": "it said so", "driver_exit_code": code}  # fmt: skip
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_parts: object) -> None:
            """Say nothing."""

    monkeypatch.setenv("GLUE", "/there")
    load(tmp_path, GOOD)
    with HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        given = ["sweep", "status", str(tmp_path / "sweep.toml"), "--slot", "one", "--jobs", address]
        assert main(given) == returned
        server.shutdown()
    assert words in capsys.readouterr().out


def test_auto_is_taken_where_the_spec_says_that_it_may_fall_back(tmp_path):
    spec = load(tmp_path, GOOD.replace("name = ", "fall_back = true\nname = ").replace('"stand-in"', '"auto"'))
    assert spec.data["default"] == "auto"


def test_a_name_of_the_environment_is_filled_in_and_a_missing_one_is_an_error():
    assert expand("$A/x/${B}", {"A": "1", "B": "2"}, "data") == "1/x/2"
    with pytest.raises(UserError, match="the environment has no B"):
        expand("$A/${B}", {"A": "1"}, "data")


@pytest.mark.parametrize(
    ("now", "slot"),
    [
        ("2026-11-25T00:29", "2026-11-24T0130E0100"),
        ("2026-11-25T00:30", "2026-11-25T0130E0100"),
        ("2026-07-01T12:00", "2026-07-01T0130E0200"),
    ],
)
def test_a_slot_is_the_newest_time_of_the_schedule_in_its_zone(tmp_path, now, slot):
    text = GOOD + '[schedule]\ncron = "30 1 * * *"\ntime_zone = "Europe/Berlin"\n'
    schedule = load(tmp_path, text).schedule
    assert schedule.slot(datetime.fromisoformat(now).replace(tzinfo=UTC)) == slot


def test_an_hour_that_comes_twice_is_run_once(tmp_path):
    text = GOOD + '[schedule]\ncron = "30 * * * *"\ntime_zone = "Europe/Berlin"\n'
    schedule = load(tmp_path, text).schedule
    slots = {schedule.slot(datetime(2026, 10, 25, hour, 40, tzinfo=UTC)) for hour in (0, 1)}
    assert slots == {"2026-10-25T0230E0200"}


def test_the_hash_is_of_the_content(tmp_path):
    assert load(tmp_path, GOOD).hash == load(tmp_path, "# a remark\n" + GOOD).hash
    assert load(tmp_path, GOOD).hash != load(tmp_path, GOOD.replace("40", "41")).hash


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at postgresql://u:pa/ss@h/d it failed", "at postgresql://***@h/d it failed"),
        ("https://token@h/x refused", "https://***@h/x refused"),
        ("postgresql://h/d?user=u&password=sword is away", "postgresql://h/d?user=u&password=*** is away"),
        ("http://h:5000/x?api_key=abc'", "http://h:5000/x?api_key=***'"),
        ("http://127.0.0.1:5000/#/experiments/1 is up", "http://127.0.0.1:5000/#/experiments/1 is up"),
    ],
)
def test_no_address_in_a_text_keeps_its_secrets(text, shown):
    assert without_secrets(text) == shown
