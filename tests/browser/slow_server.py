"""An HTTP server before another: it can let every request wait, or answer none."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LONGEST_S = 60.0


class Before(ThreadingHTTPServer):
    """Passes requests on to `behind` while `open` is set, and lets them wait else; closes the connection where `broken`
    is.
    """

    daemon_threads = True

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Passing)
        self.behind = behind
        self.open, self.broken = threading.Event(), threading.Event()
        self.open.set()

    @property
    def address(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class Passing(BaseHTTPRequestHandler):
    """Passes one request on."""

    server: Before

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.open.wait(LONGEST_S)
        if self.server.broken.is_set():
            self.close_connection = True
            return
        kept = {name: value for name, value in self.headers.items() if name.lower() not in {"host", "connection"}}
        asked = urllib.request.Request(
            self.server.behind + self.path, data=body or None, headers=kept, method=self.command
        )
        try:
            with urllib.request.urlopen(asked, timeout=LONGEST_S) as answer:
                status, kind, said = answer.status, answer.headers.get("content-type", ""), answer.read()
        except urllib.error.HTTPError as error:
            status, kind, said = error.code, error.headers.get("content-type", ""), error.read()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_POST = do_PATCH = _pass

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def before(behind: str) -> Iterator[Before]:
    """Hold a server before another."""
    server = Before(behind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.broken.set()
        server.open.set()
        server.shutdown()
        server.server_close()
