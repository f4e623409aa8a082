"""An MLflow server that hangs and goes on: what it was asked before it answers again, it does late, and once."""

import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest

from qrlora_search.adapters.mlflow_sink.sink import MlflowSink
from qrlora_search.adapters.mlflow_sink.tracking import all_runs
from qrlora_search.values.errors import SinkError
from search_runs import end_group, free_port, serve
from test_standing import events

TRIALS = 6


def take(sink, event, until: float) -> None:
    """Offer an event again, as a pump does, until the sink has taken it."""
    while True:
        with suppress(SinkError):
            sink.take(event)
            return
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.evidence
def test_what_a_server_serves_late_is_not_asked_of_it_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    port = free_port()
    server = serve(tmp_path / "server.db", port)
    try:
        sink = MlflowSink(f"http://127.0.0.1:{port}", tmp_path)
        opened, *lines = events()
        sink.take(opened)
        proposed, started, report = (next(one for one in lines if one.kind == kind and one.trial == 0)
                                     for kind in ("proposed", "started", "report"))  # fmt: skip
        sequence, until = opened.sequence, time.monotonic() + 120
        for trial in range(TRIALS):
            for event in (proposed, started, report):
                sequence += 1
                if event is started:
                    os.killpg(server.pid, signal.SIGSTOP)
                    threading.Timer(1.6, os.killpg, (server.pid, signal.SIGCONT)).start()
                take(sink, replace(event, sequence=sequence, trial=trial), until)
        time.sleep(1)
        runs = list(all_runs(sink.client, [sink.experiment], "tags.`qrlora.kind` = 'trial'"))
        assert Counter(run.data.tags["qrlora.trial"] for run in runs) == {str(trial): 1 for trial in range(TRIALS)}
        for run in runs:
            points = sink.client.get_metric_history(run.info.run_id, "score")
            assert len(points) == 1
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGCONT)
        end_group(server, signal.SIGINT)
