# SPDX-License-Identifier: Apache-2.0
"""Retention and the sweep, against the real program. Rows are made old in the database itself."""
import os
import signal
import sqlite3
import uuid

import pytest
from accounts import Accounts
from imago_server import PATIENCE_S, eventually, sha256

SWEEP = {"sweep_interval": "30ms"}


@pytest.fixture
def accounts(tmp_path):
    return Accounts(tmp_path)


@pytest.fixture
def serve(start, accounts):
    """serve() starts a server over the accounts, whose sweep hardly rests."""
    return lambda **settings: start(**{**accounts.settings, **SWEEP, **settings})


def change(accounts, *statements):
    with sqlite3.connect(accounts.file, timeout=PATIENCE_S) as database:
        for statement, *values in statements:
            database.execute(statement, values)
    database.close()


def ask(accounts, statement, *values):
    database = sqlite3.connect(accounts.file, timeout=PATIENCE_S)
    try:
        return database.execute(statement, values).fetchone()[0]
    finally:
        database.close()


def age_rows(accounts, days):
    """Everything stored so far was made so many days earlier."""
    ms = days * 86_400_000
    change(accounts, *[(f"UPDATE results_{table} SET created_ms = created_ms - ?", ms)
                       for table in ("ledger", "prediction", "feedback")],
           ("UPDATE results_usage SET day = day - ?", days))


def age_pictures(accounts, days):
    """Every picture was last sent so many days earlier."""
    for path in (accounts.file.parent / "images").rglob("*"):
        if path.is_file():
            then = path.stat().st_mtime - days * 86_400
            os.utime(path, (then, then))


def prove(accounts):
    accounts.succeed("usage", "verify", "--results", accounts.url)


def usage(server, key):
    response = server.get("/v1/usage?from=2000-01-01", headers=key.headers)
    assert response.status_code == 200, response.text
    return response.json()["total"]


def status(server, key, path):
    return server.get(path, headers=key.headers).status_code


def prediction(server, key, answer):
    return status(server, key, f"/v1/predictions/{answer['id']}")


def picture(server, key, data):
    return status(server, key, f"/v1/images/{sha256(data)}")


def test_results_go_after_their_tenants_days_and_usage_stays(serve, accounts, small_photos):
    old, new = small_photos[:2]
    brief = accounts.key(tenant=accounts.tenant("brief", "--result-days=10"))
    lasting = accounts.key(tenant=accounts.tenant("lasting"))
    server = serve(sweep_interval="1h")
    gone, kept = server.answer(old, headers=brief.headers), server.answer(old, headers=lasting.headers)
    assert server.request("POST", f"/v1/predictions/{gone['id']}/feedback", headers=brief.headers,
                          json={"label": "owl"}).status_code < 300
    before = usage(server, brief)
    server.stop()
    age_rows(accounts, 11)
    age_pictures(accounts, 11)

    server = serve()
    fresh = server.answer(new, headers=brief.headers)
    eventually(lambda: prediction(server, brief, gone) == 410, "the old prediction is gone")
    eventually(lambda: picture(server, brief, old) == 404, "its picture is gone")
    swept = server.event("swept")
    assert (swept["predictions"], swept["images"]) == (1, 1) and swept["image_bytes"] == len(old)
    assert prediction(server, lasting, kept) == 200 and picture(server, lasting, old) == 200
    assert prediction(server, brief, fresh) == 200 and picture(server, brief, new) == 200
    after = usage(server, brief)
    assert after["images"] == before["images"] + 1 and after["requests"] == before["requests"] + 1
    listed = server.get("/v1/predictions", headers=brief.headers).json()["predictions"]
    assert [one["id"] for one in listed] == [fresh["id"]]
    assert ask(accounts, "SELECT count(*) FROM results_feedback") == 0
    prove(accounts)


def test_a_change_of_days_is_followed_while_the_server_runs(serve, accounts, small_photos):
    key = accounts.key(tenant=accounts.tenant("acme"))
    server = serve()
    answer = server.answer(small_photos[0], headers=key.headers)
    age_rows(accounts, 3)
    accounts.succeed("tenant", "set", "acme", "--result-days=4")
    fresh = server.answer(small_photos[1], headers=key.headers)
    assert prediction(server, key, answer) == 200
    accounts.succeed("tenant", "set", "acme", "--result-days=3")
    eventually(lambda: prediction(server, key, answer) == 410, "the prediction is over")
    assert prediction(server, key, fresh) == 200
    # Its picture was sent less than a day ago: it may be about to be used again.
    assert picture(server, key, small_photos[0]) == 200
    age_pictures(accounts, 2)
    eventually(lambda: picture(server, key, small_photos[0]) == 404, "nothing needs the picture any more")
    assert picture(server, key, small_photos[1]) == 200
    prove(accounts)


def test_pictures_go_before_their_predictions(serve, accounts, small_photos):
    old, new = small_photos[:2]
    key = accounts.key(tenant=accounts.tenant("lean", "--image-days=7"))
    server = serve()
    answer = server.answer(old, headers=key.headers)
    age_pictures(accounts, 8)
    eventually(lambda: picture(server, key, old) == 404, "the picture is over")
    assert prediction(server, key, answer) == 200
    server.answer(new, headers=key.headers)
    age_pictures(accounts, 6)
    server.answer(old, headers=key.headers)  # sent again
    assert picture(server, key, old) == 200 and picture(server, key, new) == 200
    prove(accounts)


def test_an_unused_picture_goes_after_a_day_without_accounts_too(start, accounts, small_photos):
    server = start(**{**accounts.settings, **SWEEP, "accounts": "none"})
    sent, predicted = small_photos[:2]
    assert server.request("PUT", "/v1/images", data=sent, headers={"Content-Type": "image/jpeg"}).status_code < 300
    answer = server.answer(predicted)
    age_rows(accounts, 4000)
    age_pictures(accounts, 4000)
    eventually(lambda: server.get(f"/v1/images/{sha256(sent)}").status_code == 404, "the unused picture is gone")
    assert server.get(f"/v1/images/{sha256(predicted)}").status_code == 200
    assert server.get(f"/v1/predictions/{answer['id']}").status_code == 200


def test_an_ended_job_goes_with_its_results(serve, accounts, small_photos):
    data = small_photos[0]
    key = accounts.key(tenant=accounts.tenant("batch", "--result-days=5"))
    server = serve()
    sent = server.request("PUT", "/v1/images", data=data, headers={"Content-Type": "image/jpeg"} | key.headers)
    assert sent.status_code < 300, sent.text
    jobs = []
    for _ in range(2):
        made = server.request("POST", "/v1/jobs", json={"images": [sha256(data)]}, headers=key.headers)
        assert made.status_code == 202, made.text
        jobs.append(f"/v1/jobs/{made.json()['id']}")
        eventually(lambda: server.get(jobs[-1], headers=key.headers).json()["state"] == "done", "the job is done")
        if len(jobs) == 1:
            age_rows(accounts, 6)
            change(accounts, ("UPDATE results_job SET ended_ms = ended_ms - ?", 6 * 86_400_000))
    eventually(lambda: status(server, key, jobs[0]) == 404, "the old job is gone")
    assert status(server, key, jobs[1]) == 200
    assert ask(accounts, "SELECT count(*) FROM results_job_item") == 1
    prove(accounts)


def multiply(accounts, count):
    """`count` more of the only prediction there is, each with its ledger entry, all billed."""
    template = "INSERT INTO results_{} SELECT {} FROM results_{} LIMIT 1"
    database = sqlite3.connect(accounts.file, timeout=PATIENCE_S)
    with database:
        for table in ("ledger", "prediction"):
            columns = [row[1] for row in database.execute(f"PRAGMA table_info(results_{table})")]
            values = ", ".join({"id": "?", "no": "NULL"}.get(name, name) for name in columns)
            ids = [(uuid.UUID(int=number).bytes,) for number in range(1, count + 1)]
            database.executemany(template.format(table, values, table), ids)
        units, requests = database.execute("SELECT units, requests FROM results_ledger LIMIT 1").fetchone()
        database.execute("UPDATE results_usage SET images = images + ?, requests = requests + ?",
                         (units * count, requests * count))
    database.close()


def test_a_sweep_that_is_killed_is_gone_on_with(serve, accounts, small_photos):
    count = 4000
    key = accounts.key(tenant=accounts.tenant("busy", "--result-days=1"))
    server = serve(sweep_interval="1h")
    server.answer(small_photos[0], headers=key.headers)
    server.stop()
    multiply(accounts, count)
    prove(accounts)
    age_rows(accounts, 2)
    age_pictures(accounts, 2)
    for _ in range(3):
        server = serve()
        left = ask(accounts, "SELECT count(*) FROM results_prediction")
        eventually(lambda: ask(accounts, "SELECT count(*) FROM results_prediction") < left, "some rows go")
        server.expected_status = -signal.SIGKILL
        server.kill()
        prove(accounts)
        # A picture that one of them had is never missing while there is one.
        if ask(accounts, "SELECT count(*) FROM results_prediction") > 0:
            assert any((accounts.file.parent / "images").rglob(sha256(small_photos[0])))
    server = serve()
    # It serves while it sweeps, and SIGTERM does not wait for the rest.
    server.answer(small_photos[1], headers=key.headers)
    before = usage(server, key)
    server.stop()
    server = serve()
    eventually(lambda: ask(accounts, "SELECT count(*) FROM results_prediction") == 1, "only the new one is left")
    eventually(lambda: picture(server, key, small_photos[0]) == 404, "the picture is gone")
    assert usage(server, key) == before and before["images"] == count + 2
    assert ask(accounts, "SELECT count(*) FROM results_tombstone") == count + 1
    prove(accounts)
