# SPDX-License-Identifier: Apache-2.0
"""Plans, usage and what it costs, computed a second time: with integers, image by image where tiers meet."""
import calendar
import datetime
import json
import sqlite3
import subprocess
from collections import defaultdict

from imago_server import IMAGO, PATIENCE_S, environment

NO_CURRENCY = "XXX"


def text_of(micro):
    """"12.50", "0.000125": exact, two decimals at least."""
    whole, rest = divmod(micro, 10 ** 6)
    decimals = f"{rest:06}".rstrip("0").ljust(2, "0")
    return f"{whole}.{decimals}"


class Plan:
    """A plan as its JSON, and what its rows charge."""

    def __init__(self, body):
        self.body = body
        self.name, self.version, self.currency = body["name"], body["version"], body["currency"]
        self.minimum = body.get("monthly_minimum_micro", 0)
        self.id = (self.name, self.version)

    @property
    def costs(self):
        return bool(self.body["prices"]) or self.minimum > 0

    def row(self, model):
        rows = {row["model"]: row for row in self.body["prices"]}
        return rows.get(model, rows.get("*"))

    @staticmethod
    def price(row, first, count):
        """Of images first+1 .. first+count of the month, at the prices of `row`."""
        total, image, left = 0, first + 1, count
        while left > 0:
            free = row.get("free_images", 0)
            tier = next(tier for tier in row["tiers"] if image <= tier.get("up_to", image))
            ends = [tier["up_to"]] if "up_to" in tier else []
            ends += [free] if image <= free else []
            step = min([left] + [end - image + 1 for end in ends])
            total += 0 if image <= free else step * tier["price_micro"]
            image, left = image + step, left - step
        return total


NONE = Plan({"name": "", "version": 0, "currency": NO_CURRENCY, "prices": []})


def cost_of(plans, usage):
    """plans: the month's in order. usage: {(day, model, version, key, plan id): images}. -> the cost of each."""
    main = ([plan for plan in plans if plan.costs] or plans)[-1].currency
    currency = {plan.id: plan.currency if plan.costs else main for plan in plans}
    order = {}
    for plan in plans:
        order.setdefault(plan.id, len(order))
    of = {plan.id: plan for plan in plans}
    counted = defaultdict(int)
    costs = {}
    # All of an earlier plan before all of a later one.
    for atom in sorted(usage, key=lambda atom: (order[atom[4]], atom[:4])):
        day, model, _, _, id = atom
        mine = [plan for plan in of.values() if currency[plan.id] == currency[id]]
        row = of[id].row(model)
        if row is None:
            costs[atom] = (currency[id], 0)
        else:
            costs[atom] = (currency[id], Plan.price(row, counted[id, row["model"]], usage[atom]))
        for plan in mine:
            if order[plan.id] >= order[id] and (its := plan.row(model)) is not None:
                counted[plan.id, its["model"]] += usage[atom]
    return costs


class Billing:
    """The stores in a folder, filled behind the program's back."""

    def __init__(self, folder):
        self.data = folder / "data"
        self.file = self.data / "imago.db"

    def run(self, *arguments, **options):
        done = subprocess.run([str(IMAGO), *map(str, arguments), "--data", str(self.data)], capture_output=True,
                              text=True, timeout=5 * PATIENCE_S, env=environment(), **options)
        return done.returncode, done.stdout, done.stderr

    def succeed(self, *arguments, **options):
        status, out, err = self.run(*arguments, **options)
        assert status == 0, err
        return out

    def json(self, *arguments):
        return json.loads(self.succeed(*arguments, "--format=json"))

    def put_plan(self, body):
        self.succeed("plan", "put", "-", input=json.dumps(body))
        return Plan(body)

    def sql(self, text, *parameters):
        with sqlite3.connect(self.file, timeout=PATIENCE_S) as db:
            rows = db.execute(text, parameters).fetchall()
        db.close()
        return rows

    def tenures(self, tenant, rows):
        """rows: [(since, plan)]; the last is what the tenant has now."""
        self.sql("DELETE FROM account_tenure WHERE tenant=?", tenant)
        for since, plan in rows:
            self.sql("INSERT INTO account_tenure VALUES(?,?,?,?)", tenant, since, *plan.id)
        self.sql("UPDATE account_tenant SET plan=?, plan_version=? WHERE id=?", *rows[-1][1].id, tenant)

    def use(self, tenant, usage):
        """usage: {(day, model, version, key, plan id): images}"""
        with sqlite3.connect(self.file, timeout=PATIENCE_S) as db:
            db.executemany("INSERT INTO results_usage VALUES(?,?,?,?,?,?,?,?,?)",
                           [(tenant, day, model, version, key, *id, 1, images)
                            for (day, model, version, key, id), images in usage.items()])
        db.close()


def day_number(date):
    return (date - datetime.date(1970, 1, 1)).days


def day_text(number):
    return (datetime.date(1970, 1, 1) + datetime.timedelta(number)).isoformat()


def month_days(month):
    """The numbers of the first day of "2026-10" and of the next month."""
    year, number = map(int, month.split("-"))
    first = datetime.date(year, number, 1)
    return day_number(first), day_number(first) + calendar.monthrange(year, number)[1]
