"""Pages in a real browser: Debian's chromium, driven by Playwright; and the servers that they come from."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from search_runs import Place, end_group

CHROMIUM = Path("/usr/bin/chromium")
SWITCHES = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip
CHARTS = """() => document.querySelector('.parcoords .dimension')
    && [...document.querySelectorAll('.js-plotly-plot')].some(one => one.data?.length)"""
"""Whether MLflow has drawn a search's charts: parallel coordinates, which are not plotly's, and a scatter."""
LINES = """() => {
    const chart = document.querySelector('.parcoords');
    let fiber = chart[Object.keys(chart).find(key => key.startsWith('__reactFiber$'))];
    while (fiber && !Array.isArray(fiber.memoizedProps?.data)) fiber = fiber.return;
    return fiber.memoizedProps.data;
}"""
"""What MLflow's parallel coordinates draw, a line for each entry. The lines themselves are on a canvas; this is the
`data` of the React component around it, which hands it to the parcoords library as it is.
"""
DRAWN = """() => [...document.querySelectorAll('.js-plotly-plot')].map(one => one.data.map(trace => ({
    type: trace.type, name: trace.name, x: Array.from(trace.x || []), y: Array.from(trace.y || []),
    ...Object.fromEntries(['error_x', 'error_y'].map(axis => [axis, trace[axis] ? {
        type: trace[axis].type, value: trace[axis].value, symmetric: trace[axis].symmetric,
        visible: trace[axis].visible,
        array: Array.from(trace[axis].array || []), arrayminus: Array.from(trace[axis].arrayminus || []),
    } : null])),
    dimensions: (trace.dimensions || []).map(each => ({label: each.label, values: Array.from(each.values || [])})),
})))"""
"""The data objects of all plots on a page, with their error bars: what was drawn, not what was meant."""


def path_of(said: str) -> str:
    """Return the path of MLflow's pages that a search printed."""
    link = next(word for line in said.splitlines() if "viewStateShareKey" in line for word in line.split()[-1:])
    assert link.startswith("http://127.0.0.1:5000/#/experiments/")
    return link[link.index("#") :]


def intervals(trace: dict) -> list[tuple[float, float]]:
    """Return the ends of the vertical bars of a trace that was drawn, point by point."""
    bars = trace["error_y"]
    assert (bars["type"], bars["symmetric"]) == ("data", False)
    assert bars["visible"] is not False
    return [
        (y - below, y + above) for y, below, above in zip(trace["y"], bars["arrayminus"], bars["array"], strict=True)
    ]


@dataclass
class Seen:
    """What a page said: errors of its console, scripts that failed, and addresses outside this machine."""

    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def watch(self, page) -> None:
        """Listen to a page."""
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: self._note(line) if line.type == "error" else None)
        page.on("request", lambda one: None if _here(one.url) else self.outside.append(one.url))

    def _note(self, line) -> None:
        """Note an error of the console; a resource that MLflow's own pages ask for in vain is none of ours, nor is the
        browser's notice that a layout settles a frame later.
        """
        if not any(one in line.text for one in ("404 (Not Found)", "ResizeObserver loop completed")):
            self.errors.append(f"{line.text} ({line.location.get('url', '')})")


def _here(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "about:"))


@contextmanager
def browser_page(seen: Seen) -> Iterator[object]:
    """Hold a page of a new browser."""
    if not CHROMIUM.is_file():
        pytest.skip(f"there is no {CHROMIUM}; on Debian: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=SWITCHES)
        page = browser.new_page(viewport={"width": 1280, "height": 1500})
        page.set_default_timeout(60_000)
        seen.watch(page)
        yield page
        browser.close()


@contextmanager
def served(place: Place, command: list[str], address: str) -> Iterator[str]:
    """Hold a server that was started as a user starts it, once it answers; it is ended with all it started."""
    script = str(Path(sys.executable).parent / "qrlora-search")
    process = subprocess.Popen(
        [script, *command], cwd=place.folder, env=place.environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, start_new_session=True, text=True,
    )  # fmt: skip
    try:
        wait_for(address, process)
        yield address
    finally:
        end_group(process, signal.SIGTERM)


def wait_for(address: str, process: subprocess.Popen[str], seconds: float = 60) -> bytes:
    """Return what an address answers, as soon as it does; fail where its process ends or the time is over."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"{address} does not answer (exit code {process.poll()})")


def shoot(page, name: str, without: str = "") -> None:
    """Keep a picture of a page where $PICTURES names a folder. without: a text that is left white."""
    folder = os.environ.get("PICTURES")
    if folder:
        hidden = [page.get_by_text(without)] if without else []
        page.screenshot(path=str(Path(folder) / f"{name}.png"), mask=hidden, mask_color="#ffffff")
