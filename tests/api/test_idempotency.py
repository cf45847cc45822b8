# SPDX-License-Identifier: Apache-2.0
"""Idempotency-Key: a POST that is sent again with its key does nothing a second time and is answered as the first was."""
import signal
import sqlite3
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from accounts import Accounts
from imago_server import Server, eventually, sha256
from pictures import slow
from test_history import NOBODY, billed, pages, stores
from test_predict import base64_of, check_problem
from wire import Wire, form, post

REPLAYED = "Idempotency-Replayed"
NOT_A_PICTURE = b"not a picture"


@pytest.fixture(scope="module")
def server(tmp_path_factory, warm_cache):
    """One server with stores for the tests that share; every key is of one test."""
    folder = tmp_path_factory.mktemp("idempotency")
    server = Server(folder, stores(folder))
    yield server
    server.stop()


@pytest.fixture
def keep(start, tmp_path):
    return lambda **settings: start(**{**stores(tmp_path), **settings})


@pytest.fixture
def key():
    return str(uuid.uuid4())


def headers(key, **more):
    return {"Idempotency-Key": f'"{key}"'} | more


def send(server, key, picture, **options):
    return server.predict(picture, headers=headers(key) | options.pop("headers", {}), **options)


def check_replay(first, again):
    assert (first.status_code, again.status_code) == (200, 200), (first.text, again.text)
    assert again.content == first.content
    assert again.headers["Content-Type"] == first.headers["Content-Type"]
    assert REPLAYED not in first.headers and again.headers[REPLAYED] == "true"


def images(server):
    return billed(server)["images"]


# --- the same answer again ----------------------------------------------------------------------

@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson", "text/csv"])
@pytest.mark.parametrize("several", [False, True])
def test_a_replay_equals_the_first_answer(server, key, small_photos, accept, several):
    before = images(server)
    if several:
        # A failure of the picture's own is part of the answer.
        body, content_type = form([small_photos[0], NOT_A_PICTURE, small_photos[1], b"\xff\xd8\xff\xd9"])
    else:
        body, content_type = small_photos[2], "image/jpeg"
    answers = [send(server, key, body, content_type=content_type, headers={"Accept": accept},
                    params={"top_k": 7, "reference": "a \"b\"", "metadata": '{"x":[1]}'}) for _ in range(3)]
    check_replay(answers[0], answers[1])
    check_replay(answers[0], answers[2])
    assert images(server) == before + (2 if several else 1)


def test_a_replay_in_another_form(server, key, small_photos):
    first = send(server, key, small_photos[0])
    lines = send(server, key, small_photos[0], headers={"Accept": "application/x-ndjson"})
    table = send(server, key, small_photos[0], headers={"Accept": "text/csv"})
    assert lines.json() == first.json() and lines.headers[REPLAYED] == "true"
    assert table.text.splitlines()[0] == "id,rank,class_id,label,score,problem"
    assert table.text.splitlines()[1].startswith(first.json()["id"] + ",1,")


def test_the_same_request_in_another_wrapping(server, key, small_photos):
    """Curl's boundary changes with every retry, and a program may write its JSON anew."""
    photo = small_photos[3]
    first = server.request("POST", "/v1/predict", headers=headers(key), files={"image": ("a.jpg", photo), "top_k": (None, "3")})
    again = server.request("POST", "/v1/predict", headers=headers(key), files={"top_k": (None, "3"), "image": ("b.jpg", photo)})
    assert first.request.headers["Content-Type"] != again.request.headers["Content-Type"]
    check_replay(first, again)
    check_replay(first, send(server, key, photo, params={"top_k": 3}))
    check_replay(first, server.request("POST", "/v1/predict", headers=headers(key), json={"top_k": 3, "image": base64_of(photo)}))


def test_a_large_json_body(server, key, cat, small_photos):
    body = {"images": [base64_of(photo) for photo in [cat, *small_photos[:4]]]}
    first, again = (server.request("POST", "/v1/predict", headers=headers(key), json=body) for _ in range(2))
    check_replay(first, again)


@pytest.mark.parametrize("many", [20, 64])
def test_many_pictures_and_failures(server, key, small_photos, many):
    pictures = [small_photos[i % 8] if i % 3 == 0 else b"%d" % i for i in range(many)]
    body, content_type = form(pictures)
    check_replay(*(send(server, key, body, content_type=content_type) for _ in range(2)))


def test_keys_with_and_without_quotes_are_one(server, key, small_photos):
    first = send(server, key, small_photos[0])
    check_replay(first, server.predict(small_photos[0], headers={"Idempotency-Key": key}))


def test_a_replay_survives_a_restart(keep, key, small_photos):
    server = keep()
    first = send(server, key, small_photos[0])
    server.stop()
    server = keep()
    check_replay(first, send(server, key, small_photos[0]))
    assert images(server) == 1


# --- another request ----------------------------------------------------------------------------

def test_the_same_key_for_another_request(server, key, small_photos):
    photo, other = small_photos[:2]
    assert send(server, key, photo).status_code == 200
    before = images(server)
    pair, content_type = form([photo, other])
    single, _ = form([photo])
    for response in [send(server, key, other), send(server, key, photo, params={"top_k": 2}),
                     send(server, key, photo, params={"reference": "r"}), send(server, key, photo, params={"min_score": "0.1"}),
                     send(server, key, photo, params={"metadata": "1"}), send(server, key, pair, content_type=content_type),
                     server.request("POST", "/v1/predict", headers=headers(key), json={"images": [base64_of(photo)]})]:
        check_problem(response, 422, "key-reused")
    assert send(server, key, single, content_type=content_type).status_code == 200
    assert images(server) == before


@pytest.mark.parametrize("value", ["", '""', '"open', 'open"', '"a"b"', '"a", "b"', "a b", "a,b", "a;b", '"a";p=1', '"' + "x" * 256 + '"',
                                   "x" * 256, '"\\n"', '"a\\"'])
def test_what_is_no_key(server, small_photos, value):
    response = server.predict(small_photos[0], headers={"Idempotency-Key": value})
    assert "Idempotency-Key" in check_problem(response, 400, "invalid")["detail"]
    # Where it has no effect it must be right as well.
    check_problem(server.request("POST", "/v1/predictions", json={}, headers={"Idempotency-Key": value}), 400, "invalid")


def test_bytes_that_are_no_text(server, small_photos):
    with Wire(server.port) as wire:
        wire.send(post(small_photos[0], more=["Idempotency-Key: \"a\u00e9\""]))
        assert wire.answer().status == 400


@pytest.mark.parametrize("value", ['"' + "x" * 255 + '"', "y" * 255, '"a b,;c"', '"\\"\\\\"', "~!@#$%^&*()"])
def test_what_is_a_key(server, small_photos, value):
    answers = [server.predict(small_photos[0], headers={"Idempotency-Key": value}) for _ in range(2)]
    check_replay(*answers)
    assert server.request("POST", "/v1/predictions", json={}, headers={"Idempotency-Key": value}).status_code == 200


def test_a_server_without_stores(start, small_photos):
    server = start(results="none", images="none")
    response = server.predict(small_photos[0], headers=headers("k"))
    assert "stores nothing" in check_problem(response, 501, "not-implemented")["detail"]
    assert server.predict(small_photos[0]).status_code == 200


# --- at the same time ---------------------------------------------------------------------------

def test_concurrent_duplicates_wait_for_the_first(keep, key):
    server = keep()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: send(server, key, slow()), range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.content for answer in answers}) == 1
    assert sorted(REPLAYED in answer.headers for answer in answers) == [False] + [True] * 7
    assert billed(server) == {"requests": 1, "images": 1} and len(pages(server)) == 1


def test_duplicates_at_another_server_of_the_same_stores(keep, tmp_path, key):
    servers = [keep(), keep(data=tmp_path / "other")]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda i: send(servers[i % 2], key, slow()), range(6)))
    assert [answer.status_code for answer in answers] == [200] * 6
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert billed(servers[0]) == {"requests": 1, "images": 1} and len(pages(servers[1])) == 1


def test_many_keys_at_once(server, small_photos):
    """Each twice, in any order: no key waits for another."""
    before = images(server)
    keys = [str(uuid.uuid4()) for _ in range(40)]
    jobs = [(key, small_photos[i % 8]) for i, key in enumerate(keys)] * 2
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda job: send(server, *job), jobs))
    for first, again in zip(answers[:40], answers[40:]):
        assert first.content == again.content and (REPLAYED in first.headers) != (REPLAYED in again.headers)
    assert images(server) == before + 40


def test_a_duplicate_that_cannot_wait_longer(keep, tmp_path, key, small_photos):
    """Another process works under the key, and does not end before the deadline."""
    server = keep(request_timeout="1s")
    first = send(server, key, small_photos[0])
    with sqlite3.connect(tmp_path / "imago.db") as db:
        later = int(time.time() * 1000) + 3600_000
        db.execute("UPDATE results_reservation SET done=0, lease_until_ms=?", (later,))
    response = send(server, key, small_photos[0])
    check_problem(response, 409, "in-flight")
    assert int(response.headers["Retry-After"]) >= 1
    # Another request under it need not wait to be refused.
    check_problem(send(server, key, small_photos[1]), 422, "key-reused")
    with sqlite3.connect(tmp_path / "imago.db") as db:
        db.execute("UPDATE results_reservation SET lease_until_ms=0")
    # Its holder died: the work is done again and is the first's.
    again = send(server, key, small_photos[0])
    assert again.content == first.content and images(server) == 1
    check_replay(first, send(server, key, small_photos[0]))


def test_a_client_that_leaves_makes_room_for_its_retry(server, key, small_photos):
    before = images(server)
    with Wire(server.port) as wire:
        wire.send(post(slow(), more=[f"Idempotency-Key: {key}"]))
    answers = [send(server, key, slow()) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200] and answers[0].content == answers[1].content
    assert images(server) == before + 1


# --- what is not kept ---------------------------------------------------------------------------

def test_a_failure_of_the_server_is_not_kept(keep, key, small_photos):
    server = keep(request_timeout="1ms")
    for _ in range(3):
        assert send(server, key, slow()).status_code in (409, 504)
    server.stop()
    server = keep()
    first = send(server, key, slow())
    check_replay(first, send(server, key, slow()))
    assert images(server) == 1


def test_what_failed_of_a_request_is_done_again(keep, key, small_photos):
    """It is one request, in however many pieces it came to be committed."""
    server = keep()
    first, second = next((a, b) for a in small_photos for b in small_photos if sha256(a)[:2] != sha256(b)[:2])
    body, content_type = form([first, second])
    folder = Path(server.settings["images"].removeprefix("file:")) / "default"
    folder.mkdir(parents=True, exist_ok=True)
    wall = folder / sha256(first)[:2]
    wall.touch()
    failed, kept = send(server, key, body, content_type=content_type).json()["results"]
    assert failed["status"] == 503 and billed(server) == {"requests": 1, "images": 1}
    wall.unlink()
    answer = send(server, key, body, content_type=content_type)
    again, same = answer.json()["results"]
    assert same == kept and "predictions" in again and REPLAYED not in answer.headers
    assert billed(server) == {"requests": 1, "images": 2}
    check_replay(answer, send(server, key, body, content_type=content_type))
    assert billed(server) == {"requests": 1, "images": 2}


def test_a_request_without_any_prediction_is_not_kept(server, key):
    for _ in range(2):
        response = send(server, key, NOT_A_PICTURE)
        check_problem(response, 415, "unsupported")
        assert REPLAYED not in response.headers


def test_an_unknown_model_uses_up_no_key(server, key, small_photos):
    check_problem(send(server, key, small_photos[0], params={"model": "none"}), 404, "not-found")
    assert send(server, key, small_photos[0]).status_code == 200


def test_what_was_erased_is_gone(server, key, small_photos):
    body, content_type = form(small_photos[:2])
    first = send(server, key, body, content_type=content_type)
    erased = first.json()["results"][1]["id"]
    assert server.request("DELETE", f"/v1/predictions/{erased}").status_code == 204
    before = images(server)
    for accept in ["application/json", "text/csv"]:
        response = send(server, key, body, content_type=content_type, headers={"Accept": accept})
        assert "erased" in check_problem(response, 410, "gone")["detail"]
    assert images(server) == before


# --- crashes ------------------------------------------------------------------------------------

def test_a_retry_after_a_crash_is_billed_once(keep, small_photos):
    """kill -9 with requests in every stage; each is sent again with its key until it is answered."""
    server = keep()
    jobs = [(str(uuid.uuid4()), small_photos[i % 8]) for i in range(60)]
    answers, lock = {}, threading.Lock()

    def load(job):
        session = requests.Session()
        session.trust_env = False
        try:
            answer = session.post(f"{server.url}/v1/predict", data=job[1],
                                  headers=headers(job[0]) | {"Content-Type": "image/jpeg"})
        except requests.RequestException:
            return
        with lock:
            answers[job[0]] = answer

    with ThreadPoolExecutor(12) as pool:
        sent = [pool.submit(load, job) for job in jobs]
        eventually(lambda: len(answers) >= 20, "some are answered")
        server.expected_status = -signal.SIGKILL
        server.kill()
        for one in sent:
            one.result()
    assert all(answer.status_code == 200 for answer in answers.values())
    server = keep()
    with ThreadPoolExecutor(12) as pool:
        again = dict(zip([job[0] for job in jobs], pool.map(lambda job: send(server, *job), jobs)))
    for key, answer in again.items():
        assert answer.status_code == 200, answer.text
        if key in answers:
            check_replay(answers[key], answer)
    assert billed(server) == {"requests": 60, "images": 60}
    assert {row["id"] for row in pages(server)} == {answer.json()["id"] for answer in again.values()}


# --- tenants and feedback -----------------------------------------------------------------------

def test_a_key_is_of_its_tenant(start, tmp_path, small_photos):
    accounts = Accounts(tmp_path)
    one, two = (accounts.key(tenant=accounts.tenant(name)) for name in ("castor", "pollux"))
    mate = accounts.key(tenant="castor")
    server = start(**accounts.settings)
    first = send(server, "k", small_photos[0], headers=one.headers)
    other = send(server, "k", small_photos[1], headers=two.headers)
    assert (first.status_code, other.status_code) == (200, 200) and REPLAYED not in other.headers
    check_replay(first, send(server, "k", small_photos[0], headers=mate.headers))
    check_replay(other, send(server, "k", small_photos[1], headers=two.headers))


def feedback(server, id, key, **said):
    return server.request("POST", f"/v1/predictions/{id}/feedback", json=said, headers=headers(key))


def test_feedback(server, key, small_photos):
    one, two = (server.answer(photo)["id"] for photo in small_photos[:2])
    first = feedback(server, one, key, label="a cat", note="n")
    check_replay(first, feedback(server, one, key, note="n", label="a cat"))
    check_problem(feedback(server, one, key, label="a dog"), 422, "key-reused")
    check_problem(feedback(server, two, key, label="a cat", note="n"), 422, "key-reused")
    assert server.request("DELETE", f"/v1/predictions/{one}").status_code == 204
    check_problem(feedback(server, one, key, label="a cat", note="n"), 410, "gone")


def test_feedback_that_failed_uses_up_no_key(server, key, small_photos):
    check_problem(feedback(server, NOBODY, key, label="a cat"), 404, "not-found")
    check_problem(feedback(server, NOBODY, key, label="a cat"), 404, "not-found")


def test_concurrent_feedback(server, key, small_photos):
    id = server.answer(small_photos[0])["id"]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: feedback(server, id, key, label="a cat"), range(16)))
    assert {answer.status_code for answer in answers} == {200} and len({answer.content for answer in answers}) == 1
    assert sum(REPLAYED not in answer.headers for answer in answers) == 1


# --- old keys -----------------------------------------------------------------------------------

def test_a_key_is_as_new_after_a_day(keep, tmp_path, key, small_photos):
    server = keep()
    first = send(server, key, small_photos[0])
    with sqlite3.connect(tmp_path / "imago.db") as db:
        (expires_ms,), = db.execute("SELECT expires_ms FROM results_reservation")
        assert abs(expires_ms / 1000 - time.time() - 86400) < 3600
        db.execute("UPDATE results_reservation SET expires_ms=1")
    again = send(server, key, small_photos[1])
    assert again.status_code == 200 and again.json()["id"] != first.json()["id"] and images(server) == 2
