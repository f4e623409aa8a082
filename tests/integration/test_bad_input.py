"""Bad input on the command line: one clear message with value and remedy, exit 2, no traceback, nothing left behind."""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from qrlora_search.adapters.mlflow_sink.address import check_tracking
from qrlora_search.app.cli import main
from qrlora_search.app.output import held
from search_runs import free_port, make_place


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = make_place(tmp_path_factory.mktemp("bad"), tmp_path_factory.mktemp("cache"), "sst2", "bert", rows=40)
    folder = place.folder
    (folder / "space-key.toml").write_text("[tau]\nhihg = 0.5\n")
    (folder / "space-range.toml").write_text("[learning_rate]\nlow = 0.1\nhigh = 0.01\n")
    (folder / "space-layer.toml").write_text("[layers]\nlists = [[0, 7]]\n")
    (folder / "space-broken.toml").write_text("[tau\n")
    for name, text in {
        "malformed": "sentence\tlabel\ngood\t1\nbad\n",
        "range": "sentence\tlabel\ngood\t1\nbad\t7\n",
        "empty": "sentence\tlabel\n",
        "column": "text\tlabel\ngood\t1\n",
    }.items():
        (folder / name / "sst2").mkdir(parents=True)
        (folder / name / "sst2" / "train.tsv").write_text(text)
        (folder / name / "sst2" / "validation.tsv").write_text("sentence\tlabel\nfine\t1\n")
    (folder / "gpt").mkdir()
    (folder / "gpt" / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    shutil.copytree(folder / "model", folder / "hollow")
    save_file({"x": np.zeros(1, np.float32)}, folder / "hollow" / "model.safetensors")
    (folder / "no-output").mkdir()
    (folder / "no-output" / "letter.txt").write_text("mine")
    (folder / "a-file").write_text("mine")
    return place


CASES = {
    "unknown task": (["--task", "colla"], ["'colla'", "did you mean 'cola'"]),
    "no budget": (["--budget", "0"], ["--budget 0", "from 1"]),
    "negative budget": (["--budget", "-3"], ["--budget -3"]),
    "budget in words": (["--budget", "many"], ["many"]),
    "unknown option": (["--bugdet", "3"], ["--bugdet"]),
    "seed out of range": (["--seed", "-1"], ["--seed -1"]),
    "no parameters": (["--max-params", "0"], ["--max-params 0"]),
    "time without a unit": (["--time-limit", "soon"], ["'soon'", "1h30m"]),
    "no time": (["--time-limit", "0s"], ["'0s'"]),
    "half a gpu too many": (["--gpus-per-trial", "1.5"], ["1.5"]),
    "no concurrency": (["--concurrency", "0"], ["--concurrency 0"]),
    "missing space": (["--space", "nowhere.toml"], ["nowhere.toml"]),
    "unknown key": (["--space", "space-key.toml"], ["space-key.toml", "hihg", "did you mean 'high'"]),
    "reversed range": (["--space", "space-range.toml"], ["space-range.toml", "learning_rate", "0.1", "below"]),
    "layer the model lacks": (["--space", "space-layer.toml"], ["space-layer.toml", "layer 7", "0 to 2"]),
    "broken toml": (["--space", "space-broken.toml"], ["space-broken.toml", "not valid TOML"]),
    "missing data": (["--data", "nowhere"], ["nowhere"]),
    "malformed row": (["--data", "malformed"], ["row 2", "1 fields"]),
    "label out of range": (["--data", "range"], ["row 2", "'label'", "'7'", "0 = negative"]),
    "empty split": (["--data", "empty"], ["train.tsv", "empty"]),
    "missing column": (["--data", "column"], ["'sentence'"]),
    "unknown model": (["--model", "nobody/nothing"], ["nobody/nothing"]),
    "model of no known family": (["--model", "gpt"], ["'gpt2'", "bert and roberta"]),
    "model without projections": (["--model", "hollow"], ["attention.self.query", "bert and roberta"]),
    "foreign output": (["--output", "no-output"], ["no-output", "another folder"]),
    "output below a file": (["--output", "a-file/out"], ["a-file"]),
    "more GPUs than there are": (["--gpus-per-trial", "99"], ["--gpus-per-trial 99 is more than the"]),
    "a cluster that is away, asked dry": (["--address", "127.0.0.1:9", "--dry-run"], ["no Ray cluster answers there"]),
    "tracking of no kind": (["--tracking-uri", "gopher://x"], ["gopher"]),
    "address without a port": (["--address", "somewhere"], ["somewhere", "6379"]),
}


def listing(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def complain(place, capsys, monkeypatch, arguments) -> str:
    monkeypatch.chdir(place.folder)
    monkeypatch.setenv("QRLORA_CACHE", str(place.cache))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = listing(place.folder)
    command = place.command(*arguments)[1:]
    assert main(command) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    assert listing(place.folder) == before
    return " ".join(said.err.split())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.replace(" ", "-"))
def test_a_clear_message_and_exit_2(case, place, capsys, monkeypatch):
    arguments, parts = CASES[case]
    said = complain(place, capsys, monkeypatch, arguments)
    for part in parts:
        assert part in said


def test_a_tracking_server_that_does_not_answer(place, capsys, monkeypatch):
    address = f"http://user:secret@127.0.0.1:{free_port()}"
    said = complain(place, capsys, monkeypatch, ["--tracking-uri", address])
    assert "no MLflow server answers" in said
    assert "secret" not in said


def test_a_tracking_server_is_asked_with_the_user_and_password_of_its_address():
    seen = []

    class Health(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers.get("Authorization")))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        check_tracking(f"http://127.0.0.1:{server.server_port}/")
        check_tracking(f"http://user:p%40ss@127.0.0.1:{server.server_port}/ml/")
        server.shutdown()
    assert seen == [("/health", None), ("/ml/health", "Basic " + base64.b64encode(b"user:p@ss").decode())]


def test_a_tracking_server_that_a_variable_names(place, capsys, monkeypatch):
    monkeypatch.delenv("TRACKED", raising=False)
    said = complain(place, capsys, monkeypatch, ["--tracking-uri", "$TRACKED"])
    assert "--tracking-uri '$TRACKED': the environment has no TRACKED; set it first" in said
    port = free_port()
    for name in ("$TRACKED", "${TRACKED}"):
        monkeypatch.setenv("TRACKED", f"http://user:sw0rd@f1sh/x@127.0.0.1:{port}")
        said = complain(place, capsys, monkeypatch, ["--tracking-uri", name])
        assert f"http://127.0.0.1:{port}" in said
        assert not any(part in said for part in ("sw0rd", "f1sh"))


def test_a_cluster_that_does_not_answer(place, capsys, monkeypatch):
    said = complain(place, capsys, monkeypatch, ["--address", f"127.0.0.1:{free_port()}"])
    assert "no Ray cluster answers" in said


def test_an_output_that_cannot_be_written(place, capsys, monkeypatch):
    said = complain(place, capsys, monkeypatch, ["--output", "/proc/qrlora"])
    assert "/proc/qrlora" in said
    assert "cannot be written" in said


def test_auto_with_a_hub_that_never_answers_goes_on_without_it_and_says_so(tmp_path):
    script = Path(sys.executable).parent / "qrlora-search"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        environment.pop("HF_HUB_OFFLINE", None)
        environment |= {"HF_HOME": str(tmp_path / "hub"), "QRLORA_CACHE": str(tmp_path / "cache"), "COLUMNS": "160"}
        result = subprocess.run(
            [str(script), "--task", "rte", "--budget", "4", "--dry-run"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "STAND-IN DATA" in result.stdout
    assert "all-MiniLM-L6-v2" in result.stdout
    assert not (tmp_path / "runs").exists()


def test_the_launcher_is_the_same_command(checkout):
    result = subprocess.run(
        [sys.executable, "-m", "platform.search", "--task", "nope"],
        cwd=checkout, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert result.returncode == 2
    assert "--task 'nope' is not known" in result.stderr


def test_a_second_driver_is_refused_while_the_first_lives_and_takes_over_when_it_is_killed(place):
    holder = "import sys; from pathlib import Path; from qrlora_search.app.output import held\n"
    holder += "with held(Path('taken')): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", holder], cwd=place.folder, stdin=subprocess.PIPE, text=True,
                          stdout=subprocess.PIPE) as first:  # fmt: skip
        assert first.stdout.readline() == "held\n"
        result = place.run("--budget", "1", "--output", "taken", "--tracking-uri", "sqlite:///taken.db")
        first.kill()
    assert result.returncode == 2, result.stdout + result.stderr
    assert "'taken' is in use by another search; wait for it to end" in result.stderr
    assert "Traceback" not in result.stderr
    with held(place.folder / "taken"):
        pass
