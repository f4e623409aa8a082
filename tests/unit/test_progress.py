"""What a search says while it runs, where nobody sits at a terminal."""

import io

import pytest
from rich.console import Console

from qrlora_search.app import console
from qrlora_search.describe.protocols import Event
from qrlora_search.record.history import HEAD_ONLY
from test_standing import events

SCORES = {"split": "validation", "metrics": {"accuracy": 0.75}, "packed": "", "loss": 0.5}


def said(more: list[tuple[int | None, str, dict[str, object]]]) -> list[str]:
    """Return the lines that are printed of a record with more events at its end."""
    out = io.StringIO()
    sink = console.ProgressSink(Console(file=out, width=160, no_color=True, highlight=False))
    lines = events()
    for event in (*lines, *(Event(len(lines) + at, *one) for at, one in enumerate(more, 1))):
        sink.take(event)
    sink.close()
    return out.getvalue().splitlines()


def test_every_trial_that_ends_is_a_line():
    lines = said([])
    assert len(lines) == 5
    assert lines[0].startswith("[1/6] trial 0 finished at 0.8000: q in layer 3, ")
    assert lines[-1].endswith("on purpose; about 0 s left")


def test_long_scoring_is_not_silent(monkeypatch):
    more = [
        (None, "scored", SCORES),
        (HEAD_ONLY, "scored", SCORES),
        (1, "scored", SCORES),
        (0, "derived", {**SCORES, "kept": 7}),
    ]
    assert len(said(more)) == 5, "within ten seconds of the last line nothing is said"
    monkeypatch.setattr(console, "QUIET_S", 0.0)
    assert said(more)[-4:] == [
        "[scoring] control on validation; 2 adapters scored so far",
        "[scoring] head-only control on validation; 3 adapters scored so far",
        "[scoring] trial 1 on validation; 4 adapters scored so far",
        "[scoring] trial 0, its 7 largest, on validation; 5 adapters scored so far",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_has_a_bar_and_no_line(terminal):
    out = io.StringIO()
    sink = console.ProgressSink(Console(file=out, width=160, force_terminal=terminal))
    for event in events():
        sink.take(event)
    assert (sink.bar is not None) == terminal
    sink.close()
    assert ("trial 0 finished at" in out.getvalue()) != terminal
