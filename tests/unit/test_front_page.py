"""front.html in Debian's chromium: it draws what the front view holds, without an error, and asks for nothing else."""

import json

import pytest

from browser.pages import DRAWN, Seen, browser_page, shoot
from qrlora_search.app.draw_html import front_html
from qrlora_search.app.plot_data import BESIDE, CONTROL_X, plot_data
from qrlora_search.app.views.building import build_front_view
from test_drawing import make_history


def test_the_page_draws_the_view_and_nothing_goes_wrong(tmp_path):
    view = build_front_view(make_history(kind="stand-in"), "complete", 1.0)
    file = tmp_path / "front.html"
    file.write_text(front_html(view), encoding="utf-8")
    seen = Seen()
    with browser_page(seen) as page:
        page.goto(file.as_uri())
        page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot .main-svg').length > 0")
        traces = page.evaluate(DRAWN)[0]
        said = page.inner_text("body")
        shoot(page, "front-page")
    plot = plot_data(view)
    assert plot.members_x, "the view has a front"
    (front,) = [one for one in traces if (one["name"] or "").startswith("front (")]
    assert (front["x"], front["y"]) == (plot.members_x, pytest.approx(plot.members_y))
    (control,) = [one for one in traces if one["name"] == plot.control_label]
    assert (control["x"], control["y"]) == ([CONTROL_X], [pytest.approx(plot.control)])
    (report,) = [one for one in traces if one["name"] == plot.report_label]
    assert report["x"] == pytest.approx([one * BESIDE for one in (CONTROL_X, *plot.members_x)])
    added = [one for one in traces if (one["name"] or "").startswith(plot.gains_label)]
    assert [one["y"] for one in added] == [pytest.approx(one.y) for one in plot.gains]
    assert len(added) == 2
    assert "STAND-IN" in said
    assert "UNCONFIRMED" in said
    assert [one for one in seen.outside if not one.startswith("file:")] == [], json.dumps(seen.outside)
    assert seen.errors == []
