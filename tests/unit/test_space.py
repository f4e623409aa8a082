"""Search spaces and tasks: what is read, what is refused and how, and the canonical form of proposals."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrlora_search.describe.configuration import (
    MATRICES,
    METHODS,
    configuration_from_json,
    layer_words,
    round_learning_rate,
)
from qrlora_search.describe.proposals import canonical, check_depth, check_ranks, dimensions, head_only, layer_subset
from qrlora_search.describe.space import SearchSpace, load_space, spaces_folder
from qrlora_search.describe.tasks import TASKS, find_task
from qrlora_search.values.errors import UserError
from qrlora_search.values.ranks import rank_for
from scripted import plan


def load(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return load_space("cola", path)


def test_there_is_a_file_for_every_task():
    assert {path.stem for path in spaces_folder().glob("*.toml")} == {"common", "all-methods", *TASKS}


def test_the_space_of_all_methods_holds_them_all():
    space = load_space("cola", spaces_folder() / "all-methods.toml")
    assert set(space.methods.of) == set(METHODS)
    assert space.confirm.warmups == 3


@pytest.mark.parametrize("task", TASKS)
def test_the_shipped_files_load(task):
    space = load_space(task)
    assert (space.training.epochs, space.training.rungs, space.training.batch_sizes) == (5, (1, 2, 3), (32,))
    assert dimensions(space, 6)


def test_common_toml_shows_every_key_with_its_default():
    import tomllib

    common = tomllib.loads((spaces_folder() / "common.toml").read_text(encoding="utf-8"))
    assert SearchSpace.model_validate(common) == SearchSpace()
    shown = {(table, key) for table, keys in common.items() for key in keys} | {("matrices", "subsets")}
    fields = SearchSpace.model_fields
    assert shown == {(table, key) for table in fields for key in fields[table].annotation.model_fields}


def test_a_file_overrides_single_keys(tmp_path):
    space = load(tmp_path, "[tau]\nhigh = 0.5\n[training]\nepochs = 9\n")
    assert (space.tau.low, space.tau.high) == (0.05, 0.5)
    assert (space.training.epochs, space.training.rungs) == (9, (1, 2, 3))


BAD_FILES = [
    ("[tua]\nlow = 0.1", "unknown key 'tua'; did you mean 'tau'? the tables are tau, matrices"),
    ("[tau]\nhihg = 0.5", "unknown key tau.'hihg'; did you mean 'high'? [tau] has low, high, rule"),
    ("[zzzzz]", "unknown key 'zzzzz'; the tables are tau"),
    ("tau = 0.5", "tau = 0.5 must be a table; write [tau] and its keys below it"),
    ('[tau]\nrule = "energie"', "tau.rule = 'energie': did you mean 'energy'? Input should be 'energy' or 'threshold'"),
    ('[matrices]\nof = ["q", "x"]', "matrices.of.1 = 'x': Input should be 'q', 'k', 'v' or 'o'"),
    ("[matrices]\nof = []", "matrices.of = []: Tuple should have at least 1 item"),
    ("[matrices]\nsubsets = [[]]", "matrices.subsets.0 = []"),
    ('[layers]\nfamilies = ["lst"]', "layers.families.0 = 'lst': did you mean 'last'?"),
    ("[layers]\nfamilies = []", "layers: families and lists are both empty; name at least one layer subset"),
    ("[layers]\nlists = [[-1]]", "layers.lists.0.0 = -1: Input should be greater than or equal to 0"),
    ("[layers]\nlists = [[]]", "layers.lists.0 = []"),
    ("[tau]\nlow = 0.9\nhigh = 0.1", "tau: low = 0.9 must be below high = 0.1; exchange or widen them"),
    ("[tau]\nlow = 0.4\nhigh = 0.4", "tau: low = 0.4 must be below high = 0.4; exchange or widen them"),
    ("[learning_rate]\nlow = 0.2", "learning_rate: low = 0.2 must be below high = 0.1"),
    ("[tau]\nhigh = 1.5", "tau.high = 1.5: Input should be less than 1"),
    ("[tau]\nlow = nan", "tau.low = nan"),
    ("[learning_rate]\nhigh = inf", "learning_rate.high = inf: Input should be less than or equal to 10"),
    ("[learning_rate]\nlow = 0", "learning_rate.low = 0: Input should be greater than 0"),
    ("[training]\nepochs = 3", "training: rungs = [1, 2, 3] must rise and stay below epochs = 3"),
    ("[training]\nrungs = [2, 1]", "training: rungs = [2, 1] must rise"),
    ("[training]\nrungs = [0]", "training.rungs.0 = 0: Input should be greater than or equal to 1"),
    ("[training]\nepochs = 0", "training.epochs = 0: Input should be greater than or equal to 1"),
    ("[training]\nepochs = 2.5", "training.epochs = 2.5: Input should be a valid integer"),
    ("[training]\nbatch_sizes = []", "training.batch_sizes = []"),
    ("[training]\ndropout = 1.0", "training.dropout = 1: Input should be less than 1"),
    ("[head]\nmodes = []", "head.modes = []"),
    ('[bases]\nof = "warmed"', "bases.of = 'warmed': did you mean 'warmed-up'?"),
    ('[sampler]\nname = "tpp"', "sampler.name = 'tpp': did you mean 'tpe'?"),
    ("[tau\nlow = 1", "not valid TOML"),
]


@pytest.mark.parametrize(("text", "problem"), BAD_FILES, ids=[text for text, _ in BAD_FILES])
def test_a_bad_space_is_refused_with_file_key_value_and_remedy(tmp_path, text, problem):
    with pytest.raises(UserError) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'mine.toml'}: ")
    assert problem in str(caught.value)


def test_a_space_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--space '.*none\.toml' does not exist; name a TOML file"):
        load_space("cola", tmp_path / "none.toml")
    with pytest.raises(UserError, match=r"cannot be read: .*; name a readable TOML file"):
        load_space("cola", tmp_path)
    (tmp_path / "bad.toml").write_bytes(b"[tau]\n# \xff")
    with pytest.raises(UserError, match=r"bad\.toml' cannot be read"):
        load_space("cola", tmp_path / "bad.toml")


def test_a_layer_that_the_model_lacks_is_refused(tmp_path):
    space = load(tmp_path, "[layers]\nlists = [[0, 5], [2, 6]]\n")
    check_depth(space, 7, "mine.toml")
    with pytest.raises(UserError) as caught:
        check_depth(space, 6, "mine.toml")
    assert str(caught.value) == "mine.toml: layers.lists = [2, 6]: the model has no layer 6; its layers are 0 to 5"


def test_a_rank_that_no_matrix_has_is_refused_where_it_would_be_trained():
    table = {"methods": {"of": ["qr-lora", "svd-lora"], "ranks": [2, 65]}}
    check_ranks(SearchSpace.model_validate({"methods": {**table["methods"], "of": ["qr-lora"]}}), 64, "mine.toml")
    check_ranks(SearchSpace.model_validate(table), 65, "mine.toml")
    with pytest.raises(UserError) as caught:
        check_ranks(SearchSpace.model_validate(table), 64, "mine.toml")
    assert str(caught.value) == (
        "mine.toml: methods.ranks = [2, 65]: the model's matrices have rank 64; leave out what is above it"
    )


def test_the_matrices_are_every_non_empty_subset_once(tmp_path):
    names = SearchSpace().matrices.names
    assert len(names) == len(set(names)) == 15
    assert set("".join(names)) == set(MATRICES)
    assert load(tmp_path, '[matrices]\nof = ["o", "q"]').matrices.names == ("q", "o", "qo")
    assert load(tmp_path, '[matrices]\nsubsets = [["v", "q"], ["q", "v"], ["k"]]').matrices.names == ("qv", "k")


def spaces():
    families = st.lists(st.sampled_from(["last", "first", "range", "every"]), max_size=5)
    lists = st.lists(st.lists(st.integers(0, 23), min_size=1, max_size=5), max_size=3)
    layers = st.fixed_dictionaries({"families": families, "lists": lists})
    return layers.filter(lambda one: one["families"] or one["lists"]).map(
        lambda one: SearchSpace.model_validate({"layers": one})
    )


def propose(space, depth, draw):
    """Return a proposal as a sampler makes it: every dimension in order, those with an unmet `when` left out."""
    proposal = {}
    for one in dimensions(space, depth):
        if not one.applies(proposal):
            continue
        if one.choices:
            proposal[one.name] = draw(st.sampled_from(one.choices))
        elif one.integer:
            proposal[one.name] = draw(st.integers(int(one.low), int(one.high)))
        else:
            proposal[one.name] = draw(st.floats(one.low, one.high))
    return proposal


@cache
def spectra_of(depth, width=8):
    random = np.random.default_rng(depth)
    return {
        (layer, matrix): np.sort(np.abs(random.normal(size=width)))[::-1]
        for layer in range(depth)
        for matrix in MATRICES
    }


@given(spaces(), st.integers(1, 24), st.data())
def test_layer_subsets_are_never_empty_rise_and_stay_inside(space, depth, data):
    deepest = max((max(one) for one in space.layers.lists), default=0)
    depth = max(depth, deepest + 1)
    check_depth(space, depth, "here")
    layers = layer_subset(propose(space, depth, data.draw), depth)
    assert layers
    assert list(layers) == sorted(set(layers))
    assert layers[0] >= 0
    assert layers[-1] < depth


@pytest.mark.parametrize(
    ("proposal", "layers"),
    [
        ({"layers": "last", "last": 2}, (4, 5)),
        ({"layers": "first", "first": 3}, (0, 1, 2)),
        ({"layers": "range", "range_low": 1, "range_length": 2}, (1, 2)),
        ({"layers": "range", "range_low": 4, "range_length": 6}, (4, 5)),
        ({"layers": "every", "every": 2}, (1, 3, 5)),
        ({"layers": "every", "every": 6}, (5,)),
        ({"layers": "list", "list": "0,5"}, (0, 5)),
    ],
)
def test_layer_subsets_by_hand(proposal, layers):
    assert layer_subset(proposal, 6) == layers


@given(spaces(), st.integers(1, 24))
def test_dimensions_name_each_parameter_once_and_hang_on_choices_that_exist(space, depth):
    found = dimensions(space, depth)
    by_name = {one.name: one for one in found}
    assert len(by_name) == len(found)
    for place, one in enumerate(found):
        assert len(set(one.choices)) == len(one.choices)
        assert one.choices or one.low <= one.high
        if one.when is not None:
            name, choices = one.when
            assert set(choices) & set(by_name[name].choices)
            assert found.index(by_name[name]) < place


@given(spaces(), st.data(), st.sampled_from(["energy", "threshold"]))
def test_the_count_is_the_sum_of_the_ranks_by_the_rule(space, data, rule):
    depth = 24
    space = space.model_copy(update={"tau": space.tau.model_copy(update={"rule": rule})})
    proposal, spectra = propose(space, depth, data.draw), spectra_of(depth)
    found = canonical(space, proposal, spectra, depth)
    assert found.parameters == sum(
        rank_for(rule, spectra[layer, matrix], proposal["tau"])
        for layer in layer_subset(proposal, depth)
        for matrix in proposal["matrices"]
    )
    assert list(found.ranks) == sorted(found.ranks, key=lambda one: (one.layer, MATRICES.index(one.matrix)))
    assert found.lowest_layer == layer_subset(proposal, depth)[0]
    assert canonical(space, dict(reversed(proposal.items())), spectra, depth).identity == found.identity
    again = configuration_from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert again.identity == found.identity


BASE = {"method": "qr-lora", "tau": 0.5, "learning_rate": 0.0123, "matrices": "qv", "batch_size": 32, "head": "frozen"}


def identity(changes):
    return canonical(SearchSpace(), {**BASE, **changes}, spectra_of(6), 6).identity


def test_proposals_that_train_the_same_are_the_same():
    base = {"layers": "last", "last": 6}
    whole = identity(base)
    assert identity({"layers": "first", "first": 6}) == whole
    assert identity({"layers": "range", "range_low": 0, "range_length": 6}) == whole
    assert identity({"layers": "list", "list": "0,1,2,3,4,5"}) == whole
    assert identity({**base, "learning_rate": 0.01234}) == whole
    assert identity({**base, "matrices": "vq"}) == whole
    assert identity({**base, "tau": 0.5 + 1e-9}) == whole
    assert identity({"layers": "every", "every": 5}) == identity({"layers": "list", "list": "0,5"})


@pytest.mark.parametrize(
    "change",
    [{"last": 5}, {"learning_rate": 0.013}, {"matrices": "qk"}, {"tau": 0.9}, {"batch_size": 16}, {"head": "trained"}],
)
def test_proposals_that_train_differently_are_told_apart(change):
    base = {"layers": "last", "last": 6}
    assert identity({**base, **change}) != identity(base)


def test_the_head_only_control_has_no_adapter_and_the_heads_rate():
    control = head_only(SearchSpace(), 16)
    assert (control.parameters, control.lowest_layer, control.words) == (0, None, "no adapter")
    assert (control.head, control.head_learning_rate, control.batch_size, control.epochs) == ("trained", 1e-3, 16, 5)


def test_words():
    assert [layer_words(one) for one in ([3], [2, 3, 4], [0, 2, 4])] == ["layer 3", "layers 2-4", "layers 0,2,4"]
    found = canonical(SearchSpace(), {**BASE, "layers": "last", "last": 2}, spectra_of(6), 6)
    assert found.words == "qv in layers 4-5"


@given(st.floats(1e-5, 1))
def test_learning_rates_keep_two_digits(value):
    rounded = round_learning_rate(value)
    assert rounded == pytest.approx(value, rel=0.051)
    assert round_learning_rate(rounded) == rounded


def test_an_unknown_task_is_named_with_the_nearest():
    with pytest.raises(UserError, match="--task 'colla' is not known: did you mean 'cola'\\? the tasks are mnli, mrpc"):
        find_task("colla")
    with pytest.raises(UserError, match="--task '' is not known: the tasks are"):
        find_task("")


def test_the_eight_tasks():
    assert list(TASKS) == ["mnli", "mrpc", "sst2", "cola", "qnli", "qqp", "rte", "stsb"]
    columns = {name: task.columns for name, task in TASKS.items()}
    pair = ("sentence1", "sentence2", "label")
    assert columns == {
        "mnli": ("premise", "hypothesis", "label"),
        "mrpc": pair,
        "sst2": ("sentence", "label"),
        "cola": ("sentence", "label"),
        "qnli": ("question", "sentence", "label"),
        "qqp": ("question1", "question2", "label"),
        "rte": pair,
        "stsb": pair,
    }
    assert {name: task.outputs for name, task in TASKS.items() if task.outputs != 2} == {"mnli": 3, "stsb": 1}
    assert [name for name, task in TASKS.items() if task.regression] == ["stsb"]


def test_confirmation_selection_and_derived_are_tables_of_the_space(tmp_path):
    file = tmp_path / "space.toml"
    file.write_text('[confirm]\nshare = 0.0\n[selection]\non = "validation"\n[derived]\nhalvings = 0\n')
    space = load_space("sst2", file)
    assert (space.confirm.share, space.selection.on, space.derived.halvings) == (0.0, "validation", 0)
    for text, message in {
        "[confirm]\nwarmups = 2\n": "two leave one degree of freedom",
        "[confirm]\nwarmups = 5\n": "warmups = 5 is more than seeds = 3",
        "[confirm]\nshare = -1.0\n": "confirm.share = -1",
        '[selection]\non = "test"\n': "selection.on = 'test'",
        "[confirm]\nsede = 2\n": "did you mean 'seeds'",
    }.items():
        file.write_text(text)
        with pytest.raises(UserError) as refused:
            load_space("sst2", file)
        assert message in str(refused.value)


def test_plans_of_default_confirmation_are_the_same_search_as_before_there_was_any():
    """The hash names the default output; a space that sets these tables is another search."""
    space = plan().identity["space"]
    assert not {"selection", "confirm", "derived"} & set(space)
    assert plan(confirm={"share": 0.5}).hash != plan().hash
    assert plan(selection={"on": "validation"}).title == "sst2 (SELECTED ON THE VALIDATION SET)"
