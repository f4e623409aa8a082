"""Where a search stands, and the metrics that are served of it: against the record, and names in Grafana's boards."""

import json
import re
import urllib.request

import pytest

from qrlora_search.adapters.prometheus_sink.sink import MetricsSink
from qrlora_search.describe.protocols import Event
from qrlora_search.record.history import history_of
from qrlora_search.record.standing import Sparing, ranks_of, standing_of
from qrlora_search.values.errors import UserError
from scripted import plan
from search_runs import free_port

SCORES = {0: (4, 0.80, "finished"), 1: (10, 0.90, "finished"), 2: (10, 0.70, "stopped"), 3: (30, 0.85, "finished")}
CONFIGURATION = {
    "learning_rate": 0.01, "batch_size": 32, "epochs": 3, "head": "frozen", "head_learning_rate": 0.0, "dropout": 0.0,
}  # fmt: skip


def events() -> list[Event]:
    """Return the record of a search of four trials, and one that failed and one that runs."""
    scored = {"split": "selection", "metrics": {"accuracy": 0.75}, "packed": "", "loss": 0.5}
    lines = [
        (None, "opened", {"plan": plan(6).model_dump(mode="json"), "search_id": "s", "at": "now"}),
        (None, "scored", scored),
    ]
    for number, (size, score, state) in SCORES.items():
        what = {**CONFIGURATION, "ranks": [[3, "q", size]]}
        lines += [(number, "proposed", {"proposal": {}, "configuration": what}), (number, "started", {})]
        for epoch in range(1, 2 if state == "stopped" else 4):
            report = {"epoch": epoch, "score": score, "loss": 0.4, "seconds": 2.0, "packed": "", "metrics": {}}
            lines.append((number, "report", report))
        lines.append((number, "ended", {"state": state, "reason": "because"}))
    for number in (4, 5):
        what = {**CONFIGURATION, "ranks": [[3, "q", 50]]}
        lines += [(number, "proposed", {"proposal": {}, "configuration": what}), (number, "started", {})]
    lines.append((4, "ended", {"state": "failed", "reason": "on purpose"}))
    return [Event(at, *one) for at, one in enumerate(lines, start=1)]


def test_a_standing_adds_up():
    standing = standing_of(history_of(events()))
    assert standing.members == (0, 1)
    assert standing.best == 0.90
    assert (standing.epochs, standing.spent_s) == (10, 20.0)
    assert (standing.saved_epochs, standing.saved_s) == (2, 4.0)
    assert ranks_of(history_of(events())) == {0: 0, 1: 0, 3: 1}


def test_the_front_as_it_was_decided_is_rank_0_and_the_others_rank_behind_it():
    assert ranks_of(history_of(events()), {3}) == {3: 0, 0: 1, 1: 1}
    assert ranks_of(history_of(events()), {0}) == {0: 0, 1: 1, 3: 2}
    assert ranks_of(history_of(events()), set()) == {0: 1, 1: 1, 3: 2}


def scrape(port: int) -> dict[str, float]:
    """Return the samples that are served now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


@pytest.fixture
def served():
    """Return the port of a sink that took the record, one event of it twice."""
    port = free_port()
    sink = MetricsSink(port)
    for event in events():
        sink.take(event)
        sink.take(event)
    yield port
    sink.close()


def test_what_is_served_is_what_the_record_says(served):
    found, standing = scrape(served), standing_of(history_of(events()))
    assert {state: found[f'qrlora_trials{{state="{state}"}}'] for state in ("finished", "stopped", "failed")} == {
        "finished": 3, "stopped": 1, "failed": 1,
    }  # fmt: skip
    assert found['qrlora_trials{state="running"}'] == 1
    assert found["qrlora_hypervolume"] == pytest.approx(standing.hypervolume)
    assert (found["qrlora_epochs_total"], found["qrlora_failures_total"]) == (10, 1)
    assert found["qrlora_control_score"] == 0.75
    (info,) = (name for name in found if name.startswith("qrlora_search_info"))
    assert 'data="folder"' in info
    assert 'selected_on="held-out"' in info
    assert (found["qrlora_saved_seconds"], found["qrlora_spent_seconds"]) == (4, 20)
    with pytest.raises(UserError, match=f"--metrics-port {served} cannot be used"):
        MetricsSink(served)


def test_where_a_search_stands_is_served_when_its_trials_have_ended_though_nothing_was_due(monkeypatch):
    monkeypatch.setattr(Sparing, "due", False)
    sink = MetricsSink(free_port())
    lines = events()
    try:
        for event in lines:
            sink.take(event)
        assert scrape(sink.server.server_port)["qrlora_hypervolume"] == 0
        planned = {"candidates": [[0, None], [1, None]], "epochs": 2, "seeds": [1]}
        sink.take(Event(len(lines) + 1, None, "confirm_planned", planned))
        found = scrape(sink.server.server_port)
    finally:
        sink.close()
    assert found["qrlora_hypervolume"] == pytest.approx(standing_of(history_of(lines)).hypervolume)
    assert (found["qrlora_saved_seconds"], found["qrlora_spent_seconds"]) == (4, 20)


def test_every_expression_of_a_board_names_metrics_that_exist(served, checkout):
    names = {name.partition("{")[0] for name in scrape(served)}
    boards = sorted((checkout / "dashboards" / "grafana").glob("*.json"))
    assert boards
    for path in boards:
        panels = json.loads(path.read_text())["panels"]
        expressions = [target["expr"] for panel in panels for target in panel["targets"]]
        used = {name for one in expressions for name in re.findall(r"qrlora_\w+", one)}
        assert all(re.search(r"qrlora_\w+", one) for one in expressions)
        assert used <= names
        for wanted in ("trials", "hypervolume", "epochs_total", "failures_total", "saved_seconds", "search_info"):
            assert f"qrlora_{wanted}" in used


def test_what_takes_long_is_due_again_after_fifty_times_as_long():
    now = [0.0]
    sparing = Sparing(share=0.02, least_s=0.02, clock=lambda: now[0])
    with sparing.taking():
        now[0] += 0.01
    assert sparing.due
    with sparing.taking():
        now[0] += 1.0
    now[0] += 49.0
    assert not sparing.due
    now[0] += 1.5
    assert sparing.due
