# SPDX-License-Identifier: Apache-2.0
"""HTTP as bytes on a socket, for what no client library would send; and the forms of our bodies."""
import http.client
import socket

from imago_server import PATIENCE_S

BOUNDARY = "tests-7f3a1b"


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


class Wire:
    """One connection. A context manager."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, data):
        """False: the server has closed already, and its answer may wait to be read."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def answer(self, method="POST"):
        """The next answer; None: the connection was closed instead."""
        try:
            line = self.file.readline()
            if not line:
                return None
            version, status, _ = line.decode().split(" ", 2)
            assert version == "HTTP/1.1", line
            headers = http.client.parse_headers(self.file)
            if int(status) < 200:
                return self.answer(method)
            size = 0 if method == "HEAD" else int(headers["Content-Length"])
            body = self.file.read(size)
        except ConnectionResetError:
            return None
        assert len(body) == size, "the answer is cut short"
        return Answer(int(status), headers, body)

    def is_closed(self):
        """Wait for the other side's end."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True


def exchange(port, data):
    """Send, and read one answer."""
    with Wire(port) as wire:
        wire.send(data)
        return wire.answer()


def post(body, length=None, path="/v1/predict", content_type="application/octet-stream", more=()):
    """A POST as bytes; `length` may lie."""
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Type: {content_type}",
             f"Content-Length: {len(body) if length is None else length}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def part(name, body, filename=None):
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename else "")
    head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n"
    return head.encode() + (body if isinstance(body, bytes) else str(body).encode()) + b"\r\n"


def form(pictures=(), **parameters):
    """(body, content type) of a multipart/form-data request."""
    parts = [part(name, value) for name, value in parameters.items()]
    parts += [part("image", picture, f"{i}.bin") for i, picture in enumerate(pictures)]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}"
