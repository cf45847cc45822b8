# SPDX-License-Identifier: Apache-2.0
"""Images of a day and a month's hard cap: exact, whatever comes at the same time, at however many servers, and across crashes."""
import json
import signal
import sqlite3
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from accounts import Accounts
from imago_server import eventually
from test_predict import MODEL, check_problem
from wire import form

NOT_A_PICTURE = b"not a picture"


@pytest.fixture
def accounts(tmp_path):
    return Accounts(tmp_path)


@pytest.fixture
def serve(start, tmp_path, accounts):
    """serve() starts a server; another beside it if it has a folder of its own."""
    return lambda **settings: start(**{**accounts.settings, **settings})


def send(server, key, picture, content_type="image/jpeg", more=None, **options):
    return server.predict(picture, content_type, headers={**key.headers, **(more or {})}, **options)


def billed(server, key):
    return server.get("/v1/usage", headers=key.headers).json()["total"]["images"]


def database(tmp_path, text, *parameters):
    with sqlite3.connect(tmp_path / "imago.db", timeout=30) as db:
        rows = db.execute(text, parameters).fetchall()
    db.close()
    return rows


def day(tmp_path, key):
    """(used, held) of the key"""
    return (database(tmp_path, "SELECT used, held FROM account_day WHERE key=?", key.id) or [(0, 0)])[0]


def check_over(response, word, seconds_max):
    assert word in check_problem(response, 429, "rate-limited")["detail"]
    assert 1 <= int(response.headers["Retry-After"]) <= seconds_max


def left(response):
    fields = dict(field.strip().split(";", 1) for field in response.headers["RateLimit"].split(","))
    return int(fields['"images"'].partition("r=")[2].partition(";")[0])


def test_a_days_images_are_exact(serve, accounts, tmp_path, small_photos):
    """Many at once at two servers, then after a restart."""
    key = accounts.key("--images-per-day=20")
    servers = [serve(), serve(data=tmp_path / "other")]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda i: send(servers[i % 2], key, small_photos[i % 8]), range(60)))
    good = [answer for answer in answers if answer.status_code == 200]
    assert len(good) == 20 and billed(servers[0], key) == 20
    assert min(map(left, good)) == 0
    for answer in answers:
        if answer.status_code != 200:
            check_over(answer, "midnight", 86400)
    for server in servers:
        server.stop()
    server = serve()
    response = send(server, key, small_photos[0])
    check_over(response, "midnight", 86400)
    assert left(response) == 0 and day(tmp_path, key) == (20, 0) and billed(server, key) == 20


def test_a_request_fits_or_is_refused_as_a_whole(serve, accounts, tmp_path, small_photos):
    key = accounts.key("--images-per-day=5")
    server = serve()
    assert left(send(server, key, *form(small_photos[:3]))) == 2
    response = send(server, key, *form(small_photos[:3]))
    check_over(response, "midnight", 86400)
    assert "2" in response.json()["detail"] and billed(server, key) == 3
    assert left(send(server, key, *form(small_photos[:2]))) == 0
    assert day(tmp_path, key)[0] + day(tmp_path, key)[1] == 5 == billed(server, key)


def test_what_was_not_labelled_goes_back(serve, accounts, tmp_path, small_photos):
    key = accounts.key("--images-per-day=2")
    server = serve()
    for _ in range(5):
        check_problem(send(server, key, NOT_A_PICTURE), 415, "unsupported")
        eventually(lambda: day(tmp_path, key) == (0, 0), "it went back")
    mixed = send(server, key, *form([NOT_A_PICTURE, small_photos[0]]))
    assert [result.get("status") for result in mixed.json()["results"]] == [415, None]
    # At once: what a request gives back is there before it is answered.
    assert send(server, key, small_photos[1]).status_code == 200
    check_over(send(server, key, small_photos[2]), "midnight", 86400)
    assert billed(server, key) == 2


def test_a_replay_takes_nothing(serve, accounts, tmp_path, small_photos):
    key = accounts.key("--images-per-day=1")
    server = serve()
    once = {"Idempotency-Key": str(uuid.uuid4())}
    first = send(server, key, small_photos[0], more=once)
    for _ in range(3):
        again = send(server, key, small_photos[0], more=once)
        assert again.status_code == 200 and again.content == first.content
    refused = {"Idempotency-Key": str(uuid.uuid4())}
    check_over(send(server, key, small_photos[1], more=refused), "midnight", 86400)
    eventually(lambda: day(tmp_path, key) == (1, 0), "one image is used")


def test_other_keys_have_their_own_day(serve, accounts, small_photos):
    one, two = (accounts.key("--images-per-day=1") for _ in range(2))
    server = serve()
    assert [send(server, key, small_photos[0]).status_code for key in (one, one, two, two)] == [200, 429, 200, 429]


# --- the hard cap -------------------------------------------------------------------------------

PLAN = {"name": "flat", "version": 1, "currency": "EUR", "prices": [{"model": "*", "free_images": 2, "tiers": [{"price_micro": 10000}]}]}


@pytest.fixture
def capped(accounts, tmp_path):
    """A key of a tenant whose month may cost four cents: four images, and two free ones."""
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    accounts.succeed("plan", "put", tmp_path / "plan.json")
    accounts.tenant("acme", "--plan=flat", "--cap=0.04")
    return accounts.key(tenant="acme")


def test_a_hard_cap_is_exact(serve, accounts, capped, tmp_path, small_photos):
    servers = [serve(), serve(data=tmp_path / "other")]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: send(servers[i % 2], capped, small_photos[i % 8]), range(24)))
    assert sum(answer.status_code == 200 for answer in answers) == 6 == billed(servers[0], capped)
    for answer in answers:
        if answer.status_code != 200:
            check_over(answer, "cap", 31 * 86400)
    servers[0].stop()
    server = serve()
    check_over(send(server, capped, small_photos[0]), "cap", 31 * 86400)
    accounts.succeed("tenant", "set", "acme", "--cap=0.05")
    assert [send(server, capped, photo).status_code for photo in small_photos[:2]] == [200, 429]
    assert [send(server, capped, photo, params={"model": MODEL}).status_code for photo in small_photos[:1]] == [429]


# --- crashes ------------------------------------------------------------------------------------

def test_after_a_crash_the_ledger_says_what_was_used(serve, accounts, tmp_path, small_photos):
    key = accounts.key("--images-per-day=500")
    server = serve()
    answered, killed = [], threading.Event()

    def load():
        session = requests.Session()
        session.trust_env = False
        body, content_type = form(small_photos[:3])
        while not killed.is_set():
            try:
                answer = session.post(f"{server.url}/v1/predict", data=body, headers=key.headers | {"Content-Type": content_type})
            except requests.RequestException:
                return
            answered.append(answer.status_code)

    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(load) for _ in range(6)]
        eventually(lambda: len(answered) >= 10, "some are answered")
        server.expected_status = -signal.SIGKILL
        server.kill()
        killed.set()
        for job in jobs:
            job.result()
    server = serve()
    used, held = day(tmp_path, key)
    assert used + held >= billed(server, key) >= 3 * answered.count(200)
    database(tmp_path, "UPDATE account_reservation SET until_ms=1 WHERE state=0")
    eventually(lambda: day(tmp_path, key) == (billed(server, key), 0), "the reservations are settled as the ledger has them")
