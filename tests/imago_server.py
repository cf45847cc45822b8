# SPDX-License-Identifier: Apache-2.0
"""The program under test: where it is, how a server of it is started, watched and stopped.

Given by the environment:
  IMAGO_BIN        the program                        [build/imago]
  IMAGO_MODELS     its model repository               [build/models]
  IMAGO_PHOTOS     photographs with a manifest.json   [build/photos/set]
  IMAGO_SCENES     whole scenes, cat.jpg among them   [build/photos/scenes]
  IMAGO_ENGINE     the engine; "fake" gives no real labels, and tests marked real_engine are skipped
  IMAGO_TEST_SLOW  how much more patience a slow build (a sanitizer's) needs  [1]
"""
import hashlib
import http.client
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import requests

ROOT = Path(__file__).resolve().parents[1]


def place(variable, default):
    return Path(os.environ.get(variable, ROOT / default)).absolute()


IMAGO = place("IMAGO_BIN", "build/imago")
MODELS = place("IMAGO_MODELS", "build/models")
PHOTOS = place("IMAGO_PHOTOS", "build/photos/set")
SCENES = place("IMAGO_SCENES", "build/photos/scenes")
ENGINE = os.environ.get("IMAGO_ENGINE", "")
SLOW = float(os.environ.get("IMAGO_TEST_SLOW", "1"))
# For what must happen, however slow the machine is; nothing asserts that it happens sooner.
PATIENCE_S = 30 * SLOW
SANITIZER = re.compile(r"(Address|Thread|Leak|Memory|UndefinedBehavior)Sanitizer|runtime error:")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
MIB = 1 << 20

# A thousand connections at once are opened from here.
_soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (_hard if _hard != resource.RLIM_INFINITY else 65536, _hard))


def environment(**more):
    """This process's, without the settings of an imago that somebody has there."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("IMAGO_") or k.startswith("IMAGO_FAKE")}
    return kept | more


def eventually(condition, what):
    """Ask until the answer is true, and return it."""
    end = time.monotonic() + PATIENCE_S
    pause = threading.Event()
    while not (answer := condition()):
        assert time.monotonic() < end, f"after {PATIENCE_S:.0f} s still not so: {what}"
        pause.wait(0.01)
    return answer


def serve_settings(folder, settings=None):
    """What a test's server is started with."""
    values = {"listen": "127.0.0.1:0", "admin-listen": "127.0.0.1:0", "data": folder / "data",
              "models": MODELS, "drain-linger": "50ms", "preload": "false",
              "request-timeout": f"{30 * SLOW:.0f}s", "drain-timeout": f"{30 * SLOW:.0f}s"}
    if ENGINE:
        values["engine"] = ENGINE
    return values | {name.replace("_", "-"): value for name, value in (settings or {}).items()}


def serve_command(settings):
    return [str(IMAGO), "serve"] + [f"--{name}={value}" for name, value in settings.items()]


class Server:
    """`imago serve` with what it writes to standard error."""

    def __init__(self, folder, settings=None, env=None):
        self.settings = serve_settings(folder, settings)
        command = serve_command(self.settings)
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, env=environment(**(env or {})))
        self.lines = []  # of standard error
        self.expected_status = 0
        self._events = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        try:
            listening = self.event("listening")
        except AssertionError:
            self.process.kill()
            self.process.wait()
            raise
        self.port, self.admin_port = listening["port"], listening["admin_port"]
        self.listening = listening
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        self._local = threading.local()

    def _read(self):
        for raw in self.process.stderr:
            line = raw.decode(errors="replace").rstrip("\n")
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            with self._changed:
                self.lines.append(line)
                if isinstance(event, dict) and "event" in event:
                    self._events.append(event)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def text(self):
        with self._changed:
            return "\n".join(self.lines)

    def events(self, name):
        with self._changed:
            return [event for event in self._events if event["event"] == name]

    def event(self, name, matches=lambda event: True):
        """The first log line `name` that matches, waited for."""
        end = time.monotonic() + PATIENCE_S
        seen = 0
        with self._changed:
            while True:
                for event in self._events[seen:]:
                    if event["event"] == name and matches(event):
                        return event
                seen = len(self._events)
                assert not self._ended, f"the server ended without '{name}':\n" + "\n".join(self.lines)
                left = end - time.monotonic()
                assert left > 0, f"no log line '{name}'; the last lines:\n" + "\n".join(self.lines[-20:])
                self._changed.wait(left)

    def access(self, request_id):
        return self.event("access", lambda event: event["request_id"] == request_id)

    # What a client sends.

    @property
    def session(self):
        """One keep-alive client for each thread of the test."""
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = False
        return self._local.session

    def request(self, method, path, **options):
        options.setdefault("timeout", PATIENCE_S)
        return self.session.request(method, self.url + path, **options)

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def predict(self, picture, content_type="application/octet-stream", **options):
        headers = {"Content-Type": content_type} | options.pop("headers", {})
        return self.request("POST", "/v1/predict", data=picture, headers=headers, **options)

    def answer(self, picture, **options):
        """The answer to a picture that must be labelled."""
        response = self.predict(picture, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def ready(self):
        """The status of /readyz; 0 when nobody listens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=PATIENCE_S)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    # What the process costs.

    def cpu_ticks(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    def cpu_s(self):
        return self.cpu_ticks() / TICKS_PER_S

    def settle(self):
        """Wait until it does nothing: after the start, the engine goes on compiling beside the first requests."""
        last, calm = self.cpu_ticks(), 0

        def is_calm():
            nonlocal last, calm
            before, last = last, self.cpu_ticks()
            calm = calm + 1 if last == before else 0
            return calm >= 60
        eventually(is_calm, "the server comes to rest")

    def memory_peak(self):
        """Bytes of resident memory, at most so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmHWM:\s*(\d+) kB", status, re.M)[1]) * 1024

    def is_running(self):
        return self.process.poll() is None

    # How it ends.

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def wait(self):
        status = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return status

    def stop(self):
        """SIGTERM; everything must have gone well."""
        if self.is_running():
            self.terminate()
        try:
            status = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("the server did not end after SIGTERM:\n" + self.text[-4000:]) from None
        assert not SANITIZER.search(self.text), self.text
        assert status == self.expected_status, f"exit status {status}:\n" + self.text[-4000:]

    def kill(self):
        if self.is_running():
            self.process.kill()
            self.process.wait()


class Shared:
    """The server that tests share. One that died is replaced, so that it fails one test only."""

    def __init__(self, folders):
        self.folders = folders
        self.server = None

    def get(self):
        if self.server is None or not self.server.is_running():
            self.server = Server(self.folders.mktemp("shared"))
        return self.server


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    shared = Shared(tmp_path_factory)
    yield shared
    if shared.server is not None and shared.server.is_running():
        shared.server.stop()


@pytest.fixture
def server(shared):
    """The server with the default settings; it must survive every test."""
    server = shared.get()
    yield server
    assert server.is_running(), server.text[-6000:]


@pytest.fixture(scope="session")
def warm_cache(shared):
    """A folder with everything the engine compiles of the default model."""
    server = shared.get()
    server.settle()
    return Path(server.settings["data"]) / "cache"


@pytest.fixture
def start(tmp_path, request):
    """start(setting=value, ...) gives a server of its own; each is stopped, and must end well.

    It finds its models compiled, unless it is to start cold. The same folder may be started again."""
    servers = []

    def start_one(env=None, folder=None, cold=False, **settings):
        folder = folder or tmp_path
        if not cold and not (folder / "data").exists():
            # The files are replaced when they change, never written to.
            shutil.copytree(request.getfixturevalue("warm_cache"), folder / "data" / "cache", copy_function=os.link)
        server = Server(folder, settings, env)
        servers.append(server)
        return server

    yield start_one
    failure = None
    for server in servers:
        try:
            server.stop()
        except AssertionError as error:
            failure = failure or error
    if failure:
        raise failure


@pytest.fixture(scope="session")
def manifest():
    return json.loads((PHOTOS / "manifest.json").read_text())


@pytest.fixture(scope="session")
def cat():
    """The bytes of a photograph of a cat (JPEG)."""
    return (SCENES / "cat.jpg").read_bytes()


@pytest.fixture(scope="session")
def small_photos(manifest):
    """Bytes of 24 small JPEG photographs."""
    chosen = sorted(manifest, key=lambda photo: photo["bytes"])[:24]
    return [(PHOTOS / photo["file"]).read_bytes() for photo in chosen]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def pytest_configure(config):
    config.addinivalue_line("markers", "real_engine: needs an engine that gives real labels")


def pytest_collection_modifyitems(items):
    if ENGINE == "fake":
        for item in items:
            if item.get_closest_marker("real_engine"):
                item.add_marker(pytest.mark.skip(reason="the fake engine gives no real labels"))
