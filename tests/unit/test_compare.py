"""Comparisons: areas against the closed form, intervals, what only one search reaches, and what is not compared."""

from statistics import NormalDist

import numpy as np
import pytest

from qrlora_search.app.compare_console import basis_of, pair_lines, show_comparison
from qrlora_search.app.compare_drawing import comparison_html, comparison_png, curves_of
from qrlora_search.app.compare_fronts import Compared, compare_group
from qrlora_search.app.compare_loading import Loader
from qrlora_search.app.compare_settings import MIN_TRIALS
from qrlora_search.app.comparing import compare_searches
from qrlora_search.app.console import make_console
from qrlora_search.app.plot_data import CONTROL_X
from qrlora_search.app.trial_files import ConfirmedView, DerivedView, EpochView, TrialsView, TrialView
from qrlora_search.app.views import importance
from qrlora_search.values.comparing import area_interval, areas, example_weights, percentile_interval
from qrlora_search.values.errors import UserError
from qrlora_search.values.fronts import hypervolume
from qrlora_search.values.packing import pack
from qrlora_search.values.states import FinishedTrial
from scripted import plan

N = 400
LABELS = np.random.default_rng(0).integers(0, 2, N)


def guesses(share: float, seed: int = 0) -> str:
    """Return predictions that are right on a share of the examples, chosen by a seed."""
    wrong = np.random.default_rng(seed).permutation(N) >= round(share * N)
    return pack(np.where(wrong, 1 - LABELS, LABELS))


def searched(name, scores, control=0.6, **changes: object) -> Compared:
    """Return a search whose trials are (parameters, share right, matrices)."""
    the_plan = plan(5).model_copy(update=changes)
    trials = [
        TrialView(
            trial=number, state="finished", reason="all 1 epochs", words=f"{kinds} in layer 3", method="qr-lora",
            parameters=size, ranks=[(3, kind, size) for kind in kinds], learning_rate=0.01, proposal={"tau": 0.5},
            curve=[EpochView(epoch=1, score=share, loss=0.4, seconds=1.0, decision="")], packed=guesses(share, number),
        )
        for number, (size, share, kinds) in enumerate(scores)
    ]  # fmt: skip
    view = TrialsView(
        search_id=name * 4, plan=the_plan, labels=pack(LABELS), controls={"warm-up": guesses(control, 99)},
        trials=trials,
    )  # fmt: skip
    return Compared(name, view)


LOW = [(4, 0.62, "q"), (20, 0.65, "q"), (60, 0.64, "v"), (80, 0.66, "q")]
HIGH = [(10, 0.80, "v"), (40, 0.90, "v"), (90, 0.85, "q"), (50, 0.91, "v")]


@pytest.mark.parametrize("seed", range(20))
def test_areas_equal_the_hypervolume_of_the_front(seed):
    random = np.random.default_rng(seed)
    scores, sizes = random.uniform(0, 1, 12), random.integers(1, 30_000, 12)
    trials = [FinishedTrial(at, float(s), int(p)) for at, (s, p) in enumerate(zip(scores, sizes, strict=True))]
    found = areas(scores[None], [int(size) for size in sizes], np.array([0.3]), 10_000)
    assert found[0] == pytest.approx(hypervolume(trials, 0.3, 10_000))


def test_weights_draw_n_examples():
    weights = example_weights(50, resamples=7)
    assert weights.shape == (7, 50)
    assert (weights.sum(axis=1) == 50).all()


def test_the_better_search_has_more_area_and_reaches_what_the_other_does_not():
    group = compare_group([searched("high", HIGH), searched("low", LOW, control=0.58)])
    assert group.reference == pytest.approx(0.58)  # one for all: the lowest control
    (pair,) = group.pairs
    by_name = {line.name: line for line in group.searches}
    assert pair.difference == pytest.approx(by_name["high"].hypervolume - by_name["low"].hypervolume)
    assert 0 < pair.low < pair.difference < pair.high
    for line, trials in ((by_name["high"], HIGH), (by_name["low"], LOW)):
        finished = [FinishedTrial(at, share, size) for at, (size, share, _) in enumerate(trials)]
        own = (line.control - 0.58) * np.log10(1 + 10_000)  # the control is a point of 0 parameters
        assert line.hypervolume == pytest.approx(own + hypervolume(finished, line.control, 10_000))
        assert line.low < line.hypervolume < line.high
    only = {(one.of, one.parameters): one for one in pair.only}
    assert set(only) == {("high", 10), ("high", 40), ("high", 50), ("low", 4)}
    assert only["low", 4].against == "its control (warm-up)"
    assert only["high", 40].against == "trial 1, 20 parameters"
    assert only["high", 40].difference == pytest.approx(0.25)
    assert only["high", 40].told_apart
    assert not only["low", 4].told_apart


def test_the_interval_of_a_search_against_itself_is_zero():
    (pair,) = compare_group([searched("a", HIGH), searched("b", HIGH)]).pairs
    assert (pair.difference, pair.low, pair.high, pair.only) == (0, 0, 0, [])
    assert "neither reaches" in pair_lines(pair)[1]


def test_a_higher_control_counts_though_nothing_beats_it():
    (pair,) = compare_group([searched("none", [], control=0.7), searched("low", LOW, control=0.58)]).pairs
    assert pair.difference > 0
    assert [one.of for one in pair.only] == []


def again(one: Compared, members, control=(0.6,)) -> Compared:
    """Return a search with a front by further seeds: (trial, parameters, share right by seed); none for None."""
    confirmed = None if members is None else [
        ConfirmedView(trial=trial, kept=None, words=f"trial {trial}", parameters=size,
                      runs=[guesses(share, 50 * trial + seed) for seed, share in enumerate(shares)])
        for trial, size, shares in members
    ]  # fmt: skip
    controls = {"warm-up": [guesses(share, 99) for share in control]}
    view = one.view.model_copy(update={"confirmed": confirmed, "confirmed_controls": controls})
    return Compared(one.name, view)


def test_confirmed_fronts_are_compared_by_further_seeds_alone():
    high, low = searched("high", HIGH), searched("low", LOW)
    seeds = again(high, [(0, 10, (0.7, 0.74)), (3, 50, (0.78, 0.86))])
    group = compare_group([seeds, again(low, [])])
    assert (group.confirmed, group.unconfirmed) == (True, [])
    assert basis_of(group) == "fronts confirmed by further seeds"
    by_name = {line.name: line for line in group.searches}
    points = by_name["high"].front
    assert [(one.trial, one.seeds, one.score) for one in points] == [
        (0, 2, pytest.approx(0.72)),
        (3, 2, pytest.approx(0.82)),
    ]
    finished = [FinishedTrial(0, 0.72, 10), FinishedTrial(3, 0.82, 50)]
    assert by_name["high"].hypervolume == pytest.approx(hypervolume(finished, 0.6, 10_000))
    assert by_name["low"].front == []
    (pair,) = group.pairs
    assert [one.parameters for one in pair.only] == [10, 50]
    assert pair.low < pair.difference < pair.high


def test_the_control_has_an_interval_and_the_picture_says_what_intervals_are_over():
    comparison = compare_searches([searched("high", HIGH), searched("low", LOW)])
    assert "bands: 95 % over examples" in comparison_html(comparison)
    (curve, _) = curves_of(comparison.groups[0])
    assert curve.low[0] < curve.y[0] < curve.high[0]
    assert compare_group([again(searched("a", HIGH), [(0, 10, (0.7, 0.74))]), again(searched("b", LOW), [])]).over == (
        "seeds and examples"
    )


def test_a_comparison_of_too_few_trials_says_so_of_importance():
    found = compare_searches([searched("high", HIGH), searched("low", LOW)])
    assert found.importance == []
    assert f"too few Finished trials, 30 needed of one task (sst2 {len(HIGH) + len(LOW)})" in found.notes[-1]


def test_intervals_of_confirmed_fronts_are_over_seeds_too():
    high, low = searched("high", HIGH), again(searched("low", LOW), [])
    apart, alike = (
        compare_group([again(high, [(0, 10, (0.7 - far, 0.7 + far)), (3, 50, (0.8 - far, 0.8 + far))]), low]).pairs[0]
        for far in (0.1, 0.005)
    )
    assert apart.high - apart.low > 2 * (alike.high - alike.low)


def test_where_one_search_is_unconfirmed_all_are_compared_by_what_brought_members_in():
    high, low = searched("high", HIGH), searched("low", LOW)
    group = compare_group([again(high, [(0, 10, (0.7, 0.7))]), low])
    raw = compare_group([high, low])
    assert (group.confirmed, group.unconfirmed) == (False, ["low"])
    assert group.searches == raw.searches
    assert group.pairs == raw.pairs
    assert "UNCONFIRMED fronts" in basis_of(group)
    assert "low" in basis_of(group)


def test_a_raw_front_has_the_derived_adapters_as_the_search_s_own_front_has():
    one, other = searched("a", HIGH), searched("b", LOW)
    derived = DerivedView(trial=1, kept=8, words="v in layer 3", parameters=8, packed=guesses(0.88))
    with_it = Compared("a", one.view.model_copy(update={"derived": [derived]}))
    before, after = (compare_group([each, other]).searches[0] for each in (one, with_it))
    assert [(point.trial, point.kept, point.parameters) for point in after.front] == [
        (1, 8, 8),
        (1, None, 40),
        (3, None, 50),
    ]
    assert [point.kept for point in before.front] == [None] * 3
    assert after.hypervolume > before.hypervolume


def test_models_of_other_sizes_have_no_common_area():
    other = plan(5).encoder.model_copy(update={"parameters": 20_000})
    (pair,) = compare_group([searched("a", HIGH), searched("b", LOW, encoder=other)]).pairs
    assert pair.difference is None
    assert "P = 10,000 and 20,000" in pair.reason
    assert pair.only


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"task": "rte"}, "other tasks (sst2, rte)"),
        ({"train_limit": 100}, "other selection splits (--train-limit none, 100)"),
        ({"data": plan(5).data.model_copy(update={"fingerprint": "f"})}, "other data"),
    ],
)
def test_what_cannot_be_compared_is_said(changes, why):
    comparison = compare_searches([searched("a", HIGH), searched("b", LOW, **changes)])
    assert len(comparison.groups) == 2
    assert not any(group.pairs for group in comparison.groups)
    (line,) = comparison.not_compared
    assert why in line


def test_a_setting_is_as_good_as_in_its_worst_task():
    other = [(10, 0.80, "q"), (40, 0.90, "q"), (90, 0.85, "v"), (50, 0.70, "v"), (60, 0.7, "v")]
    comparison = compare_searches([searched("a", HIGH), searched("b", other, task="rte")])
    lines = {(line.kind, line.value): line for line in comparison.settings}
    v = lines["matrices", "v"]
    assert v.counts == {"sst2": 3, "rte": 3}
    assert v.shares["sst2"] == pytest.approx(1.0)
    assert v.worst == pytest.approx(v.shares["rte"])
    assert v.shares["rte"] < 1
    assert v.lows["sst2"] <= v.shares["sst2"] <= v.highs["sst2"] <= 1.0
    q = lines["matrices", "q"]
    assert q.counts["sst2"] < MIN_TRIALS
    assert (q.shares["sst2"], q.worst) == (None, None)


def test_importance_is_averaged_over_the_tasks_that_have_enough_trials(monkeypatch, capsys):
    monkeypatch.setattr(importance, "RESAMPLES", 12)
    monkeypatch.setattr(importance, "SHUFFLES", 5)
    random = np.random.default_rng(0)
    kinds = ["q", "v", "qv", "o"]
    drawn = [(int(random.integers(5, 200)), kinds[at % 4]) for at in range(40)]
    v_matters = [(size, 0.7 + 0.1 * ("v" in kind) + 0.002 * float(random.normal()), kind) for size, kind in drawn]
    o_matters = [(size, 0.7 + 0.1 * ("o" in kind) + 0.002 * float(random.normal()), kind) for size, kind in drawn]
    comparison = compare_searches(
        [searched("a", v_matters), searched("b", o_matters, task="rte"), searched("c", HIGH, task="mrpc")]
    )
    lines = {line.setting: line for line in comparison.importance if line.question == "score at size"}
    assert lines["Wv"].counts == {"sst2": 40, "rte": 40, "mrpc": 4}
    assert lines["Wv"].shares["mrpc"] is None
    assert lines["Wv"].shares["sst2"] == max(line.shares["sst2"] for line in lines.values())
    assert lines["Wo"].shares["rte"] == max(line.shares["rte"] for line in lines.values())
    for line in comparison.importance:
        assert line.mean == pytest.approx((line.shares["sst2"] + line.shares["rte"]) / 2)
        assert line.lows["sst2"] is None or line.lows["sst2"] <= line.highs["sst2"]
    order = [line.mean for line in comparison.importance if line.question == "front"]
    assert order == sorted(order, reverse=True)
    show_comparison(make_console(), comparison)
    assert "too few (n=4)" in capsys.readouterr().out.replace("\n", " ")
    assert "What buys accuracy per parameter" in comparison_html(comparison)
    assert compare_searches([searched("c", HIGH)]).importance == []


def test_every_drawing_is_made(capsys):
    source = plan(5).data.model_copy(update={"kind": "stand-in"})
    comparison = compare_searches([searched("a", HIGH, data=source), searched("b", LOW, data=source)])
    assert comparison_png(comparison).startswith(b"\x89PNG")
    page = comparison_html(comparison)
    assert "<script src=" not in page
    assert "STAND-IN" in page
    first = curves_of(comparison.groups[0])[0]
    assert first.x == [CONTROL_X, 10.0, 40.0, 50.0]
    assert all(low <= y <= high for low, y, high in zip(first.low, first.y, first.high, strict=True))
    show_comparison(make_console(), comparison)
    said = capsys.readouterr().out
    assert "STAND-IN" in said
    assert "only a reaches 0.900 within 40 parameters" in said


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere", "is no folder, no MLflow run id and no task"),
        ("cola", "no search has run there"),
        (".", "record.db"),
    ],
)
def test_a_name_that_stands_for_no_search_is_refused(name, why, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=why):
        Loader(f"sqlite:///{tmp_path}/mlflow.db").load([name])


@pytest.mark.parametrize(
    ("truth", "least", "percentiles"), [((0.7,) * 6, 0.9, 0.85), ((0.7,) * 5 + (0.72,), 0.9, 0.92)]
)
def test_an_areas_interval_holds_it_where_members_all_but_coincide(truth, least, percentiles):
    """200 draws of 150 examples on which six adapters are right, mostly the same ones; the truth is known."""
    sizes, whole, weights = [0, 10, 50, 200, 600, 2000], 10_000, example_weights(150, resamples=400)
    random, limits = np.random.default_rng(0), NormalDist()
    cuts = np.array([[limits.inv_cdf(one)] for one in truth])
    true = areas(np.array([truth]), sizes, np.array([truth[0]]), whole)[0]
    held, usual = 0, 0
    for _ in range(200):
        shared, own = random.standard_normal((1, 150)), random.standard_normal((6, 150))
        right = (0.9**0.5 * shared + 0.1**0.5 * own < cuts).astype(float)
        scores, drawn = right.mean(axis=1), weights @ right.T / 150
        value = float(areas(scores[None], sizes, scores[:1], whole)[0])
        area_B = areas(drawn, sizes, drawn[:, 0], whole)
        low, high = area_interval(value, area_B)
        held += low - 1e-9 <= true <= high
        low, high = percentile_interval(area_B)
        usual += low - 1e-9 <= true <= high
    assert held / 200 >= least
    assert usual / 200 <= percentiles
