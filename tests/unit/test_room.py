"""How many trials a cluster's nodes hold, and which nodes may hold them."""

import pytest
import ray

from qrlora_search.adapters.ray_engine import resources
from qrlora_search.adapters.ray_engine.resources import Room, TrialResources, missing_nodes, places

NODES = [
    {"NodeID": "d", "Alive": True, "Resources": {"CPU": 8.0}, "Labels": {"zone": "a"}},
    {
        "NodeID": "e",
        "Alive": True,
        "Resources": {"CPU": 4.0, "GPU": 2.0},
        "Labels": {"zone": "b", "ray.io/node-id": "f"},
    },
    {"NodeID": "f", "Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}, "Labels": {"zone": "b"}},
    {"NodeID": "g", "Alive": True, "Resources": {}, "Labels": {}},
]


@pytest.fixture(autouse=True)
def nodes(monkeypatch):
    """Let the cluster have these nodes."""
    monkeypatch.setattr(ray, "nodes", lambda: NODES)


@pytest.mark.parametrize(
    ("each", "held"),
    [
        (TrialResources(), 12),
        (TrialResources(threads=3), 3),
        (TrialResources(gpus=1.0), 2),
        (TrialResources(gpus=0.1), 4),  # the node with GPUs has four processors
        (TrialResources(threads=2, gpus=0.5), 2),
        (TrialResources(gpus=2.0), 1),
        (TrialResources(gpus=4.0), 0),
        (TrialResources(labels={"zone": "a"}), 8),
        (TrialResources(labels={"zone": "a", "rack": "1"}), 0),
        (TrialResources(labels={"zone": "!a"}), 12),  # patterns are left to Ray
    ],
)
def test_one_trial_more_is_under_way_than_living_nodes_hold(each, held):
    assert Room(each)() == held + 1


def test_a_node_that_no_trial_can_run_on_holds_none():
    unfit = set()
    assert places(TrialResources(), unfit) == 12
    unfit.add("d")
    assert places(TrialResources(), unfit) == 4
    asked = vars(TrialResources(labels={"zone": "a"}).bundle(sorted(unfit)))["_kwargs"]
    assert asked == {"bundle_label_selector": [{"zone": "a", "ray.io/node-id": "!in(d)"}]}


def test_nodes_that_join_are_seen_after_a_few_seconds(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(resources.time, "monotonic", lambda: now[0])
    room = Room(TrialResources())
    assert room() == 13
    monkeypatch.setattr(ray, "nodes", lambda: [*NODES, NODES[0]])
    assert room() == 13
    now[0] += resources.LOOK_S + 1
    assert room() == 21


def test_what_no_node_can_hold_is_said():
    assert missing_nodes(TrialResources(threads=8, labels={"zone": "a"})) == ""
    assert missing_nodes(TrialResources(gpus=2.0)) == ""
    said = missing_nodes(TrialResources(gpus=1.0, labels={"zone": "a"}))
    assert said.startswith(
        "none of the cluster's 3 nodes has 1 CPU, 1 GPU, zone=a (labels there: zone=a, zone=b): trials"
    )
    more = missing_nodes(TrialResources(gpus=4.0))  # a node with some GPUs is not enough
    assert more.startswith("none of the cluster's 3 nodes has 1 CPU, 4 GPU (labels")


def test_labels_reach_rays_placement():
    bundle = TrialResources(threads=2, gpus=0.5, labels={"zone": "a"}).bundle()
    assert bundle.required_resources == {"CPU": 2.0, "GPU": 0.5}
    assert bundle == TrialResources(threads=2, gpus=0.5, labels={"zone": "a"}).bundle()
    assert bundle != TrialResources(threads=2, gpus=0.5).bundle()
