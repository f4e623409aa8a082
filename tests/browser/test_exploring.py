"""What the explorer can do beyond its first picture, on real searches in a real browser, and a comparison's page.

Filters, picks, importance, the bill, spectra, links, the keyboard, a search that runs, and an empty store.
"""

import json
import signal
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from browser.pages import DRAWN, Seen, browser_page, served, shoot
from browser.slow_server import before
from qrlora_search.app.front_view import FrontView
from search_runs import end_group, free_port

pytestmark = pytest.mark.evidence

PLOTTED = "() => document.querySelectorAll('.js-plotly-plot').length >= 3"


@pytest.fixture(scope="module")
def outputs(place):
    """Return the outputs of two finished searches; the second knows nothing of the first."""
    for seed in ("0", "1"):
        result = place.run("--budget", "8", "--concurrency", "2", "--seed", seed, "--output", f"runs/seed-{seed}")
        assert result.returncode == 0, result.stdout
    return [place.folder / "runs" / f"seed-{seed}" for seed in (0, 1)]


@pytest.fixture(scope="module")
def explorer(place, outputs):
    port = free_port()
    with served(place, ["explorer", "--port", str(port)], f"http://127.0.0.1:{port}") as ready:
        yield ready


def points(page) -> set[tuple[float, float]]:
    """Return what the front's figure draws as trials, without fronts and controls."""
    traces = [trace for trace in page.evaluate(DRAWN)[0] if ": " not in trace["name"]]
    return {(x, y) for trace in traces for x, y in zip(trace["x"], trace["y"], strict=True)}


def shown(page, outputs):
    """Return the front view of the search that the explorer shows at first."""
    label = page.get_by_role("button", name="Remove sst2").first.get_attribute("aria-label")
    views = [FrontView.model_validate_json((one / "front.json").read_text()) for one in outputs]
    return next(one for one in views if one.search_id[:6] in label)


def settled(page) -> None:
    """Wait until Streamlit has drawn."""
    page.wait_for_timeout(600)
    page.wait_for_function("() => !document.querySelector('[data-testid=\"stStatusWidget\"]')")
    page.wait_for_timeout(900)


def test_filters_leave_what_they_say_and_two_searches_are_drawn_over_one_another(outputs, explorer):
    views = [FrontView.model_validate_json((one / "front.json").read_text()) for one in outputs]
    seen = Seen()
    with browser_page(seen) as page:
        page.goto(explorer)
        page.wait_for_function(PLOTTED)
        settled(page)
        whole = points(page)
        sizes = sorted({x for x, _ in whole})
        limit = sizes[len(sizes) // 2]
        box = page.get_by_role("spinbutton", name="At most so many parameters")
        box.fill(str(int(limit)))
        box.press("Enter")
        settled(page)
        few = points(page)
        assert few == {(x, y) for x, y in whole if x <= limit}
        assert 0 < len(few) < len(whole)
        box.fill("0")
        box.press("Enter")
        settled(page)
        page.get_by_role("combobox", name="Status").click()
        page.get_by_role("option", name="derived").click()
        page.keyboard.press("Escape")
        settled(page)
        kept = {trace["name"].split(",")[0] for trace in page.evaluate(DRAWN)[0] if ": " not in trace["name"]}
        assert kept == {"derived"}
        page.reload()
        page.wait_for_function(PLOTTED)
        settled(page)
        first = shown(page, outputs)
        other = next(one for one in views if one.search_id != first.search_id)
        page.get_by_role("combobox", name="Searches").click()
        page.get_by_role("option", name=other.search_id[:6]).click()
        settled(page)
        traces = page.evaluate(DRAWN)[0]
        assert sum("control" in one["name"] for one in traces) == 2
        wanted = {(one.parameters, one.score) for view in views for one in view.points if one.score is not None}
        assert wanted <= points(page)
        shoot(page, "explorer-two")
    assert seen.errors == []


def test_picks_importance_the_bill_spectra_and_links_are_those_of_the_search(outputs, explorer):
    seen = Seen()
    with browser_page(seen) as page:
        page.goto(explorer)
        page.wait_for_function(PLOTTED)
        settled(page)
        titles = [one.text_content() for one in page.locator(".js-plotly-plot .gtitle").all()]
        assert any(one.startswith("Rank spectra and tau's cut") for one in titles)
        spectra = page.evaluate(DRAWN)[2]
        lines = [one for one in spectra if ": r = " in (one["name"] or "")]
        marks = [one for one in spectra if len(one["x"]) == 1]
        ranks = [int(one["name"].rsplit(" ", 1)[1]) for one in lines]
        assert [one["x"][0] for one in marks] == ranks
        view = shown(page, outputs)
        label = page.get_by_role("combobox", name="Trial").input_value()
        number = int(label.rsplit("trial ", 1)[1].split(",")[0])
        assert sum(ranks) == next(one.parameters for one in view.points if one.trial == number)
        links = [one.get_attribute("href") for one in page.get_by_role("link").all()]
        assert any("/runs/" in one for one in links if one)
        assert any("viewStateShareKey" in one for one in links if one)
        assert page.get_by_role("tabpanel").first.locator("[data-testid='stDataFrame']").count() == bool(view.picks)
        page.get_by_role("tab", name="Importance").click()
        settled(page)
        said = page.get_by_role("tabpanel").all_inner_texts()
        assert any(one.words.split("\n")[0][:40] in text for one in view.importance for text in said)
        page.get_by_role("tab", name="The bill").click()
        settled(page)
        said = page.get_by_role("tabpanel").all_inner_texts()
        assert any(f"{view.bill.counterfactual_epochs:,} epochs" in text for text in said)
        shoot(page, "explorer-bill")
    assert seen.outside == []
    assert seen.errors == []


def test_a_trial_is_chosen_by_the_keyboard_alone(explorer):
    seen = Seen()
    with browser_page(seen) as page:
        page.goto(explorer)
        page.wait_for_function(PLOTTED)
        settled(page)
        before = page.locator("p", has_text="adapter parameters").first.inner_text()
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("() => (document.activeElement.getAttribute('aria-label') || '').includes('Trial')"):
                break
        else:
            pytest.fail("sixty times Tab do not reach the list of trials")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        settled(page)
        assert page.locator("p", has_text="adapter parameters").first.inner_text() != before
    assert seen.errors == []


def test_a_running_search_grows_on_the_page_by_itself(place, outputs, explorer):
    command = place.command("--budget", "8", "--concurrency", "1", "--seed", "2", "--output", "runs/seed-2")
    process = subprocess.Popen(
        command, cwd=place.folder, env=place.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    seen, counts = Seen(), []
    try:
        with browser_page(seen) as page:
            page.goto(explorer)
            page.wait_for_function(PLOTTED)
            picked = page.locator("button[aria-label^='Remove sst2']")
            first = picked.first.get_attribute("aria-label")
            page.get_by_role("combobox", name="Searches").click()
            page.get_by_role("option", name="(running)").click(timeout=90_000)  # it comes to the list by itself
            page.keyboard.press("Escape")
            assert picked.first.get_attribute("aria-label") == first
            page.locator("h3", has_text=": running").wait_for()
            while process.poll() is None and len(set(counts)) < 3:
                if page.evaluate(DRAWN):
                    counts.append(len(points(page)))
                page.wait_for_timeout(1000)
            shoot(page, "explorer-live")
        assert process.wait(timeout=300) == 0
    finally:
        if process.poll() is None:
            end_group(process, signal.SIGTERM)
    assert len(set(counts)) >= 3, counts
    assert counts == sorted(counts)
    assert seen.errors == []


def test_an_empty_store_says_how_to_begin(place, outputs, tmp_path):
    port = free_port()
    command = ["explorer", "--port", str(port), "--tracking-uri", f"sqlite:///{tmp_path / 'empty.db'}"]
    seen = Seen()
    with served(place, command, f"http://127.0.0.1:{port}") as ready, browser_page(seen) as page:
        page.goto(ready)
        page.get_by_text("No search has run yet").wait_for()
    assert seen.errors == []


def test_a_page_says_that_it_reads_and_that_mlflow_went_away_and_comes_back(place, outputs):
    """MLflow answers through a server that lets it wait, then breaks off, then answers again."""
    ports, seen = [free_port(), free_port()], Seen()
    with (
        served(place, ["ui", "--port", str(ports[0])], f"http://127.0.0.1:{ports[0]}") as mlflow,
        before(mlflow) as slow,
        served(
            place, ["explorer", "--port", str(ports[1]), "--tracking-uri", slow.address], f"http://127.0.0.1:{ports[1]}"
        ) as ready,
        browser_page(seen) as page,
    ):
        slow.open.clear()
        page.goto(ready)
        page.get_by_text("reading MLflow").wait_for()
        assert page.locator(".js-plotly-plot").count() == 0
        shoot(page, "explorer-loading")
        slow.open.set()
        page.wait_for_function(PLOTTED)
        page.get_by_text("reading MLflow").wait_for(state="detached")
        slow.broken.set()
        page.wait_for_timeout(5000)  # what was read before is no longer fresh
        page.reload()
        page.get_by_text("MLflow cannot be read").wait_for()
        assert "--tracking-uri" in page.inner_text("body")
        shoot(page, "explorer-error")
        slow.broken.clear()
        page.wait_for_timeout(500)
        page.reload()
        page.wait_for_function(PLOTTED)
        assert page.get_by_text("MLflow cannot be read").count() == 0
    assert seen.errors == []


def test_a_comparison_is_drawn_as_it_was_counted(place, outputs):
    script = place.command()[0]
    result = subprocess.run(
        [script, "compare", *(str(one) for one in outputs), "--output", "runs/compared"], cwd=place.folder,
        env=place.environment(), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    folder = place.folder / "runs" / "compared"
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    seen = Seen()
    try:
        with browser_page(seen) as page:
            page.goto(f"http://127.0.0.1:{server.server_port}/compare.html")
            page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot .main-svg').length > 0")
            shoot(page, "compare")
            plots = page.evaluate(DRAWN)
    finally:
        server.shutdown()
        server.server_close()
    drawn = {(x, round(y, 9)) for plot in plots for trace in plot for x, y in zip(trace["x"], trace["y"], strict=False)}
    for output in outputs:
        view = json.loads((output / "front.json").read_text())
        assert {(one["parameters"], round(one["selection"]["score"], 9)) for one in view["members"]} <= drawn
    assert seen.outside == []
    assert [one for one in seen.errors if "favicon.ico" not in one] == []
