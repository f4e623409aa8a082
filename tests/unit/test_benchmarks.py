"""The benchmarks of the stopping rule and the sampler, a small part of each, run as their docstrings say."""

import json
import subprocess
import sys

import numpy as np
import pytest
from tests.benchmarks.score_or_loss import compared


def run(checkout, module: str, *more: str):
    """Return what a benchmark printed with --json."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", "--json", *more]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_search_of_many_workers_is_measured_at_every_point(checkout):
    found = run(checkout, "scale", "--trials", "120", "--workers", "16")
    assert sum(found["states"].values()) == 120
    assert found["proposals"] == 100
    assert [one["trials"] for one in found["growth"]] == list(range(6, 121, 6))
    assert 0 < found["decision_p50_ms"] <= found["decision_p99_ms"] <= found["decision_max_ms"]


@pytest.mark.parametrize(
    ("module", "option", "chosen", "base"),
    [
        ("stopping_rules", "--rules", "ours;Ray ASHA on the score;oracle (knows every end, no rule)", "no stopping"),
        ("samplers", "--samplers", "stratified, start points + ours;Ray OptunaSearch + ASHA", "random + no stopping"),
    ],
)
def test_rules_and_samplers_are_compared_and_kept_seeds_are_not_made_again(
    checkout, tmp_path, module, option, chosen, base
):
    keep = tmp_path / "kept.jsonl"
    more = ("--tables", "steady,cola", "--epochs", "30", option, chosen, "--keep", str(keep))
    run(checkout, module, "--seeds", "2", *more)
    first = keep.read_text()
    by_table = run(checkout, module, "--seeds", "3", *more)
    assert keep.read_text().startswith(first)
    lines = [json.loads(line) for line in keep.read_text().splitlines()]
    assert len(lines) == 3 * sum(map(len, by_table.values()))
    for found in by_table.values():
        assert list(found) == [base, *chosen.split(";")]
        assert found[base]["gain"] == 0.0
        assert all(one["seeds"] == 3 and one["hypervolume"] >= 0 and one["started"] > 0 for one in found.values())


@pytest.mark.parametrize(
    ("module", "given", "said"),
    [
        ("stopping_rules", ("--tables", "cola", "--epochs", "9999"), "no rule can be told from another there"),
        (
            "stopping_rules",
            (
                "--tables",
                "kola",
            ),
            "'kola' is not known; there are cola",
        ),
        ("promotion", ("--tables", "cola", "--configurations", "90"), "has fewer than 180 curves"),
    ],
)
def test_a_table_that_can_tell_nothing_is_refused(checkout, module, given, said):
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *given]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert said in done.stderr


def test_promotion_is_held_against_the_rule_alone_and_a_larger_search(checkout):
    found = run(checkout, "promotion", "--tables", "cola,late", "--seeds", "3", "--configurations", "40")
    assert set(found) == {"cola", "late"}
    for one in found.values():
        alone, again, larger = one["alone"], one["with promotion"], one["a larger search"]
        assert 0 < alone["of_no_stopping"] <= 1.2
        assert alone["epochs"] <= again["epochs"] <= 1.2 * alone["epochs"] + 1
        assert again["gain"] >= 0.0, "what is Finished stays"
        assert again["lower"] == 0.0
        assert larger["epochs"] >= alone["epochs"]
    assert found["late"]["with promotion"]["epochs"] > found["late"]["alone"]["epochs"]


def test_what_predicts_better_is_told_from_what_predicts_nothing():
    random = np.random.default_rng(0)
    final = random.normal(size=120)
    good, none, low, high = compared(final + 0.1 * random.normal(size=120), random.normal(size=120), final)
    assert good > 0.95
    assert abs(none) < 0.3
    assert 0.6 < low < good - none < high
    constant, alike, low, high = compared(np.ones(120), final, final)
    assert (constant, alike) == (0.0, 1.0)
