"""MLflow's parallel coordinates draw every trial of a search, of methods with and without tau, in a real browser."""

import pytest

from browser.pages import CHARTS, LINES, Seen, browser_page, path_of, served, shoot
from qrlora_search.app.reading import read_search
from qrlora_search.record.history import HEAD_ONLY
from search_runs import free_port

pytestmark = pytest.mark.evidence

METHODS = {"alike": ("qr-lora",), "mixed": ("qr-lora", "lora", "full")}


@pytest.fixture(scope="module")
def searches(place):
    """Return the output of a search over one method and of one over several, and what each printed."""
    found, space = {}, (place.folder / "space.toml").read_text()
    for name, methods in METHODS.items():
        of = ", ".join(f'"{method}"' for method in methods)
        (place.folder / f"{name}.toml").write_text(f"{space}[methods]\nof = [{of}]\nranks = [1]\n")
        result = place.run("--budget", "8", "--space", f"{name}.toml", "--output", f"runs/{name}")
        assert result.returncode == 0, result.stdout
        found[name] = place.folder / "runs" / name, result.stdout
    return found


@pytest.fixture(scope="module")
def mlflow_ui(place, searches):
    port = free_port()
    with served(place, ["ui", "--port", str(port)], f"http://127.0.0.1:{port}") as ready:
        yield ready


def runs_of(mlflow_ui: str, output) -> dict[str, dict[str, str]]:
    """Return the parameters of the runs that stand for a search's trials and derived members, by run."""
    from mlflow.tracking import MlflowClient

    client, history = MlflowClient(mlflow_ui), read_search(output, "OUTPUT")[0]
    experiment = client.get_experiment_by_name("qr-lora sst2").experiment_id
    mine = f"tags.`qrlora.search` = '{history.search_id}' AND tags.`qrlora.kind` != 'search'"
    found = client.search_runs([experiment], mine)
    return {one.info.run_id: one.data.params for one in found if one.data.tags.get("qrlora.trial") != str(HEAD_ONLY)}


@pytest.mark.parametrize("which", METHODS)
def test_a_line_is_drawn_for_every_trial(which, searches, mlflow_ui):
    """The head-only control is no trial and has no tau: with that axis it is left out."""
    output, said = searches[which]
    wanted = runs_of(mlflow_ui, output)
    assert {one["method"] for one in wanted.values()} == set(METHODS[which])
    seen = Seen()
    with browser_page(seen) as page:
        page.goto(f"{mlflow_ui}/{path_of(said)}")
        page.wait_for_function(CHARTS)
        page.wait_for_timeout(1500)
        shoot(page, f"mlflow-{which}")
        lines = page.evaluate(LINES)
        axes = page.locator(".parcoords .dimension").count()
    with_tau = which == "alike"
    assert ("tau" in lines[0], len(lines)) == (with_tau, len(wanted) + (not with_tau))
    assert wanted.keys() <= {one["uuid"] for one in lines}
    assert axes == len(lines[0].keys() - {"uuid"})
    assert seen.errors == []
