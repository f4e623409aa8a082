"""`auto` where the hub cannot be reached: its cache is used, else what needs no network; and the choice is kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qrlora_search.app.planning import PLAN_FILE, plan_search
from qrlora_search.app.request import SearchRequest, check_request
from qrlora_search.describe.plan import differences
from tiny import save_tiny_model

HASH = "0" * 40


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Path:
    """Return a hub home that holds a (tiny) roberta-base and RTE, as if both had been loaded before."""
    home = tmp_path_factory.mktemp("hub")
    repository = home / "hub" / "models--FacebookAI--roberta-base"
    save_tiny_model(repository / "snapshots" / HASH, "roberta", [])
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(HASH)
    cache_rte(home / "datasets" / "nyu-mll___glue" / "rte" / "0.0.0" / HASH)
    return home


def cache_rte(folder: Path) -> None:
    from datasets import ClassLabel, DatasetInfo, Features, SplitDict, SplitInfo, Value
    from datasets.arrow_writer import ArrowWriter

    folder.mkdir(parents=True)
    text = {"sentence1": Value("string"), "sentence2": Value("string")}
    features = Features({**text, "label": ClassLabel(names=["entailment", "not_entailment"]), "idx": Value("int32")})
    splits = {}
    for name, count in (("train", 50), ("validation", 20), ("test", 5)):
        writer = ArrowWriter(features=features, path=str(folder / f"glue-{name}.arrow"))
        for row in range(count):
            label = -1 if name == "test" else row % 2
            writer.write({"sentence1": f"{name} {row}", "sentence2": f"other {row}", "label": label, "idx": row})
        writer.finalize()
        splits[name] = SplitInfo(name=name, num_examples=count, dataset_name="glue")
    info = DatasetInfo(
        features=features, splits=SplitDict(splits), builder_name="parquet", dataset_name="glue", config_name="rte",
        version="0.0.0",
    )  # fmt: skip
    info.write_to_directory(str(folder))


def dry_run(folder: Path, home: Path, *more: str) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).parent / "qrlora-search"
    environment = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "QRLORA_CACHE": str(folder / "cache")}
    return subprocess.run(
        [str(script), "--task", "rte", "--dry-run", *more],
        cwd=folder, env={**environment, "COLUMNS": "160"}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_hubs_cache_is_used_without_a_network(hub, tmp_path):
    result = dry_run(tmp_path, hub)
    assert result.returncode == 0, result.stderr
    assert "FacebookAI/roberta-base (hub): roberta, 3 layers" in result.stdout
    assert "nyu-mll/glue (hub): train 40, selection 10, report: validation 20" in result.stdout
    assert "STAND-IN" not in result.stdout


def test_asking_for_the_hub_without_hub_or_cache_is_refused(tmp_path):
    result = dry_run(tmp_path, tmp_path / "empty", "--data", "hub")
    assert result.returncode == 2
    assert "--data 'hub'" in result.stderr


def test_auto_is_resolved_once_and_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    request = SearchRequest("rte", budget=3)
    first = plan_search(check_request(request))
    assert (first.plan.model.kind, first.plan.data.kind, first.kept) == ("embedded", "stand-in", None)
    first.output.mkdir(parents=True)
    (first.output / PLAN_FILE).write_text(first.plan.model_dump_json())
    monkeypatch.setattr("qrlora_search.method.sources.hub_reachable", lambda: pytest.fail("asked again"))
    again = plan_search(check_request(request))
    assert again.kept == first.plan
    assert again.plan == first.plan


def test_the_identity_leaves_out_limits_and_places_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def plan(**changes: object):
        request = SearchRequest("rte", model="embedded", data="stand-in", **changes)
        return plan_search(check_request(request)).plan

    base = plan()
    same = plan(budget=3, max_params=9, time_limit="1h", concurrency=7, output="elsewhere", tracking_uri="sqlite:///y")
    assert same.hash == base.hash
    for changes, name in (({"seed": 4}, "seed"), ({"train_limit": 50}, "train_limit")):
        other = plan(**changes)
        assert other.hash != base.hash
        assert any(line.startswith(f"{name}:") for line in differences(base, other))
