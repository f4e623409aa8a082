"""What buys accuracy per parameter, on the explorer's page, of a search with trials enough to say it."""

import pytest

from browser.pages import DRAWN, Seen, browser_page, served, shoot
from qrlora_search.app.report_files import read_front
from search_runs import LEARNT, free_port

pytestmark = pytest.mark.evidence

QUICK = LEARNT.replace("epochs = 3\nrungs = [1, 2]", "epochs = 1\nrungs = []").replace("share = 1.0", "share = 0.0")


def test_the_explorer_draws_each_settings_share_with_its_interval_and_what_chance_gives(place):
    (place.folder / "quick.toml").write_text(f"{QUICK}[derived]\nhalvings = 0\n")
    result = place.run("--budget", "32", "--space", "quick.toml", "--output", "runs/quick", timeout=600)
    assert result.returncode == 0, result.stdout + result.stderr
    importance = [one for one in read_front(place.folder / "runs" / "quick").importance if one.settings]
    assert importance
    port, seen = free_port(), Seen()
    with (
        served(place, ["explorer", "--port", str(port)], f"http://127.0.0.1:{port}") as ready,
        browser_page(seen) as page,
    ):
        page.goto(ready)
        page.get_by_role("tab", name="Importance").click()
        page.get_by_text(f"{importance[0].question}, n = {importance[0].n} Finished trials").wait_for()
        page.wait_for_timeout(1500)
        shoot(page, "explorer-importance")
        bars = [trace for plot in page.evaluate(DRAWN) for trace in plot if trace["type"] == "bar"]
        said = page.get_by_role("tabpanel").all_inner_texts()
    assert len(bars) == len(importance)
    for bar, one in zip(bars, importance, strict=True):
        lines = one.settings[::-1]
        assert bar["y"] == [each.setting for each in lines]
        assert bar["x"] == pytest.approx([each.share for each in lines])
        assert bar["error_x"]["array"] == pytest.approx([max(0.0, each.high - each.share) for each in lines])
        assert any(one.words.split("\n")[0][:40] in text for text in said)
    assert seen.errors == []
