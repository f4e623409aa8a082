"""The README's pictures, of a real search: its front, MLflow's charts on it and its front page, and the explorer.

    python -m tests.browser.pictures runs/cola-1a2b3c4d5e --to docs/pictures

Taken by Debian's chromium of the pages as a user opens them; nothing is drawn for the README alone.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

for _folder in ("tests", "tests/integration"):
    sys.path.insert(0, str(Path(__file__).parents[2] / _folder))

from browser.pages import CHARTS, Seen, browser_page, served, shoot  # noqa: E402
from qrlora_search.adapters.mlflow_sink.shared_view import keep_view  # noqa: E402
from qrlora_search.app.front_view import FrontView  # noqa: E402
from qrlora_search.app.report_files import read_front  # noqa: E402
from search_runs import Place, free_port  # noqa: E402

PARENT = "tags.`qrlora.kind` = 'search'"


def main() -> int:
    """Take the pictures; 1 where a page had errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--to", type=Path, default=Path("docs/pictures"))
    asked = parser.parse_args()
    output, to = asked.output.resolve(), asked.to.resolve()
    to.mkdir(parents=True, exist_ok=True)
    os.environ["PICTURES"] = str(to)
    shutil.copyfile(output / "front.png", to / "front.png")
    view = read_front(output)
    tracking = view.plan.tracking_uri
    place, seen = Place(output.parent.parent, output.parent, view.task), Seen()
    ui, explorer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    ports = [one.rsplit(":", 1)[1] for one in (ui, explorer)]
    with (
        served(place, ["ui", "--port", ports[0], "--tracking-uri", tracking], ui),
        served(place, ["explorer", "--port", ports[1], "--tracking-uri", tracking], explorer),
        browser_page(seen) as page,
    ):
        page.goto(f"{ui}/{charts(ui, view)}")
        page.wait_for_function(CHARTS)
        assistant = page.get_by_role("button", name="Close", exact=True)  # it takes a quarter of the page
        if assistant.count():
            assistant.last.click()
        page.wait_for_timeout(2500)
        shoot(page, "mlflow-charts")
        page.goto(f"{ui}/{front_page(ui, view)}")
        page.frame_locator("iframe").first.locator(".js-plotly-plot .main-svg").first.wait_for()
        page.wait_for_timeout(2500)
        shoot(page, "mlflow-front", without="Path: file:")  # of the machine that it was taken on
        page.goto(explorer)
        page.wait_for_function("() => document.querySelectorAll('.js-plotly-plot').length >= 3")
        page.wait_for_timeout(2500)
        shoot(page, "explorer")
    print("\n".join(seen.errors) or f"pictures in {asked.to}")
    return 1 if seen.errors else 0


def charts(address: str, view: FrontView) -> str:
    """Return the path of MLflow's pages that opens the search with its charts in place."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(f"qr-lora {view.task}").experiment_id
    return keep_view(client, experiment, view.search_id, view.plan)


def front_page(address: str, view: FrontView) -> str:
    """Return the path of MLflow's pages that opens the search's front in the artifact viewer."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(address)
    experiment = client.get_experiment_by_name(f"qr-lora {view.task}").experiment_id
    (parent,) = client.search_runs([experiment], f"tags.`qrlora.search` = '{view.search_id}' AND {PARENT}")
    return f"#/experiments/{experiment}/runs/{parent.info.run_id}/artifacts/front.html"


if __name__ == "__main__":
    sys.exit(main())
