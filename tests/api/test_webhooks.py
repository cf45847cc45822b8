# SPDX-License-Identifier: Apache-2.0
"""Webhooks as a receiver gets them, and receivers of every bad kind."""
import base64
import hashlib
import hmac
import json
import re
import socket
import ssl
import subprocess
import time

import pytest
from accounts import Accounts
from imago_server import eventually
from webhooks import Outbox, Receiver, verify


@pytest.fixture
def accounts(tmp_path):
    return Accounts(tmp_path)


@pytest.fixture
def outbox(accounts):
    return Outbox(accounts.settings["results"])


@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def serve(start, accounts):
    def serve_one(**settings):
        return start(**(accounts.settings | {"webhook_internal": "true"} | settings))
    return serve_one


def secret_of(accounts, tenant="default", *options):
    return accounts.succeed("webhook", "secret", tenant, *options).strip()


def event_of(server, id, outcome):
    return server.event("webhook", lambda event: event["id"] == id and event["outcome"] == outcome)


# --- delivery --------------------------------------------------------------------------------

def test_a_message_as_standard_webhooks_has_it(serve, accounts, outbox, receiver):
    server = serve(log_level="debug")
    body = '{"type":"job.done","timestamp":"2026-11-24T00:00:00.000Z","data":{"é":[1,2.5]}}'.encode()
    id = outbox.put(receiver.url + "/hook?token=s3cret", body)
    request, = receiver.wait("/hook?token=s3cret")
    assert request.body == body
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "imago"
    secret = secret_of(accounts)
    assert verify(secret, request.headers, request.body) == id
    # The same once more, without the example of the documentation.
    stamp, signature = request.headers["webhook-timestamp"], request.headers["webhook-signature"]
    assert abs(int(stamp) - time.time()) < 300 and re.fullmatch(r"v1,[A-Za-z0-9+/]{43}=", signature)
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    digest = hmac.digest(key, b".".join([id.encode(), stamp.encode(), body]), hashlib.sha256)
    assert len(key) == 32 and signature == "v1," + base64.b64encode(digest).decode()
    for bad in ({"webhook-id": "x"}, {"webhook-timestamp": str(int(stamp) - 1)}, {"webhook-timestamp": "0"}):
        with pytest.raises(ValueError):
            verify(secret, request.headers | bad, request.body)
    with pytest.raises(ValueError):
        verify(secret, request.headers, request.body + b" ")
    outbox.gone(id)
    event = event_of(server, id, "delivered")
    assert event["receiver"] == receiver.url and event["status"] == 204 and event["attempt"] == 1
    server.stop()
    assert "s3cret" not in server.text and secret not in server.text and secret[6:] not in server.text


def test_each_tenant_signs_with_its_own(serve, accounts, outbox, receiver):
    accounts.tenant("acme")
    serve()
    for tenant in "acme", "default":
        outbox.put(f"{receiver.url}/{tenant}", tenant=tenant)
    secrets = {tenant: secret_of(accounts, tenant) for tenant in ("acme", "default")}
    for tenant, other in ("acme", "default"), ("default", "acme"):
        request, = receiver.wait(f"/{tenant}")
        verify(secrets[tenant], request.headers, request.body)
        with pytest.raises(ValueError):
            verify(secrets[other], request.headers, request.body)


def test_while_a_secret_changes_both_sign(serve, accounts, outbox, receiver):
    serve()
    old = secret_of(accounts)
    new = secret_of(accounts, "default", "--rotate")
    assert old != new == secret_of(accounts)
    outbox.put(receiver.url + "/both")
    request, = receiver.wait("/both")
    assert len(request.headers["webhook-signature"].split(" ")) == 2
    for secret in old, new:
        verify(secret, request.headers, request.body)
    last = secret_of(accounts, "default", "--rotate", "--overlap=0s")
    outbox.put(receiver.url + "/one")
    request, = receiver.wait("/one")
    assert len(request.headers["webhook-signature"].split(" ")) == 1
    verify(last, request.headers, request.body)
    with pytest.raises(ValueError):
        verify(new, request.headers, request.body)


# --- receivers that fail ---------------------------------------------------------------------

def test_what_fails_is_tried_again(serve, outbox, receiver):
    def slow_drip(handler):
        try:
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            while not receiver.released.wait(0.02):
                handler.wfile.write(b"x")
        except OSError:
            pass
        handler.close_connection = True

    def cut(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX")
        handler.close_connection = True

    def babble(handler):
        handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        handler.close_connection = True

    def many_headers(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000 + b"\r\n")
        handler.close_connection = True

    failures = {"/500": 500, "/404": 404, "/302": 302, "/hang": receiver.hang, "/drip": slow_drip, "/cut": cut,
                "/babble": babble, "/headers": many_headers}
    receiver.behave = {path: [what] for path, what in failures.items()}
    server = serve(webhook_timeout="1s")
    ids = {path: outbox.put(receiver.url + path) for path in failures}
    for path, id in ids.items():
        event = event_of(server, id, "failed")
        assert event["attempt"] >= 1 and event["retry_at"] > event["time"]
        assert event["status"] == (failures[path] if isinstance(failures[path], int) else 0)
        # The first retry comes after 5 s by itself.
        first, second = receiver.wait(path, 2)
        assert first.id == second.id == id and first.body == second.body
        assert int(second.headers["webhook-timestamp"]) > int(first.headers["webhook-timestamp"])
        outbox.gone(id)


def test_nobody_listens(serve, outbox):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = serve()
    id = outbox.put(f"http://127.0.0.1:{port}/")
    assert event_of(server, id, "failed")["status"] == 0
    other = outbox.put("http://no-such-host.invalid/")
    assert "no-such-host.invalid" in event_of(server, other, "failed")["detail"]
    assert outbox.has(id) and outbox.has(other)


def test_a_receiver_that_is_gone_is_believed(serve, outbox, receiver):
    receiver.behave["/gone"] = [410]
    server = serve()
    id = outbox.put(receiver.url + "/gone")
    event = event_of(server, id, "given up")
    assert event["status"] == 410 and event["attempt"] == 1 and "retry_at" not in event
    outbox.gone(id)
    assert len(receiver.at("/gone")) == 1


def test_after_three_days_it_is_given_up(serve, outbox, receiver):
    receiver.behave = {"/last": [500], "/late": [500]}
    server = serve()
    id = outbox.put(receiver.url + "/last", age_s=4 * 86400, attempt=9)
    assert event_of(server, id, "given up")["attempt"] == 10
    outbox.gone(id)
    # The server was down for long: it is not given up after the first attempt.
    late = outbox.put(receiver.url + "/late", age_s=30 * 86400)
    event_of(server, late, "failed")
    outbox.due_now()
    outbox.gone(late)


def test_redirects_are_not_followed(serve, outbox, receiver):
    def redirect(handler):
        handler.send_response(307)
        handler.send_header("Location", receiver.url + "/elsewhere")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
    receiver.behave["/redirect"] = [redirect]
    server = serve()
    id = outbox.put(receiver.url + "/redirect")
    assert event_of(server, id, "failed")["status"] == 307
    assert not receiver.at("/elsewhere")


def test_answers_are_not_read(serve, outbox, receiver):
    sent = {}

    def flood(handler):
        sent[handler.path] = 0
        handler.send_response(200)
        if handler.path == "/flood":
            handler.send_header("Content-Length", str(1 << 40))
        handler.end_headers()
        try:
            while sent[handler.path] < 1 << 30:
                handler.wfile.write(b"x" * 65536)
                sent[handler.path] += 65536
        except OSError:
            pass
        handler.close_connection = True

    def stall(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        receiver.hang(handler)

    receiver.behave = {"/flood": [flood], "/endless": [flood], "/stall": [stall]}
    serve(webhook_timeout="1s")
    for path in receiver.behave.copy():
        id = outbox.put(receiver.url + path)
        outbox.gone(id)
        assert len(receiver.at(path)) == 1
    eventually(lambda: receiver.busy == 1, "the floods have ended")
    assert max(sent.values()) < 64 << 20


def test_a_slow_receiver_holds_nobody_else(serve, accounts, outbox, receiver):
    accounts.tenant("slow")
    other = Receiver()
    try:
        receiver.behave["/slow"] = [receiver.hang] * 300
        server = serve(webhook_timeout="60s", drain_timeout="5s")
        for _ in range(300):
            outbox.put(receiver.url + "/slow", tenant="slow")
        receiver.wait("/slow", 4)
        # The same tenant's other receiver, and another tenant's.
        for tenant in "slow", "default":
            for number in range(20):
                outbox.put(f"{other.url}/{tenant}", tenant=tenant)
            other.wait(f"/{tenant}", 20)
        assert receiver.busy == receiver.busy_peak == 4
        assert len(receiver.at("/slow")) == 4
        assert other.busy_peak <= 4
        server.stop()
        assert outbox.count() == 300
    finally:
        other.close()


def test_a_backlog_is_worked_off(serve, outbox, receiver):
    serve()
    ids = {outbox.put(receiver.url + "/many") for _ in range(200)}
    eventually(lambda: outbox.count() == 0, "all are delivered")
    assert {request.id for request in receiver.at("/many")} == ids
    assert receiver.busy_peak <= 4


# --- the server ends -------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["stop", "kill"])
def test_what_was_under_way_is_sent_after_the_next_start(serve, outbox, receiver, how):
    receiver.behave["/job"] = [receiver.hang]
    server = serve()
    id = outbox.put(receiver.url + "/job")
    receiver.wait("/job")
    if how == "stop":
        server.stop()
    else:
        server.kill()
        server.expected_status = -9
        outbox.due_now()  # the lease of who died has run out
    assert outbox.has(id)
    serve()
    first, second = receiver.wait("/job", 2)
    assert first.id == second.id == id
    outbox.gone(id)


def post_job(server, cat, url):
    hash = server.request("PUT", "/v1/images", data=cat).json()["sha256"]
    return server.request("POST", "/v1/jobs", json={"images": [hash], "webhook": url})


def test_a_job_is_told_of_though_the_server_died(serve, accounts, outbox, receiver, cat):
    receiver.behave["/job"] = [500, receiver.hang]
    server = serve()
    job = post_job(server, cat, receiver.url + "/job").json()["id"]
    receiver.wait("/job", 2)
    server.kill()
    server.expected_status = -9
    outbox.due_now()
    server = serve()
    requests = receiver.wait("/job", 3)
    message = json.loads(requests[-1].body)
    assert list(message) == ["type", "timestamp", "data"] and message["type"] == "job.done"
    assert message["data"] == {name: value for name, value in server.get(f"/v1/jobs/{job}").json().items()
                               if name in message["data"]} and message["data"]["id"] == job
    assert len({request.body for request in requests}) == 1
    assert {verify(secret_of(accounts), request.headers, request.body) for request in requests} == {job}
    outbox.gone(job)
    assert len(receiver.at("/job")) == 3


# --- where messages may go -------------------------------------------------------------------

def local_names():
    """Names that lead to this machine."""
    names = {"localhost", socket.gethostname()}
    for line in open("/etc/hosts"):
        names |= set(line.partition("#")[0].split()[1:])

    def leads_here(name):
        try:
            return bool(socket.getaddrinfo(name, 1))
        except OSError:
            return False
    return sorted(filter(leads_here, names))


def test_private_addresses_are_never_called(serve, outbox, receiver):
    server = serve(webhook_internal="false")
    hosts = ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "[::]",
             "169.254.169.254", "10.0.0.1", "192.168.0.1", "[fd00:ec2::254]", "[fe80::1]", *local_names()]
    for host in hosts:
        id = outbox.put(f"https://{host}:{receiver.port}/")
        event = event_of(server, id, "failed")
        assert event["status"] == 0 and "address" in event["detail"], (host, event)
    id = outbox.put(receiver.url + "/")
    assert "https://" in event_of(server, id, "failed")["detail"]
    assert receiver.connection_count == 0


def test_where_a_job_may_not_tell_its_end(serve, outbox, receiver, cat):
    server = serve(webhook_internal="false")
    for url in ("http://example.com/s3cret", "https://127.0.0.1/s3cret", "https://localhost:1/s3cret", "https://0x7f.1/",
                "https://[::ffff:10.0.0.1]/s3cret", "https://user:s3cret@example.com/", "ftp://example.com/s3cret"):
        response = post_job(server, cat, url)
        assert response.status_code == 400 and "URL" in response.json()["detail"], url
        assert "s3cret" not in response.text
    # What a name leads to is seen when it is called.
    for name in set(local_names()) - {"localhost"}:
        job = post_job(server, cat, f"https://{name}:{receiver.port}/").json()["id"]
        assert "address" in event_of(server, job, "failed")["detail"]
    assert receiver.connection_count == 0


def test_proxies_of_the_environment_are_not_used(start, accounts, outbox, receiver):
    proxy = Receiver()
    try:
        env = {name: proxy.url for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")}
        start(env=env, **(accounts.settings | {"webhook_internal": "true"}))
        outbox.gone(outbox.put(receiver.url + "/direct"))
        assert proxy.connection_count == 0
    finally:
        proxy.close()


def test_certificates_are_checked(serve, outbox, tmp_path):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem",
                    "-out", tmp_path / "cert.pem"], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    receiver = Receiver(tls)
    try:
        server = serve()
        id = outbox.put(f"https://127.0.0.1:{receiver.port}/")
        assert "certificate" in event_of(server, id, "failed")["detail"]
        assert not receiver.requests
    finally:
        receiver.close()


# --- the secret ------------------------------------------------------------------------------

def test_the_secret_over_http(serve, accounts):
    accounts.tenant("acme")
    admin, reader = accounts.key(tenant="acme"), accounts.key(tenant="acme", scopes="predict,read,feedback")
    other = accounts.key()
    server = serve()
    response = server.get("/v1/webhooks/secret", headers=admin.headers)
    assert response.status_code == 200 and response.headers["Cache-Control"] == "no-store"
    answer = response.json()
    assert answer["secret"] == secret_of(accounts, "acme") and answer["old_secret_until"] is None
    assert answer["secret"] != server.get("/v1/webhooks/secret", headers=other.headers).json()["secret"]
    assert server.get("/v1/webhooks/secret", headers=reader.headers).status_code == 403
    assert server.get("/v1/webhooks/secret").status_code == 401
    new = secret_of(accounts, "acme", "--rotate")
    after = server.get("/v1/webhooks/secret", headers=admin.headers).json()
    assert after["secret"] == new and after["old_secret_until"] > after["created_at"]
    server.stop()
    assert all(secret not in server.text for secret in (answer["secret"], new))


def test_the_secret_on_the_command_line(accounts):
    # Nothing is made where no server has its data: it would be the secret of nobody.
    assert accounts.run("webhook", "secret", "default")[0] == 4 and not accounts.file.exists()
    accounts.tenant("acme")
    secret = secret_of(accounts)
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret) and secret_of(accounts) == secret
    status, out, err = accounts.run("webhook", "secret", "default", "--rotate", "--format=json")
    shown = json.loads(out)
    assert status == 0 and shown["tenant"] == "default" and shown["secret"] == secret_of(accounts) != secret
    assert shown["old_secret_until"] is not None and secret not in err and shown["secret"] not in err
    assert accounts.run("webhook", "secret", "nobody")[0] == 4
    for wrong in ["secret"], ["brew", "default"], ["secret", "default", "x"]:
        status, _, err = accounts.run("webhook", *wrong)
        assert status == 2 and "imago webhook secret TENANT" in err


def test_a_server_without_accounts_has_no_secret(start):
    response = start(accounts="none").get("/v1/webhooks/secret")
    assert response.status_code == 404 and "--accounts" in response.json()["detail"]
