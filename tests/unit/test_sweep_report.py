"""Sweeps compared: regressions by Holm, what is not comparable, the files, who is told, and what is pruned."""

import contextlib
import http.server
import json
import socket
import threading
import time

import numpy as np
import pytest
from rich.console import Console

from qrlora_search.app import sweep_ending
from qrlora_search.app.sweep_compare import SweepReport, compare
from qrlora_search.app.sweep_files import write_report
from qrlora_search.app.sweep_fronts import Best, Snapshot, save_snapshot
from qrlora_search.app.sweep_notify import notify
from qrlora_search.app.sweep_prune import prune
from qrlora_search.app.sweep_record import (
    Entry,
    SweepRecord,
    home_of,
    new_record,
    save_record,
)
from qrlora_search.app.views.building import build_front_view
from qrlora_search.describe.sweep import Notify, Regression, SweepSpec
from qrlora_search.describe.tasks import find_task
from qrlora_search.record.history import History, Scored
from qrlora_search.values.packing import pack
from scripted import plan
from test_drawing import confirmed_history

N = 400
LABELS = np.random.default_rng(1).integers(0, 2, N)
INPUTS = {"data": "d", "split": "s", "model": "m", "code": "c", "space": "p"}


def predictions(wrong: int) -> str:
    """Return packed predictions of which the first `wrong` are wrong."""
    return pack(np.where(np.arange(N) < wrong, 1 - LABELS, LABELS))


def snapshot(wrong: int, inputs=INPUTS, labels=LABELS, key="a") -> Snapshot:
    """Return the snapshot of a search over sst2-like accuracy with an empty front and these errors."""
    history = History(plan=plan().model_copy(update={"task": "sst2"}), search_id="x")
    history.labels = {"selection": pack(labels), "validation": pack(labels)}
    for split in history.labels:
        history.scored[None, split] = Scored({"accuracy": 1 - wrong / N}, predictions(wrong), 0.1)
    view = build_front_view(history, "complete", 1.0)
    best = Best(parameters=0, words="the control", score=1 - wrong / N, report={"validation": predictions(wrong)})
    return Snapshot(key=key, inputs=inputs, view=view, best=best, labels={"validation": pack(labels)})


def record(*keys: str, state="done") -> SweepRecord:
    entries = {key: Entry(task="sst2", state=state, inputs=INPUTS) for key in keys}
    return SweepRecord(name="n", slot="two", spec={}, started="2026", base="one", entries=entries)


def verdict(now, before, **rule: float):
    (line,) = compare(record("a"), {"a": now}, {"a": before}, Regression(**rule))
    return line


def report_of(lines) -> SweepReport:
    return SweepReport(name="n", slot="two", base="one", started="a", ended="b", seconds=3.0, level=0.05, lines=lines,
                       notes=["a note"])  # fmt: skip


def test_a_best_member_that_is_worse_is_a_regression_and_exit_code_three():
    line = verdict(snapshot(80), snapshot(20))
    assert line.verdict == "regression"
    assert line.difference.high < 0
    assert line.difference.difference == pytest.approx(-60 / N)
    assert report_of([line]).exit_code == 3


def test_better_and_no_difference_are_told_apart():
    assert verdict(snapshot(20), snapshot(80)).verdict == "better"
    line = verdict(snapshot(41), snapshot(40))
    assert line.verdict == "no difference"
    assert report_of([line]).exit_code == 0


def test_a_verdict_on_two_adapters_says_where_their_further_seeds_say_otherwise():
    before = snapshot(60).model_copy(update={"view": snapshot(2).view})  # trained again it was much better
    line = verdict(snapshot(5), before)
    assert line.verdict == "better"
    assert line.best.startswith(f"the control, 0 parameters: {1 - 5 / N:.4f} [")
    assert line.best_before.startswith(f"the control, 0 parameters: {1 - 60 / N:.4f} [")
    assert f"; over its seeds {1 - 2 / N:.4f} [" in line.best_before
    assert line.why == f"of these two adapters; the mean over their seeds moved by {-3 / N:+.4f}"
    assert verdict(snapshot(5), snapshot(60)).why == ""


def test_both_report_splits_of_a_task_are_compared_together():
    names = find_task("mnli").report_splits

    def both(*wrong: int) -> Snapshot:
        one = snapshot(wrong[0])
        report = {name: predictions(each) for name, each in zip(names, wrong, strict=True)}
        labels = dict.fromkeys(names, pack(LABELS))
        return one.model_copy(update={"labels": labels, "best": one.best.model_copy(update={"report": report})})

    run = record("a")
    run.entries["a"].task = "mnli"
    (line,) = compare(run, {"a": both(10, N // 2)}, {"a": both(10, 10)}, Regression())
    assert line.verdict == "regression"
    assert (line.difference.split, line.difference.n) == ("validation_matched + validation_mismatched", 2 * N)
    assert line.difference.difference == pytest.approx((10 - N // 2) / (2 * N))


def test_a_tolerated_drop_is_no_regression():
    assert verdict(snapshot(80), snapshot(20), tolerance=0.2).verdict == "no difference"


@pytest.mark.parametrize("what", ["data", "model", "split"])
def test_other_data_model_or_split_is_not_comparable(what):
    line = verdict(snapshot(200, INPUTS | {what: "other"}), snapshot(20))
    assert (line.verdict, line.why) == ("not comparable", f"{what} changed")


@pytest.mark.parametrize("what", ["code", "space"])
def test_other_code_or_space_is_compared(what):
    assert verdict(snapshot(80, INPUTS | {what: "other"}), snapshot(20)).verdict == "regression"


def test_holm_asks_more_of_many_than_of_one():
    """A drop whose p lies between 0.05 / 8 and 0.05 is a regression alone, and none among eight that did not move."""
    now, before = snapshot(40 + 7), snapshot(40)
    alone = verdict(now, before)
    assert 0.05 / 8 < alone.difference.p < 0.05
    assert alone.verdict == "regression"
    keys = "abcdefgh"
    lines = compare(record(*keys), {k: now if k == "a" else before for k in keys}, dict.fromkeys(keys, before),
                    Regression())  # fmt: skip
    assert [one.verdict for one in lines] == ["no difference"] * 8


def test_hypervolumes_have_their_intervals_and_a_rise_is_not_called_tested(tmp_path):
    def grown(history, wrong):
        view = build_front_view(history, "complete", 3.0)
        return snapshot(wrong).model_copy(update={"view": view})

    now, before = grown(confirmed_history(), 40), snapshot(41)
    line = verdict(now, before)
    area = now.view.hypervolume
    assert area.low is not None
    assert (line.area, line.area_before) == (area.words, before.view.hypervolume.words)
    assert line.verdict == "no difference"
    assert line.volume > line.volume_before
    text = write_report(tmp_path, report_of([line]), {}, {})
    assert f"{area.words}; last time {before.view.hypervolume.words}; above one control" in text
    assert f"[{area.low:.4f}, {area.high:.4f}] (n = {area.n})" in text
    assert "1 fronts with a larger hypervolume (not tested)" in text
    assert "grew" not in text


def test_a_failure_is_exit_code_one_and_stands_in_every_file(tmp_path):
    failed = record("a", state="failed")
    failed.entries["a"].reason = "the <data> are gone"
    lines = compare(failed, {}, {}, Regression())
    report = report_of(lines)
    assert report.exit_code == 1
    text = write_report(tmp_path, report, {}, {})
    assert "the <data> are gone" in text
    assert "the &lt;data&gt; are gone" in (tmp_path / "report.html").read_text()
    assert SweepReport.model_validate_json((tmp_path / "report.json").read_text()) == report
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_what_a_search_says_of_its_own_scores_stands_in_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sweep_ending, "_to_mlflow", lambda *_: [])
    one = snapshot(10)
    marks = ["SELECTED ON THE VALIDATION SET: told twice", "UNCONFIRMED"]
    one = one.model_copy(update={"view": one.view.model_copy(update={"marks": marks})})
    save_snapshot(tmp_path / "n" / "two", one)
    spec = SweepSpec.model_validate({
        "name": "n", "searches": {"tasks": ["sst2"], "models": ["embedded"]}, "budget": {"configurations": 6},
        "data": {"default": "stand-in"}, "storage": {"output": str(tmp_path)},
    })  # fmt: skip
    made = record("a").model_copy(update={"base": None})
    made.entries["a"].base = None
    assert sweep_ending.end_sweep(tmp_path / "n" / "two", spec, made, Console()) == 0
    for name in ("report.md", "report.html"):
        text = (tmp_path / "n" / "two" / name).read_text()
        assert all(f"{mark} (a)" in text for mark in marks)
        assert "New members" not in text.replace("new members", "")


def test_the_command_gets_the_report_and_a_slow_one_is_ended(tmp_path):
    report = report_of([verdict(snapshot(80), snapshot(20))])
    out = tmp_path / "told"
    command = ("sh", "-c", f'cat > {out}; echo "$SWEEP_NAME $SWEEP_EXIT_CODE" >> {out}')
    assert notify(Notify(command=command), "the report\n", report) == []
    assert out.read_text() == "the report\nn 3\n"
    began = time.monotonic()
    (said,) = notify(Notify(command=("sleep", "60"), timeout="1s"), "", report)
    assert "did not end within 1s" in said
    assert time.monotonic() - began < 30
    assert notify(Notify(command=("sh", "-c", "exit 7")), "", report) == ["notify.command ended with 7"]
    assert "cannot be run" in notify(Notify(command=("/no/such",)), "", report)[0]


@pytest.mark.parametrize("command", [("printf", "\\377"), ("true", "a\0b")])
def test_whatever_a_command_prints_or_is_no_sweep_is_held_up(command):
    said = notify(Notify(command=command), "the report\n", report_of([verdict(snapshot(80), snapshot(20))]))
    assert said == [] or "cannot be run" in said[0]


@pytest.mark.parametrize("answer", [b"garbage\r\n\r\n", b"drip"])
def test_a_webhook_that_answers_garbage_or_drop_by_drop_holds_nothing_up(monkeypatch, answer):
    server = socket.create_server(("127.0.0.1", 0))

    def drip():
        one, _ = server.accept()
        with one, contextlib.suppress(OSError):
            for place in range(40):
                one.sendall(answer if answer != b"drip" else b"HTTP/1.1 200 OK\r\nX: "[place % 19 : place % 19 + 1])
                time.sleep(0.3 if answer == b"drip" else 0)

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    monkeypatch.setenv("HOOK", f"http://127.0.0.1:{server.getsockname()[1]}/secret")
    began = time.monotonic()
    (said,) = notify(Notify(webhook="$HOOK", timeout="1s"), "text", report_of([verdict(snapshot(20), snapshot(20))]))
    assert time.monotonic() - began < 4
    assert "secret" not in said
    server.close()


def test_a_search_that_got_nothing_did_not_fail():
    (line,) = compare(record("a", state="waiting"), {}, {}, Regression())
    assert line.verdict == "nothing given"
    assert report_of([line]).exit_code == 0


def test_the_webhook_is_posted_and_its_address_never_shown(monkeypatch):
    got = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200 if self.path == "/good" else 403)
            self.end_headers()

        def log_message(self, *_: object):
            pass

    report = report_of([verdict(snapshot(20), snapshot(20))])
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        home = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("HOOK", f"{home}/good")
        assert notify(Notify(webhook="$HOOK"), "text", report) == []
        monkeypatch.setenv("HOOK", f"{home}/secret-token")
        assert notify(Notify(webhook="$HOOK"), "text", report) == ["notify.webhook answered 403"]
        server.shutdown()
        thread.join()
    assert got[0]["exit_code"] == 0
    assert "1 searches" in got[0]["text"]
    monkeypatch.setenv("HOOK", "http://127.0.0.1:9/secret-token")
    (said,) = notify(Notify(webhook="$HOOK", timeout="2s"), "text", report)
    assert "not reached" in said
    assert "secret" not in said


@pytest.mark.parametrize(("when", "told"), [("always", True), ("trouble", False), ("regression", False)])
def test_who_is_told_when_nothing_is_wrong(tmp_path, when, told):
    report = report_of([verdict(snapshot(20), snapshot(20))])
    notify(Notify(command=("touch", str(tmp_path / "told")), when=when), "", report)
    assert (tmp_path / "told").exists() == told


def test_a_search_compares_with_the_newest_run_in_which_it_did_not_fail(tmp_path):
    spec = SweepSpec.model_validate({
        "name": "n", "searches": {"tasks": ["cola", "rte"], "models": ["embedded"]},
        "budget": {"configurations": 6}, "data": {"default": "stand-in"}, "storage": {"output": str(tmp_path)},
    })  # fmt: skip
    home = home_of(spec)
    for place, (slot, states) in enumerate({"a": ("done", "done"), "b": ("done", "failed")}.items()):
        entries = {job.key: Entry(task=job.task, state=state) for job, state in zip(spec.jobs(), states, strict=True)}
        save_record(home / slot, SweepRecord(name="n", slot=slot, spec={}, started=f"2026-{place}", ended="then",
                                             entries=entries))  # fmt: skip
    made = new_record(spec, "c")
    assert made.base == "b"
    assert [one.base for one in made.entries.values()] == ["b", "a"]
    save_record(home / "c", made)
    assert prune(spec, home, 1) == []  # a and b are what the run that goes on compares with
