"""Which settings a comparison asks about: methods and thirds of learning rates beside matrices, layers and tau."""

import pytest

from qrlora_search.app.compare_console import show_comparison
from qrlora_search.app.compare_drawing import comparison_html
from qrlora_search.app.compare_fronts import Compared
from qrlora_search.app.comparing import compare_searches
from qrlora_search.app.console import make_console
from qrlora_search.describe.space import LearningRate
from qrlora_search.values.fronts import hypervolume
from qrlora_search.values.states import FinishedTrial
from test_compare import searched


def mixed(name, trials, rates=None, **changes: object) -> Compared:
    """Return a search whose trials are (parameters, share right, method, learning rate)."""
    one = searched(name, [(size, share, "q") for size, share, _, _ in trials], **changes)
    own = [
        each.model_copy(update={"method": method, "learning_rate": rate, "proposal": {}})
        for each, (_, _, method, rate) in zip(one.view.trials, trials, strict=True)
    ]
    space = one.view.plan.space.model_copy(update=rates or {})
    the_plan = one.view.plan.model_copy(update={"space": space})
    return Compared(name, one.view.model_copy(update={"trials": own, "plan": the_plan}))


def test_methods_and_thirds_of_learning_rates_are_settings_too(capsys):
    """Coefficients from 0.001 to 0.1, so that its thirds end at 0.0046 and 0.022; factors from 0.0001 to 0.01."""
    first = [(4, 0.8, "qr-lora", 0.001), (8, 0.82, "qr-lora", 0.0045), (16, 0.9, "qr-lora", 0.0047),
             (20, 0.7, "qr-lora", 0.1), (3000, 0.91, "lora", 0.01), (4000, 0.7, "lora", 0.0001),
             (5000, 0.7, "lora", 0.004), (10_000, 0.95, "full", 1e-5)]  # fmt: skip
    wider = {"learning_rate": LearningRate(low=1e-5, high=0.1)}  # thirds end at 0.0002 and 0.0046
    second = [(size, share - 0.05, "svd-diagonal" if method == "qr-lora" else method, rate)
              for size, share, method, rate in first]  # fmt: skip
    comparison = compare_searches([mixed("a", first), mixed("b", second, wider, task="rte")])
    lines = {(line.kind, line.value): line for line in comparison.settings}
    counts = {key: line.counts for key, line in lines.items() if key[0] in {"method", "learning rate"}}
    assert counts == {
        ("method", "qr-lora"): {"sst2": 4, "rte": 0},
        ("method", "svd-diagonal"): {"sst2": 0, "rte": 4},
        ("method", "lora"): {"sst2": 3, "rte": 3},
        ("method", "full"): {"sst2": 1, "rte": 1},
        ("learning rate", "low third of learning rate"): {"sst2": 2, "rte": 0},
        ("learning rate", "middle third of learning rate"): {"sst2": 1, "rte": 2},
        ("learning rate", "high third of learning rate"): {"sst2": 1, "rte": 2},
        ("learning rate", "low third of low rank learning rate"): {"sst2": 1, "rte": 1},
        ("learning rate", "high third of low rank learning rate"): {"sst2": 2, "rte": 2},
        ("learning rate", "low third of full learning rate"): {"sst2": 1, "rte": 1},
    }
    front, lora = ([FinishedTrial(at, share, size) for at, (size, share, method, _) in enumerate(first)
                    if method in methods] for methods in ({"qr-lora", "lora", "full"}, {"lora"}))  # fmt: skip
    share = hypervolume(lora, 0.6, 10_000) / hypervolume(front, 0.6, 10_000)
    assert lines["method", "lora"].shares["sst2"] == pytest.approx(share)
    assert lines["method", "lora"].worst == pytest.approx(min(lines["method", "lora"].shares.values()))
    assert lines["method", "qr-lora"].worst is None
    show_comparison(make_console(), comparison)
    said, page = " ".join(capsys.readouterr().out.split()), comparison_html(comparison)
    for word in ("lora", "svd-diagonal", "learning rate"):
        assert word in said
    assert f"<td>method</td><td>lora</td><td>{lines['method', 'lora'].worst:.2f}</td>" in page
    assert "<td>learning rate</td><td>high third of low rank learning rate</td>" in page
