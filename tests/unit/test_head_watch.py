"""A driver whose cluster's head is gone ends with a code that says: ask again."""

import subprocess
import sys

SCRIPT = """
import socket, sys, time
from qrlora_search.adapters.ray_engine import head_watch

def listen(port):
    server = socket.create_server(("127.0.0.1", port))
    return server, server.getsockname()[1]

head_watch.LOOK_S, head_watch.PATIENCE_S = 0.05, float(sys.argv[2])
server, port = listen(0)
with head_watch.head_watched(f"127.0.0.1:{port}", lambda error: print("told", flush=True)):
    time.sleep(0.3)
    server.close()
    if sys.argv[1] == "restarted":
        time.sleep(0.2)
        server, _ = listen(port)
        time.sleep(0.3)
    elif sys.argv[1] == "gone":
        time.sleep(20)
time.sleep(0.3)
print("left")
"""


def run(what: str, patience_s: float) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", SCRIPT, what, str(patience_s)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def test_a_head_that_is_gone_ends_the_driver_which_tells_it_first():
    done = run("gone", 0.5)
    assert (done.returncode, done.stdout) == (5, "told\n")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the head of the Ray cluster, 127.0.0.1:")
    assert "does not answer any more" in line
    assert line.endswith("the same command goes on, with --resume if it says so")


def test_a_head_that_comes_back_and_one_that_is_left_are_no_loss():
    for what, patience_s in (("restarted", 15.0), ("left", 0.1)):
        done = run(what, patience_s)
        assert (done.returncode, done.stdout, done.stderr) == (0, "left\n", "")
