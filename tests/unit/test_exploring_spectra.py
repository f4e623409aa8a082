"""The explorer's rank spectra: cut where tau cut them, each kind of matrix at its own tau, and nowhere without tau."""

import json
from dataclasses import replace

import numpy as np
import pytest

import exploring_spectra as spectral
from exploring_data import Trial
from qrlora_search.adapters.mlflow_sink.children import params_of
from qrlora_search.adapters.mlflow_sink.tracking import flat
from qrlora_search.app.trial_files import write_spectra
from qrlora_search.describe.configuration import DIAGONAL, MATRICES, METHODS
from qrlora_search.describe.proposals import canonical
from scripted import plan
from test_exploring import SEARCH, TRIAL

SPECTRA = {
    (layer, kind): np.exp(-np.arange(16) / (3 + layer + place)) for layer in range(4)
    for place, kind in enumerate(MATRICES)
}  # fmt: skip
PROPOSAL = {"matrices": "qkvo", "layers": "last", "last": 2, "batch_size": 32, "head": "frozen"}
RATES = {"learning_rate": 0.01, "low_rank_learning_rate": 0.01, "full_learning_rate": 1e-5}


def proposed(method, tilts, rule="energy"):
    """Return a trial and its search as MLflow has them, of a proposal that was cut as searches cut them."""
    the_plan = plan(tau={"low": 0.1, "high": 0.8, "tilt": 0.3, "rule": rule}, methods={"of": METHODS})
    proposal = {**PROPOSAL, **RATES, "method": method, "rank": 2}
    proposal |= {"tau": 0.6, **tilts} if method in DIAGONAL else {}
    what = canonical(the_plan.space, proposal, SPECTRA, 4, whole=100)
    params = {name: str(value) for name, value in params_of(proposal, what).items()}
    search = replace(SEARCH, params={name: str(value) for name, value in flat(the_plan.model_dump()).items()})
    return replace(TRIAL, params=params), search


def drawn(trial, search, rule, tmp_path):
    """Return the figure of a trial, from the file of spectra that its search keeps."""
    write_spectra(SPECTRA, rule, tmp_path)
    spectra = json.loads((tmp_path / "spectra.json").read_text())
    levels = spectral.taus(trial, search)
    return levels, spectral.spectra_figure(spectral.cuts(trial, spectra), levels, spectra["rule"], trial.method)


def level_lines(figure):
    """Return the levels that are drawn, and their words."""
    assert all(one.line.width > 0 for one in figure.layout.shapes), "the template draws shapes without a line"
    return [(one.y0, note.text) for one, note in zip(figure.layout.shapes, figure.layout.annotations, strict=True)]


def test_the_cut_is_the_rank_that_tau_gives():
    params = {"ranks": '[[3, "q", 2], [0, "v", 1]]', "tau": "0.9"}
    trial = Trial("r", "s", 1, 3, 0.5, None, "finished", False, "", "", "", params)
    spectra = {"rule": "energy", "matrices": [{"layer": 3, "matrix": "q", "diagonal": [1.0, 0.5, 0.1]}]}
    (cut,) = spectral.cuts(trial, spectra)
    assert cut["rank"] == 2
    assert cut["share"] == pytest.approx([1 / 1.26, 1.25 / 1.26, 1.0])
    figure = spectral.spectra_figure([cut], spectral.taus(trial, SEARCH), "energy", "qr-lora")
    assert (figure.data[1].x[0], figure.data[1].y[0]) == (2, pytest.approx(1.25 / 1.26))
    assert level_lines(figure) == [(0.9, "tau = 0.9")]


@pytest.mark.parametrize("rule", ["energy", "threshold"])
@pytest.mark.parametrize("method", DIAGONAL)
def test_each_kind_is_cut_at_its_own_tau_where_tau_is_tilted(method, rule, tmp_path):
    """Wv is kept at the high end of the range, Wo is moved by nothing."""
    tilts = {"tilt_q": 0.05, "tilt_k": -0.29, "tilt_v": 0.3, "tilt_o": 0.0}
    trial, search = proposed(method, tilts, rule)
    levels, figure = drawn(trial, search, rule, tmp_path)
    assert levels == pytest.approx({"q": 0.65, "k": 0.31, "v": 0.8, "o": 0.6})
    assert sorted(y for y, _ in level_lines(figure)) == pytest.approx([0.31, 0.6, 0.65, 0.8])
    assert {text for _, text in level_lines(figure)} == {
        "tau of Wq = 0.65", "tau of Wk = 0.31", "tau of Wv = 0.8", "tau of Wo = 0.6",
    }  # fmt: skip
    curves = {one.name: one for one in figure.data if one.mode == "lines"}
    marks = [one for one in figure.data if one.mode == "markers"]
    assert len(marks) == len(curves) == 8
    for name, curve in curves.items():
        level, rank = levels[name[1]], int(name.rsplit(" ", 1)[1])
        before = list(curve.y[: rank - 1])
        if rule == "energy":  # the smallest rank that reaches the level
            assert curve.y[rank - 1] >= level - 1e-3 > max(before, default=0.0) - 2e-3
        else:  # as many as lie above it
            assert min([*before, curve.y[rank - 1]]) > level - 1e-3
            assert rank == 16 or curve.y[rank] <= level + 1e-3


def test_kinds_with_one_tau_have_one_line(tmp_path):
    _, figure = drawn(*proposed("qr-lora", {}), "energy", tmp_path)
    assert level_lines(figure) == [(0.6, "tau = 0.6")]
    same = {"tilt_q": 0.1, "tilt_k": 0.1, "tilt_v": 0.0, "tilt_o": 0.0}
    _, figure = drawn(*proposed("qr-lora", same), "energy", tmp_path)
    assert [text for _, text in level_lines(figure)] == ["tau of Wq, Wk = 0.7", "tau of Wv, Wo = 0.6"]


@pytest.mark.parametrize("method", ["lora", "svd-lora"])
def test_nothing_is_cut_where_the_method_has_no_tau(method, tmp_path):
    trial, search = proposed(method, {})
    levels, figure = drawn(trial, search, "energy", tmp_path)
    assert levels == {}
    assert level_lines(figure) == []
    assert [one.mode for one in figure.data] == ["lines"] * 8
    assert not any("r =" in one.name for one in figure.data)
    assert figure.layout.title.text == f"Rank spectra; no cut: {method} has no tau"


def test_full_fine_tuning_has_no_spectra_and_the_page_says_why(tmp_path):
    trial, search = proposed("full", {})
    assert drawn(trial, search, "energy", tmp_path)[1].data == ()
    assert "trains every weight" in spectral.why_none(trial)
    assert "adapts no matrix" in spectral.why_none(replace(TRIAL, params={"method": "qr-lora"}))
