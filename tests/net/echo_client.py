# SPDX-License-Identifier: Apache-2.0
"""Starts echo_server and speaks to it over raw sockets."""
import json
import os
import pathlib
import socket
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("IMAGO_ECHO_SERVER", str(ROOT / "build/tests/net/echo_server"))
PATIENCE_S = 20  # bounds a wait that has failed; nothing waits this long when all is well


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body


class Client:
    """One connection."""

    def __init__(self, port, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", port))
        self.ahead = b""

    def send(self, data):
        if isinstance(data, str):
            data = data.encode("latin-1")
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused early: the answer is what counts
        return self

    def more(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self.ahead += data
        return bool(data)

    def answer(self, is_head=False):
        while b"\r\n\r\n" not in self.ahead:
            if not self.more():
                return None
        head, self.ahead = self.ahead.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        version, status = lines[0].split(" ")[:2]
        assert version == "HTTP/1.1"
        headers = {}
        for line in lines[1:]:
            name, value = line.split(": ", 1)
            assert name.lower() not in headers
            headers[name.lower()] = value
        size = 0 if is_head or int(status) < 200 else int(headers.get("content-length", 0))
        while len(self.ahead) < size:
            if not self.more():
                raise AssertionError("the answer was cut off")
        body, self.ahead = self.ahead[:size], self.ahead[size:]
        return Answer(int(status), headers, body)

    def ends(self):
        """True when the server closes without sending more."""
        while self.more():
            pass
        return self.ahead == b""

    def close(self):
        self.socket.close()


class Server:
    def __init__(self, **settings):
        self.process = subprocess.Popen(
            [PROGRAM] + [f"{name}={value}" for name, value in settings.items()],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.clients = []

    def client(self, **options):
        client = Client(self.port, **options)
        self.clients.append(client)
        return client

    def get(self, path):
        client = Client(self.port)
        client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = client.answer()
        client.close()
        return answer

    def stats(self):
        return json.loads(self.get("/stats").body)

    def wait_for(self, condition):
        """Asks for the counters until they say so."""
        for _ in range(100000):
            stats = self.stats()
            if condition(stats):
                return stats
        raise AssertionError(f"never happened: {stats}")

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def stop(self):
        for client in self.clients:
            client.close()
        self.process.stdin.close()
        assert self.process.wait(PATIENCE_S) == 0
