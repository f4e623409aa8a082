"""What a dry run says that a sweep will cost: of the round, and of the whole budget."""

import re

import pytest

from qrlora_search.app.cli import main
from qrlora_search.app.sweep_dry import Row, whole_in_words
from qrlora_search.describe.sweep import SweepSpec

ROWS = [
    Row([], share=2.0, warm_up=60.0, epoch=6.0, epochs=5, confirm=0.2, open=True),
    Row([], share=1.0, warm_up=0.0, epoch=12.0, epochs=2, confirm=0.0, open=True),
]


def spec(**budget: object) -> SweepSpec:
    return SweepSpec.model_validate({
        "name": "x", "searches": {"tasks": ["cola", "rte"], "models": ["embedded"]}, "budget": budget,
        "data": {"default": "stand-in"}, "shares": {"cola": 2},
    })  # fmt: skip


def test_the_whole_budget_is_reckoned_by_shares():
    """30 configurations: 20 of 6 to 30 s, and 10 of 12 to 24 s; or 30 epochs: 20 of 6 s and 10 of 12 s."""
    said = whole_in_words(spec(configurations=30), 30, ROWS)
    assert said == ("the whole budget, 30 configurations by shares: about 5.0 to 15.0 min (rough), "
                    "and up to 20% more epochs to confirm")  # fmt: skip
    assert "30 epochs by shares: about 5.0 to 5.0 min" in whole_in_words(spec(epochs=30), 30, ROWS)
    assert whole_in_words(spec(time="1h"), 1800, ROWS) == "the whole budget: at most 30.0 min, confirmation included"
    assert "nothing is left" in whole_in_words(spec(time="1h"), 1800, [])


@pytest.mark.parametrize(("budget", "amount"), [("configurations = 12", 12), ("epochs = 60", 60)])
def test_a_dry_run_shows_the_whole_budget_beside_the_round(tmp_path, monkeypatch, capsys, budget, amount):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweep.toml").write_text(
        'name = "night"\n[searches]\ntasks = ["rte"]\nmodels = ["embedded"]\ntrain_limit = 200\n'
        f'[budget]\n{budget}\nrounds = 3\n[data]\ndefault = "stand-in"\n'
    )
    assert main(["sweep", "run", "sweep.toml", "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    (round_most,) = re.findall(r"this round about [\d.]+ to ([\d.]+) min", said)
    ((units, whole_most),) = re.findall(r"the whole budget, (\d+) \w+ by shares: about [\d.]+ to ([\d.]+) min", said)
    assert int(units) == amount
    assert float(whole_most) >= float(round_most)
