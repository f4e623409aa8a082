"""What buys accuracy per parameter: a planted cause is found, and too few trials say so."""

import numpy as np
import pytest

from qrlora_search.app.views import importance
from qrlora_search.app.views.importance import LEAST, importance_views, layer_group, residual
from qrlora_search.describe.configuration import AdaptedMatrix, Configuration
from qrlora_search.describe.protocols import Event
from qrlora_search.record.history import history_of
from scripted import plan


def history(count: int, cause: str):
    """Return Finished trials whose score depends on one setting alone, plus noise."""
    random, events = np.random.default_rng(4), [(None, "opened", _opened())]
    for number in range(count):
        kinds = [kind for kind in "qkvo" if random.uniform() < 0.5] or ["q"]
        rank, rate = int(random.integers(1, 40)), float(10 ** random.uniform(-3, -1))
        layer = int(random.integers(0, 4))
        ranks = tuple(AdaptedMatrix(layer, kind, rank) for kind in kinds)
        good = {"Wv": "v" in kinds, "learning rate": rate > 0.02, "none": False}[cause]
        score = 0.7 + 0.1 * good + 0.005 * random.standard_normal()
        configuration = Configuration(ranks, rate, 32, 1, "frozen", 0.0, 0.0).to_json()
        report = {"epoch": 1, "score": score, "loss": 0.4, "seconds": 1.0, "packed": "", "metrics": {}}
        events += [
            (number, "proposed", {"proposal": {"tau": random.uniform(0.1, 0.9)}, "configuration": configuration}),
            (number, "started", {}), (number, "report", report),
            (number, "ended", {"state": "finished", "reason": ""}),
        ]  # fmt: skip
    return history_of(Event(at, *one) for at, one in enumerate(events, start=1))


def _opened():
    return {"plan": plan().model_dump(mode="json"), "search_id": "s", "at": "now"}


@pytest.mark.parametrize("cause", ["Wv", "learning rate"])
def test_the_planted_cause_comes_first_for_the_score_at_a_size(cause, monkeypatch):
    monkeypatch.setattr(importance, "RESAMPLES", 12)
    monkeypatch.setattr(importance, "SHUFFLES", 20)
    views = importance_views(history(60, cause))
    assert [one.question for one in views] == ["front", "score at size"]
    found = views[1].settings
    assert found[0].setting == cause
    assert found[0].low < found[0].share <= found[0].high
    assert found[0].told_apart
    assert sum(one.share for one in found) == pytest.approx(1)
    assert views[1].n == 60
    assert {"Wq", "Wk", "Wv", "Wo", "layer group", "tau", "learning rate"} == {one.setting for one in found}
    assert importance_views(history(60, cause)) == views  # seeded


def test_where_nothing_matters_hardly_a_share_is_larger_than_chance_gives(monkeypatch):
    monkeypatch.setattr(importance, "RESAMPLES", 2)
    views = importance_views(history(60, "none"))
    told = [one.setting for view in views for one in view.settings if one.told_apart]
    assert len(told) <= 3  # of fourteen, one in twenty each
    for view in views:
        assert all(one.low <= one.share <= one.high for one in view.settings)
        chances = {one.setting: one.chance for one in view.settings}
        assert min(chances["tau"], chances["learning rate"]) > max(chances[f"W{kind}"] for kind in "qkvo") / 2


def test_too_few_finished_trials_say_so():
    for view in importance_views(history(LEAST - 1, "Wv")):
        assert view.settings == []
        assert f"too few: {LEAST - 1} Finished trials with an adapter, {LEAST} are needed" in view.words


def test_layer_groups_are_thirds():
    ranks = (AdaptedMatrix(0, "q", 1), AdaptedMatrix(5, "q", 1))
    assert layer_group({one.layer for one in ranks}, 6) == "lower and upper"
    assert layer_group({one.layer for one in ranks[1:]}, 12) == "middle"


def test_residuals_have_nothing_of_the_size_in_them():
    sizes = np.array([1, 10, 100, 1000])
    scores = 0.5 + 0.1 * np.log10(1 + sizes)
    np.testing.assert_allclose(residual(scores, sizes), 0, atol=1e-12)
    np.testing.assert_allclose(residual(np.array([1.0, 3.0]), np.array([7, 7])), [-1, 1])
