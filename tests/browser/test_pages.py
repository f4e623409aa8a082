"""A real search, scraped while it runs; then MLflow's pages and the explorer on its data, in a real browser."""

import json
import math
import signal
import subprocess
import time
import urllib.request
from contextlib import suppress

import pytest

from browser.pages import CHARTS, DRAWN, LINES, Seen, browser_page, served, shoot, wait_for
from qrlora_search.app.front_view import FrontView
from qrlora_search.app.reading import read_search
from qrlora_search.record.history import HEAD_ONLY
from qrlora_search.record.standing import standing_of
from search_runs import end_group, free_port

pytestmark = pytest.mark.evidence

BUDGET = 10


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


def samples(text: str) -> dict[str, float]:
    """Return the samples of a scrape."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}


@pytest.fixture(scope="module")
def mixed(place):
    """Return the output of a finished search over methods with and without tau, and what it printed."""
    space = (place.folder / "space.toml").read_text() + '[methods]\nof = ["qr-lora", "lora", "full"]\nranks = [1]\n'
    (place.folder / "mixed.toml").write_text(space)
    result = place.run("--budget", "8", "--space", "mixed.toml", "--output", "runs/mixed")
    assert result.returncode == 0, result.stdout
    return place.folder / "runs" / "mixed", result.stdout


@pytest.fixture(scope="module")
def mlflow_ui(place, search, mixed):
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with served(place, ["ui", "--port", str(port)], address) as ready:
        yield ready


@pytest.fixture(scope="module")
def explorer(place, search):
    port = free_port()
    with served(place, ["explorer", "--port", str(port)], f"http://127.0.0.1:{port}") as ready:
        yield ready


def test_the_metrics_of_a_running_search_follow_its_record(search):
    output, _, scrapes = search
    history, _ = read_search(output, "OUTPUT")
    assert len(scrapes) > 2
    ended = [sum(one.get(f'qrlora_trials{{state="{state}"}}', 0) for state in ("finished", "stopped", "failed"))
             for one in scrapes]  # fmt: skip
    epochs = [one["qrlora_epochs_total"] for one in scrapes]
    assert ended == sorted(ended)
    assert epochs == sorted(epochs)
    assert any(0 < one < BUDGET for one in ended), "no scrape was taken while trials ran"
    assert any(one.get('qrlora_trials{state="running"}', 0) > 0 for one in scrapes)
    standing = standing_of(history)
    assert epochs[-1] <= sum(len(one.reports) for one in history.trials.values())
    assert max(one["qrlora_hypervolume"] for one in scrapes) <= standing.hypervolume + 1e-9


def path_of(said: str) -> str:
    """Return the path of MLflow's pages that a search printed."""
    link = next(word for line in said.splitlines() if "viewStateShareKey" in line for word in line.split()[-1:])
    assert link.startswith("http://127.0.0.1:5000/#/experiments/")
    return link[link.index("#") :]


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


def runs_of(mlflow_ui: str, output) -> dict[str, dict[str, str]]:
    """Return the parameters of the runs that stand for a search's trials and derived members, by run."""
    from mlflow.tracking import MlflowClient

    client, history = MlflowClient(mlflow_ui), read_search(output, "OUTPUT")[0]
    experiment = client.get_experiment_by_name("qr-lora sst2").experiment_id
    mine = f"tags.`qrlora.search` = '{history.search_id}' AND tags.`qrlora.kind` != 'search'"
    found = client.search_runs([experiment], mine)
    return {one.info.run_id: one.data.params for one in found if one.data.tags.get("qrlora.trial") != str(HEAD_ONLY)}


@pytest.mark.parametrize("which", ["search", "mixed"])
def test_the_parallel_coordinates_draw_a_line_for_every_trial(which, mlflow_ui, request):
    """Methods with and without tau, too. The head-only control is no trial and has no tau: with that axis it is left
    out.
    """
    output, said, *_ = request.getfixturevalue(which)
    wanted = runs_of(mlflow_ui, output)
    methods = {one["method"] for one in wanted.values()}
    assert methods == ({"qr-lora", "lora", "full"} if which == "mixed" else {"qr-lora"})
    seen = Seen()
    with browser_page(seen) as page:
        page.goto(f"{mlflow_ui}/{path_of(said)}")
        page.wait_for_function(CHARTS)
        page.wait_for_timeout(1500)
        shoot(page, f"mlflow-{which}")
        lines = page.evaluate(LINES)
        axes = page.locator(".parcoords .dimension").count()
    control = {"lines": len(wanted) + 1, "tau": False} if which == "mixed" else {"lines": len(wanted), "tau": True}
    assert {"lines": len(lines), "tau": "tau" in lines[0]} == control
    assert wanted.keys() <= {one["uuid"] for one in lines}
    assert axes == len(lines[0].keys() - {"uuid"})
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
        assert {(one["parameters"], one["selection"]["score"]) for one in view["members"]} <= drawn
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
