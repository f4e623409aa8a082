"""Which axes MLflow's parallel coordinates have: it draws only runs that have every one of them."""

import numpy as np
import pytest

from qrlora_search.adapters.mlflow_sink.children import params_of
from qrlora_search.adapters.mlflow_sink.shared_view import view_state
from qrlora_search.describe.configuration import DIAGONAL, LOW_RANK, MATRICES, METHODS
from qrlora_search.describe.proposals import canonical, dimensions
from scripted import plan

EVERY = {"learning_rate", "layer_count", "lowest_layer", "matrix_count"}
SPECTRA = {(layer, kind): np.ones(8) for layer in range(4) for kind in MATRICES}


def params(space, method):
    """Return what the run of a trial of a method shows as parameters."""
    offered = dimensions(space, 4)
    proposal = {one.name: one.choices[0] if one.choices else one.low for one in offered} | {"method": method}
    proposal = {one.name: proposal[one.name] for one in offered if one.applies(proposal)}
    return params_of(proposal, canonical(space, proposal, SPECTRA, 4, whole=100))


@pytest.mark.parametrize(
    ("methods", "own"),
    [
        (("qr-lora",), {"tau"}),
        (DIAGONAL, {"tau"}),
        (LOW_RANK, {"rank"}),
        (("qr-lora", "full"), set()),
        (("qr-lora", "lora"), set()),
        (("full",), set()),
        (METHODS, set()),
    ],
)
def test_the_parallel_coordinates_have_the_axes_that_every_trial_has(methods, own):
    the_plan = plan(6, methods={"of": methods})
    charts = {one["type"]: one for one in view_state("s", the_plan)["compareRunCharts"] if not one["deleted"]}
    axes = set(charts["PARALLEL"]["selectedParams"])
    assert axes == EVERY | own
    assert all(axes <= params(the_plan.space, method).keys() for method in methods)
    some = [method for method in methods if {"tau", "learning_rate"} <= params(the_plan.space, method).keys()]
    assert ("CONTOUR" in charts) == bool(some)
