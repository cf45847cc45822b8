# SPDX-License-Identifier: Apache-2.0
"""A receiver of webhooks, and messages put into the outbox as a commit would put them."""
import http.server
import re
import sqlite3
import threading
import time
import uuid
from pathlib import Path

from imago_server import ROOT, eventually

_example = re.search(r"```python\n(.*?)```", (ROOT / "docs/webhooks.md").read_text(), re.S)[1]
_names = {}
exec(_example, _names)
verify = _names["verify"]  # as docs/webhooks.md tells receivers to do it


class Request:
    def __init__(self, handler, body):
        self.path, self.body = handler.path, body
        self.headers = {name.lower(): value for name, value in handler.headers.items()}

    @property
    def id(self):
        return self.headers["webhook-id"]


class Receiver:
    """Answers 204; `behave[path]` is a list of what to do instead, one for each request: a status, or a function
    of the handler that answers by itself."""

    def __init__(self, tls=None):
        self.requests, self.behave = [], {}
        self.connection_count = 0
        self.busy = self.busy_peak = 0
        self._lock = threading.Lock()
        self.released = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                outer.serve(self)

            do_GET = do_POST

            def log_message(self, *arguments):
                pass

        class Server(http.server.ThreadingHTTPServer):
            request_queue_size = 128

            def get_request(self):
                outer.connection_count += 1
                return super().get_request()

            def handle_error(self, request, client_address):
                pass  # clients that hang up

        self.server = Server(("127.0.0.1", 0), Handler)
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def serve(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        with self._lock:
            self.requests.append(Request(handler, body))
            plan = self.behave.get(handler.path, [])
            what = plan.pop(0) if plan else 204
            self.busy += 1
            self.busy_peak = max(self.busy_peak, self.busy)
        try:
            if callable(what):
                what(handler)
            else:
                handler.send_response(what)
                handler.send_header("Content-Length", "0")
                handler.end_headers()
        finally:
            with self._lock:
                self.busy -= 1

    def hang(self, handler):
        """No answer until the test lets go."""
        self.released.wait()
        handler.close_connection = True

    def at(self, path):
        with self._lock:
            return [request for request in self.requests if request.path == path]

    def wait(self, path, count=1):
        eventually(lambda: len(self.at(path)) >= count, f"{count} requests for {path}")
        return self.at(path)

    def close(self):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()


class Outbox:
    """The outbox of a server's results."""

    def __init__(self, url):
        self.path = Path(url.removeprefix("sqlite:"))

    def _run(self, statement, *values):
        connection = sqlite3.connect(self.path, timeout=60)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def put(self, url, body=b'{"type":"job.done"}', tenant="default", age_s=0, attempt=0):
        id, now = uuid.uuid4(), int((time.time() - age_s) * 1000)
        self._run("INSERT INTO results_outbox(tenant, outbox_id, created_ms, due_ms, attempt, payload) "
                  "VALUES(?,?,?,?,?,?)", tenant, id.bytes, now, now, attempt, url.encode() + b"\n" + body)
        return str(id)

    def count(self):
        return self._run("SELECT COUNT(*) FROM results_outbox")[0][0]

    def has(self, id):
        return self._run("SELECT COUNT(*) FROM results_outbox WHERE outbox_id=?", uuid.UUID(id).bytes)[0][0] == 1

    def due_now(self):
        """As if the time of all retries and leases had come."""
        self._run("UPDATE results_outbox SET due_ms=0")

    def gone(self, id):
        eventually(lambda: not self.has(id), f"message {id} has left the outbox")
