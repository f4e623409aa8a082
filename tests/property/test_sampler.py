"""The sampler's promises, by properties over spaces, limits, seeds and histories."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qrlora_search.adapters.optuna_search.sampler import SearchSampler
from qrlora_search.describe.proposals import canonical, dimensions, fits
from qrlora_search.describe.settings import Settings
from qrlora_search.describe.space import SamplerChoice, SearchSpace
from qrlora_search.describe.tried import Seen, Tried
from qrlora_search.values.fronts import pareto_ranks
from qrlora_search.values.states import TrialState

LAYERS, WHOLE = 4, 20_000
SPECTRA = {(layer, matrix): np.exp(-np.arange(40) / (6 + 3 * layer)) for layer in range(LAYERS) for matrix in "qkvo"}
NAMES = st.sampled_from(["stratified", "tpe", "random"])
STATES = st.sampled_from(list(TrialState))

spaces = st.builds(
    lambda methods, subsets, families, high: SearchSpace.model_validate(
        {
            "methods": {"of": methods},
            "matrices": {"subsets": subsets},
            "layers": {"families": families},
            "learning_rate": {"high": high},
        }
    ),
    st.sampled_from([["qr-lora"], ["lora"], ["qr-lora", "lora"], ["svd-diagonal", "full"]]),
    st.sampled_from([[["q"], ["v"]], [["q"], ["q", "v"], ["o"]], [list("qkvo"), ["k"]]]),
    st.sampled_from([["last"], ["last", "first"]]),
    st.sampled_from([5e-3, 1e-1]),
)
endings = st.lists(st.tuples(STATES, st.integers(0, 20)), min_size=1, max_size=25)
few = settings(max_examples=25, deadline=None)


def settings_of(space, max_params=None):
    return Settings(dimensions(space, LAYERS), lambda one: canonical(space, one, SPECTRA, LAYERS, WHOLE), max_params)


def new(name, of, seed=0, first=(), tried=()):
    return SearchSampler(of, SamplerChoice(name=name, random_first=3), seed, first, tried)


def run(sampler, endings):
    """Ask for as many proposals as there are endings, and tell each one's."""
    asked = []
    for state, score in endings:
        number, proposal = sampler.ask()
        asked.append(proposal)
        size = sampler.settings.size(proposal)
        sampler.tell(number, state, score / 20, size)
    return asked


@few
@given(NAMES, spaces, endings, st.integers(0, 999), st.none() | st.integers(1, 400))
def test_proposals_are_in_the_space_within_the_limit_and_new(name, space, ended, seed, limit):
    of = settings_of(space, limit)
    assume(any(of.allows(span.low) for span in of.spans.values()))
    sampler = new(name, of, seed)
    identities = []
    for proposal in run(sampler, ended):
        assert fits(space, LAYERS, proposal)
        assert of.allows(of.size(proposal))
        identity = of.canonical(proposal).identity
        assert identity not in identities or sampler.used_up  # small spaces may have nothing else left
        identities.append(identity)


@few
@given(NAMES, spaces, endings, st.integers(0, 999), st.data())
def test_made_again_from_the_record_it_goes_on_as_if_never_interrupted(name, space, ended, seed, data):
    of = settings_of(space)
    cut = data.draw(st.integers(0, len(ended)))
    whole = run(new(name, of, seed), ended)
    tried = [
        Tried(number, whole[number], state, score / 20, of.size(whole[number]))
        for number, (state, score) in enumerate(ended[:cut])
    ]
    assert run(new(name, of, seed, tried=tried), ended[cut:]) == whole[cut:]


@few
@given(NAMES, st.integers(0, 999), st.integers(0, 6))
def test_the_front_of_an_earlier_search_comes_first_and_once(name, seed, count):
    of = settings_of(SearchSpace())
    random = np.random.default_rng(seed)
    points = [of.draw(random) for _ in range(count)]
    identities = list(dict.fromkeys(of.canonical(one).identity for one in points))
    asked = run(new(name, of, seed, first=[*points, *points]), [(TrialState.FINISHED, 5)] * (count + 3))
    assert [of.canonical(one).identity for one in asked[: len(identities)]] == identities
    assert len({of.canonical(one).identity for one in asked}) == len(asked)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 999), st.sampled_from([None, 60, 300]), st.booleans())
def test_every_range_of_sizes_is_visited_alike_whatever_the_scores(seed, limit, larger_is_better):
    of = settings_of(SearchSpace(), limit)
    sampler = new("stratified", of, seed)
    span, sizes = of.spans["qr-lora"], []
    for _ in range(48):
        number, proposal = sampler.ask()
        sizes.append(of.size(proposal))
        sampler.tell(number, TrialState.STOPPED, 1 - 1 / sizes[-1] if larger_is_better else 1 / sizes[-1], sizes[-1])
    width = math.log(span.high / span.low)
    thirds = np.bincount([min(2, int(3 * math.log(size / span.low) / width)) for size in sizes], minlength=3)
    assert thirds.min() >= 9  # of 48, where 16 are alike


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 999))
def test_what_failed_is_no_parent_however_well_it_scored_before(seed):
    """High rates score well and diverge; what ends scores less."""
    of = settings_of(SearchSpace())
    sampler, late = new("stratified", of, seed), []
    for turn in range(60):
        number, proposal = sampler.ask()
        diverges = proposal["learning_rate"] > 2e-2
        state, score = (TrialState.FAILED, 0.9) if diverges else (TrialState.FINISHED, 0.5)
        sampler.tell(number, state, score, of.size(proposal))
        late += [diverges] if turn >= 20 else []
    assert np.mean(late) < 0.45  # of random ones 0.35 do


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 999), st.booleans())
def test_sizes_that_are_refused_before_training_get_fewer_turns(seed, refuses):
    of = settings_of(SearchSpace())
    sampler, sizes = new("stratified", of, seed), []
    span = of.spans["qr-lora"]
    limit = math.sqrt(span.low * span.high)
    for _ in range(60):
        number, proposal = sampler.ask()
        sizes.append(of.size(proposal))
        lost = refuses and sizes[-1] > limit
        sampler.tell(number, TrialState.STOPPED, None if lost else 0.5, sizes[-1])
    above = np.mean([size > limit for size in sizes[20:]])
    assert above < 0.15 if refuses else above > 0.3


@pytest.mark.parametrize("state", [TrialState.STOPPED, TrialState.FINISHED])
@settings(max_examples=5, deadline=None)
@given(st.integers(0, 999), st.sampled_from("qkvo"))
def test_what_scored_well_at_a_size_is_proposed_more_often_there_though_it_was_stopped(state, seed, good):
    of = settings_of(SearchSpace())

    def share(score):
        sampler = new("stratified", of, seed)
        asked = []
        for _ in range(60):
            number, proposal = sampler.ask()
            asked.append(proposal)
            sampler.tell(number, state, score(proposal), of.size(proposal))
        return np.mean([good in str(one["matrices"]) for one in asked[20:]])

    assert share(lambda one: 0.9 if good in str(one["matrices"]) else 0.4) > share(
        lambda one: 0.4 if good in str(one["matrices"]) else 0.9
    )


@given(
    st.lists(st.tuples(STATES, st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=120),
    st.integers(8, 40),
    st.integers(0, 99),
)
def test_it_sees_a_bounded_part_in_order_with_the_best_ranks(ended, most, seed):
    seen = Seen(seed, most=most)
    every = [Tried(number, {}, state, score / 9, size) for number, (state, size, score) in enumerate(ended)]
    for one in every:
        seen.add(one)
        assert len(seen.trials) <= most
    numbers = [one.number for one in seen.trials]
    assert numbers == sorted(set(numbers))
    if len(every) <= most:
        assert seen.trials == every
    finished = [one for one in every if one.state is TrialState.FINISHED]
    ranks = pareto_ranks([one.score for one in finished], [one.size for one in finished])
    first = {(one.score, one.size) for one, rank in zip(finished, ranks, strict=True) if rank == 0}
    longest = max(
        (int((pareto_ranks([one.score for one in some], [one.size for one in some]) == 0).sum())
         for some in (finished[:end] for end in range(1, len(finished) + 1))),
        default=0,
    )  # fmt: skip
    if longest <= most * 3 // 4:  # a front that is larger than all that is seen must lose some
        assert first <= {(one.score, one.size) for one in seen.trials}
