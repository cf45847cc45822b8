# SPDX-License-Identifier: Apache-2.0
"""What a server with stores keeps: every answered prediction, exactly once, and its picture and its usage."""
import csv
import datetime
import io
import json
import os
import random
import shutil
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
import yaml
from imago_server import MODELS, PHOTOS, SLOW, Server, eventually, sha256
from pictures import flat, save
from test_predict import MODEL, RFC3339, base64_of, check_problem
from wire import Wire, form, post

OTHER_MODEL = "efficientnet-lite0-fp32"
ANSWER = ["id", "model", "version", "created_at", "predictions", "image", "timing_ms"]
EXTRA = ["reference", "feedback", "metadata"]
NOBODY = "01900000-0000-7000-8000-000000000000"


def stores(folder):
    return {"results": f"sqlite:{folder}/imago.db", "images": f"file:{folder}/images"}


@pytest.fixture
def keep(start, tmp_path):
    """keep(setting=value, ...) starts a server that stores; the same stores each time."""
    return lambda **settings: start(**{**stores(tmp_path), **settings})


def pages(server, limit=1000, **filters):
    """All pages, as one list."""
    found, cursor = [], None
    while True:
        response = server.get("/v1/predictions", params=filters | {"limit": limit} | ({"cursor": cursor} if cursor else {}))
        assert response.status_code == 200, response.text
        page = response.json()
        assert list(page) == ["predictions", "next"] and len(page["predictions"]) <= limit
        assert response.headers.get("X-Next-Cursor") == page["next"]
        found += page["predictions"]
        cursor = page["next"]
        if cursor is None:
            return found


def billed(server, **params):
    response = server.get("/v1/usage", params=params)
    assert response.status_code == 200, response.text
    total = response.json()["total"]
    return {"requests": total["requests"], "images": total["images"]}


def newest_first(answers):
    return sorted(answers, key=lambda answer: (answer["created_at"], answer["id"]), reverse=True)


def stored(answer, reference=None, metadata=None, feedback=None):
    return answer | {"reference": reference, "feedback": feedback, "metadata": metadata}


# --- a prediction is found as it was answered ---------------------------------------------------

def test_a_prediction_is_found_as_it_was_answered(keep, small_photos):
    server = keep()
    body, content_type = form(small_photos[:3])
    answers = server.predict(body, content_type).json()["results"]
    answers += [server.answer(small_photos[3], params={"top_k": 1000}), server.answer(small_photos[4], params={"min_score": 1})]
    assert len(answers[3]["predictions"]) == 1000 and answers[4]["predictions"] == []
    for answer in answers:
        response = server.get(f"/v1/predictions/{answer['id']}")
        assert response.status_code == 200 and response.json() == stored(answer)
        assert list(response.json()) == ANSWER + EXTRA
    assert pages(server, limit=2) == [stored(answer) for answer in newest_first(answers)]
    assert billed(server) == {"requests": 3, "images": 5}


def test_pictures_that_fail_are_neither_kept_nor_billed(keep, small_photos):
    server = keep()
    body, content_type = form([small_photos[0], b"text", small_photos[1]])
    results = server.predict(body, content_type).json()["results"]
    assert server.predict(b"text").status_code == 415
    kept = newest_first([results[0], results[2]])
    assert [prediction["id"] for prediction in pages(server)] == [answer["id"] for answer in kept]
    assert billed(server) == {"requests": 1, "images": 2}


METADATA = [{"a": 1}, {"z": 0.1, "a": [1.5e300, -0.123456789012345, None, True, {"é": "ü\n\"\\"}]}, [1, 2], "text", 12, 9007199254740993]


def sent_in_query(server, picture, reference, metadata):
    return server.predict(picture, params={"reference": reference, "metadata": json.dumps(metadata)})


def sent_in_form(server, picture, reference, metadata):
    files = {"image": ("a.jpg", picture), "reference": (None, reference), "metadata": (None, json.dumps(metadata, indent=1))}
    return server.request("POST", "/v1/predict", files=files)


def sent_in_json(server, picture, reference, metadata):
    return server.request("POST", "/v1/predict",
                          json={"image": base64_of(picture), "reference": reference, "metadata": metadata})


@pytest.mark.parametrize("send", [sent_in_query, sent_in_form, sent_in_json])
def test_reference_and_metadata_are_kept(keep, small_photos, send):
    server = keep()
    reference = "Auftrag 7/é ✓, \"x\""
    for metadata in METADATA:
        response = send(server, small_photos[0], reference, metadata)
        assert response.status_code == 200, response.text
        one = server.get(f"/v1/predictions/{response.json()['id']}")
        assert one.json() == stored(response.json(), reference, metadata)
        assert "\n" not in one.text[:-1]
    assert len(pages(server, reference=reference)) == len(METADATA)
    assert json.loads(one.text)["metadata"] == METADATA[-1] and '"z":0.1,' in server.get("/v1/predictions").text


@pytest.mark.parametrize("name,value", [
    ("reference", b"a" * 257), ("reference", b"\xff"), ("reference", b"a\0b"), ("metadata", b"{"), ("metadata", b""),
    ("metadata", b'{"a":1,"a":2}'), ("metadata", b'"\xff"'), ("metadata", b'"' + b"a" * 4095 + b'"'), ("metadata", b"[" * 3000)])
def test_what_cannot_be_kept_is_refused(server, cat, name, value):
    check_problem(server.request("POST", "/v1/predict", files={"image": ("a.jpg", cat), name: (None, value)}), 400, "invalid")


def test_the_longest_are_kept(keep, cat):
    server = keep()
    longest = {"reference": "é" * 128, "metadata": "a" * 4094}
    answer = server.request("POST", "/v1/predict", json={"image": base64_of(cat)} | longest).json()
    assert server.get(f"/v1/predictions/{answer['id']}").json() == stored(answer, **longest)


# --- pages and filters ------------------------------------------------------------------------

@pytest.fixture(scope="module")
def archive(tmp_path_factory, request, manifest):
    """A server with 120 predictions, and what was answered: [(stored object)]."""
    folder = tmp_path_factory.mktemp("archive")
    shutil.copytree(request.getfixturevalue("warm_cache"), folder / "data" / "cache", copy_function=os.link)
    server = Server(folder, stores(folder))
    random_of = random.Random(4)
    photos = [(PHOTOS / photo["file"]).read_bytes() for photo in sorted(manifest, key=lambda p: p["bytes"])[:40]]
    answers = []
    for i in range(120):
        reference = random_of.choice([None, "a", "b", "order 3"])
        metadata = random_of.choice([None, {"i": i}])
        params = {"model": random_of.choice([MODEL, MODEL, OTHER_MODEL]), "top_k": random_of.choice([1, 5]),
                  "min_score": random_of.choice([0, 0, 0.4])}
        params |= {"reference": reference} if reference else {}
        params |= {"metadata": json.dumps(metadata)} if metadata else {}
        answers.append(stored(server.answer(random_of.choice(photos), params=params), reference, metadata))
    yield server, newest_first(answers)
    server.stop()


def top(answer):
    return answer["predictions"][0] if answer["predictions"] else {"label": "", "score": None}


def passes(answer, filters):
    score = top(answer)["score"]
    return ("from" not in filters or answer["created_at"] >= filters["from"]) and \
        ("to" not in filters or answer["created_at"] < filters["to"]) and \
        ("label" not in filters or top(answer)["label"] == filters["label"]) and \
        ("model" not in filters or answer["model"] == filters["model"]) and \
        ("version" not in filters or answer["version"] == filters["version"]) and \
        ("reference" not in filters or answer["reference"] == filters["reference"]) and \
        ("min_score" not in filters or filters["min_score"] == 0 or score is not None and score >= filters["min_score"]) and \
        ("max_score" not in filters or score is not None and score <= filters["max_score"])


def random_filters(random_of, answers):
    filters = {}
    if random_of.random() < 0.4:
        filters["from"] = random_of.choice(answers)["created_at"]
    if random_of.random() < 0.4:
        filters["to"] = random_of.choice(answers)["created_at"]
    if filters.get("from", "") > filters.get("to", "9"):
        filters["from"], filters["to"] = filters["to"], filters["from"]
    one = random_of.choice(["label", "model", "reference", None])
    example = random_of.choice(answers)
    value = {"label": top(example)["label"], "model": example["model"], "reference": example["reference"], None: None}[one]
    if value:
        filters[one] = random_of.choice([value, value, value, "no such"])
    if random_of.random() < 0.3:
        filters["version"] = random_of.choice(["1", "1", "2"])
    # Scores are printed with seven digits: not at the edge of one.
    if random_of.random() < 0.3:
        filters["min_score"] = round(random_of.random(), 2)
    if random_of.random() < 0.3:
        filters["max_score"] = round(random_of.random(), 2)
    return filters


@pytest.mark.parametrize("seed", range(60))
def test_pages_are_what_the_filters_say(archive, seed):
    server, answers = archive
    random_of = random.Random(seed)
    filters = random_filters(random_of, answers)
    wanted = [answer for answer in answers if passes(answer, filters)]
    assert pages(server, random_of.choice([1, 2, 7, 50, 1000]), **filters) == wanted, filters


@pytest.mark.parametrize("seed", range(8))
def test_a_query_in_json_says_the_same(archive, seed):
    server, answers = archive
    filters = random_filters(random.Random(1000 + seed), answers) | {"limit": 3}
    wanted = [answer for answer in answers if passes(answer, filters)]
    found = []
    while True:
        page = server.request("POST", "/v1/predictions", json=filters).json()
        found += page["predictions"]
        if page["next"] is None:
            break
        filters["cursor"] = page["next"]
    assert found == wanted


def test_times_with_offsets(archive):
    server, answers = archive
    at = answers[60]["created_at"]
    moment = datetime.datetime.fromisoformat(at.replace("Z", "+00:00"))
    wanted = [answer["id"] for answer in answers if answer["created_at"] >= at]
    for hours in -11, -3.5, 0, 5.75, 14:
        zone = datetime.timezone(datetime.timedelta(hours=hours))
        text = moment.astimezone(zone).isoformat(timespec="milliseconds")
        assert [answer["id"] for answer in pages(server, **{"from": text})] == wanted, text
    assert len(pages(server, **{"from": at[:-1].lower() + "999z"})) == len(wanted)


def test_pages_while_others_come(keep, small_photos):
    """Whoever pages through sees each once, newest first, and all that was there when they began."""
    server = keep()
    before = [server.answer(small_photos[i % 8], params={"reference": "r"}) for i in range(40)]
    ending = threading.Event()
    came = []

    def insert():
        while not ending.is_set():
            came.append(server.answer(small_photos[9], params={"reference": "r"}))

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(insert) for _ in range(2)]
        walks = []
        while len(came) < 30:
            walks.append(pages(server, limit=3, reference="r"))
        ending.set()
        for job in jobs:
            job.result()
    everything = {answer["id"] for answer in before + came}
    for walk in walks:
        ids = [answer["id"] for answer in walk]
        assert len(ids) == len(set(ids)) and set(ids) <= everything
        assert walk == newest_first(walk)
        assert {answer["id"] for answer in before} <= set(ids)
    assert {answer["id"] for answer in pages(server)} == everything


def test_ndjson(archive):
    server, answers = archive
    response = server.get("/v1/predictions", params={"limit": 10}, headers={"Accept": "application/x-ndjson"})
    assert response.headers["Content-Type"] == "application/x-ndjson" and response.text.endswith("\n")
    assert [json.loads(line) for line in response.text.splitlines()] == answers[:10]
    response = server.get("/v1/predictions", params={"limit": 10, "cursor": response.headers["X-Next-Cursor"]},
                          headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line) for line in response.text.splitlines()] == answers[10:20]


def test_csv(archive):
    server, answers = archive
    response = server.get("/v1/predictions", params={"limit": 1000}, headers={"Accept": "text/csv"})
    assert response.headers["Content-Type"] == "text/csv"
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    wanted = []
    for answer in answers:
        for rank, said in enumerate(answer["predictions"] or [None], 1):
            image = answer["image"]
            wanted.append({
                "id": answer["id"], "created_at": answer["created_at"], "model": answer["model"],
                "version": answer["version"], "rank": str(rank) if said else "",
                "class_id": str(said["class_id"]) if said else "", "label": said["label"] if said else "",
                "score": said["score"] if said else None, "sha256": image["sha256"], "format": image["format"],
                "width": str(image["width"]), "height": str(image["height"]), "reference": answer["reference"] or "",
                "metadata": json.dumps(answer["metadata"], separators=(",", ":")) if answer["metadata"] else "",
                "feedback_class_id": "", "feedback_label": "", "correct": ""})
    for row in rows:
        row["score"] = float(row["score"]) if row["score"] else None
    assert rows == wanted


def test_pages_of_a_thousand_classes_are_cut_short(keep, small_photos):
    """8 MB a page at most, and nothing is lost between two."""
    server = keep()
    ids = []
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda i: server.answer(small_photos[i % 4], params={"top_k": 1000}), range(150)):
            ids.append(answer["id"])
    first = server.get("/v1/predictions?limit=1000")
    assert len(first.json()["predictions"]) < 150 and len(first.content) < 9 << 20
    assert sorted(answer["id"] for answer in pages(server)) == sorted(ids)


BAD_FILTERS = [
    {"from": "yesterday"}, {"from": "2026-11-24"}, {"from": "2026-11-24T03:30:00"}, {"from": "2026-11-24T03:30:00 01:00"},
    {"from": "2026-02-29T00:00:00Z"}, {"from": "2026-13-01T00:00:00Z"}, {"from": "2026-11-24T24:00:00Z"},
    {"from": "2026-11-24T03:60:00Z"}, {"from": "2026-11-24T03:30:61Z"}, {"from": "2026-11-24T03:30:00.Z"},
    {"from": "2026-11-24T03:30:00Zx"}, {"from": "1969-12-31T23:59:59Z"}, {"from": "0000-01-01T00:00:00Z"}, {"from": ""},
    {"from": "1700000000000"}, {"to": "2026-11-24T03:30:00+25:00"}, {"to": "2026-11-24T03:30:00+0100"},
    {"from": "2026-11-24T00:00:01Z", "to": "2026-11-24T00:00:00Z"}, {"label": "a", "model": "b"},
    {"label": "a", "reference": "b"}, {"model": "a", "reference": "b"}, {"label": ""}, {"label": "a" * 257},
    {"model": "a" * 129}, {"version": ""}, {"min_score": "x"}, {"min_score": "-1"}, {"max_score": "1.1"}, {"max_score": "nan"},
    {"limit": "0"}, {"limit": "1001"}, {"limit": "ten"}, {"limit": "-1"}, {"limit": "1.5"}, {"limit": "99999999999999999999"},
    {"cursor": ""}, {"cursor": "x"}, {"cursor": "a" * 63}, {"cursor": "a" * 64}, {"cursor": "a" * 200}, {"what": "1"}]


@pytest.mark.parametrize("filters", BAD_FILTERS, ids=str)
def test_bad_filters(archive, filters):
    server, _ = archive
    check_problem(server.get("/v1/predictions", params=filters), 400, "invalid")
    check_problem(server.request("POST", "/v1/predictions", json=filters), 400, "invalid")


def test_a_cursor_is_for_its_own_filter(archive):
    server, _ = archive
    cursor = server.get("/v1/predictions?limit=1").json()["next"]
    check_problem(server.get(f"/v1/predictions?limit=1&version=1&cursor={cursor}"), 400, "invalid")
    assert server.get(f"/v1/predictions?limit=9&cursor={cursor}").status_code == 200


@pytest.mark.parametrize("body,content_type,status", [
    (b"", "application/json", 400), (b"[]", "application/json", 400), (b"{", "application/json", 400),
    (b'{"limit":[1]}', "application/json", 400), (b'{"limit":1,"limit":2}', "application/json", 400),
    (b'{"label":"a\\u0000b"}', "application/json", 400), (b"{}", "application/x-www-form-urlencoded", 415),
    (b"{}", None, 415), (b'{"label":"' + b"a" * 70000 + b'"}', "application/json", 413)])
def test_bad_queries_in_json(archive, body, content_type, status):
    server, _ = archive
    headers = {"Content-Type": content_type} if content_type else {}
    response = server.request("POST", "/v1/predictions", data=body, headers=headers)
    assert response.status_code == status, response.text


def test_edges_of_time_and_score(archive):
    server, answers = archive
    assert pages(server, to="1970-01-01T00:00:00Z") == []
    assert pages(server, max_score=0) == []
    assert pages(server, **{"from": "9999-12-31T23:59:59Z"}) == []
    assert pages(server, **{"from": "1970-01-01T00:00:00Z"}, min_score=0) == answers
    assert pages(server, to="2016-12-31T23:59:60Z") == []


# --- one prediction ---------------------------------------------------------------------------

@pytest.mark.parametrize("id", [NOBODY, "x", "019AB5A0-0000-7000-8000-000000000000", NOBODY + "0", "%00", "..%2f"])
def test_unknown_ids(archive, id):
    server, _ = archive
    status = 400 if id == "%00" else 404
    assert server.get(f"/v1/predictions/{id}").status_code == status
    assert server.request("DELETE", f"/v1/predictions/{id}").status_code == status
    assert server.request("POST", f"/v1/predictions/{id}/feedback", json={"label": "a"}).status_code == status


def test_erased_is_gone(keep, small_photos):
    server = keep(request_timeout="3s")
    first, again, other = server.answer(small_photos[0]), server.answer(small_photos[0]), server.answer(small_photos[1])
    image = f"/v1/images/{first['image']['sha256']}"
    erased = server.request("DELETE", f"/v1/predictions/{first['id']}")
    assert (erased.status_code, erased.content) == (204, b"")
    for method in "GET", "DELETE":
        check_problem(server.request(method, f"/v1/predictions/{first['id']}"), 410, "gone")
    check_problem(server.request("POST", f"/v1/predictions/{first['id']}/feedback", json={"label": "a"}), 410, "gone")
    assert server.get(image).content == small_photos[0], "another prediction has it"
    assert {answer["id"] for answer in pages(server)} == {again["id"], other["id"]}
    assert server.request("DELETE", f"/v1/predictions/{again['id']}").status_code == 204
    eventually(lambda: server.get(image).status_code == 404, "the picture is erased once nobody can be about to use it")
    assert server.get(f"/v1/images/{other['image']['sha256']}").content == small_photos[1]
    assert billed(server) == {"requests": 3, "images": 3}, "what was done stays billed"


def test_erased_and_sent_again_is_there(keep, small_photos):
    """A picture that is on its way to another prediction survives the erasure of the first, again and again."""
    server = keep(request_timeout="1s")
    kept = []
    for _ in range(30):
        gone = server.answer(small_photos[0])
        assert server.request("DELETE", f"/v1/predictions/{gone['id']}").status_code == 204
        kept.append(server.answer(small_photos[0]))
        if len(kept) > 1:
            assert server.request("DELETE", f"/v1/predictions/{kept.pop(0)['id']}").status_code == 204
    other = server.answer(small_photos[1])
    assert server.request("DELETE", f"/v1/predictions/{other['id']}").status_code == 204
    # By the time the last one is erased, all before it were looked at.
    eventually(lambda: server.get(f"/v1/images/{other['image']['sha256']}").status_code == 404, "the last is erased")
    assert server.get(f"/v1/images/{kept[0]['image']['sha256']}").content == small_photos[0]


def test_feedback(keep, small_photos):
    server = keep()
    answer = server.answer(small_photos[0])
    best, second = answer["predictions"][:2]
    path = f"/v1/predictions/{answer['id']}"
    cases = [({"class_id": best["class_id"]}, True, best), ({"class_id": second["class_id"]}, False, second),
             ({"label": best["label"]}, True, {"label": best["label"]}), ({"label": "none of ours"}, False, {"label": "none of ours"}),
             ({"class_id": best["class_id"], "label": best["label"], "note": "sure ✓"}, True, best)]
    for sent, correct, says in cases:
        response = server.request("POST", path + "/feedback", json=sent)
        assert response.status_code == 200, response.text
        said = response.json()
        assert said.pop("id") == answer["id"] and RFC3339.fullmatch(said["created_at"])
        assert said == {"class_id": says.get("class_id"), "label": says["label"], "note": sent.get("note"),
                        "correct": correct, "created_at": said["created_at"]}
        assert server.get(path).json() == stored(answer, feedback=said)
    row = next(csv.DictReader(io.StringIO(server.get(path, headers={"Accept": "text/csv"}).text, newline="")))
    assert (row["feedback_class_id"], row["feedback_label"], row["correct"]) == (str(best["class_id"]), best["label"], "true")


@pytest.mark.parametrize("body", [
    {}, {"class_id": -1}, {"class_id": 1000}, {"class_id": 4294967295}, {"class_id": "281"}, {"class_id": 1.5}, {"label": ""},
    {"label": 3}, {"label": "a" * 257}, {"label": "a", "note": "a" * 1025}, {"label": "a", "notes": "b"},
    {"class_id": 281, "label": "tench"}, {"class_id": None}])
def test_bad_feedback(archive, body):
    server, answers = archive
    check_problem(server.request("POST", f"/v1/predictions/{answers[0]['id']}/feedback", json=body), 400, "invalid")
    assert server.get(f"/v1/predictions/{answers[0]['id']}").json() == answers[0]


# --- models that come and go ------------------------------------------------------------------

def models_of(folder, *names):
    folder.mkdir()
    for name in names:
        shutil.copytree(MODELS / name, folder / name, copy_function=os.link)
    return folder


def test_predictions_of_a_model_that_is_gone(keep, tmp_path, small_photos):
    server = keep()
    answer = server.answer(small_photos[0], params={"model": OTHER_MODEL})
    server.stop()
    server = keep(models=models_of(tmp_path / "models", MODEL))
    said = server.get(f"/v1/predictions/{answer['id']}").json()
    best, *others = answer["predictions"]
    wanted = [best] + [other | {"label": f"class {other['class_id']}"} for other in others]
    assert said == stored(answer | {"predictions": wanted})
    assert server.request("POST", f"/v1/predictions/{answer['id']}/feedback", json={"class_id": best["class_id"]}).json()["correct"]


def test_a_model_without_labels(keep, tmp_path, small_photos):
    models = models_of(tmp_path / "models", MODEL)
    folder = models / MODEL / "1"
    facts = yaml.safe_load((folder / "model.yaml").read_text())
    del facts["labels"]
    for name in "labels.txt", "model.yaml":  # links to the real ones
        (folder / name).unlink()
    (folder / "model.yaml").write_text(yaml.safe_dump(facts))
    server = keep(models=models)
    body, content_type = form(small_photos)
    answers = server.predict(body, content_type).json()["results"]
    for label in {top(answer)["label"] for answer in answers}:
        wanted = {answer["id"] for answer in answers if top(answer)["label"] == label}
        assert {answer["id"] for answer in pages(server, label=label)} == wanted


# --- pictures ---------------------------------------------------------------------------------

@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_pictures_round_trip(archive, format):
    server, _ = archive
    picture = save(flat(60, 40, (len(format), 7, 9)), format)
    digest = sha256(picture)
    for status in 201, 200:
        response = server.request("PUT", "/v1/images", data=picture)
        assert response.status_code == status, response.text
        assert response.json() == {"sha256": digest, "format": format.lower(), "width": 60, "height": 40, "size": len(picture)}
        assert response.headers["Location"] == f"/v1/images/{digest}"
    got = server.get(f"/v1/images/{digest}")
    assert got.status_code == 200 and got.content == picture
    assert got.headers["Content-Type"] == f"image/{format.lower()}"
    assert got.headers["ETag"] == f'"{digest}"' and got.headers["X-Content-Type-Options"] == "nosniff"
    assert got.headers["Cache-Control"] == "private, no-cache"
    head = server.request("HEAD", f"/v1/images/{digest}")
    assert head.headers["Content-Length"] == str(len(picture)) and head.content == b""
    unchanged = server.get(f"/v1/images/{digest}", headers={"If-None-Match": f'W/"x", "{digest}"'})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", f'"{digest}"')
    assert server.get(f"/v1/images/{digest}", headers={"If-None-Match": '"x"'}).status_code == 200


def test_pictures_of_predictions_can_be_fetched(archive):
    server, answers = archive
    for answer in answers[:10]:
        got = server.get(f"/v1/images/{answer['image']['sha256']}")
        assert got.status_code == 200 and sha256(got.content) == answer["image"]["sha256"]


@pytest.mark.parametrize("digest", ["0" * 64, "x", "0" * 63, "0" * 65, "A" * 64, "..%2f..%2fetc%2fpasswd"])
def test_unknown_pictures(archive, digest):
    server, _ = archive
    check_problem(server.get(f"/v1/images/{digest}"), 404, "not-found")


@pytest.mark.parametrize("body,content_type,status,slug", [
    (b"", "image/jpeg", 400, "invalid"), (b"text", "image/jpeg", 415, "unsupported"),
    (b"{}", "application/json", 415, "unsupported"), (b"\xff\xd8\xff", "image/jpeg", 422, "bad-image"),
    (save(flat(1, 30000), "PNG"), "image/png", 422, "image-limit")])
def test_bad_pictures_are_not_kept(archive, body, content_type, status, slug):
    server, _ = archive
    check_problem(server.request("PUT", "/v1/images", data=body, headers={"Content-Type": content_type}), status, slug)
    check_problem(server.get(f"/v1/images/{sha256(body)}"), 404, "not-found")


# --- usage ------------------------------------------------------------------------------------

def test_usage_is_what_was_answered(archive):
    server, answers = archive
    counts = {}
    for answer in answers:
        counts[answer["created_at"][:10], answer["model"]] = counts.get((answer["created_at"][:10], answer["model"]), 0) + 1
    usage = server.get("/v1/usage?group=day,model,version").json()
    free = {"currency": "XXX", "cost_micro": 0, "cost": "0.00"}
    assert usage["rows"] == [{"day": day, "model": model, "version": "1", "requests": count, "images": count} | free
                             for (day, model), count in sorted(counts.items())]
    all = {"requests": len(answers), "images": len(answers)}
    assert usage["total"] == all | {"costs": []} and "budget" not in usage
    assert server.get("/v1/usage?group=").json()["rows"] == [all | free]
    assert [row["images"] for row in server.get("/v1/usage?group=model").json()["rows"]] == \
        [sum(n for (_, m), n in counts.items() if m == model) for model in sorted({m for _, m in counts})]


def test_days_of_every_century(archive):
    server, _ = archive
    random_of = random.Random(3)
    days = [datetime.date.fromordinal(random_of.randrange(datetime.date(1970, 1, 1).toordinal(), datetime.date.max.toordinal()))
            for _ in range(100)]
    days += [datetime.date(year, month, day) for year in (1970, 1972, 2000, 2100, 2400, 9999)
             for month, day in ((1, 1), (2, 28), (3, 1), (12, 31))] + [datetime.date(year, 2, 29) for year in (1972, 2000, 2400)]
    for day in days:
        usage = server.get("/v1/usage", params={"from": day, "to": day}).json()
        assert (usage["from"], usage["to"]) == (day.isoformat(), day.isoformat())
    for text in "1900-02-29", "2100-02-29", "2023-02-29", "2026-04-31", "2026-00-10", "2026-01-00", "2026-01-32":
        check_problem(server.get(f"/v1/usage?from={text}"), 400, "invalid")


def test_usage_by_day(archive):
    server, answers = archive
    first = min(answer["created_at"][:10] for answer in answers)
    day = datetime.date.fromisoformat(first)
    on = sum(answer["created_at"][:10] == first for answer in answers)
    assert billed(server, **{"from": day, "to": day + datetime.timedelta(1)})["images"] == on
    assert billed(server, **{"from": day, "to": day})["images"] == 0
    assert billed(server, to=day)["images"] == 0
    text = server.get("/v1/usage", params={"from": day, "to": day + datetime.timedelta(1)}, headers={"Accept": "text/csv"}).text
    assert text == f"day,requests,images,currency,cost,cost_micro\r\n{first},{on},{on},XXX,0.00,0\r\n"


@pytest.mark.parametrize("query", ["from=x", "from=2026-02-30", "to=2026-1-1", "from=2026-11-24T00:00:00Z", "group=x",
                                   "group=day,,model", "from=2026-11-25&to=2026-11-24", "by=day", "from=1969-12-31", "month=2026-13", "month=2026-1",
                                   "month=", "month=2026-11&from=2026-11-01"])
def test_bad_usage(archive, query):
    server, _ = archive
    check_problem(server.get(f"/v1/usage?{query}"), 400, "invalid")


# --- a server that stores nothing ------------------------------------------------------------

@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("bare"), {"results": "none"})
    yield server
    server.stop()


@pytest.mark.parametrize("method,path", [
    ("GET", "/v1/predictions"), ("POST", "/v1/predictions"), ("GET", f"/v1/predictions/{NOBODY}"),
    ("DELETE", f"/v1/predictions/{NOBODY}"), ("POST", f"/v1/predictions/{NOBODY}/feedback"),
    ("GET", "/v1/images/" + "0" * 64), ("GET", "/v1/usage"), ("PUT", "/v1/images")])
def test_without_stores_there_is_no_history(bare, cat, method, path):
    problem = check_problem(bare.request(method, path, data=cat if method == "PUT" else None), 404, "not-found")
    assert "stores nothing" in problem["detail"] and "--results none" in problem["detail"]


def test_reference_and_metadata_are_taken_without_stores(bare, cat):
    assert list(bare.answer(cat, params={"reference": "a", "metadata": "{}"})) == ANSWER


# --- promise 1 --------------------------------------------------------------------------------

def check_kept(server, answered):
    """All that was answered is there, once, as it was said, with its picture; usage counts what is there."""
    found = pages(server)
    ids = [prediction["id"] for prediction in found]
    assert len(ids) == len(set(ids))
    by_id = {prediction["id"]: prediction for prediction in found}
    for answer in answered:
        assert by_id.get(answer["id"]) == stored(answer), "an answered prediction is not in the history"
    assert billed(server)["images"] == len(found), "usage is not the history"
    for digest in {prediction["image"]["sha256"] for prediction in found}:
        assert sha256(server.get(f"/v1/images/{digest}").content) == digest
    assert len(found) >= len(answered)


def test_restart_keeps_all(keep, small_photos):
    answered = []
    for _ in range(3):
        server = keep()
        answered += [server.answer(photo) for photo in small_photos[:6]]
        check_kept(server, answered)
        server.stop()
    check_kept(keep(), answered)


def test_kill_under_load(keep, small_photos):
    """kill -9 at any moment: what was answered is kept and billed once, nothing twice."""
    random_of = random.Random(9)
    answered, lock = [], threading.Lock()
    for round in range(max(3, int(12 / SLOW))):
        server = keep()
        wanted = len(answered) + random_of.choice([1, 10, 50, 200])
        killed = threading.Event()

        def load(number):
            session = requests.Session()
            session.trust_env = False
            own = random.Random(round * 100 + number)
            while not killed.is_set():
                body, content_type = form(own.choices(small_photos, k=own.choice([1, 1, 2, 5])))
                try:
                    answer = session.post(f"{server.url}/v1/predict", data=body, headers={"Content-Type": content_type})
                except requests.RequestException:
                    return
                assert answer.status_code == 200, answer.text
                with lock:
                    answered.extend(answer.json().get("results") or [answer.json()])

        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(load, number) for number in range(4)]
            eventually(lambda: len(answered) >= wanted or any(job.done() for job in jobs), "enough is answered")
            server.expected_status = -signal.SIGKILL
            server.kill()
            killed.set()
            for job in jobs:
                job.result()
    check_kept(keep(), answered)


def test_a_client_that_leaves_early_is_not_billed_without_history(keep, small_photos):
    """Whatever becomes of requests whose clients go away: usage is the history."""
    server = keep()
    for i in range(40):
        with Wire(server.port) as wire:
            wire.send(post(small_photos[i % 8]))
    answered = [server.answer(photo) for photo in small_photos[:4]]
    eventually(lambda: len(server.events("access")) >= 44, "all requests have ended")
    check_kept(server, answered)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MB that a test may fill."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder],
                                           capture_output=True).returncode != 0:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    try:
        with open(folder / "filler", "wb", 0) as filler:
            while True:
                filler.write(bytes(4096))
    except OSError:
        pass


@pytest.mark.parametrize("which", ["results", "images", "both"])
def test_a_full_disk(start, tmp_path, small_disk, small_photos, which):
    places = stores(tmp_path)
    on_disk = stores(small_disk)
    server = start(**{name: on_disk[name] if which in (name, "both") else places[name] for name in places})
    answered = [server.answer(photo) for photo in small_photos[:3]]
    fill(small_disk)
    refused = 0
    for i, photo in enumerate(small_photos * 4):
        # No room for a picture that is not there yet; the log of the database may have room for a while.
        response = server.predict(photo + bytes(i + 1) if which != "results" else photo)
        if response.status_code == 200:
            answered.append(response.json())
            continue
        problem = check_problem(response, 503, "unavailable")
        assert "Retry-After" in response.headers
        assert str(tmp_path) not in problem["detail"]
        assert server.access(response.headers["X-Request-Id"])["store_error"]
        refused += 1
    assert refused > 5, "the disk did not become full"
    if which != "results":
        response = server.request("PUT", "/v1/images", data=save(flat(300, 300), "PNG"))
        problem = check_problem(response, 503, "unavailable")
        assert str(tmp_path) not in json.dumps(problem)
        assert str(tmp_path) in server.access(response.headers["X-Request-Id"])["detail"]
    check_kept(server, answered)
    (small_disk / "filler").unlink()
    answered += [server.answer(photo) for photo in small_photos[:3]]
    check_kept(server, answered)


def test_a_read_only_disk(start, tmp_path, small_disk, small_photos):
    server = start(results=stores(tmp_path)["results"], images=stores(small_disk)["images"])
    answered = [server.answer(photo) for photo in small_photos[:3]]
    if subprocess.run(["mount", "-o", "remount,ro", small_disk], capture_output=True).returncode != 0:
        pytest.skip("remounting a file system is not possible here")
    for photo in small_photos[4:8]:
        check_problem(server.predict(photo), 503, "unavailable")
    check_problem(server.request("PUT", "/v1/images", data=small_photos[9]), 503, "unavailable")
    check_kept(server, answered)
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    answered += [server.answer(photo) for photo in small_photos[:6]]
    check_kept(server, answered)


def test_a_long_string_beside_the_picture_is_refused(keep, cat):
    """Long strings are taken out before the JSON is parsed; only a picture may be one."""
    server = keep()
    body = {"image": base64_of(cat), "metadata": {"text": "a" * 20_000}}
    check_problem(server.request("POST", "/v1/predict", json=body), 400, "invalid")
