# SPDX-License-Identifier: Apache-2.0
"""`imago bench` against a small server of this file: what it sends, what it counts, what it says."""
import email.policy
import email.parser
import json
import os
import pty
import subprocess
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from imago_server import ENGINE, IMAGO, MODELS, PATIENCE_S, PHOTOS, environment

PHOTO_COUNT = 5


def held(event, seconds):
    """Status 200, when the event comes or the time is over."""
    event.wait(seconds)
    return 200


class Target:
    """Answers every POST by `answer(number, body)`, a status, and remembers what came."""

    def __init__(self, answer):
        target = self
        self.requests, self.connections, self.lock = [], set(), threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with target.lock:
                    number = len(target.requests)
                    target.requests.append((dict(self.headers), body))
                    target.connections.add(self.client_address)
                status = answer(number)
                if status is None:
                    self.close_connection = True
                    return
                text = b'{"title": "the reason"}' if status != 200 else b"{}"
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # clients that hang up are part of the tests
        self.url = f"http://127.0.0.1:{self.server.server_port}/classify"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def target():
    """target(answer) starts one; each is closed."""
    targets = []

    def start(answer=lambda number: 200):
        targets.append(Target(answer))
        return targets[-1]

    yield start
    for one in targets:
        one.close()


@pytest.fixture
def photos(tmp_path):
    """Folder of small JPEG photographs, and their bytes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    smallest = sorted(PHOTOS.glob("*.jpg"), key=lambda photo: photo.stat().st_size)[:PHOTO_COUNT]
    for photo in smallest:
        (folder / photo.name).write_bytes(photo.read_bytes())
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture
def bench(tmp_path, photos):
    """bench(arguments ...) -> exit status, JSON (None if there is none), standard output, standard error"""

    def run(*arguments, folder=photos):
        result = tmp_path / "result.json"
        result.unlink(missing_ok=True)
        command = [IMAGO, "bench", "--photos", folder, "--json", result, "--warmup", "0s", *arguments]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False,
                              env=environment(), timeout=PATIENCE_S)
        return done.returncode, json.loads(result.read_text()) if result.exists() else None, done.stdout, done.stderr

    return run


def test_sends_each_photo_as_it_is(target, bench, photos):
    server = target()
    status, result, text, errors = bench(server.url, "--count", 2 * PHOTO_COUNT, "--clients", 3)
    assert (status, errors) == (0, "")
    assert result["load"]["succeeded"] == 2 * PHOTO_COUNT and result["photos"] == PHOTO_COUNT
    sent = Counter(body for _, body in server.requests)
    assert sent == Counter({photo.read_bytes(): 2 for photo in photos.glob("*.jpg")})
    assert {headers["Content-Type"] for headers, _ in server.requests} == {"image/jpeg"}
    assert not any("Expect" in headers for headers, _ in server.requests)
    assert "10 in" in text and "0 failed" in text


def test_keeps_connections(target, bench):
    server = target()
    assert bench(server.url, "--count", 40, "--clients", 3)[0] == 0
    assert len(server.connections) <= 3


def test_sends_forms(target, bench, photos):
    server = target()
    assert bench(server.url, "--count", PHOTO_COUNT, "--form", "multipart", "--field", "picture")[0] == 0
    found = set()
    for headers, body in server.requests:
        head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
        (part,) = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body).iter_parts()
        assert part.get_param("name", header="Content-Disposition") == "picture"
        assert part.get_content_type() == "image/jpeg"
        found.add(part.get_payload(decode=True))
    assert found == {photo.read_bytes() for photo in photos.glob("*.jpg")}


def test_adds_a_header(target, bench):
    server = target()
    assert bench(server.url, "--count", 1, "--header", "Authorization: Bearer abc")[0] == 0
    assert server.requests[0][0]["Authorization"] == "Bearer abc"


def test_seed_decides_the_order(target, bench):
    orders = []
    for seed in (1, 1, 2):
        server = target()
        assert bench(server.url, "--count", PHOTO_COUNT, "--clients", 1, "--seed", seed)[0] == 0
        orders.append([body for _, body in server.requests])
    assert orders[0] == orders[1] != orders[2]


def test_quantiles_are_in_order(target, bench):
    load = bench(target().url, "--count", 50)[1]["load"]
    latency = [load["latency_ms"][name] for name in ("p50", "p90", "p99", "p99_9", "max")]
    assert latency == sorted(latency) and latency[0] > 0


def test_rounds_add_up(target, bench):
    server = target()
    _, result, _, _ = bench(server.url, "--count", 11, "--rounds", 3)
    assert [one["images"] for one in result["rounds"]] == [4, 4, 3]
    assert result["load"]["succeeded"] == len(server.requests) == 11


def test_counts_failures_by_status(target, bench):
    server = target(lambda number: 503 if number % 3 == 2 else 200)
    status, result, text, _ = bench(server.url, "--count", 9)
    assert status == 1
    assert result["load"]["failed_by_status"] == {"503": 3} and result["load"]["succeeded"] == 6
    assert "3 with status 503" in text and "the reason" in text


def test_counts_answers_that_never_came(target, bench):
    server = target(lambda number: None if number == 3 else 200)
    status, result, text, _ = bench(server.url, "--count", 8, "--clients", 1)
    # libcurl sends again, once, on a kept connection that closes without a byte: that is not a failure.
    failed = sum(result["load"]["failed_without_answer"].values())
    assert result["load"]["succeeded"] + failed == 8
    assert status == (1 if failed else 0) and ("without an answer" in text) == bool(failed)


def test_times_out(target, bench):
    done = threading.Event()
    server = target(lambda number: 200 if number else held(done, PATIENCE_S))
    status, result, _, _ = bench(server.url, "--count", 3, "--clients", 1, "--timeout", "100ms")
    done.set()
    assert status == 1 and sum(result["load"]["failed_without_answer"].values()) == 1


def test_gives_up_on_a_server_that_is_not_there(target, bench):
    server = target()
    server.close()
    server.close = lambda: None
    status, result, _, errors = bench(server.url, "--duration", "1m")
    assert status == 11 and result is None
    assert "not one success" in errors


def test_open_loop_does_not_wait_for_a_slow_server(target, bench):
    """One connection whose first answer is held back: those that were due meanwhile have waited too."""
    hold = threading.Event()
    server = target(lambda number: 200 if number else held(hold, 0.5))
    load = bench(server.url, "--clients", 1, "--rate", 1000, "--count", 50)[1]["load"]
    assert load["mode"] == "open" and load["succeeded"] == 50
    assert load["latency_ms"]["p50"] > 200


def test_open_loop_arrivals_depend_on_the_seed_alone(target, bench):
    arrivals = [bench(target().url, "--rate", 200, "--duration", "300ms")[1]["load"]["succeeded"] for _ in range(2)]
    assert arrivals[0] == arrivals[1] and 30 < arrivals[0] < 100


def test_slo(target, bench):
    hold = threading.Event()
    server = target(lambda number: held(hold, 0.01))
    status, result, _, errors = bench(server.url, "--count", 5, "--slo", "1ms")
    assert status == 1 and result["load"]["failed"] == 0 and "--slo" in errors
    assert bench(server.url, "--count", 5, "--slo", "1h")[0] == 0


def test_server_cpu(target, bench):
    status, result, text, _ = bench(target().url, "--count", 20, "--pid", os.getpid())
    assert status == 0 and "server CPU" in text
    assert result["server"]["cpu_ms_per_image"] > 0 and result["server"]["rss_peak_bytes"] > 1e6
    assert result["server"]["processes"] >= 2  # this one, and the bench itself is its child


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ([], 2, "--floor"),
        (["http://127.0.0.1:1/", "http://127.0.0.1:2/"], 2, "imago bench [URL]"),
        (["http://127.0.0.1:1/", "--form", "xml"], 2, "raw"),
        (["http://127.0.0.1:1/", "--clients", "0"], 2, "--clients"),
        (["http://127.0.0.1:1/", "--count", "2", "--rounds", "3"], 2, "--rounds"),
        (["http://127.0.0.1:1/", "--field", 'a"b'], 2, "--field"),
        (["http://127.0.0.1:1/", "--pid", "4194304"], 4, "4194304"),
        (["ftp://127.0.0.1/"], 11, "not one success"),
    ],
)
def test_wrong_arguments(bench, arguments, status, sentence):
    got, result, _, errors = bench(*arguments)
    assert got == status and result is None and sentence in errors


def test_wrong_folders(bench, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (empty, tmp_path / "absent"):
        assert bench("http://127.0.0.1:1/", folder=folder)[0] == 4
    assert bench("http://127.0.0.1:1/", folder="")[0] == 2


def test_help():
    done = subprocess.run([IMAGO, "bench", "--help"], capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0 and "--rate" in done.stdout and done.stderr == ""


def test_progress_on_a_terminal_only(target, photos):
    leader, terminal = pty.openpty()
    command = [IMAGO, "bench", target().url, "--photos", photos, "--duration", "500ms", "--warmup", "0s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, env=environment(TERM="xterm")) as process:
        text, _ = process.communicate(timeout=PATIENCE_S)
    drawn = os.read(leader, 65536)
    os.close(terminal)
    os.close(leader)
    assert process.returncode == 0 and b"throughput" in text
    assert b"round 1 of 1" in drawn and drawn.endswith(b"\r\x1b[K")


@pytest.mark.real_engine
def test_floor(target, bench):
    status, result, text, errors = bench(target().url, "--count", 10, "--rounds", 2, "--floor", "--models", MODELS,
                                         "--pid", os.getpid(), *(["--engine", ENGINE] if ENGINE else []))
    assert (status, errors) == (0, "")
    floor = result["floor_cpu_ms"]
    parts = [floor[name] for name in ("decode", "resize", "engine")]
    assert min(parts) > 0 and floor["sum"] == pytest.approx(sum(parts), abs=0.001)
    assert floor["engine"] == min(floor["engine_by_batch"].values())
    assert floor["precision"] in ("int8", "f32") and floor["precision"] in text
    assert len(result["rounds"]) == 2 and "ratio" in text
