"""The explorer's words and figures for adapters that are derived from trials, and what it says of raw scores."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

import exploring_data as data
import exploring_figures as figures
from exploring_data import Loaded, Search, Trial
from qrlora_search.app.draw_terminal import closing_lines
from qrlora_search.app.front_view import FrontView
from qrlora_search.app.views.building import build_front_view
from test_drawing import confirmed_history

SEARCH = Search(
    "run",
    "1",
    "cola-x",
    "s",
    "cola",
    "FINISHED",
    "runs/cola-x",
    "",
    "matthews",
    {"control.selection.matthews": 0.3},
    {"data.kind": "folder", "counts.selection": "1000"},
    {},
)
TRIAL = Trial("child", "cola-x", 21, 127, 0.38, 0.03, "finished", True, "0", "all 5 epochs", "", {"words": "q"}, "run")
SELECTION = {"score": 0.35, "low": 0.3, "high": 0.4}
VIEW = {
    "confirmation": {"status": "confirmed", "lead": 0.01},
    "points": [{"trial": 21, "parameters": count, "score": score, "state": "derived"}
               for count, score in ((63, 0.376), (31, 0.33))],
    "members": [{"trial": 21, "kept": 63, "parameters": 63, "selection": SELECTION, "words": "q", "report": []}],
}  # fmt: skip


def loaded(view=VIEW, search=SEARCH) -> Loaded:
    """Return a search of one trial, with its derived adapters."""
    return Loaded(search, [TRIAL, *data.derived_of(view, [TRIAL])], view, data.front_of(view, [TRIAL]))


def test_a_derived_adapter_is_a_point_of_its_own_with_its_own_command():
    one, some, fewer = loaded().trials
    assert (one.name, some.name, fewer.name) == ("trial 21", "trial 21, its 63 largest", "trial 21, its 31 largest")
    assert (some.on_front, fewer.on_front) == (True, False)
    wanted = "python -m platform.export runs/cola-x --trial 21 --keep 63 --as lora --to adapter-21-63"
    assert data.export_command(SEARCH, some) == wanted
    assert "--keep" not in data.export_command(SEARCH, one)
    full = replace(TRIAL, params={"method": "full"})
    assert "--as merged" in data.export_command(SEARCH, full)


def test_a_click_tells_a_trial_from_what_is_derived_of_it():
    figure = figures.front_figure([loaded()], loaded().trials)
    clicked = {tuple(point) for trace in figure.data if trace.customdata is not None for point in trace.customdata}
    assert clicked == {("run", 21, 0), ("run", 21, 63), ("run", 21, 31)}
    (front,) = (trace for trace in figure.data if "front (1)" in trace.name)
    assert (list(front.x), [list(point) for point in front.customdata]) == ([63], [["run", 21, 63]])


def test_a_search_of_which_nothing_is_heard_may_have_been_killed():
    def run(status, start, end=None, heard=None):
        info = SimpleNamespace(run_id="r", status=status, start_time=start, end_time=end)
        return SimpleNamespace(info=info, data=SimpleNamespace(tags={"qrlora.heard": heard} if heard else {}))

    class Store:
        heard: str | None = None

        def get_run(self, _):
            return run("RUNNING", 1_000, heard=self.heard)

        def get_metric_history(self, _run, _name):
            return [SimpleNamespace(timestamp=9_000), SimpleNamespace(timestamp=8_000)]

    live = replace(SEARCH, status="RUNNING")
    assert data.newest(Store(), live, []) == 1.0
    assert data.newest(Store(), live, [run("FINISHED", 2_000, 3_000)]) == 3.0
    news = data.newest(Store(), live, [run("FINISHED", 2_000, 3_000), run("RUNNING", 4_000)])
    assert news == 9.0
    Store.heard = "20"  # it confirms, or was taken up again
    assert data.newest(Store(), live, [run("FINISHED", 2_000, 3_000)]) == 20.0
    one = replace(loaded(search=live), news=news)
    assert one.silence(9.0 + 599) == ""
    assert "for 10 minutes" in one.silence(9.0 + 601)
    assert "--output runs/cola-x --resume" in one.silence(9.0 + 601)
    assert loaded().silence(1e10) == ""


def test_what_members_add_to_the_control_is_drawn_with_its_paired_intervals():
    def difference(split, middle):
        return {"split": split, "n": 40, "difference": middle, "low": -0.01, "high": 0.04, "over": "seeds and examples"}

    member = {**VIEW["members"][0], "on_selection": difference("selection", 0.01)}
    member["against_control"] = [difference("validation", 0.02), difference("other", 0.03)]
    selection, report = figures.gains_figure({"members": [member]}).data
    assert (list(selection.x), list(selection.y)) == ([63], [0.01])
    assert (report.name, list(report.y)) == ("validation, n = 40, over seeds and examples", [0.02])
    assert report.error_y.array[0] == pytest.approx(0.02)
    assert report.error_y.arrayminus[0] == pytest.approx(0.03)
    assert figures.gains_figure({}) is None
    assert figures.gains_figure({"members": []}) is None


def test_one_parameter_is_not_drawn_on_the_control():
    small = replace(TRIAL, parameters=1)
    figure = figures.front_figure([replace(loaded(), trials=[small])], [small])
    (point,) = (trace for trace in figure.data if trace.name.startswith("finished"))
    (control,) = (trace for trace in figure.data if "control" in trace.name)
    assert list(point.x) == [1]
    assert control.x[0] < 1


@pytest.mark.parametrize(
    ("view", "params", "marks"),
    [
        (VIEW, {}, []),
        ({}, {}, ["UNCONFIRMED: raw scores"]),
        (VIEW, {"space.selection.on": "validation"}, ["SELECTED ON THE VALIDATION SET"]),
        (VIEW, {"data.kind": "stand-in"}, ["STAND-IN data, not GLUE"]),
    ],
)
def test_what_is_to_be_said_is_in_the_title(view, params, marks):
    one = loaded(view, replace(SEARCH, params={**SEARCH.params, **params}))
    assert one.marks == marks
    title = figures.front_figure([one], one.trials).layout.title.text
    assert all(mark in title for mark in marks)


def test_methods_are_told_by_letters_where_there_are_several():
    other = replace(TRIAL, number=22, params={"method": "full", "words": "all weights"})
    figure = figures.front_figure([loaded()], [TRIAL, other])
    names = {trace.name: trace.text for trace in figure.data if trace.name.startswith("finished")}
    assert {name: set(text) for name, text in names.items()} == {
        "finished, qr-lora [Q] (1)": {"Q"}, "finished, full [F] (1)": {"F"},
    }  # fmt: skip


def test_what_is_to_know_of_the_front_and_its_intervals_is_said():
    """Of a front view as searches write it, of one of an earlier version, and while a search runs."""
    history = confirmed_history()
    view = json.loads(build_front_view(history, "complete", 1.0).model_dump_json())
    said = loaded(view).said
    assert said == [*view["trust"], *view["notes"]]
    assert said[0].startswith("confirmed: ")
    assert said[1].startswith("winner's curse: ")
    assert any("conditional on this one warm-up" in line for line in said)
    assert set(view["trust"]) <= set(closing_lines(FrontView.model_validate(view)))
    older = {name: part for name, part in view.items() if name != "trust"}
    assert FrontView.model_validate(older).trust == []
    assert loaded(older).said == [f"confirmed: {view['confirmation']['reason']}", *view["notes"]]
    (line,) = loaded({}).said
    assert "conditional on its one warm-up" in line
    assert "winner's curse" in line
    assert loaded({"members": []}).said == []


def test_the_axes_say_what_they_are_of():
    member = {**VIEW["members"][0], "on_selection": {"split": "s", "n": 4, "difference": 0.1, "low": 0, "high": 1}}
    gains = figures.gains_figure({"members": [member], "objective": "matthews"})
    assert gains.layout.yaxis.title.text == "matthews minus control"
    live = figures.live_figure(([1, 2], [0.0, 0.1]), SEARCH)
    assert live.layout.yaxis.title.text == "hypervolume, matthews<br>x log10(1 + parameters)"
    assert live.layout.title.text.endswith("n = 1000; no interval while the search runs")
    for objective, loss in (("matthews", "cross-entropy, nats"), ("pearson", "mean squared error")):
        search = replace(SEARCH, objective=objective)
        curve = figures.curve_figure(TRIAL, ([1], [0.3]), ([1], [0.6]), search)
        assert curve.layout.yaxis.title.text == f"{objective},<br>selection, n = 1000"
        assert curve.layout.yaxis2.title.text == f"held-out loss, selection,<br>{loss}, n = 1000"
