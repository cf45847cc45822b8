# SPDX-License-Identifier: Apache-2.0
"""`imago plan`, `imago usage`, and the money of a tenant: computed twice, and proven."""
import csv
import datetime
import io
import json
import random
import re

import pytest
from billing import NO_CURRENCY, NONE, Billing, cost_of, day_text, month_days, text_of
from imago_server import ROOT

MODELS = ["lite", "big", "other", "new"]
GROUPS = ["day", "model", "version", "key"]
STANDARD = {"name": "standard", "version": 1, "currency": "USD", "monthly_minimum_micro": 10_000_000, "prices": [
    {"model": "big", "free_images": 0, "tiers": [{"price_micro": 2000}]},
    {"model": "*", "free_images": 1000, "tiers": [{"up_to": 10000, "price_micro": 500}, {"price_micro": 300}]}]}
FLAT = {"name": "flat", "version": 1, "currency": "USD", "monthly_minimum_micro": 0,
        "prices": [{"model": "*", "free_images": 0, "tiers": [{"price_micro": 1000}]}]}
DAY_MS = 86_400_000


@pytest.fixture
def billing(tmp_path):
    billing = Billing(tmp_path)
    billing.put_plan(FLAT)
    billing.json("usage")  # makes the tables
    return billing


def refuse(billing, status, *arguments, **options):
    given, out, err = billing.run(*arguments, **options)
    assert given == status, (given, out, err)
    assert err.startswith("imago: ") and err.count("\n") == 1 and out == ""
    return err


def show(billing, tenant="default"):
    return billing.json("tenant", "show", tenant)


# --- plans -----------------------------------------------------------------------------------

def test_a_plan_is_shown_as_it_was_put(billing, tmp_path):
    file = tmp_path / "standard.json"
    file.write_text(json.dumps(STANDARD, indent=2))
    assert "standard@1" in billing.run("plan", "put", file)[2]
    billing.put_plan(STANDARD)  # the same again
    billing.put_plan(STANDARD | {"version": 3, "currency": "EUR"})
    assert billing.json("plan", "show", "standard@1") == STANDARD
    assert billing.json("plan", "show", "standard")["version"] == 3
    names = [(row["name"], row["version"]) for row in map(json.loads, billing.succeed("plan", "list").splitlines())]
    assert names == [("flat", 1), ("standard", 1), ("standard", 3)]
    table = billing.succeed("plan", "show", "standard@1", "--format=table")
    assert "0.0005       each from image 1001 to 10000" in table and "0.0003       each from image 10001 on" in table


def test_a_version_never_changes(billing):
    billing.put_plan(STANDARD)
    err = refuse(billing, 2, "plan", "put", "-", input=json.dumps(STANDARD | {"currency": "EUR"}))
    assert "new one" in err
    assert billing.json("plan", "show", "standard") == STANDARD


@pytest.mark.parametrize("change,word", [
    ({"prices": [{"model": "*", "free_image": 3, "tiers": [{"price_micro": 1}]}]}, "free_image"),
    ({"currency": "usd"}, "currency"), ({"version": 0}, "version"), ({"name": "A b"}, "name"),
    ({"prices": [{"model": "*", "tiers": []}]}, "tiers"), ({"monthly_minimum_micro": 1.5}, "monthly_minimum_micro")])
def test_a_plan_that_cannot_be(billing, change, word):
    assert word in refuse(billing, 2, "plan", "put", "-", input=json.dumps(STANDARD | change))
    assert refuse(billing, 4, "plan", "show", "standard")


def test_what_is_no_plan(billing, tmp_path):
    assert "line 1" in refuse(billing, 2, "plan", "put", "-", input="{")
    assert "65536" in refuse(billing, 6, "plan", "put", "-", input=" " * 70000)
    refuse(billing, 4, "plan", "put", tmp_path / "nothing.json")
    for name in "flat@2", "nobody":
        refuse(billing, 4, "plan", "show", name)
    for name in "flat@", "flat@x", "flat@0", "@1", "flat@99999999999":
        refuse(billing, 2, "plan", "show", name)


# --- a tenant's money ------------------------------------------------------------------------

def test_plan_budget_and_cap_of_a_tenant(billing):
    assert show(billing) | {"plan": None, "currency": None, "budget": None, "cap": None, "alert_at": []} == show(billing)
    billing.succeed("tenant", "create", "acme", "--plan=flat", "--budget=99.5", "--cap=200.000001",
                    "--alert-at=50,80,100", "--alert-webhook=https://a.example/x")
    acme = show(billing, "acme")
    assert acme["plan"] == {"name": "flat", "version": 1} and acme["currency"] == "USD"
    assert (acme["budget_micro"], acme["budget"], acme["cap_micro"], acme["cap"]) == \
        (99_500_000, "99.50", 200_000_001, "200.000001")
    assert acme["alert_at"] == [50, 80, 100] and acme["alert_webhook"] == "https://a.example/x"
    billing.succeed("tenant", "set", "acme", "--cap=none", "--alert-webhook=none", "--alert-at=none")
    assert show(billing, "acme") == acme | {"cap": None, "cap_micro": None, "alert_at": [], "alert_webhook": None}
    billing.succeed("tenant", "set", "acme", "--budget=1")
    assert show(billing, "acme")["alert_at"] == [80, 100]
    text = billing.succeed("tenant", "show", "acme", "--format=table")
    assert "plan         flat@1\n" in text and "budget       1.00 USD\n" in text and "alerts at    80 %, 100 %\n" in text


@pytest.mark.parametrize("option,word", [
    ("--budget=0", "none"), ("--budget=-1", "-1"), ("--budget=1,5", "1,5"), ("--cap=1.0000001", "six"), ("--cap=x", "x"),
    ("--cap=9223372036855", "9223372036855"), ("--alert-at=80,50", "80,50"), ("--alert-at=0", "0"), ("--alert-at=256", "256"),
    ("--alert-at=1,2,3,4,5,6,7,8,9", "8"), ("--alert-at=50,", "50,"), ("--alert-webhook=http://a.example/", "https"),
    ("--alert-webhook=https://" + "a" * 600, "511")])
def test_what_a_tenant_cannot_have(billing, option, word):
    before = show(billing)
    assert word in refuse(billing, 2, "tenant", "set", "default", "--plan=flat", option)
    assert show(billing) == before


def test_amounts_are_in_the_plans_currency(billing):
    billing.put_plan(STANDARD | {"name": "euro", "currency": "EUR"})
    refuse(billing, 2, "tenant", "set", "default", "--budget=5")
    refuse(billing, 4, "tenant", "set", "default", "--plan=nobody")
    billing.succeed("tenant", "set", "default", "--plan=flat", "--budget=5")
    assert "EUR" in refuse(billing, 2, "tenant", "set", "default", "--plan=euro")
    assert "none" in refuse(billing, 2, "tenant", "set", "default", "--plan=none")
    billing.succeed("tenant", "set", "default", "--plan=euro@1", "--budget=4")
    billing.succeed("tenant", "set", "default", "--plan=none", "--budget=none")
    assert show(billing)["plan"] is None


# --- usage and statements, computed twice ----------------------------------------------------

def random_plan(dice, name, version, currency="USD", scale=400):
    prices = []
    for model in MODELS[:3] + ["*"]:
        if dice.random() < 0.4:
            continue
        ends = sorted(dice.sample(range(1, scale), dice.randrange(4)))
        prices.append({"model": model, "free_images": dice.choice([0, dice.randrange(scale)]),
                       "tiers": [{"up_to": end, "price_micro": dice.randrange(10 ** dice.randrange(1, 8))} for end in ends] +
                                [{"price_micro": dice.randrange(10 ** dice.randrange(1, 8))}]})
    return {"name": name, "version": version, "currency": currency, "prices": prices,
            "monthly_minimum_micro": dice.choice([0, dice.randrange(10 ** 9)])}


class Month:
    """A random month of a tenant: plans that follow each other, and what was used under each."""

    def __init__(self, billing, dice, name, month, currencies=("USD",)):
        self.month = month
        self.first, self.end = month_days(month)
        plans = [billing.put_plan(random_plan(dice, f"{name}-{i}", 1, dice.choice(currencies))) for i in range(dice.randrange(1, 4))]
        if dice.random() < 0.3:
            plans.insert(dice.randrange(len(plans) + 1), NONE)
        if dice.random() < 0.3:
            plans.append(plans[0])  # back to the first
        changes = sorted(dice.sample(range(self.first * DAY_MS + 1, self.end * DAY_MS), len(plans) - 1))
        self.tenures = list(zip([self.first * DAY_MS] + changes, plans))
        order = [plan for i, plan in enumerate(plans) if plan.id not in [before.id for before in plans[:i]]]
        self.plans = order if order[-1].id == plans[-1].id else order + [plans[-1]]
        self.usage = {}
        for _ in range(dice.randrange(60)):
            at_ms = dice.randrange(self.first * DAY_MS, self.end * DAY_MS)
            plan = [plan for since, plan in self.tenures if since <= at_ms][-1]
            atom = (at_ms // DAY_MS, dice.choice(MODELS), dice.choice("12"), dice.choice(["", "aaaaaaaa", "bbbbbbbb"]), plan.id)
            self.usage[atom] = self.usage.get(atom, 0) + dice.randrange(1, 40)
        self.costs = cost_of(self.plans, self.usage)


def rows_of(months, group, first, end):
    """What `imago usage` must say: {(group's values, currency): (images, micro)}"""
    rows = {}
    for month in months:
        for (day, model, version, key, plan), (currency, micro) in month.costs.items():
            if first <= day < end:
                values = {"day": day_text(day), "model": model, "version": version, "key": key}
                name = tuple(values[column] for column in GROUPS if column in group) + (currency,)
                images, sum = rows.get(name, (0, 0))
                rows[name] = (images + month.usage[day, model, version, key, plan], sum + micro)
    return rows


def check_usage(billing, tenant, months, group, first, end):
    answer = billing.json("usage", tenant, f"--group={','.join(group)}", f"--from={day_text(first)}", f"--to={day_text(end)}")
    expected = rows_of(months, group, first, end)
    columns = [column for column in GROUPS if column in group]
    found = {tuple(row[c] for c in columns) + (row["currency"],): (row["images"], row["cost_micro"]) for row in answer["rows"]}
    assert found == expected
    assert len(found) == len(answer["rows"]) and list(found) == sorted(found)
    assert all(row["cost"] == text_of(row["cost_micro"]) for row in answer["rows"])
    sums = {}
    for (*_, currency), (_, micro) in expected.items():
        sums[currency] = sums.get(currency, 0) + micro
    assert {cost["currency"]: (cost["cost_micro"], cost["cost"]) for cost in answer["total"]["costs"]} == \
        {currency: (micro, text_of(micro)) for currency, micro in sums.items() if currency != NO_CURRENCY}
    assert answer["total"]["images"] == sum(images for images, _ in expected.values())
    return answer


def check_statement(billing, tenant, month):
    answer = billing.json("usage", "statement", tenant, month.month)
    assert (answer["tenant"], answer["month"], answer["complete"]) == (tenant, month.month, True)
    sums = {}
    for currency, micro in month.costs.values():
        sums[currency] = sums.get(currency, 0) + micro
    statements = answer["statements"]
    last = month.plans[-1]
    for statement in statements:
        usage = sums.pop(statement["currency"], 0)
        minimum = last.minimum if statement is statements[-1] else 0
        assert (statement["usage_micro"], statement["minimum_micro"]) == (usage, minimum)
        assert statement["total_micro"] == max(usage, minimum) == sum(line["amount_micro"] for line in statement["lines"])
        assert statement["image_count"] == sum(line["image_count"] for line in statement["lines"])
        for line in statement["lines"]:
            assert line["kind"] == "minimum" or line["unit_micro"] * line["image_count"] == line["amount_micro"]
            assert line["amount"] == text_of(line["amount_micro"]) and line["unit"] == text_of(line["unit_micro"])
        assert statement["total"] == text_of(statement["total_micro"])
    assert sums == {}
    assert sum(statement["image_count"] for statement in statements) == sum(month.usage.values())
    # The other two forms say the same.
    rows = list(csv.DictReader(io.StringIO(billing.succeed("usage", "statement", tenant, month.month, "--format=csv"))))
    lines = [line | {"currency": statement["currency"]} for statement in statements for line in statement["lines"]]
    columns = ["kind", "model", "plan", "plan_version", "image_first", "image_count", "currency", "unit", "amount", "amount_micro"]
    assert [[row[c] for c in columns] for row in rows] == [[str(line[c]) for c in columns] for line in lines]
    text = billing.succeed("usage", "statement", tenant, month.month, "--format=table")
    amounts = [line.split()[-1] for line in text.splitlines() if line.split() and line.split()[-1][0].isdigit()
               and "." in line.split()[-1]]
    told = [amount for statement in statements for amount in
            [line["amount"] for line in statement["lines"]] + [statement["usage"], statement["total"]]]
    assert amounts == told


@pytest.mark.parametrize("seed", range(8))
def test_money_adds_up(billing, seed):
    dice = random.Random(seed)
    currencies = ("USD",) if seed % 2 == 0 else ("USD", "EUR", "JPY")
    months = [Month(billing, dice, f"p{i}", month, currencies) for i, month in enumerate(["2024-01", "2024-02", "2024-12"])]
    billing.tenures("default", [tenure for month in months for tenure in month.tenures])
    for month in months:
        billing.use("default", month.usage)
        check_statement(billing, "default", month)
    first, end = months[0].first, months[-1].end
    for group in GROUPS, ["day"], ["model"], ["key"], [], dice.sample(GROUPS, 2):
        check_usage(billing, "default", months, group, first, end)
    for _ in range(3):
        part = sorted(dice.sample(range(first, end), 2))
        check_usage(billing, "default", months, dice.sample(GROUPS, dice.randrange(5)), *part)
    # Another tenant's usage is another's.
    billing.succeed("tenant", "create", "acme")
    assert check_usage(billing, "acme", [], GROUPS, first, end)["rows"] == []


def test_a_statement_by_hand(billing):
    plan = billing.put_plan(STANDARD)
    first, end = month_days("2026-10")
    billing.tenures("default", [(0, plan)])
    billing.use("default", {(first, "lite", "1", "", plan.id): 9000, (first + 3, "big", "1", "", plan.id): 10,
                            (end - 1, "other", "1", "", plan.id): 3000, (end, "lite", "1", "", plan.id): 7})
    statement, = billing.json("usage", "statement", "default", "2026-10")["statements"]
    assert [(line["kind"], line["image_count"], line["amount"]) for line in statement["lines"]] == [
        ("tier", 10, "0.02"), ("free", 1000, "0.00"), ("tier", 9000, "4.50"), ("tier", 2000, "0.60"), ("minimum", 0, "4.88")]
    assert (statement["usage"], statement["total"]) == ("5.12", "10.00")
    rows = billing.json("usage", "--month=2026-10")["rows"]
    assert [row["cost"] for row in rows] == ["4.00", "0.02", "1.10"]


def test_months_without_usage(billing):
    plan = billing.put_plan(STANDARD)
    billing.tenures("default", [(0, plan)])
    statement, = billing.json("usage", "statement", "default", "2020-02")["statements"]
    assert (statement["total"], [line["kind"] for line in statement["lines"]]) == ("10.00", ["minimum"])
    billing.tenures("default", [(month_days("2020-03")[0] * DAY_MS, plan)])
    assert billing.json("usage", "statement", "default", "2020-02")["statements"][0]["lines"] == []
    now = datetime.datetime.now(datetime.timezone.utc)
    assert billing.json("usage", "statement", "default", f"{now:%Y-%m}")["complete"] is False
    for month, status in ("9999-12", 2), ("2026-13", 2), ("2026-1", 2), ("", 2):
        refuse(billing, status, "usage", "statement", "default", month)


def test_a_plan_that_went_on_for_a_moment(billing):
    """A server may use the plan of before for some seconds; midnight of a month's end among them."""
    before, after = billing.put_plan(FLAT), billing.put_plan(STANDARD)
    first, _ = month_days("2026-10")
    billing.tenures("default", [(0, before), (first * DAY_MS - 1, after)])
    billing.use("default", {(first, "lite", "1", "", before.id): 3, (first, "lite", "1", "", after.id): 1000})
    statement, = billing.json("usage", "statement", "default", "2026-10")["statements"]
    # The three count as the first of the thousand free ones.
    assert [(line["plan"], line["kind"], line["image_count"]) for line in statement["lines"]] == [
        ("flat", "tier", 3), ("standard", "free", 997), ("standard", "tier", 3), ("standard", "minimum", 0)]


def test_a_plan_that_was_never_used(billing):
    euro, dollar = billing.put_plan(FLAT | {"name": "euro", "currency": "EUR"}), billing.put_plan(STANDARD)
    first, _ = month_days("2026-10")
    billing.tenures("default", [(0, euro), (first * DAY_MS + 1, dollar)])
    assert [s["currency"] for s in billing.json("usage", "statement", "default", "2026-10")["statements"]] == ["USD"]
    billing.use("default", {(first, "lite", "1", "", euro.id): 2})
    statements = billing.json("usage", "statement", "default", "2026-10")["statements"]
    assert [(s["currency"], s["total"]) for s in statements] == [("EUR", "0.002"), ("USD", "10.00")]


@pytest.mark.parametrize("arguments", [
    ["--month=2026-13"], ["--month=2026-10", "--from=2026-10-01"], ["--from=x"], ["--to=2026-02-30"], ["--group=days"],
    ["--from=2026-10-02", "--to=2026-10-01"], ["--format=text"], ["a", "b"], ["statement", "default"],
    ["statement", "default", "2026-10", "x"], ["verify", "a", "b"], ["verify", "--format=csv"]])
def test_wrong_questions(billing, arguments):
    refuse(billing, 2, "usage", *arguments)


def test_nobodys_usage(billing):
    for arguments in ["nobody"], ["statement", "nobody", "2026-10"], ["verify", "nobody"]:
        assert "nobody" in refuse(billing, 4, "usage", *arguments)
    # Without accounts there are no prices.
    billing.use("default", {(20000, "lite", "1", "", ("", 0)): 5})
    answer = billing.json("usage", "--accounts=none", "--from=2000-01-01", "--group=")
    assert answer["rows"] == [{"requests": 1, "images": 5, "currency": NO_CURRENCY, "cost_micro": 0, "cost": "0.00"}]
    billing.use("default", {(20000, "lite", "1", "", ("flat", 1)): 5})
    assert "flat" in refuse(billing, 4, "usage", "--accounts=none", "--from=2000-01-01")


def test_usage_as_a_table(billing):
    plan = billing.put_plan(FLAT)
    billing.tenures("default", [(0, plan)])
    billing.use("default", {(20000, "lite", "1", "", plan.id): 5, (20001, "big", "1", "", plan.id): 7})
    lines = billing.succeed("usage", "--from=2020-01-01", "--format=table", "--group=day,model").splitlines()
    assert [line.split() for line in lines] == [
        ["DAY", "MODEL", "REQUESTS", "IMAGES", "COST", "CURRENCY"], [day_text(20000), "lite", "1", "5", "0.005", "USD"],
        [day_text(20001), "big", "1", "7", "0.007", "USD"], ["total", "2", "12", "0.012", "USD"]]
    assert len({line.rindex("USD") for line in lines[1:]}) == 1
    assert billing.succeed("usage", "--from=2020-01-01", "--format=csv", "--group=model") == \
        "model,requests,images,currency,cost,cost_micro\nbig,1,7,USD,0.007,7000\nlite,1,5,USD,0.005,5000\n"


def test_the_page_shows_what_the_program_prints(billing):
    page = (ROOT / "docs/billing.md").read_text()
    plan = billing.put_plan(json.loads(re.search(r"```json\n(.*?)```", page, re.S)[1]))
    billing.succeed("tenant", "create", "acme", "--plan=standard")
    billing.tenures("acme", [(0, plan)])
    first, end = month_days("2026-10")
    billing.use("acme", {(day, "efficientnet-lite0", "1", "4fq7k2ab", plan.id): 410 for day in range(first, end)} |
                {(first, "efficientnet-lite0-fp32", "1", "4fq7k2ab", plan.id): 250})
    shown = 0
    for block in re.findall(r"```\n(\$ imago.*?)```", page, re.S):
        for command, out in re.findall(r"\$ imago ((?:usage(?! verify)|plan show)[^\n]*)\n(.*?)(?=\$ imago|\Z)", block, re.S):
            assert billing.succeed(*command.split(), "--format=table").rstrip() == out.rstrip()
            shown += 1
    assert shown == 3
