"""A real search, scraped while it runs; then MLflow's pages and the explorer on its data, in a real browser."""

import json
import math
import signal
import subprocess
import time
import urllib.request
from contextlib import suppress

import pytest
from prometheus_client.parser import text_string_to_metric_families

from browser.pages import CHARTS, DRAWN, Seen, browser_page, intervals, path_of, served, shoot, wait_for
from qrlora_search.app.front_view import FrontView
from qrlora_search.app.reading import read_search
from qrlora_search.record.events import Record
from qrlora_search.record.history import HEAD_ONLY, History
from qrlora_search.record.standing import control_score, standing_of
from search_runs import end_group, free_port

pytestmark = pytest.mark.evidence

BUDGET = 10
TRIALS = "qrlora_trials"


@pytest.fixture(scope="module")
def search(place):
    """Return the output of a finished search, what it printed, and the scrapes taken while it ran."""
    port, scrapes = free_port(), []
    command = place.command("--budget", str(BUDGET), "--concurrency", "2", "--metrics-port", str(port))
    process = subprocess.Popen(
        command, cwd=place.folder, env=place.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL, start_new_session=True, text=True,
    )  # fmt: skip
    try:
        wait_for(f"http://127.0.0.1:{port}/metrics", process, 120)
        while process.poll() is None:
            with suppress(OSError):
                scrapes.append(samples(wait_once(port)))
            time.sleep(0.2)
        said = process.stdout.read()
    finally:
        if process.poll() is None:
            end_group(process, signal.SIGTERM)
        process.stdout.close()
    assert process.returncode == 0, said
    (output,) = (place.folder / "runs").glob("sst2-*")
    return output, said, scrapes


def wait_once(port: int) -> str:
    """Return what the metrics' address answers now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def samples(text: str) -> dict[tuple[str, str], float]:
    """Return the samples of a scrape, as Prometheus parses it, by name and state; states are of trials alone."""
    families = text_string_to_metric_families(text)
    return {(one.name, one.labels.get("state", "")): one.value for family in families for one in family.samples}


@pytest.fixture(scope="module")
def mlflow_ui(place, search):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with served(place, ["ui", "--port", str(port)], address) as ready:
        yield ready


@pytest.fixture(scope="module")
def explorer(place, search):
    port = free_port()
    with served(place, ["explorer", "--port", str(port)], f"http://127.0.0.1:{port}") as ready:
        yield ready


STATES = ("finished", "stopped", "failed", "running")
COUNTED = (*((TRIALS, state) for state in STATES), ("qrlora_epochs_total", ""), ("qrlora_failures_total", ""))
"""What each event changes at once."""
STANDING = tuple(
    (f"qrlora_{name}", "")
    for name in ("hypervolume", "front_size", "best_score", "control_score", "spent_seconds", "saved_seconds")
)
"""What a search of many trials works out now and then."""


def record_by_event(output) -> list[dict[tuple[str, str], float]]:
    """Return what was true after each event of a search's record, by the names that metrics have."""
    history, found = History(), []
    for event in Record(f"sqlite:///{output / 'record.db'}").all():
        history.apply(event)
        ended = [sum(str(one.state) == state for one in history.searched) for state in STATES[:3]]
        epochs = sum(len(one.reports) for one in history.trials.values())
        numbers = [*ended, len(history.searched) - sum(ended), epochs, ended[2]]
        if (None, "selection") in history.scored:
            at = standing_of(history)
            numbers += [at.hypervolume, len(at.members), at.best, control_score(history), at.spent_s, at.saved_s]
        else:
            numbers += [0.0] * len(STANDING)
        found.append(dict(zip((*COUNTED, *STANDING), numbers, strict=True)))
    return found


def told_by(scrape, truths) -> bool:
    """Return whether a scrape while a search confirms is true: its counts are the record's, and what it works out now
    and then was so, all of it together, after some event since the first epoch.
    """

    def same(names, truth) -> bool:
        return all(scrape[name] == pytest.approx(truth[name], abs=1e-9) for name in names)

    return same(COUNTED, truths[-1]) and any(
        same(STANDING, truth) for truth in truths if truth["qrlora_epochs_total", ""]
    )


def test_the_metrics_of_a_running_search_follow_its_record(search):
    output, _, scrapes = search
    assert len(scrapes) > 2
    ended = [sum(one.get((TRIALS, state), 0) for state in STATES[:3]) for one in scrapes]
    growing = [("qrlora_epochs_total", ""), ("qrlora_failures_total", ""), ("qrlora_spent_seconds", "")]
    for name in (*growing, (TRIALS, "finished")):  # a stopped trial may be taken up again
        numbers = [one.get(name, 0) for one in scrapes]
        assert numbers == sorted(numbers)
    assert any(0 < one < BUDGET for one in ended), "no scrape was taken while trials ran"
    assert any(one.get((TRIALS, "running"), 0) > 0 for one in scrapes)
    assert all(math.isfinite(one[name]) for one in scrapes for name in STANDING)
    told = [one for one in scrapes if one["qrlora_epochs_total", ""] > 0]
    assert told
    truths = record_by_event(output)
    for name in (*COUNTED[4:], STANDING[0], STANDING[4]):  # a stopped trial that goes on has saved less than before
        assert max(one[name] for one in scrapes) <= truths[-1][name] + 1e-9
    last = scrapes[-1]
    assert {("qrlora_failures_total", ""), ("qrlora_saved_seconds", ""), ("qrlora_budget", "")} <= last.keys()
    assert told_by(last, truths)
    assert last["qrlora_budget", ""] == BUDGET
    assert min(last["qrlora_hypervolume", ""], last["qrlora_spent_seconds", ""], last["qrlora_best_score", ""]) > 0
    for name in (*COUNTED[:5], *STANDING[:1], *STANDING[4:]):
        assert not told_by(last | {name: last[name] + 1.0}, truths)
    for names in (COUNTED, STANDING, STANDING[:1], STANDING[4:5]):  # as if they had never been set
        assert not told_by(last | dict.fromkeys(names, 0.0), truths)


def test_mlflow_opens_on_the_search_with_its_charts_in_place(search, mlflow_ui):
    output, said, _ = search
    history, _ = read_search(output, "OUTPUT")
    path = path_of(said)
    seen = Seen()
    with browser_page(seen) as page:
        page.goto(f"{mlflow_ui}/{path}")
        page.wait_for_function(CHARTS)
        page.wait_for_timeout(1500)
        shoot(page, "mlflow-charts")
        plots = page.evaluate(DRAWN)
    points = {
        (round(x, 9), y) for plot in plots for trace in plot for x, y in zip(trace["x"], trace["y"], strict=False)
    }
    trials = {(one.configuration.parameters, one.score) for one in history.searched}
    view = FrontView.model_validate_json((output / "front.json").read_text())
    trials |= {(one.parameters, one.first.score) for one in view.members if one.kept is not None}
    assert {(round(math.log10(1 + size), 9), score) for size, score in trials} <= points
    assert seen.errors == []


def test_the_parents_run_shows_its_front_and_its_picks(search, mlflow_ui):
    output, _, _ = search
    view = FrontView.model_validate_json((output / "front.json").read_text())
    from mlflow.tracking import MlflowClient

    client = MlflowClient(mlflow_ui)
    experiment = client.get_experiment_by_name("qr-lora sst2").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`qrlora.kind` = 'search'")
    steps = [one.step for one in client.get_metric_history(parent.info.run_id, "hypervolume")]
    assert set(range(1, BUDGET + 1)) <= set(steps)
    assert parent.data.metrics["front_hypervolume"] == pytest.approx(view.hypervolume.value)
    assert {one.dataset.name for one in parent.inputs.dataset_inputs} == {"sst2"}
    assert not any("/" in one.dataset.source for one in parent.inputs.dataset_inputs)
    names = {one.path for one in client.list_artifacts(parent.info.run_id)}
    assert {"front.json", "front.csv", "front.html", "front.png", "trials.json", "spectra.json"} <= names
    assert view.members
    assert {f"pick.{one.name}": one.words for one in view.picks}.items() <= parent.data.tags.items()
    assert len(client.list_artifacts(parent.info.run_id, "front")) >= len(view.members)
    children = client.search_runs([experiment], "tags.`qrlora.kind` = 'trial'")
    whole = {one.trial for one in view.members if one.kept is None}
    for one in children:
        tags = one.data.tags
        assert tags["qrlora.state"] in {"finished", "stopped", "failed"}
        assert tags["qrlora.reason"]
        assert (tags["pareto.on_front"] == "true") == (int(tags["qrlora.trial"]) in whole)
        ranked = tags["qrlora.state"] == "finished" and int(tags["qrlora.trial"]) != HEAD_ONLY
        assert ("pareto.rank" in tags) == ranked
        assert float(one.data.params["parameters"]) == one.data.metrics["parameters"]
        assert one.data.metrics["score_error"] > 0
    seen = Seen()
    with browser_page(seen) as page:
        page.goto(f"{mlflow_ui}/#/experiments/{experiment}/runs/{parent.info.run_id}/artifacts/front.html")
        frame = page.frame_locator("iframe").first
        frame.locator(".js-plotly-plot .main-svg").first.wait_for()
        shoot(page, "mlflow-front")
    assert seen.errors == []


def chosen(page) -> str:
    """Return the explorer's words on the trial that is shown."""
    return str(page.locator("p", has_text="adapter parameters").first.inner_text())


def bars(trace) -> list[float]:
    """Return the ends of a trace's bars, low and high in turn."""
    return [end for interval in intervals(trace) for end in interval]


def ends(found) -> list[float]:
    """Return the same of what a front view holds."""
    return [end for one in found for end in (one["low"], one["high"])]


def bars_are_those_of(view, plots) -> None:
    """Check that members, the control and what members add have the intervals of a front view as their bars."""
    (members,) = [trace for trace in plots[0] if ": front (" in trace["name"]]
    assert members["x"] == [one["parameters"] for one in view["members"]]
    assert members["y"] == pytest.approx([one["selection"]["score"] for one in view["members"]])
    assert bars(members) == pytest.approx(ends([one["selection"] for one in view["members"]]))
    assert min(high - low for low, high in intervals(members)) > 0, "the view's own intervals have a width"
    (control,) = [trace for trace in plots[0] if ": control " in trace["name"]]
    assert bars(control) == pytest.approx(
        ends([one["selection"] for one in view["controls"] if one["kind"] == "warm-up"])
    )
    (added,) = [plot for plot in plots if any((trace["name"] or "").startswith("selection, n = ") for trace in plot)]
    assert bars(added[0]) == pytest.approx(ends([one["on_selection"] for one in view["members"]]))
    assert bars(added[1]) == pytest.approx(ends([one["against_control"][0] for one in view["members"]]))


def test_the_explorer_draws_the_search_and_answers_a_click(search, explorer):
    output, _, _ = search
    view = json.loads((output / "front.json").read_text())
    seen = Seen()
    with browser_page(seen) as page:
        page.goto(explorer)
        page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot').length >= 3")
        page.wait_for_timeout(1500)
        shoot(page, "explorer")
        plots = page.evaluate(DRAWN)
        front = plots[0]
        drawn = {(x, y) for trace in front for x, y in zip(trace["x"], trace["y"], strict=True)}
        assert {(one["parameters"], one["score"]) for one in view["points"] if one["score"] is not None} <= drawn
        bars_are_those_of(view, plots)
        before = chosen(page)
        marks = page.locator(".js-plotly-plot").first.locator(".scatterlayer .trace").first.locator("path.point")
        largest = front[0]["x"].index(max(front[0]["x"]))
        box = marks.nth(largest).bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_timeout(300)
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_timeout(2500)
        page.get_by_text("One trial").scroll_into_view_if_needed()
        shoot(page, "explorer-trial")
        after = chosen(page)
        text = page.inner_text("body")
    assert "platform.export" in text
    squeezed = "".join(text.split())
    for line in (*view["trust"], *view["notes"]):
        assert "".join(line.split()) in squeezed
    assert before != after  # the front's member is shown at first, and it is not the largest trial
    assert f"{max(front[0]['x']):,} adapter parameters" in after
    assert seen.outside == []
    assert seen.errors == []


def test_optuna_dashboard_opens_on_the_study(place, search):
    output, _, _ = search
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = ["study", str(output), "--port", str(port)]
    with (
        served(place, command, f"{address}/dashboard"),
        urllib.request.urlopen(f"{address}/api/studies", timeout=10) as answer,
    ):
        studies = json.loads(answer.read())["study_summaries"]
    assert [one["study_name"] for one in studies] == ["search"]
