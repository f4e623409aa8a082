"""The contract of samplers, held by every one on offer."""

import numpy as np
import pytest

from qrlora_search.adapters.optuna_search.sampler import SearchSampler
from qrlora_search.describe.proposals import canonical, dimensions, fits, layer_subset
from qrlora_search.describe.settings import Settings
from qrlora_search.describe.space import SamplerChoice, SearchSpace
from qrlora_search.describe.tried import Tried
from qrlora_search.values.states import TrialState

SPECTRA = {(layer, matrix): np.exp(-np.arange(100) / 30) for layer in range(6) for matrix in "qkvo"}
SPACE = SearchSpace.model_validate({"layers": {"lists": [[0, 2]]}, "training": {"batch_sizes": [16, 32]}})


def settings_of(space=SPACE, max_params=None):
    return Settings(dimensions(space, 6), lambda one: canonical(space, one, SPECTRA, 6), max_params)


def new_sampler(name, seed=0, settings=None, first=(), tried=()):
    choice = SamplerChoice(name=name, random_first=4)
    return SearchSampler(settings or settings_of(), choice, seed, first, tried)


@pytest.fixture(params=["stratified", "tpe", "random"])
def name(request):
    return request.param


def drive(sampler, count):
    proposals = []
    for _ in range(count):
        number, proposal = sampler.ask()
        proposals.append(proposal)
        state = [TrialState.FINISHED, TrialState.STOPPED, TrialState.FAILED][number % 3]
        sampler.tell(number, state, float(proposal["tau"]), 10 + number)
    return proposals


def test_proposals_are_in_the_space_and_numbered(name):
    sampler = new_sampler(name)
    for proposal in drive(sampler, 12):
        assert fits(SPACE, 6, proposal)
        assert set(layer_subset(proposal, 6)) <= set(range(6))
    assert sampler.asked == 12
    assert not sampler.open


def test_the_same_seed_proposes_the_same_and_another_does_not(name):
    first = drive(new_sampler(name), 9)
    assert drive(new_sampler(name), 9) == first
    assert drive(new_sampler(name, seed=1), 9) != first


def test_a_sampler_made_again_from_the_record_proposes_as_if_never_interrupted(name):
    whole = drive(new_sampler(name), 24)
    states = [TrialState.FINISHED, TrialState.STOPPED, TrialState.FAILED] * 6
    tried = [Tried(i, whole[i], state, float(whole[i]["tau"]), 10 + i) for i, state in enumerate(states)]
    assert drive(new_sampler(name, tried=tried), 6) == whole[18:]


def test_an_open_proposal_survives_and_is_told_once(name):
    _, proposal = new_sampler(name).ask()
    sampler = new_sampler(name, tried=[Tried(0, proposal, None, None, 5)])
    assert sampler.open == {0: proposal}
    sampler.tell(0, TrialState.FINISHED, 0.5, 5)
    sampler.tell(0, TrialState.FAILED, None, 5)
    assert [(one.state, one.score) for one in sampler.seen.trials] == [(TrialState.FINISHED, 0.5)]


def test_no_proposal_would_train_what_was_proposed_before_while_there_is_another(name):
    few = SearchSpace.model_validate(
        {"matrices": {"subsets": [["q"], ["v"]]}, "layers": {"families": ["last"]}, "learning_rate": {"high": 1.04e-3}}
    )
    flat = {place: np.ones(3) for place in SPECTRA}  # three ranks a matrix
    settings = Settings(dimensions(few, 2), lambda one: canonical(few, one, flat, 2))
    sampler = new_sampler(name, settings=settings)
    identities = []
    for _ in range(12):  # all that there is: three ranks, two matrices, one or two layers
        number, proposal = sampler.ask()
        identities.append(settings.canonical(proposal).identity)
        sampler.tell(number, TrialState.FINISHED, 0.1 * (number % 4), settings.size(proposal))
    assert len(set(identities)) == 12
    assert settings.canonical(sampler.ask()[1]).identity in identities
    assert sampler.used_up


@pytest.mark.parametrize("limit", [6, 30])
def test_no_proposal_is_over_the_limit_of_parameters(name, limit):
    settings = settings_of(max_params=limit)
    sampler = new_sampler(name, settings=settings)
    for _ in range(60):
        number, proposal = sampler.ask()
        assert settings.size(proposal) <= limit
        sampler.tell(number, TrialState.FINISHED, 0.1 * (number % 4), settings.size(proposal))


def test_once_all_is_used_up_what_is_new_again_is_seen_as_new(name):
    settings = settings_of()
    points = settings.start_points()
    again = [Tried(place, point, TrialState.FINISHED, 0.5, 9) for place, point in enumerate([points[0], points[0]])]
    sampler = new_sampler(name, settings=settings, tried=again)
    assert sampler.used_up
    sampler.ask()
    assert not sampler.used_up


def test_an_optuna_study_is_bounded_however_many_were_tried():
    sampler = new_sampler("random")
    sampler.seen.most = 20
    for _ in range(150):
        sampler.tell(sampler.ask()[0], TrialState.STOPPED, 0.5, 10)
        assert len(sampler.proposer.study.get_trials(deepcopy=False)) <= 2 * 20 + 20 + 2


def test_given_points_come_first_and_once(name):
    settings = settings_of()
    points = settings.start_points()
    sampler = new_sampler(name, first=[*points, points[0]])
    proposals = drive(sampler, len(points) + 1)
    assert proposals[: len(points)] == points
    assert proposals[-1] != points[0]


def test_a_sampler_sees_a_bounded_part_that_keeps_the_front():
    sampler = new_sampler("stratified")
    sampler.seen.most = 100
    best = Tried(0, settings_of().spans["qr-lora"].smallest, TrialState.FINISHED, 0.99, 1)
    sampler.seen.add(best)
    for number in range(1, 400):
        sampler.seen.add(Tried(number, best.parameters, TrialState.STOPPED, number / 1000, 5 + number % 50))
    assert len(sampler.seen.trials) <= 100
    assert best in sampler.seen.trials
    assert [one.number for one in sampler.seen.trials] == sorted(one.number for one in sampler.seen.trials)
