# SPDX-License-Identifier: Apache-2.0
"""What usage costs, over HTTP; budgets that are told and caps that hold; a ledger that is proven, or found out."""
import csv
import datetime
import io
import json
import os
import pty
import random
import select
import shutil

import pytest
from billing import Billing, day_text, month_days
from imago_server import IMAGO, PATIENCE_S, Server, environment, eventually
from test_predict import check_problem
from webhooks import Receiver
from wire import form

FLAT = {"name": "flat", "version": 1, "currency": "USD", "prices": [{"model": "*", "tiers": [{"price_micro": 1000}]}]}
TIERED = {"name": "tiered", "version": 1, "currency": "USD", "monthly_minimum_micro": 500_000, "prices": [
    {"model": "*", "free_images": 2, "tiers": [{"up_to": 4, "price_micro": 3000}, {"price_micro": 125}]}]}


@pytest.fixture
def billing(tmp_path, request):
    billing = Billing(tmp_path)
    shutil.copytree(request.getfixturevalue("warm_cache"), billing.data / "cache", copy_function=os.link)
    billing.put_plan(FLAT)
    billing.put_plan(TIERED)
    return billing


def this_month():
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m}"


def predict(server, photos):
    body, content_type = form(photos)
    response = server.predict(body, content_type)
    assert response.status_code == 200, response.text
    return response.json()["results"] if len(photos) > 1 else [response.json()]


# --- costs -----------------------------------------------------------------------------------

def test_each_row_has_its_cost(billing, start, small_photos):
    billing.succeed("tenant", "set", "default", "--plan=tiered")
    server = start()
    month = this_month()
    predict(server, small_photos[:3])
    predict(server, small_photos[3:6])
    usage = server.get("/v1/usage", params={"month": month, "group": "model"}).json()
    row, = usage["rows"]
    # Two are free, two cost 0.003, two 0.000125.
    assert (row["images"], row["requests"]) == (6, 2)
    assert (row["currency"], row["cost_micro"], row["cost"]) == ("USD", 6250, "0.00625")
    assert usage["total"] == {"requests": 2, "images": 6, "costs": [{"currency": "USD", "cost_micro": 6250, "cost": "0.00625"}]}
    assert "budget" not in usage
    first, end = month_days(month)
    assert (usage["from"], usage["to"]) == (day_text(first), day_text(end))
    statement, = server.get("/v1/usage/statement", params={"month": month}).json()["statements"]
    assert (statement["usage"], statement["total"], statement["minimum"]) == ("0.00625", "0.50", "0.50")
    assert server.get("/v1/usage/statement").json()["statements"] == [statement]


def test_the_command_says_what_the_server_says(billing, start):
    """Random usage under several plans; every form of it, byte by byte."""
    dice = random.Random(5)
    server = start()
    plans = [billing.put_plan(FLAT), billing.put_plan(TIERED),
             billing.put_plan(FLAT | {"name": "euro", "currency": "EUR"})]
    first, end = month_days("2024-02")
    billing.tenures("default", [(0, plans[0]), ((first + 9) * 86_400_000, plans[1]), ((first + 20) * 86_400_000, plans[2])])
    billing.use("default", {(day, f"m{dice.randrange(3)}", "1", dice.choice(["", "aaaaaaaa"]),
                             plans[0 if day < first + 9 else 1 if day < first + 20 else 2].id): dice.randrange(1, 9)
                            for day in range(first, end)})
    span = ["--from=2024-01-01", "--to=2025-01-01"]
    for group in "day", "day,model", "key", "model,version,key", "":
        query = {"from": "2024-01-01", "to": "2025-01-01", "group": group}
        assert server.get("/v1/usage", params=query).text == \
            billing.succeed("usage", *span, f"--group={group}", "--format=json")
        text = server.get("/v1/usage", params=query, headers={"Accept": "text/csv"}).text
        assert text.replace("\r\n", "\n") == billing.succeed("usage", *span, f"--group={group}", "--format=csv")
        rows = [json.loads(line) for line in
                server.get("/v1/usage", params=query, headers={"Accept": "application/x-ndjson"}).text.splitlines()]
        assert rows == server.get("/v1/usage", params=query).json()["rows"]
        assert [row["cost_micro"] for row in rows] == [int(row["cost_micro"]) for row in csv.DictReader(io.StringIO(text))]
    assert {cost["currency"] for cost in server.get("/v1/usage", params=query).json()["total"]["costs"]} == {"EUR", "USD"}
    for accept, form_name in ("application/json", "json"), ("text/csv", "csv"), ("text/plain", "table"):
        response = server.get("/v1/usage/statement?month=2024-02", headers={"Accept": accept})
        assert response.status_code == 200 and response.headers["Content-Type"] == accept
        assert response.text.replace("\r\n", "\n") == \
            billing.succeed("usage", "statement", "default", "2024-02", f"--format={form_name}")
    statements = server.get("/v1/usage/statement?month=2024-02").json()["statements"]
    assert [statement["currency"] for statement in statements] == ["USD", "EUR"]


@pytest.mark.parametrize("query", ["month=2026-13", "month=x", "month=9999-12", "month=", "months=2026-10", "month=2026-10-01"])
def test_no_month(server, query):
    check_problem(server.get(f"/v1/usage/statement?{query}"), 400, "invalid")


def test_no_form_of_a_statement(server):
    check_problem(server.get("/v1/usage/statement", headers={"Accept": "application/pdf"}), 406, "not-acceptable")
    assert server.get("/v1/usage/statement", headers={"Accept": "text/*;q=0.5, application/json;q=0.1"}).text.startswith("tenant,")


def test_nobody_sees_anothers_money(billing, start, small_photos):
    billing.succeed("tenant", "create", "acme", "--plan=flat", "--budget=5")
    keys = {tenant: billing.succeed("key", "create", "--tenant", tenant).strip() for tenant in ("acme", "default")}
    reader = billing.succeed("key", "create", "--tenant", "acme", "--scopes=predict").strip()
    server = start()

    def ask(key, path="/v1/usage"):
        return server.get(path, headers={"Authorization": f"Bearer {key}"})
    response = server.predict(small_photos[0], headers={"Authorization": f"Bearer {keys['acme']}"})
    assert response.status_code == 200
    mine, other = ask(keys["acme"]).json(), ask(keys["default"]).json()
    assert mine["total"]["costs"] == [{"currency": "USD", "cost_micro": 1000, "cost": "0.001"}]
    assert mine["budget"]["spent"] == "0.001" and mine["budget"]["budget_remaining"] == "4.999"
    assert other["rows"] == [] and "budget" not in other
    assert "acme" not in ask(keys["default"], "/v1/usage/statement").text
    check_problem(ask(reader, "/v1/usage/statement"), 403, "forbidden")


# --- budgets ---------------------------------------------------------------------------------

@pytest.fixture
def receiver():
    receiver = Receiver()
    yield receiver
    receiver.close()


def test_each_alert_is_told_once(billing, start, small_photos, receiver):
    billing.succeed("tenant", "set", "default", "--plan=flat", "--budget=0.004", "--alert-at=50,100,200", "--webhook-internal",
                    f"--alert-webhook={receiver.url}/alerts")
    server = start(webhook_internal="true")
    predict(server, small_photos[:2])
    alert = server.event("budget_alert")
    month = this_month()
    assert {key: alert[key] for key in ("tenant", "month", "percent", "currency", "budget", "spent")} == {
        "tenant": "default", "month": month, "percent": 50, "currency": "USD", "budget": "0.004", "spent": "0.002"}
    first, = receiver.wait("/alerts")
    assert json.loads(first.body)["type"] == "budget.alert"
    assert json.loads(first.body)["data"] == {
        "tenant": "default", "month": month, "percent": 50, "currency": "USD", "budget_micro": 4000, "budget": "0.004",
        "spent_micro": 2000, "spent": "0.002"}
    budget = server.get("/v1/usage").json()["budget"]
    assert budget == {"month": month, "currency": "USD", "spent_micro": 2000, "spent": "0.002", "budget_micro": 4000,
                      "budget": "0.004", "budget_remaining_micro": 2000, "budget_remaining": "0.002"}
    predict(server, small_photos[:6])
    server.event("budget_alert", lambda event: event["percent"] == 200)
    server.stop()
    server = start(webhook_internal="true")  # it knows what was told
    predict(server, small_photos[:1])
    billing.succeed("tenant", "set", "default", "--alert-at=50,100,200,225")
    server.event("budget_alert", lambda event: event["percent"] == 225)
    assert len(server.events("budget_alert")) == 1
    told = [json.loads(request.body)["data"]["percent"] for request in receiver.wait("/alerts", 4)]
    assert sorted(told) == [50, 100, 200, 225]
    # Another budget is told anew.
    billing.succeed("tenant", "set", "default", "--budget=0.018", "--alert-webhook=none")
    server.event("budget_alert", lambda event: event["percent"] == 50 and event["budget"] == "0.018")


# --- caps ------------------------------------------------------------------------------------

def counts(billing):
    return {(plan, model): used for plan, model, used in
            billing.sql("SELECT plan, model, used FROM account_month WHERE tenant='default' AND used>0")}


def test_a_cap_counts_what_was_used_before_it(billing, start, small_photos):
    billing.succeed("tenant", "set", "default", "--plan=flat")
    server = start()
    model = predict(server, small_photos[:5])[0]["model"]
    assert counts(billing) == {}
    billing.succeed("tenant", "set", "default", "--cap=0.02")
    assert counts(billing) == {("flat", model): 5}
    usage = server.get("/v1/usage").json()["budget"]
    assert (usage["spent"], usage["cap"], usage["cap_remaining"]) == ("0.005", "0.02", "0.015")
    # What became wrong, the server puts right.
    billing.sql("UPDATE account_month SET used=1 WHERE tenant='default'")
    eventually(lambda: counts(billing) == {("flat", model): 5}, "the counts follow the ledger")
    billing.sql("UPDATE account_month SET used=50 WHERE tenant='default'")
    eventually(lambda: counts(billing) == {("flat", model): 5}, "the counts follow the ledger")


def test_a_cap_holds_to_the_image(billing, start, small_photos):
    """The fourth image of the month costs 0.003, those after it 0.000125: three more fit, the fourth does not."""
    billing.succeed("tenant", "set", "default", "--plan=tiered")
    server = start()
    predict(server, small_photos[:3])
    server.stop()
    billing.succeed("tenant", "set", "default", "--cap=0.00625")
    server = start()
    body, content_type = form(small_photos[:4])
    for _ in range(2):
        check_problem(server.predict(body, content_type), 429, "rate-limited")
    predict(server, small_photos[:1])
    predict(server, small_photos[:2])
    answer = server.predict(small_photos[0])
    check_problem(answer, 429, "rate-limited")
    assert int(answer.headers["Retry-After"]) > 0
    usage = server.get("/v1/usage", params={"month": this_month()}).json()
    assert usage["total"]["images"] == 6 and usage["budget"]["cap_remaining_micro"] == 0
    billing.succeed("tenant", "set", "default", "--cap=0.006375")
    eventually(lambda: server.predict(small_photos[0]).status_code == 200, "the cap was raised")
    assert server.predict(small_photos[0]).status_code == 429
    assert proofs(billing)[0] == 0


def test_a_cap_that_is_set_where_the_ledger_is_not(billing, tmp_path):
    status, _, err = billing.run("tenant", "set", "default", "--plan=flat", "--cap=5", f"--results=sqlite:{tmp_path}/no.db")
    assert status == 0 and "no.db" in err and "running server" in err
    assert billing.json("tenant", "show", "default")["cap"] == "5.00"


# --- the proof -------------------------------------------------------------------------------

def proofs(billing, *arguments):
    status, out, err = billing.run("usage", "verify", *arguments, "--format=json")
    assert err == "", err
    lines = [json.loads(line) for line in out.splitlines()]
    return status, {line["tenant"]: line for line in lines if "proven" in line}, [line for line in lines if "difference" in line]


TAMPERING = [
    ("DELETE FROM results_prediction WHERE no=(SELECT min(no) FROM results_prediction)", "without its prediction"),
    ("DELETE FROM results_ledger WHERE id=(SELECT min(id) FROM results_ledger)", "without its ledger entry"),
    ("DELETE FROM results_tombstone", "without its prediction or tombstone"),
    ("UPDATE results_ledger SET units=2 WHERE id=(SELECT max(id) FROM results_ledger)", "sum of its ledger entries"),
    ("UPDATE results_usage SET images=images-1", "sum of its ledger entries"),
    ("UPDATE results_ledger SET plan='flat'", "sum of its ledger entries"),
    ("UPDATE results_prediction SET model='x'", "another model or key"),
]


def test_the_ledger_is_proven_or_found_out(billing, start, small_photos):
    billing.succeed("tenant", "create", "acme")
    server = start()
    answers = predict(server, small_photos[:5])
    assert server.request("DELETE", f"/v1/predictions/{answers[0]['id']}").status_code == 204
    # Beside a running server.
    status, proof, differences = proofs(billing)
    assert (status, differences) == (0, [])
    assert proof == {"default": {"tenant": "default", "proven": True, "ledger": 5, "predictions": 4, "tombstones": 1,
                                 "billed_only": 0, "differences": 0}}
    assert proofs(billing, "acme")[1]["acme"]["ledger"] == 0
    server.stop()
    billing.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    good = billing.file.read_bytes()
    for sql, what in TAMPERING:
        billing.sql(sql)
        status, proof, differences = proofs(billing)
        assert status == 1 and proof["default"]["proven"] is False, sql
        assert proof["default"]["differences"] == len(differences) > 0
        assert any(what in difference["difference"] for difference in differences), (sql, differences)
        text = billing.run("usage", "verify", "default", "--format=table")[1]
        assert "NOT PROVEN" in text and what in text
        for name in "imago.db-wal", "imago.db-shm":
            (billing.data / name).unlink(missing_ok=True)
        billing.file.write_bytes(good)
    assert proofs(billing)[0] == 0


def test_the_bar_is_drawn_on_a_terminal(billing, start, small_photos):
    server = start()
    predict(server, small_photos[:2])
    server.stop()
    # 20,000 entries that were only billed.
    billing.sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20000) INSERT INTO results_ledger "
                "SELECT 'default', randomblob(16), 0, 0, 'm', '1', '', '', 0, 1, 1 FROM n")
    billing.sql("INSERT INTO results_usage VALUES('default',0,'m','1','','',0,20000,20000)")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(str(IMAGO), [str(IMAGO), "usage", "verify", "--data", str(billing.data)], environment(TERM="xterm"))
    shown = b""
    while select.select([terminal], [], [], 5 * PATIENCE_S)[0]:
        try:
            shown += os.read(terminal, 65536)
        except OSError:
            break
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
    assert "default: proven: 20002 ledger entries, 2 predictions, 0 erased, 20000 only billed, 0 differences" in shown.decode()
