# SPDX-License-Identifier: Apache-2.0
"""Time, memory, connections, disconnects, draining."""
import os
import resource
import socket
import struct
import threading
import time

from echo_client import Client

H = "Host: x\r\n"


def test_pipelined_requests_are_answered_in_order(server):
    client = server.client()
    client.send("GET /thread HTTP/1.1\r\n" + H + "\r\nGET /a HTTP/1.1\r\n" + H + "\r\n" +
                "POST /thread?x HTTP/1.1\r\n" + H + "Content-Length: 3\r\n\r\nabc" +
                "GET /b HTTP/1.1\r\n" + H + "\r\n")
    assert [client.answer().body.split()[1] for _ in range(4)] == [b"/thread", b"/a", b"/thread", b"/b"]
    client.close()


def test_the_next_request_waits_until_the_answer_was_sent(start):
    server = start()
    client = server.client()
    client.send("GET /hold HTTP/1.1\r\n" + H + "\r\nGET /b HTTP/1.1\r\n" + H + "\r\n")
    server.wait_for(lambda s: s["delivered"] >= 2)  # /hold and this question
    before = server.stats()
    assert server.stats()["delivered"] == before["delivered"] + 1
    server.get("/release")
    assert client.answer().body.startswith(b"GET /hold")
    assert client.answer().body.startswith(b"GET /b")


def test_a_flood_behind_a_waiting_request_is_held_back(start):
    server = start()
    client = server.client()
    client.send("GET /hold HTTP/1.1\r\n" + H + "\r\n")
    client.socket.settimeout(0.2)
    sent = 0
    try:
        while sent < 64 << 20:
            sent += client.socket.send(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
    except TimeoutError:
        pass
    assert sent < 64 << 20
    server.get("/release")
    client.socket.settimeout(20)
    assert client.answer().body.startswith(b"GET /hold")
    for _ in range(1000):
        assert client.answer().body.startswith(b"GET /a")
    client.close()


def reset(client):
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def test_a_disconnect_is_noticed_at_once_while_the_handler_works(start):
    server = start()
    for leave in (lambda c: c.close(), reset, lambda c: c.socket.shutdown(socket.SHUT_WR),
                  lambda c: (c.send("GET /ahead"), c.close())):
        before = server.stats()
        client = server.client()
        client.send("POST /hold HTTP/1.1\r\n" + H + "Content-Length: 3\r\n\r\nabc")
        server.wait_for(lambda s: s["delivered"] - s["finished"] >= 2)
        leave(client)
        stats = server.wait_for(lambda s: s["gone"] == before["gone"] + 1)
        stats = server.wait_for(lambda s: s["connections"] == 1)
        assert stats["seen"] == stats["finished"] + 1


def test_leaving_before_the_answer_is_ready_is_safe_at_any_moment(start):
    server = start()
    for round in range(300):
        client = server.client()
        client.send("POST /thread HTTP/1.1\r\n" + H + "Content-Length: 3\r\n\r\nabc")
        reset(client) if round % 2 else client.close()
    stats = server.wait_for(lambda s: s["connections"] == 1)
    assert stats["seen"] == stats["finished"] + 1


def test_a_request_that_stops_half_way_is_told(start):
    server = start()
    for part in ("GET /", "POST / HTTP/1.1\r\n" + H, "POST / HTTP/1.1\r\n" + H + "Content-Length: 10\r\n\r\nabc",
                 "POST / HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"):
        client = server.client()
        client.send(part)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.answer().status == 400 and client.ends()
        client = server.client()
        client.send(part)
        reset(client)
    silent = server.client()
    silent.socket.shutdown(socket.SHUT_WR)
    assert silent.ends()
    stats = server.wait_for(lambda s: s["connections"] == 1)
    assert stats["delivered"] == stats["seen"] - 4  # the four that had headers


def test_a_request_and_fin_in_one_piece_is_answered_if_the_answer_is_ready(server):
    client = server.client()
    client.send("GET /a HTTP/1.1\r\n" + H + "\r\n")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.answer().status == 200 and client.ends()


def test_slow_headers_and_bodies_time_out_with_an_answer(start):
    server = start(header_ms=300, body_ms=400)
    head, body, silent = server.client(), server.client(), server.client()
    head.send("GET / HTTP/1.1\r\nHo")
    body.send("POST / HTTP/1.1\r\n" + H + "Content-Length: 10\r\n\r\nabc")
    for client in (head, body):
        answer = client.answer()
        assert answer.status == 408 and answer.headers["connection"] == "close"
        assert client.ends()
    assert server.get("/a").status == 200
    silent.send("GET /a HTTP/1.1\r\n" + H + "\r\n")  # no byte of a request: not the header timeout
    assert silent.answer().status == 200


def test_a_trickle_does_not_extend_the_deadline(start):
    server = start(header_ms=500, body_ms=500)
    for begin in ("GET /", "POST / HTTP/1.1\r\n" + H + "Content-Length: 100000\r\n\r\n"):
        client = server.client()
        client.send(begin)
        client.socket.settimeout(0.02)
        for _ in range(1000):
            client.send("a")
            try:
                if client.answer():
                    break
            except TimeoutError:
                continue
        else:
            raise AssertionError("never timed out")


def test_idle_connections_are_closed_without_a_word(start):
    server = start(idle_ms=200)
    fresh, used = server.client(), server.client()
    used.send("GET /a HTTP/1.1\r\n" + H + "\r\n")
    assert used.answer().status == 200
    assert fresh.ends() and used.ends()


def test_an_answer_that_is_not_taken_is_given_up(start):
    server = start(write_ms=300)
    client = server.client(receive_buffer=4096)
    client.send("GET /big/20000000 HTTP/1.1\r\n" + H + "\r\n")
    stats = server.wait_for(lambda s: s["delivered"] >= 2 and s["connections"] == 1)
    assert stats["finished"] == stats["seen"] - 1
    client.close()


def test_a_large_answer_is_written_whole(server):
    client = server.client(receive_buffer=4096)
    client.send("GET /big/5000000 HTTP/1.1\r\n" + H + "\r\nGET /a HTTP/1.1\r\n" + H + "\r\n")
    assert client.answer().body == b"x" * 5000000
    assert client.answer().status == 200
    client.close()


def test_a_full_connection_table_answers_busy(start):
    server = start(connections=8)
    clients = [server.client() for _ in range(8)]
    for client in clients:
        client.send("GET /a HTTP/1.1\r\n" + H + "\r\n")
        assert client.answer().status == 200
    for _ in range(40):
        extra = server.client()
        answer = extra.answer()
        assert answer is None or (answer.status == 503 and answer.headers["connection"] == "close")
        extra.close()
    for client in clients:
        client.send("GET /a HTTP/1.1\r\n" + H + "\r\n")
        assert client.answer().status == 200
    clients.pop().close()
    while True:  # until the server has seen it
        answer = server.get("/a")
        if answer and answer.status == 200:
            break


def test_body_memory_is_bounded(start):
    server = start(body_memory=4 << 20, body_max=3 << 20)
    clients = [server.client() for _ in range(3)]
    for client in clients:
        client.send(b"POST /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + bytes(1500000))
    answers = []
    for client in clients:
        client.send(bytes(500000))
        answers.append(client.answer().status)
    assert sorted(set(answers)) in ([200, 503], [200]) or answers == [503] * 3
    assert server.get("/a").status == 200


def test_announcing_a_body_costs_nobody_anything(start):
    server = start(body_memory=8 << 20, body_max=8 << 20)
    tricklers = [server.client() for _ in range(200)]
    for client in tricklers:
        client.send("POST /sink HTTP/1.1\r\n" + H + "Content-Length: 4000000\r\n\r\na")
    client = server.client()
    client.send(b"POST /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n" + bytes(2000000))
    assert client.answer().body == b"2000000\n"


def test_hundreds_of_slow_connections_hinder_nobody(start):
    server = start(header_ms=1500, body_ms=1500)
    slow = [server.client() for _ in range(600)]
    for i, client in enumerate(slow):
        client.send("POST / HTTP/1.1\r\n" + ("" if i % 2 else H + "Content-Length: 100000\r\n\r\n"))
    for _ in range(3):
        for client in slow:
            client.send("a")
        assert server.get("/thread").status == 200
    for i, client in enumerate(slow):
        assert client.answer().status == 408
        client.close()
    assert server.wait_for(lambda s: s["connections"] == 1)


def test_idle_means_no_cpu(start):
    server = start()
    clients = [server.client() for _ in range(50)]
    for client in clients:
        client.send("GET /a HTTP/1.1\r\n" + H + "\r\n")
        client.answer()
    before = server.cpu_s()
    time.sleep(0.5)  # nothing may happen: there is nothing to wait for
    assert server.cpu_s() - before <= 0.02


def test_drain_finishes_what_is_under_way(start):
    server = start()
    working, idle, late, uploading = (server.client() for _ in range(4))
    for client in (idle, late):
        client.send("GET /a HTTP/1.1\r\n" + H + "\r\n")
        assert "connection" not in client.answer().headers
    working.send("GET /hold HTTP/1.1\r\n" + H + "\r\n")
    uploading.send("POST /release HTTP/1.1\r\n" + H + "Content-Length: 5\r\n\r\nhel")
    server.wait_for(lambda s: s["delivered"] - s["finished"] >= 2)
    server.tell("drain 10000")
    while True:  # until it has stopped listening
        try:
            probe = server.client()
        except ConnectionRefusedError:
            break
        probe.close()
    late.send("GET /late HTTP/1.1\r\n" + H + "\r\n")
    answer = late.answer()
    assert answer.status == 200 and answer.headers["connection"] == "close" and late.ends()
    uploading.send("lo")
    for client in (uploading, working):
        answer = client.answer()
        assert answer.status == 200 and answer.headers["connection"] == "close" and client.ends()
    assert idle.ends()
    assert server.process.stdout.readline() == "empty 1\n"


def test_drain_serves_the_backlog(start):
    """Whoever was connected before the drain gets an answer, even if nobody had accepted yet."""
    server = start(loops=1)
    clients = [server.client() for _ in range(200)]
    for client in clients:
        client.send("GET /thread HTTP/1.1\r\n" + H + "\r\n")
    server.tell("drain 1000")
    assert all(client.answer().status == 200 for client in clients)
    assert server.process.stdout.readline() == "empty 1\n"


def test_a_rolling_restart_loses_no_request(start):
    """Clients that honour `Connection: close` see every request answered until nobody listens."""
    server = start()
    failed, answered = [], []

    def load():
        try:
            while True:
                client = Client(server.port)
                kept = True
                while kept:
                    client.send("POST /thread HTTP/1.1\r\n" + H + "Content-Length: 3\r\n\r\nabc")
                    answer = client.answer()
                    if answer is None:
                        failed.append("no answer")
                        return
                    answered.append(answer.status)
                    kept = "connection" not in answer.headers and len(answered) % 7
                client.close()
        except ConnectionRefusedError:
            return

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    server.wait_for(lambda s: s["finished"] > 500)
    server.tell("drain 5000")
    for thread in threads:
        thread.join()
    assert not failed and set(answered) == {200}
    assert server.process.stdout.readline() == "empty 1\n"


def test_out_of_descriptors_it_waits_without_spinning(start):
    server = start()
    server.get("/a")
    used = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + 8, used + 8))
    clients = [server.client() for _ in range(20)]
    for client in clients:
        client.send("GET /a HTTP/1.1\r\n" + H + "Connection: close\r\n\r\n")
    for client in clients:  # each close makes room for one from the backlog
        assert client.answer().status == 200
        client.close()
    kept = [server.client() for _ in range(20)]
    before = server.cpu_s()
    time.sleep(0.5)  # full: nothing may happen but a look every 200 ms
    assert server.cpu_s() - before <= 0.05
    for client in kept:
        client.close()
    assert server.get("/a").status == 200


def test_stopping_with_open_connections_is_clean(start):
    server = start()
    idle, half = server.client(), server.client()
    idle.send("GET /a HTTP/1.1\r\n" + H + "\r\n")
    assert idle.answer().status == 200
    half.send("POST / HTTP/1.1\r\n" + H + "Content-Length: 10\r\n\r\nabc")
    server.wait_for(lambda s: s["connections"] == 3)
