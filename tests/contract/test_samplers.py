"""The contract of samplers, held by every Optuna sampler on offer."""

import math

import optuna
import pytest

from qrlora_search.adapters.optuna_search.sampler import OptunaSampler
from qrlora_search.describe.proposals import dimensions, layer_subset
from qrlora_search.describe.space import SamplerChoice, SearchSpace
from qrlora_search.values.states import TrialState

SPACE = SearchSpace.model_validate({"layers": {"lists": [[0, 2]]}, "training": {"batch_sizes": [16, 32]}})


@pytest.fixture
def make():
    """Yield a maker of samplers that are closed when the test ends."""
    made = []

    def maker(folder, name, seed=0):
        made.append(new_sampler(folder, name, seed))
        return made[-1]

    yield maker
    for sampler in made:
        sampler.close()


def new_sampler(folder, name, seed):
    choice = SamplerChoice(name=name, random_first=4)
    return OptunaSampler(f"sqlite:///{folder / 'record.db'}", "search", dimensions(SPACE, 6), choice, seed)


@pytest.fixture(params=["tpe", "nsga2", "random"])
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
        assert SPACE.tau.low <= proposal["tau"] <= SPACE.tau.high
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
        [(one, state, float(one["tau"]), 10 + i) for i, (one, state) in enumerate(zip(whole, states, strict=False))]
    )
    assert drive(again, 3) == whole[6:]


def test_an_open_proposal_survives_a_rebuild_and_is_told_once(tmp_path, name, make):
    sampler = make(tmp_path, name)
    _, proposal = sampler.ask()
    sampler.rebuild([(proposal, None, None, 5)])
    assert sampler.running() == [0]
    sampler.tell(0, TrialState.FINISHED, 0.5, 5)
    sampler.tell(0, TrialState.FAILED, None, 5)
    assert sampler.study.get_trials()[0].state is optuna.trial.TrialState.COMPLETE
