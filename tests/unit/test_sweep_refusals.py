"""What of a sweep cannot be: named with its remedy and exit code 2, without a traceback, and nothing is left behind."""

import pytest

from qrlora_search.app.cli import main
from qrlora_search.app.sweep_record import Entry, SweepRecord, home_of, new_record, save_record
from qrlora_search.describe.sweep import load_sweep

SPEC = """
name = "night"
[searches]
tasks = ["cola"]
models = ["embedded"]
[budget]
configurations = 4
rounds = 1
[data]
default = "stand-in"
[schedule]
cron = "0 1 * * *"
[storage]
output = "OUT"
"""


@pytest.fixture
def spec(tmp_path, monkeypatch):
    """Return a function that writes a spec with an output folder and some words replaced."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QRLORA_STORAGE", "")  # a spec may set it

    def write(output="runs", old="", new=""):
        (tmp_path / "sweep.toml").write_text(SPEC.replace("OUT", output).replace(old, new) if old else
                                             SPEC.replace("OUT", output))  # fmt: skip
        return load_sweep(tmp_path / "sweep.toml")

    return write


@pytest.mark.parametrize("output", ["/proc/x", "sweep.toml/below"])
@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_an_output_that_cannot_be_made_is_refused(spec, capsys, output, more):
    spec(output)
    assert main(["sweep", "run", "sweep.toml", "--slot", "one", *more]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: storage.output: '{output}/night' cannot be written: ")
    assert "name a folder that can" in said


def test_an_output_that_a_variable_names_is_there_and_nowhere_else(spec, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("NIGHTS", raising=False)
    found = spec("$NIGHTS/runs")
    assert main(["sweep", "schedule", "sweep.toml", "--as", "crontab", "--to", "out"]) == 2
    assert "storage.output '$NIGHTS/runs': the environment has no NIGHTS; set it first" in capsys.readouterr().err
    monkeypatch.setenv("NIGHTS", str(tmp_path / "shared"))
    assert home_of(found) == tmp_path / "shared/runs/night"
    assert main(["sweep", "schedule", "sweep.toml", "--as", "crontab", "--to", "out"]) == 0
    assert f">> {tmp_path}/shared/runs/night.log" in (tmp_path / "out/night.crontab").read_text()


def test_a_schedule_is_not_written_where_nothing_can_be(spec, capsys):
    spec()
    for folder in ("/proc/x", "sweep.toml/below"):
        assert main(["sweep", "schedule", "sweep.toml", "--as", "crontab", "--to", folder]) == 2
        assert f"--to '{folder}' cannot be written: " in capsys.readouterr().err


def test_a_run_that_ended_says_where_it_was_another_spec_and_how_to_run_this_one(spec, tmp_path, capsys):
    over = new_record(spec(), "one").model_copy(update={"ended": "then", "exit_code": 0})
    save_record(tmp_path / "runs/night/one", over)
    assert main(["sweep", "run", "sweep.toml", "--slot", "one"]) == 0
    assert "--slot NAME" not in capsys.readouterr().out
    save_record(tmp_path / "runs/night/one", over.model_copy(update={"exit_code": 1}))
    assert main(["sweep", "run", "sweep.toml", "--slot", "one"]) == 1
    assert "what failed is not tried again in it: --slot NAME runs the sweep anew" in capsys.readouterr().out
    save_record(tmp_path / "runs/night/one", over.model_copy(update={"spec": {**over.spec, "data": {}}}))
    assert main(["sweep", "run", "sweep.toml", "--slot", "one"]) == 0
    assert "its spec was another then: --slot NAME runs the sweep as it is now" in capsys.readouterr().out


def test_a_dry_run_looks_for_the_cluster(spec, capsys):
    spec("runs", "[storage]", '[resources]\naddress = "127.0.0.1:9"\n[storage]')
    assert main(["sweep", "run", "sweep.toml", "--slot", "one", "--dry-run"]) == 2
    assert "no Ray cluster answers there" in capsys.readouterr().err


@pytest.mark.parametrize("ended", ["", "2026-01-01T02:00:00+00:00"])
def test_a_dry_run_of_a_run_whose_spec_has_another_task_since(spec, tmp_path, capsys, ended):
    begun = new_record(spec(), "one").model_copy(update={"ended": ended, "planned": 1})
    save_record(tmp_path / "runs/night/one", begun)
    spec("runs", '["cola"]', '["cola", "rte"]')
    code = main(["sweep", "run", "sweep.toml", "--slot", "one", "--dry-run"])
    said = capsys.readouterr()
    if ended:
        assert (code, "one ended at 2026-01-01T02:00:00" in said.out) == (0, True)
    else:
        assert (code, "the sweep one was begun with another spec ([searches]" in said.err) == (2, True)


def test_pruning_with_the_database_away_removes_nothing_and_says_so(spec, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NIGHT_DATABASE", "postgresql://u:swordfish@127.0.0.1:9/d")
    spec("runs", "[storage]\n", '[storage]\ndatabase = "$NIGHT_DATABASE"\n')
    home = tmp_path / "runs/night"
    for place, slot in enumerate(("a", "b")):
        save_record(home / slot, SweepRecord(name="night", slot=slot, spec={}, started=f"2026-{place}", ended="then",
                                             entries={"x": Entry(task="cola")}))  # fmt: skip
        (home / slot / "x").mkdir()
        (home / slot / "x" / "storage.json").write_text(
            '{"server": "postgresql+psycopg://127.0.0.1:9/d", "schema": "qrlora_0"}'
        )
    assert main(["sweep", "prune", "sweep.toml", "--keep", "1"]) == 2
    said = capsys.readouterr().err
    assert "cannot be used: " in said
    assert "swordfish" not in said
    assert (home / "a" / "x" / "storage.json").is_file()


def test_what_goes_wrong_in_mid_pruning_is_said(spec, tmp_path, monkeypatch, capsys):
    spec()
    home = tmp_path / "runs/night"
    for place, slot in enumerate(("a", "b")):
        save_record(home / slot, SweepRecord(name="night", slot=slot, spec={}, started=f"2026-{place}", ended="then"))

    def refuse(_folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("qrlora_search.app.sweep_prune.shutil.rmtree", refuse)
    assert main(["sweep", "prune", "sweep.toml", "--keep", "1"]) == 2
    assert "cannot be removed: [Errno 13] Permission denied; mend that, and prune again" in capsys.readouterr().err
