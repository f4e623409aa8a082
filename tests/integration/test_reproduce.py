"""The paper's table on a tiny model: its rows are trained from several warm-ups, once, and its counts are checked."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModel

from qrlora_search.app import reproduce
from qrlora_search.app.cli import main
from qrlora_search.app.paper_counts import can_be_checked, count_parameters, readings
from qrlora_search.app.reproduce import different
from qrlora_search.app.reproducing import Group
from qrlora_search.describe.presets import PRESETS, paper_space
from qrlora_search.describe.proposals import canonical, dimensions, fits
from qrlora_search.describe.space import SearchSpace
from qrlora_search.method.families import encoder_shape
from qrlora_search.method.fine_tuning import export_state
from qrlora_search.values.errors import UserError
from scripted import plan
from search_runs import SPACE, make_place
from tiny import tiny_config

WHOLE = 1000
SPECTRA = {(layer, matrix): np.exp(-np.arange(384) / 90) for layer in range(24) for matrix in "qkvo"}


@pytest.mark.parametrize("depth", [3, 6, 12, 24])
def test_every_row_is_in_the_papers_space_with_the_papers_places(depth):
    space = paper_space(SearchSpace())
    assert (space.confirm.share, space.derived.halvings, space.training.rungs) == (0, 0, ())
    for preset in PRESETS:
        proposal = preset.proposal(space, depth)
        assert fits(space, depth, proposal), preset.name
        found = canonical(space, proposal, SPECTRA, depth, WHOLE)
        layers = sorted({one.layer for one in found.ranks})
        if preset.method == "full":
            assert found.parameters == WHOLE
            continue
        few = 4 if depth >= 12 else max(1, round(depth / 3))
        assert layers == list(range(depth - (depth if preset.last == 12 else few), depth))
        assert (preset.scaled(depth) == "") == (depth == 12)
    assert len(dimensions(space, depth)) == len({one.name for one in dimensions(space, depth)})


def test_sizes_that_train_has_not_are_said_and_left_out():
    plans = {size: SimpleNamespace(plan=SimpleNamespace(counts=SimpleNamespace(train=size))) for size in (1992, 9000)}
    groups = [Group("rte", size, (), {0: plans[rows]}) for size, rows in ((2000, 1992), (None, 1992), (9000, 9000))]
    console = Console(record=True, width=200)
    assert different(groups, console) == [groups[0], groups[2]]
    assert "rte: 10,000 rows asked, 1,992 there; another size has them all" in console.export_text()


@pytest.mark.evidence
def test_a_table_is_trained_once_scored_on_the_report_split_and_says_what_it_is_not(tmp_path, tmp_path_factory):
    place = make_place(tmp_path, tmp_path_factory.mktemp("cache"), "mrpc", "bert", rows=60)
    (place.folder / "space.toml").write_text(SPACE.replace("epochs = 3", "epochs = 1", 1).replace("[1, 2]", "[]"))
    script = Path(sys.executable).parent / "qrlora-search"
    arguments = ["--task", "mrpc", "--seeds", "2", "--model", "model", "--data", "data", "--space", "space.toml"]

    def run(*more: str) -> str:
        done = subprocess.run(
            [script, "reproduce", *arguments, *more], cwd=place.folder, env=place.environment(), capture_output=True,
            text=True, timeout=400, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    folder = place.folder / "runs/reproduce-mrpc"
    assert "nothing was started" in run("--dry-run")
    assert not folder.exists()
    first = run()
    content = (folder / "reproduce.json").read_bytes()
    assert "prepared" not in run()
    assert (folder / "reproduce.json").read_bytes() == content
    assert "WARNING: the model is" in first
    assert "0.8897" in first  # the published accuracy of Wo in the last four layers
    (table,) = json.loads(content)
    rows = {row["name"]: row for row in table["rows"]}
    assert rows["QR-LoRA1"]["cells"][0]["published"] == 0.8873
    assert rows["QR-LoRA, Wo, last 4"]["cells"][0]["published_others"] == {"f1": 0.9215}
    assert "0.8897, f1 0.9215" in first
    assert rows["LoRA, r = 2"]["cells"][0]["published"] is None
    assert rows["full fine-tuning"]["parameters"] == [
        encoder_shape(json.loads((place.folder / "model/config.json").read_text()), 2).parameters
    ]
    for row in rows.values():
        (cell,) = row["cells"]
        assert row["seeds"] == 2
        assert cell["n"] == 30
        assert cell["low"] <= cell["score"] <= cell["high"]
    assert (folder / "reproduce.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--task"),
        (["--task", "mrpc", "--all"], "--all"),
        (["--task", "mrpcc"], "mrpc"),
        (["--task", "mrpc", "--seeds", "0"], "--seeds 0"),
        (["--task", "mrpc", "--train-sizes", "2k"], "'2k'"),
        (["--task", "mrpc", "--train-sizes", "\u00b2"], "'\u00b2'"),
    ],
)
def test_bad_input_is_refused(arguments, words, capsys):
    assert main(["reproduce", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_counts_are_read_in_eight_ways_on_a_model_of_the_papers_shape(tmp_path, monkeypatch):
    config = {**tiny_config("roberta", 12), "hidden_size": 768, "num_attention_heads": 12}
    assert can_be_checked(encoder_shape(config, 2))
    assert not can_be_checked(encoder_shape(tiny_config("roberta", 12), 2))
    folders = {}
    for seed, name in enumerate(("raw", "warmed-up")):
        torch.manual_seed(seed)
        model = AutoModel.from_config(AutoConfig.for_model(**config))
        folders[name] = tmp_path / name
        folders[name].mkdir()
        (folders[name] / "config.json").write_text(json.dumps(config))
        save_file(export_state(model), folders[name] / "model.safetensors")
    shape = encoder_shape(config, 2)
    source = plan().model.model_copy(update={"path": str(folders["raw"])})
    the_plan = plan().model_copy(update={"encoder": shape, "model": source, "seed": 7})
    planned = SimpleNamespace(plan=the_plan)
    monkeypatch.setattr(reproduce, "prepared_again", lambda one: SimpleNamespace(warm_up=folders["warmed-up"]))
    read = []
    monkeypatch.setattr(reproduce, "readings", lambda given: read.append(readings(given)) or read[-1])
    console = Console(record=True, width=200)
    reproduce.check_counts(console, [SimpleNamespace(planned={7: planned}, task="mrpc")], warmed_up=True)
    (found,) = read
    assert len({(one.rule, one.transposed, one.weights) for one in found}) == len(found) == 8
    assert [one.off for one in found] == sorted(one.off for one in found)
    by = {(one.rule, one.transposed, one.weights): one.counts for one in found}
    assert by["energy", False, "raw"] != by["energy", False, "warmed-up"]  # other weights
    counts = by["energy", False, "raw"]
    assert counts[601] < counts[1311] < 2.2 * counts[601]
    shown = console.export_text()
    assert "mrpc, seed 7:" in shown
    assert "no reading gives all counts" in shown

    def gone(_):
        raise UserError("the warm-up of 'x' is no longer in the cache; run again")

    monkeypatch.setattr(reproduce, "prepared_again", gone)
    reproduce.check_counts(console, [SimpleNamespace(planned={7: planned}, task="mrpc")], warmed_up=True)
    assert {one.weights for one in read[-1]} == {"raw"}
    assert "warmed-up weights were not read: the warm-up of 'x' is no longer" in console.export_text()


def test_a_dry_run_on_a_model_of_the_papers_shape_reads_the_counts_of_its_weights(tmp_path, tmp_path_factory, capsys):
    place = make_place(tmp_path, tmp_path_factory.mktemp("cache"), "mrpc", "roberta", rows=60)
    written = json.loads((place.folder / "model/config.json").read_text())
    config = {**written, "hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 12}
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(**config))
    save_file(export_state(model), place.folder / "model/model.safetensors")
    (place.folder / "model/config.json").write_text(json.dumps(config))
    given = ["--model", str(place.folder / "model"), "--data", str(place.folder / "data"), "--seeds", "1"]
    assert main(["reproduce", "--task", "mrpc", *given, "--output", str(tmp_path / "o"), "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert shown.count(" raw ") == 4
    assert "warmed-up weights are read once the table is trained" in shown
    assert "nothing was started or written" in shown


@pytest.mark.parametrize("address", ["gopher://x", "http://127.0.0.1:9"])
def test_a_tracking_address_that_does_not_answer_is_refused_before_anything_is_trained(
    address, tmp_path, tmp_path_factory, capsys
):
    place = make_place(tmp_path, tmp_path_factory.mktemp("cache"), "mrpc", "bert", rows=60)
    given = ["--model", str(place.folder / "model"), "--data", str(place.folder / "data"), "--seeds", "1"]
    output = tmp_path / "o"
    assert main(["reproduce", "--task", "mrpc", *given, "--output", str(output), "--tracking-uri", address]) == 2
    assert "--tracking-uri" in capsys.readouterr().err
    assert not output.exists()


def test_counts_that_fit_are_said_to_fit():
    spectra = {(layer, matrix): np.zeros(768) for layer in range(12) for matrix in "qkvo"}
    for diagonal in spectra.values():
        diagonal[:300] = 1.0  # half the energy in 150 directions
    counts, with_rank = count_parameters(spectra, "energy")
    assert counts == {601: 600, 614: 600, 1311: 1200, 1702: 1800}
    assert with_rank == 48
