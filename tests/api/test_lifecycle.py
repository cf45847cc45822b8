# SPDX-License-Identifier: Apache-2.0
"""Starting, stopping and being replaced: no accepted request is lost, and what is wrong is said at once."""
import http.client
import json
import shutil
import signal
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pictures
import pytest
from imago_server import ENGINE, IMAGO, MIB, MODELS, PATIENCE_S, SLOW, environment, eventually
from test_predict import check_problem_object, said
from wire import Wire, post


@pytest.fixture(scope="module")
def slow_picture():
    return pictures.slow()


def refuses(server):
    """Nobody listens on its port."""
    try:
        socket.create_connection(("127.0.0.1", server.port), PATIENCE_S).close()
    except ConnectionRefusedError:
        return True
    return False


# --- the end ---------------------------------------------------------------------------------

def test_an_idle_server_ends_at_once(start):
    server = start()
    server.terminate()
    assert server.wait() == 0
    assert server.event("stopped")["drained"] is True


def test_sigint_is_the_same(start):
    server = start()
    server.process.send_signal(signal.SIGINT)
    assert server.wait() == 0


def test_requests_in_flight_are_answered(start, slow_picture, small_photos):
    """Slow ones that keep the workers busy, then many behind them: all were sent before the signal."""
    server = start(workers=1, drain_linger="1s")
    wanted = [said(server.answer(photo))[0] for photo in small_photos]
    wires = []
    for picture in [slow_picture, slow_picture, *small_photos]:
        wires.append(Wire(server.port))
        wires[-1].send(post(picture))
    server.terminate()
    eventually(lambda: refuses(server), "new connections are refused")
    answers = [wire.answer() for wire in wires]
    assert [answer.status for answer in answers] == [200] * len(wires)
    assert [said(json.loads(answer.body))[0] for answer in answers[2:]] == wanted
    assert {answer.headers["Connection"] for answer in answers[1:]} == {"close"}
    assert all(wire.is_closed() for wire in wires)
    assert server.wait() == 0


def test_a_request_that_is_half_sent_is_still_taken(start, cat):
    server = start(drain_linger="1s")
    with Wire(server.port) as wire:
        request = post(cat)
        wire.send(request[:len(request) // 2])
        server.terminate()
        eventually(lambda: refuses(server), "new connections are refused")
        wire.send(request[len(request) // 2:])
        assert wire.answer().status == 200
    assert server.wait() == 0


def test_an_idle_connection_may_send_one_more(start, cat):
    server = start(drain_linger=f"{int(20 * SLOW)}s")
    with Wire(server.port) as wire:
        wire.send(post(cat))
        assert wire.answer().status == 200
        server.terminate()
        eventually(lambda: refuses(server), "new connections are refused")
        wire.send(post(cat))
        answer = wire.answer()
        assert answer.status == 200 and answer.headers["Connection"] == "close"
        assert wire.is_closed()
    assert server.wait() == 0


def test_readiness_ends_before_the_service_does(start, cat):
    server = start(drain_delay=f"{int(5 * SLOW)}s")
    assert server.ready() == 200
    server.terminate()
    eventually(lambda: server.ready() == 503, "/readyz says no")
    assert server.predict(cat).status_code == 200
    with Wire(server.port) as wire:
        wire.send(post(cat))
        assert wire.answer().status == 200
    server.expected_status = 1
    server.terminate()  # a second signal ends the wait
    assert server.wait() == 1


def test_a_second_signal_right_behind_the_first(start, cat):
    """As from `timeout`, or from a terminal and a script at once: it ends the wait, not the process."""
    server = start(drain_linger=f"{int(20 * SLOW)}s")
    server.expected_status = 1
    with Wire(server.port) as wire:
        wire.send(post(cat))
        assert wire.answer().status == 200
        server.process.send_signal(signal.SIGINT)
        server.terminate()
        assert server.wait() == 1
    assert server.event("stopped")["drained"] is False


def test_requests_that_do_not_end_are_given_up(start, slow_picture):
    server = start(workers=1, drain_timeout="100ms")
    server.expected_status = 1
    wires = []
    for _ in range(6):
        wires.append(Wire(server.port))
        wires[-1].send(post(slow_picture))
    server.terminate()
    assert server.wait() == 1
    assert server.event("stopped")["drained"] is False
    for wire in wires:
        wire.close()


# --- replaced behind a proxy -----------------------------------------------------------------

class Proxy(ThreadingHTTPServer):
    """Round robin over the servers that are ready; connections are kept; nothing is ever sent twice."""
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, servers):
        super().__init__(("127.0.0.1", 0), ProxyHandler)
        self.servers = servers
        self.ready = list(servers)
        self.next = 0
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.serve_forever), threading.Thread(target=self.watch)]
        for thread in self.threads:
            thread.start()

    def watch(self):
        while not self.ended.wait(0.02):
            ready = [server for server in list(self.servers) if server.ready() == 200]
            with self.lock:
                self.ready = ready

    def choose(self):
        with self.lock:
            self.next += 1
            return self.ready[self.next % len(self.ready)] if self.ready else None

    def stop(self):
        self.ended.set()
        self.shutdown()
        for thread in self.threads:
            thread.join()
        self.server_close()


class ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        super().setup()
        self.kept = {}  # port -> connection

    def finish(self):
        super().finish()
        for connection in self.kept.values():
            connection.close()

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server.choose()
        status, answer = 502, b"no server is ready"
        if server is not None:
            with self.server.lock:
                for port in [p for p in self.kept if p not in {s.port for s in self.server.ready}]:
                    self.kept.pop(port).close()
            connection = self.kept.pop(server.port, None) or http.client.HTTPConnection("127.0.0.1", server.port,
                                                                                        timeout=PATIENCE_S)
            try:
                connection.request("POST", self.path, body, {"Content-Type": "image/jpeg"})
                response = connection.getresponse()
                status, answer = response.status, response.read()
                if response.headers["Connection"] != "close":
                    self.kept[server.port] = connection
            except OSError as error:
                answer = repr(error).encode()
            except http.client.HTTPException as error:
                answer = repr(error).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def test_a_rolling_restart_loses_no_request(start, tmp_path, small_photos):
    delay = {"drain_delay": f"{int(500 * SLOW)}ms", "drain_linger": f"{int(1 * SLOW)}s"}
    servers = [start(folder=tmp_path / name, **delay) for name in ("a", "b")]
    wanted = {photo: said(servers[0].answer(photo))[0] for photo in small_photos}
    proxy = Proxy(servers)
    failures, served, ended = [], [0], threading.Event()

    def load(number):
        client = http.client.HTTPConnection("127.0.0.1", proxy.server_address[1], timeout=PATIENCE_S)
        while not ended.is_set():
            photo = small_photos[number % len(small_photos)]
            number += 1
            client.request("POST", "/v1/predict", photo)
            response = client.getresponse()
            body = response.read()
            served[0] += 1
            if response.status != 200:
                failures.append((response.status, body))
            elif said(json.loads(body))[0][0][0] != wanted[photo][0][0]:
                failures.append(("another answer", body))
        client.close()

    clients = [threading.Thread(target=load, args=(number,)) for number in range(6)]
    for client in clients:
        client.start()
    try:
        for turn in range(4):
            old = servers[turn % 2]
            before = served[0]
            eventually(lambda: served[0] > before + 30, "requests flow")
            old.terminate()
            assert old.wait() == 0
            servers[turn % 2] = start(folder=tmp_path / "ab"[turn % 2], **delay)
            eventually(lambda: servers[turn % 2] in proxy.ready, "the new one is used")
    finally:
        ended.set()
        for client in clients:
            client.join()
        proxy.stop()
    assert failures == []
    assert served[0] > 120


# --- the beginning ---------------------------------------------------------------------------

def run(*arguments, **options):
    """A start that must fail."""
    return subprocess.run([str(IMAGO), "serve", "--listen=127.0.0.1:0", *(["--engine", ENGINE] if ENGINE else []), *arguments],
                          capture_output=True, text=True, timeout=PATIENCE_S, env=environment(), **options)


def check_refusal(done, status, *words):
    assert done.returncode == status, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("imago: ")
    for word in words:
        assert word in line, line


def test_a_port_in_use(start, tmp_path):
    server = start()
    done = run("--data", str(tmp_path / "other"), "--models", str(MODELS), "--listen", f"127.0.0.1:{server.port}")
    check_refusal(done, 11, str(server.port), "in use")
    done = run("--data", str(tmp_path / "other"), "--models", str(MODELS), "--admin-listen", f"127.0.0.1:{server.admin_port}")
    check_refusal(done, 11, str(server.admin_port), "in use")


@pytest.mark.parametrize("listen", ["8080", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:99999", "::1:80", "nowhere.invalid:80",
                                    "[::1:80", ""])
def test_an_address_that_is_none(tmp_path, listen):
    done = run("--data", str(tmp_path), "--models", str(MODELS), "--listen", listen)
    assert done.returncode in (2, 11), done.stderr
    assert done.stderr.startswith("imago: ") and (listen in done.stderr)


def test_no_models(tmp_path):
    check_refusal(run("--data", str(tmp_path), "--models", str(tmp_path / "nowhere")), 4, "--models", "nowhere")
    (tmp_path / "empty").mkdir()
    check_refusal(run("--data", str(tmp_path), "--models", str(tmp_path / "empty")), 4, "empty")


def test_an_unknown_default_model(tmp_path):
    done = run("--data", str(tmp_path), "--models", str(MODELS), "--model", "nothing")
    check_refusal(done, 4, "nothing", "efficientnet-lite0")


def test_an_unknown_engine(tmp_path):
    done = run("--data", str(tmp_path), "--models", str(MODELS), "--engine", "steam")
    assert done.returncode != 0 and "steam" in done.stderr


def test_a_broken_model(tmp_path):
    models = tmp_path / "models"
    shutil.copytree(MODELS / "efficientnet-lite0", models / "mine")
    facts = models / "mine" / "1" / "model.yaml"
    facts.write_text(facts.read_text().replace("width: 224", "width: -5"))
    done = run("--data", str(tmp_path), "--models", str(models))
    assert done.returncode == 2, done.stderr
    assert "model.yaml" in done.stderr and "width" in done.stderr


def test_data_that_cannot_be_created(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("--data", str(tmp_path / "file" / "data"), "--models", str(MODELS))
    check_refusal(done, 11, "data")


def test_models_beside_the_program_are_found(tmp_path):
    """Without --models: the folder models beside the program."""
    beside = tmp_path / "bin"
    beside.mkdir()
    shutil.copy2(IMAGO, beside / "imago")
    (beside / "models").symlink_to(MODELS)
    server = None
    try:
        process = subprocess.Popen([str(beside / "imago"), "serve", "--listen=127.0.0.1:0", "--data", str(tmp_path / "d"),
                                    *(["--engine", ENGINE] if ENGINE else [])],
                                   stderr=subprocess.PIPE, text=True, env=environment())
        server = process
        line = json.loads(process.stderr.readline())
        assert (line["event"], line["model"]) == ("listening", "efficientnet-lite0")
    finally:
        if server is not None:
            server.terminate()
            server.communicate()
    assert server.returncode == 0


def cached(server):
    folder = Path(server.settings["data"]) / "cache"
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.real_engine
def test_a_second_start_uses_what_the_first_compiled(start, cat):
    first = start(cold=True)
    wanted = said(first.answer(cat))
    first.settle()
    first.stop()
    before = cached(first)
    assert before
    second = start()
    assert said(second.answer(cat)) == wanted
    second.settle()
    second.stop()
    assert cached(second) == before


def cut(data):
    return data[:len(data) // 2]


def damage(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1:]


@pytest.mark.real_engine
@pytest.mark.parametrize("how", [cut, damage, lambda data: b"", lambda data: b"x" * 1000, lambda data: data + b"x"],
                         ids=["cut", "damaged", "empty", "something else", "longer"])
def test_a_corrupt_cache_is_survived(start, cat, how):
    first = start(cold=True)
    wanted = said(first.answer(cat))
    first.stop()
    for path in cached(first):
        path.write_bytes(how(path.read_bytes()))
    damaged_files = cached(first)
    second = start()
    assert said(second.answer(cat)) == wanted
    second.stop()
    assert cached(second) != damaged_files, "it was written anew"


@pytest.mark.real_engine
def test_a_cache_that_cannot_be_written_is_no_obstacle(tmp_path, start, cat):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cache").mkdir()
    for _ in range(2):
        server = start(cold=True)
        server.answer(cat)
        server.stop()
        for path in cached(server):
            path.unlink()
            path.mkdir()


# --- at rest and under a flood ---------------------------------------------------------------

def warm_up(server, small_photos):
    """Everything that grows once has grown: batches of every size have run."""
    server.settle()
    with ThreadPoolExecutor(24) as clients:
        assert set(clients.map(lambda n: server.predict(small_photos[n % 24]).status_code, range(150))) == {200}


def test_an_idle_server_costs_no_cpu(start, cat, small_photos):
    server = start()
    for photo in small_photos:
        server.answer(photo)
    with Wire(server.port):  # an open connection is no reason to wake up either
        server.settle()
        before = server.cpu_ticks()
        with pytest.raises(subprocess.TimeoutExpired):
            server.process.wait(4)  # it goes on, and there is nothing to do
        assert server.cpu_ticks() - before <= 1 * SLOW


def test_a_flood_of_large_bodies_is_bounded(start, cat, small_photos):
    """Bodies of 6 MB with room for 16 MiB: some are served, the others are told to come back."""
    server = start(body_memory="16Mi", waiting=64)
    warm_up(server, small_photos)
    base = server.memory_peak()
    picture = cat + bytes(6_000_000 - len(cat))
    together = threading.Barrier(24, timeout=PATIENCE_S)

    def one(_):
        together.wait()
        with Wire(server.port) as wire:
            wire.send(post(picture))
            return wire.answer()

    with ThreadPoolExecutor(24) as clients:
        answers = [answer for _ in range(4) for answer in clients.map(one, range(24))]
    statuses = {answer.status for answer in answers}
    assert statuses == {200, 503}, statuses
    for answer in answers:
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) >= 1
            problem = json.loads(answer.body)
            check_problem_object(problem, 503, problem["type"].rpartition("/")[2])
    assert server.memory_peak() - base < (16 + 32) * MIB * (1 if SLOW == 1 else 5)
    eventually(lambda: server.predict(picture).status_code == 200, "there is room again")


def test_a_flood_of_large_pictures_is_bounded(start, slow_picture, small_photos):
    """As many decoders as workers, whatever comes."""
    server = start(workers=2, waiting=64)
    warm_up(server, small_photos)
    base = server.memory_peak()
    with ThreadPoolExecutor(12) as clients:
        statuses = list(clients.map(lambda _: server.predict(slow_picture).status_code, range(12)))
    assert statuses == [200] * 12
    # 46 megapixels of coefficients are 93 MB; two at a time.
    assert server.memory_peak() - base < 2 * 160 * MIB * (1 if SLOW == 1 else 5)


def test_many_requests_leave_nothing_behind(start, small_photos):
    """Memory after 1,500 requests is that after 500."""
    server = start()
    warm_up(server, small_photos)

    def go(count):
        with ThreadPoolExecutor(8) as clients:
            statuses = set(clients.map(lambda n: server.predict(small_photos[n % len(small_photos)]).status_code, range(count)))
        assert statuses == {200}
        return server.memory_peak()
    first = go(500)
    assert go(1000) - first < 8 * MIB * (1 if SLOW == 1 else 20)
