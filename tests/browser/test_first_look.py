"""The explorer in a real browser, in seconds: an empty store, and a search that the sink made of generated events.

The other tests of pages run real searches, in `make evidence`.
"""

from browser.pages import DRAWN, Seen, browser_page, served
from qrlora_search.adapters.mlflow_sink.sink import MlflowSink
from search_runs import Place, free_port
from test_standing import SCORES, events

PLOTTED = "() => document.querySelectorAll('.js-plotly-plot').length >= 3"


def test_the_explorer_says_how_to_begin_and_then_draws_a_search(tmp_path):
    address, port, seen = f"sqlite:///{tmp_path / 'mlflow.db'}", free_port(), Seen()
    command = ["explorer", "--port", str(port), "--tracking-uri", address]
    with (
        browser_page(seen) as page,
        served(Place(tmp_path, tmp_path, "sst2"), command, f"http://127.0.0.1:{port}") as at,
    ):
        page.goto(at)
        page.get_by_text("No search has run yet").wait_for()
        sink = MlflowSink(address, tmp_path)
        for event in events():
            sink.take(event)
        page.reload()
        page.wait_for_function(PLOTTED)
        drawn = {
            (x, y)
            for plot in page.evaluate(DRAWN)
            for trace in plot
            for x, y in zip(trace["x"], trace["y"], strict=False)
        }
        assert {(size, score) for size, score, _ in SCORES.values()} <= drawn
    assert seen.errors == []
    assert seen.outside == []
