# SPDX-License-Identifier: Apache-2.0
"""A proxy between the program and a server that it needs: passes requests on, or spoils them as a test says."""
import http.client
import http.server
import socket
import threading
import time

ERROR = '<?xml version="1.0" encoding="UTF-8"?><Error><Code>{code}</Code><Message>as the test wants</Message></Error>'


class FaultyProxy:
    """`spoil(request)` is asked about every request and gives None (pass it on), (status, code) of an answer of S3,
    "drop" (the connection breaks before the request arrives) or "lose" (it breaks before the answer does)."""

    def __init__(self, port):
        self.upstream, self.spoil = port, lambda request: None
        self.ahead_s = 0  # of the clock that answers tell
        self.requests = []  # (method, path)
        self._lock = threading.Lock()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with outer._lock:
                    outer.requests.append((self.command, self.path))
                verdict = outer.spoil(self)
                if verdict == "drop":
                    self.cut()
                elif isinstance(verdict, tuple):
                    self.answer(verdict[0], [("Content-Type", "application/xml")],
                                ERROR.format(code=verdict[1]).encode())
                else:
                    self.pass_on(body, verdict)

            def pass_on(self, body, verdict):
                upstream = http.client.HTTPConnection("127.0.0.1", outer.upstream, timeout=60)
                try:
                    upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                    for name, value in self.headers.items():
                        upstream.putheader(name, value)
                    upstream.endheaders(body)
                    answer = upstream.getresponse()
                    content = answer.read()
                except OSError:
                    self.cut()
                    return
                finally:
                    upstream.close()
                if verdict == "lose":
                    self.cut()
                    return
                size = answer.headers.get("Content-Length") if self.command == "HEAD" else None
                self.answer(answer.status, [(name, value) for name, value in answer.getheaders()
                                            if name.lower() not in ("content-length", "connection", "date", "server",
                                                                    "transfer-encoding")], content, size)

            def answer(self, status, headers, content, size=None):
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", size if size is not None else str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def cut(self):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

            def date_time_string(self, timestamp=None):
                return super().date_time_string((timestamp or time.time()) + outer.ahead_s)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_):
                pass  # of connections that the test or the program cut

        self.server = Server(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def count(self, method=None, ending=""):
        with self._lock:
            return sum((method is None or method == m) and path.endswith(ending) for m, path in self.requests)

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class First:
    """Spoils the first `count` requests of each method and key, and then no more."""

    def __init__(self, count, verdict):
        self.count, self.verdict, self.seen = count, verdict, {}
        self._lock = threading.Lock()

    def __call__(self, request):
        key = request.command, request.path
        with self._lock:
            self.seen[key] = self.seen.get(key, 0) + 1
            return self.verdict if self.seen[key] <= self.count else None
