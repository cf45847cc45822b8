# SPDX-License-Identifier: Apache-2.0
"""Compares what a server keeps with what it has told, on the disk and over HTTP.

On the disk it goes by a reading of its own: the database with Python's SQLite, the pictures as files."""
import collections
import hashlib
import shutil
import sqlite3
import uuid
from contextlib import closing

TENANT = "default"


def read_copy(data, into):
    """A connection to a copy of the database of a server that does not run."""
    into.mkdir(exist_ok=True)
    for name in ("imago.db", "imago.db-wal"):
        (into / name).unlink(missing_ok=True)
        if (data / name).exists():
            shutil.copy(data / name, into / name)
    return sqlite3.connect(into / "imago.db")


def prove_disk(data, told, scratch, hashed):
    """On a stopped or killed server's folder. `hashed` is the set of pictures found good before."""
    if not (data / "imago.db").exists():
        assert not told.predictions, "the database is gone"
        return 0
    with closing(read_copy(data, scratch)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if db.execute("SELECT count(*) FROM sqlite_master WHERE name='results_ledger'").fetchone() == (0,):
            assert not told.predictions, "the tables are gone"
            return 0
        rows = prove_ledger(db)
        prove_told(db, rows, told)
    for sha256 in {row["sha256"] for row in rows.values()} - hashed:
        picture = data / "images" / TENANT / sha256[:2] / sha256[2:4] / sha256
        assert picture.exists(), f"a prediction without its picture {sha256}"
        assert hashlib.sha256(picture.read_bytes()).hexdigest() == sha256, f"a damaged picture: {sha256}"
        hashed.add(sha256)
    return len(rows)


def prove_ledger(db):
    """Ledger = predictions + tombstones, each once, and usage = its sum. Gives the predictions by id."""
    ledger = {row[0]: row[1:] for row in db.execute("SELECT id, stored, units, requests FROM results_ledger")}
    found = db.execute("SELECT id, item, lower(hex(sha256)), reference FROM results_prediction").fetchall()
    rows = {row[0]: {"item": row[1], "sha256": row[2], "reference": row[3]} for row in found}
    dead = {row[0] for row in db.execute("SELECT id FROM results_tombstone")}
    assert len(rows) == len(found), "a prediction is there twice"
    assert not rows.keys() & dead, "a prediction is there and erased"
    assert rows.keys() | dead == ledger.keys(), "ledger and predictions differ"
    assert all(entry[:2] == (1, 1) for entry in ledger.values())
    sums = db.execute("SELECT coalesce(sum(images), 0), coalesce(sum(requests), 0) FROM results_usage").fetchone()
    assert sums == (len(ledger), sum(entry[2] for entry in ledger.values())), "usage is not the ledger's sum"
    requests = collections.Counter()
    for id, row in rows.items():
        requests[request_of(id, row["item"])] += ledger[id][2]
    assert all(count <= 1 for count in requests.values()), "a request was counted twice"
    return {str(uuid.UUID(bytes=id)): row for id, row in rows.items()}


def request_of(id, item):
    tail = int.from_bytes(id[12:], "big") ^ item
    return id[:12] + tail.to_bytes(4, "big")


def prove_told(db, rows, told):
    by_reference = collections.defaultdict(list)
    for id, row in rows.items():
        by_reference[row["reference"]].append((row["item"], id, row["sha256"]))
    assert by_reference.keys() <= told.requests.keys(), "a prediction that nobody asked for"
    gone = told.kept() - rows.keys()
    assert not gone, f"{len(gone)} answered predictions are lost, {sorted(gone)[:3]} among them"
    for id in told.erased:
        assert id not in rows, f"{id} was erased and is there again"
    for reference, request in told.requests.items():
        stored = by_reference[reference]
        wanted = collections.Counter(sha256 for sha256 in request.pictures if sha256)
        assert not collections.Counter(sha256 for _, _, sha256 in stored) - wanted, f"{reference}: more than was sent"
        if request.results is not None:
            answered = {result["id"]: result["image"]["sha256"] for result in request.results if "id" in result}
            found = {id: sha256 for _, id, sha256 in stored}
            assert found.items() <= answered.items(), f"{reference}: not as answered"
    prove_jobs(db, rows, told)
    for number, class_id in db.execute("SELECT id, class_id FROM results_feedback"):
        id = str(uuid.UUID(bytes=number))
        assert class_id == told.feedback.get(id) or class_id in told.maybe_feedback[id], f"feedback of {id}"
    given = {str(uuid.UUID(bytes=row[0])) for row in db.execute("SELECT id FROM results_feedback")}
    lost = (told.feedback.keys() & told.kept()) - given
    assert not lost, f"feedback is lost: {sorted(lost)[:3]}"


def prove_jobs(db, rows, told):
    """Each that was accepted is there, and each prediction of one is an item of it."""
    jobs = {str(uuid.UUID(bytes=row[0])): row[1] // 32
            for row in db.execute("SELECT id, length(pictures) FROM results_job")}
    lost = told.jobs.keys() - jobs.keys()
    assert not lost, f"{len(lost)} accepted jobs are lost, {sorted(lost)[:3]} among them"
    items = db.execute("SELECT job_id, item, id FROM results_job_item WHERE outcome='OK'").fetchall()
    for job, item, id in items:
        assert item < jobs[str(uuid.UUID(bytes=job))]
        assert rows[str(uuid.UUID(bytes=id))]["item"] == item and request_of(id, item) == job
    (count,) = db.execute("SELECT count(*) FROM results_prediction WHERE job_id IS NOT NULL").fetchone()
    assert count == len(items), "a job's prediction is no item of it"


def prove_server(server, told, ids, images):
    """On a running server, perhaps beside clients: these predictions and pictures as it answered them."""
    for id in ids:
        was_erased = id in told.erased
        response = server.get(f"/v1/predictions/{id}")
        if response.status_code == 410:
            assert id in told.erased or id in told.maybe_erased, response.text
        else:
            answered, found = told.predictions[id], response.json()
            assert response.status_code == 200 and not was_erased, response.text
            assert {name: found[name] for name in answered} == answered
            assert found["reference"] == told.references[id]
            picture = server.get(f"/v1/images/{answered['image']['sha256']}")
            if picture.status_code != 404 or id not in told.erased | told.maybe_erased:
                assert hashlib.sha256(picture.content).hexdigest() == answered["image"]["sha256"], picture.status_code
    for sha256 in images:
        assert server.get(f"/v1/images/{sha256}").content == told.images[sha256]


def prove_history(server, told, count):
    """All pages: everything once, and no less than was on the disk; jobs that go on add to it."""
    found, cursor = [], None
    while True:
        response = server.get("/v1/predictions", params={"limit": 1000} | ({"cursor": cursor} if cursor else {}))
        assert response.status_code == 200, response.text
        page = response.json()
        found += [prediction["id"] for prediction in page["predictions"]]
        if (cursor := page["next"]) is None:
            break
    assert len(found) == len(set(found)) >= count
    assert told.kept() <= set(found) and not told.erased & set(found)
    return found
