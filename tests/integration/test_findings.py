"""The command that measures findings: what could not join the rows that are kept is refused before it is trained."""

import json

import pytest
from tests.benchmarks import findings

from search_runs import make_place


class BegunError(Exception):
    """Training began."""


@pytest.fixture
def run(tmp_path, tmp_path_factory, monkeypatch):
    """Return what runs the command on a tiny model, to the first training; and the folder of what is kept."""
    place = make_place(tmp_path, tmp_path_factory.mktemp("cache"), "mrpc", "bert", rows=60)
    folder = tmp_path / "findings_data"
    folder.mkdir()
    monkeypatch.setattr(findings, "HERE", folder)

    def begun(searches):
        raise BegunError(searches)

    monkeypatch.setattr(findings, "train", begun)
    sources = ["--model", str(place.folder / "model"), "--data", str(place.folder / "data")]

    def started(*more: str):
        monkeypatch.setattr(
            "sys.argv", ["findings", "--task", "mrpc", *sources, "--output", str(tmp_path / "o"), *more]
        )
        findings.main()

    return started, folder


def test_what_could_not_join_is_refused_before_anything_is_trained(run, tmp_path, capsys):
    start, folder = run
    with pytest.raises(BegunError) as begun:  # nothing is kept yet
        start("--seeds", "1", "--train-limit", "20")
    (_, planned, _), *_ = begun.value.args[0]
    facts = findings.facts_of(planned.plan)
    assert (facts["task"], facts["train_rows"]) == ("mrpc", 20)
    (tmp_path / "o").rmdir()
    other = "bfloat16" if facts["precision"] == "float32" else "float32"
    for name, value in {"train_rows": 1000, "precision": other, "data_hash": "x"}.items():
        (folder / "mrpc.json").write_text(json.dumps({"facts": {**facts, "seeds": 8, name: value}}))
        with pytest.raises(SystemExit) as ended:
            start("--seeds", "1", "--train-limit", "20")
        assert ended.value.code == 2
        assert f"what is kept of mrpc has {name} {value!r}, asked {facts[name]!r}: ask" in capsys.readouterr().err
        assert not (tmp_path / "o").exists()
    (folder / "mrpc.json").write_text(json.dumps({"facts": {**facts, "seeds": 8}}))
    with pytest.raises(BegunError):
        start("--seeds", "1", "--train-limit", "20")
