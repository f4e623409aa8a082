"""Settings of proposals: corners, sizes, changes, start points; and the sampler that spreads over sizes."""

import math

import numpy as np
import pytest

from qrlora_search.describe.proposals import canonical, dimensions, fits
from qrlora_search.describe.settings import Settings
from qrlora_search.describe.space import SearchSpace
from qrlora_search.describe.stratified import Stratified, van_der_corput
from qrlora_search.describe.tried import Seen, Tried
from qrlora_search.values.ranks import rank_for
from qrlora_search.values.states import TrialState

SPECTRA = {(layer, matrix): np.exp(-np.arange(384) / 90) for layer in range(12) for matrix in "qkvo"}
ENERGY, THRESHOLD = SearchSpace(), SearchSpace.model_validate({"tau": {"rule": "threshold"}})

METHODS = ["qr-lora", "svd-diagonal", "random-basis", "lora", "svd-lora", "full"]
WHOLE = 20_000_000
EVERY = SearchSpace.model_validate({"methods": {"of": METHODS}})


def settings_of(space=ENERGY, depth=6, max_params=None):
    return Settings(dimensions(space, depth), lambda one: canonical(space, one, SPECTRA, depth, WHOLE), max_params)


@pytest.mark.parametrize("space", [ENERGY, THRESHOLD, EVERY], ids=["energy", "threshold", "every method"])
def test_corners_are_the_smallest_and_the_largest_there_are(space):
    settings, random = settings_of(space), np.random.default_rng(0)
    for method, span in settings.spans.items():
        sizes = [settings.size(settings.draw(random, {"method": method})) for _ in range(300)]
        assert span.low == settings.size(span.smallest) <= min(sizes)
        assert span.high == settings.size(span.largest) >= max(sizes)


@pytest.mark.parametrize("space", [ENERGY, THRESHOLD], ids=["energy", "threshold"])
def test_tau_is_solved_for_a_size_and_never_over_the_limit(space):
    settings, limited = settings_of(space), settings_of(space, max_params=100)
    random = np.random.default_rng(1)
    for _ in range(50):
        drawn = settings.draw(random)
        ends = [settings.size({**drawn, "tau": tau}) for tau in (space.tau.low, space.tau.high)]
        target = math.exp(random.uniform(*map(math.log, sorted(ends))))
        solved, off = settings.at_size(drawn, target)
        matrices = len(settings.canonical(drawn).ranks)
        assert abs(settings.size(solved) - target) <= matrices  # a step of tau changes each rank by one at most
        assert off == pytest.approx(abs(math.log(settings.size(solved) / target)))
        if min(ends) <= 100:
            assert limited.size(limited.at_size(drawn, target)[0]) <= 100


def test_a_change_stays_in_the_space_and_changes_something():
    settings, random = settings_of(), np.random.default_rng(2)
    one, moved = settings.draw(random), 0
    for _ in range(100):
        other = settings.change(one, random)
        assert fits(ENERGY, 6, other)
        moved += settings.canonical(other).identity != settings.canonical(one).identity
        one = other
    assert moved > 80


def test_start_points_are_the_papers_settings_the_extremes_and_sizes_between():
    for depth, layers in ((12, 4), (6, 2), (2, 1)):
        settings = settings_of(depth=depth)
        points = settings.start_points()
        found = [settings.canonical(one) for one in points]
        assert found[0].words.startswith("qv in layer")
        assert found[1].words.startswith("q in layer")
        for one in found[:2]:
            assert sorted({rank.layer for rank in one.ranks}) == list(range(depth - layers, depth))
        assert points[0]["tau"] == 0.5
        sizes = [one.parameters for one in found]
        assert (min(sizes), max(sizes)) == (settings.spans["qr-lora"].low, settings.spans["qr-lora"].high)
        logs = np.log(sorted(sizes))
        assert np.diff(logs).max() < 0.45 * (logs[-1] - logs[0])
        assert len({one.identity for one in found}) == len(points) >= 6


def test_start_points_keep_to_the_limit_and_to_the_space():
    assert all(settings_of(max_params=60).size(one) <= 60 for one in settings_of(max_params=60).start_points())
    narrow = SearchSpace.model_validate({"matrices": {"of": ["k"]}, "layers": {"families": ["every"]}})
    points = settings_of(narrow).start_points()
    assert points
    assert all(fits(narrow, 6, one) for one in points)


def test_mirrored_digits():
    assert [van_der_corput(number) for number in range(5)] == [0.5, 0.25, 0.75, 0.125, 0.625]


@pytest.mark.parametrize("limit", [None, 200])
def test_proposals_spread_evenly_over_log_size(limit):
    settings = settings_of(max_params=limit)
    sampler, tried = Stratified(settings, 8, seed=3), Seen(3)
    for number in range(64):
        one = sampler.propose(number, tried)
        tried.add(Tried(number, one, TrialState.STOPPED, 0.1, settings.size(one)))
    logs = np.log([one.size for one in tried.trials])
    span = settings.spans["qr-lora"]
    ends = np.log([span.low, span.high])
    shares = np.histogram(logs, bins=4, range=(ends[0] - 1e-9, ends[1] + 1e-9))[0] / 64
    assert shares.min() > 0.15
    assert limit is None or max(one.size for one in tried.trials) <= limit


def test_it_learns_what_to_adapt_from_finished_and_stopped_trials():
    settings, hits = settings_of(), {}
    for learns in (False, True):
        sampler, tried, found = Stratified(settings, 8 if learns else 10**6, seed=4), Seen(4), 0
        for number in range(120):
            one = sampler.propose(number, tried)
            good = one["matrices"] == "v"
            state = TrialState.FINISHED if number % 2 else TrialState.STOPPED
            tried.add(Tried(number, one, state, 0.5 + 0.1 * good, settings.size(one)))
            found += good and number >= 60
        hits[learns] = found
    assert hits[True] > 2 * max(1, hits[False])


def test_every_method_is_counted_exactly_and_at_its_own_ranks():
    settings, random = settings_of(EVERY), np.random.default_rng(6)
    for method in METHODS:
        one = settings.draw(random, {"method": method, "matrices": "qv", "layers": "last", "last": 2})
        found = settings.canonical(one)
        assert fits(EVERY, 6, one)
        assert found.method == method
        if method == "full":
            assert (found.parameters, found.ranks, found.lowest_layer, found.head) == (WHOLE, (), 0, "trained")
            assert set(one) == {"method", "full_learning_rate", "batch_size"}
            assert 1e-5 <= found.learning_rate == found.head_learning_rate <= 1e-4
        elif method in {"lora", "svd-lora"}:
            assert found.parameters == 4 * one["rank"] * (384 + 384)
            assert found.words == f"{method} r = {one['rank']}, qv in layers 4-5"
            assert 1e-4 <= found.learning_rate <= 1e-2
        else:
            plain = settings.canonical({**one, "method": "qr-lora"})
            assert (found.ranks, found.parameters) == (plain.ranks, plain.parameters)  # controls at equal counts
            assert (found.identity == plain.identity) == (method == "qr-lora")


def test_methods_take_turns_and_each_spreads_over_its_own_sizes():
    settings = settings_of(EVERY)
    sampler, tried = Stratified(settings, 4, seed=7), Seen(7)
    for number in range(100):
        one = sampler.propose(number, tried)
        assert one["method"] == METHODS[number % 6]
        tried.add(Tried(number, one, TrialState.FINISHED, random_score(number), settings.size(one)))
    lora = [one.size for one in tried.trials if one.parameters["method"] == "lora"]
    assert min(lora) < 3000
    assert max(lora) > 50_000
    points = settings.start_points()
    assert [one["method"] for one in points[:6]] == METHODS
    assert settings.canonical(points[3]).words == "lora r = 2, qv in layers 4-5"


def test_a_method_that_is_over_the_limit_has_no_turn():
    settings = settings_of(EVERY, max_params=5000)
    assert settings.methods == tuple(one for one in METHODS if one != "full")
    assert {one["method"] for one in settings.start_points()} == set(settings.methods)


def test_tau_may_differ_by_kind_of_matrix_and_stays_in_its_range():
    space = SearchSpace.model_validate({"tau": {"tilt": 0.2}, "bases": {"directions": ["order", "gradient"]}})
    settings, random = settings_of(space), np.random.default_rng(8)
    seen = set()
    for _ in range(50):
        one = {**settings.draw(random), "matrices": "qv"}
        found = settings.canonical(one)
        seen.add(found.directions)
        for adapted in found.ranks:
            tau = min(max(one["tau"] + one[f"tilt_{adapted.matrix}"], space.tau.low), space.tau.high)
            assert adapted.rank == rank_for("energy", SPECTRA[adapted.layer, adapted.matrix], tau)
    assert seen == {"order", "gradient"}
    plain = {name: value for name, value in one.items() if not name.startswith("tilt") and name != "directions"}
    assert settings_of().canonical(plain).ranks == settings.canonical({**plain, "tilt_q": 0.0, "tilt_v": 0.0}).ranks
    solved, off = settings.at_size({**one, "layers": "last", "last": 1}, 80)
    assert off < 0.05
    assert solved["tilt_q"] == one["tilt_q"]


def random_score(number):
    return float(np.random.default_rng(number).random())
