"""Exports where a file is damaged or the disk is full: an error with the remedy, and nothing is left behind."""

import subprocess
import sys

import pytest

from exported_searches import SPACES, trial_of
from forking import run_forked
from qrlora_search.app.cli import main
from qrlora_search.app.scoring import Weights
from search_runs import make_place


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Return a finished search over a regression, in this process: its output is the same as on Ray."""
    folder = tmp_path_factory.mktemp("trouble")
    place = make_place(folder, folder, "stsb", "roberta", rows=80)
    (folder / "space.toml").write_text(SPACES["stsb"])
    assert run_forked(folder, {"out": [""]}, "stsb", 3)["out"] == [0]
    return trial_of(place, folder / "out")


def words(done, to) -> list[str]:
    return ["export", str(done.output), "--trial", str(done.trial), "--as", "merged", "--to", str(to)]


def test_damaged_weights_of_a_trial_are_refused(done, tmp_path, capsys):
    file = Weights(done.output).path(done.trial)
    before = file.read_bytes()
    file.write_bytes(before[: len(before) // 2])
    try:
        assert main(words(done, tmp_path / "to")) == 2
    finally:
        file.write_bytes(before)
    assert f"{file.name} cannot be read" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_leaves_no_half_of_an_export(done, tmp_path):
    """A limit of the size of files stands for it, which the weights meet."""
    command = "from qrlora_search.app.cli import main; raise SystemExit(main())"
    limited = ["bash", "-c", 'ulimit -f 64; exec "$@"', "bash", sys.executable, "-c", command]
    ended = subprocess.run([*limited, *words(done, tmp_path / "to")], capture_output=True, text=True, timeout=120,
                           check=False)  # fmt: skip
    assert ended.returncode == 2, ended.stderr
    assert "--to" in ended.stderr
    assert "cannot be written" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []
