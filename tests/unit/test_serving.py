"""The commands that show what searches found refuse bad input with one clear message and exit 2."""

import socket

import pytest

from qrlora_search.app.cli import main
from qrlora_search.app.serving import explorer_script


@pytest.fixture
def taken():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield str(holder.getsockname()[1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["compare"], ["searches"]),
        (["compare", "nowhere", "cola"], ["'nowhere'", "name an output folder"]),
        (["compare", "cola", "rte"], ["no search has run there", "--tracking-uri"]),
        (["compare", "a" * 32, "b" * 32, "--tracking-uri", "http://127.0.0.1:9"], ["no MLflow server answers"]),
        (["study", "nowhere"], ["OUTPUT 'nowhere'", "no record"]),
        (["explorer", "--port", "TAKEN"], ["--port", "cannot be used", "choose another"]),
        (["explorer", "--port", "99999"], ["--port 99999 cannot be used"]),
        (["explorer", "--tracking-uri", "ftp://x"], ["of no known kind"]),
    ],
    ids=lambda one: " ".join(one)[:40],
)
def test_bad_input_is_one_message(arguments, words, taken, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = [taken if one == "TAKEN" else one for one in arguments]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert all(word.lower() in said.lower() for word in words)
    assert not any(tmp_path.iterdir())


def test_the_explorers_script_is_found(checkout):
    assert explorer_script() == checkout / "dashboards" / "explorer.py"
