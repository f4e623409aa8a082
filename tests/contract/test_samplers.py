"""The contract of samplers, held by every Optuna sampler on offer."""

import math

import numpy as np
import optuna
import pytest

from qrlora_search.adapters.optuna_search.sampler import OptunaSampler, Place
from qrlora_search.describe.proposals import canonical, dimensions, fits, layer_subset
from qrlora_search.describe.settings import Settings
from qrlora_search.describe.space import SamplerChoice, SearchSpace
from qrlora_search.describe.tried import Tried
from qrlora_search.values.states import TrialState

SPECTRA = {(layer, matrix): np.exp(-np.arange(100) / 30) for layer in range(6) for matrix in "qkvo"}
SPACE = SearchSpace.model_validate({"layers": {"lists": [[0, 2]]}, "training": {"batch_sizes": [16, 32]}})


@pytest.fixture
def make():
    """Yield a maker of samplers that are closed when the test ends."""
    made = []

    def maker(folder, name, seed=0, settings=None, first=()):
        made.append(new_sampler(folder, name, seed, settings, first))
        return made[-1]

    yield maker
    for sampler in made:
        sampler.close()


def settings_of(space=SPACE, max_params=None):
    return Settings(dimensions(space, 6), lambda one: canonical(space, one, SPECTRA, 6), max_params)


def new_sampler(folder, name, seed, settings=None, first=()):
    choice = SamplerChoice(name=name, random_first=4)
    return OptunaSampler(Place(f"sqlite:///{folder / 'record.db'}"), settings or settings_of(), choice, seed, first)


@pytest.fixture(params=["stratified", "tpe", "nsga2", "random"])
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


def test_proposals_are_in_the_space_and_every_end_is_told(tmp_path, name, make):
    sampler = make(tmp_path, name)
    for proposal in drive(sampler, 12):
        assert fits(SPACE, 6, proposal)
        assert set(layer_subset(proposal, 6)) <= set(range(6))
    states = [one.state.name for one in sampler.study.get_trials()]
    assert states == ["COMPLETE", "PRUNED", "FAIL"] * 4
    assert sampler.running() == []
    values = sampler.study.get_trials()[3].values
    assert values[1] == pytest.approx(math.log10(1 + 13))


def test_the_same_seed_proposes_the_same_and_another_does_not(tmp_path, name, make):
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    first = drive(make(tmp_path / "a", name), 9)
    assert drive(make(tmp_path / "b", name), 9) == first
    assert drive(make(tmp_path / "c", name, seed=1), 9) != first


def test_a_rebuilt_study_proposes_as_if_never_interrupted(tmp_path, name, make):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = drive(make(tmp_path / "a", name), 9)
    drive(make(tmp_path / "b", name), 6)
    again = make(tmp_path / "b", name)
    states = [TrialState.FINISHED, TrialState.STOPPED, TrialState.FAILED] * 2
    again.rebuild(
        Tried(i, one, state, float(one["tau"]), 10 + i)
        for i, (one, state) in enumerate(zip(whole, states, strict=False))
    )
    assert drive(again, 3) == whole[6:]


def test_an_open_proposal_survives_a_rebuild_and_is_told_once(tmp_path, name, make):
    sampler = make(tmp_path, name)
    _, proposal = sampler.ask()
    sampler.rebuild([Tried(0, proposal, None, None, 5)])
    assert sampler.running() == [0]
    sampler.tell(0, TrialState.FINISHED, 0.5, 5)
    sampler.tell(0, TrialState.FAILED, None, 5)
    assert sampler.study.get_trials()[0].state is optuna.trial.TrialState.COMPLETE


def test_no_proposal_would_train_what_was_proposed_before_while_there_is_another(tmp_path, name, make):
    few = SearchSpace.model_validate(
        {"matrices": {"subsets": [["q"], ["v"]]}, "layers": {"families": ["last"]}, "learning_rate": {"high": 1.04e-3}}
    )
    flat = {place: np.ones(3) for place in SPECTRA}  # three ranks a matrix
    settings = Settings(dimensions(few, 2), lambda one: canonical(few, one, flat, 2))
    sampler = make(tmp_path, name, settings=settings)
    identities = []
    for _ in range(12):  # all that there is: three ranks, two matrices, one or two layers
        number, proposal = sampler.ask()
        identities.append(settings.canonical(proposal).identity)
        sampler.tell(number, TrialState.FINISHED, 0.1 * (number % 4), settings.size(proposal))
    assert len(set(identities)) == 12
    assert settings.canonical(sampler.ask()[1]).identity in identities
    assert sampler.used_up


def test_given_points_come_first_and_once(tmp_path, name, make):
    settings = settings_of()
    points = settings.start_points()
    sampler = make(tmp_path, name, first=[*points, points[0]])
    proposals = drive(sampler, len(points) + 1)
    assert proposals[: len(points)] == points
    assert proposals[-1] != points[0]


def test_a_sampler_sees_a_bounded_part_that_keeps_the_front(tmp_path, make):
    sampler = make(tmp_path, "stratified")
    sampler.seen.most = 100
    best = Tried(0, settings_of().smallest, TrialState.FINISHED, 0.99, 1)
    sampler.seen.add(best)
    for number in range(1, 400):
        sampler.seen.add(Tried(number, best.parameters, TrialState.STOPPED, number / 1000, 5 + number % 50))
    assert len(sampler.seen.trials) <= 100
    assert best in sampler.seen.trials
    assert [one.number for one in sampler.seen.trials] == sorted(one.number for one in sampler.seen.trials)
