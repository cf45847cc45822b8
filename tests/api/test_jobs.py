# SPDX-License-Identifier: Apache-2.0
"""Jobs: pictures that are labelled when there is time, each committed alone; and all that may go wrong meanwhile."""
import json
import re
import signal
import sqlite3
import subprocess
import threading
import uuid
from pathlib import Path

import pytest
from accounts import Accounts
from imago_server import IMAGO, PATIENCE_S, Server, environment, eventually, sha256
from pictures import save
from PIL import Image
from test_history import NOBODY, billed, pages, stores
from test_predict import base64_of, check_problem, check_problem_object
from webhooks import Receiver, verify
from wire import Wire, form

NOT_A_PICTURE = b"not a picture"
# As many as a job may have: enough to be caught at work.
MANY = 1000
JOB = ["id", "state", "created_at", "ended_at", "model", "version", "reference", "counts", "reason"]


@pytest.fixture(scope="module")
def server(tmp_path_factory, warm_cache):
    """One server with stores for the tests that share."""
    folder = tmp_path_factory.mktemp("jobs")
    server = Server(folder, stores(folder))
    yield server
    server.stop()


@pytest.fixture
def keep(start, tmp_path):
    return lambda **settings: start(**{**stores(tmp_path), **settings})


def put(server, picture, **options):
    response = server.request("PUT", "/v1/images", data=picture, **options)
    assert response.status_code in (200, 201), response.text
    return response.json()["sha256"]


def post(server, images, headers=None, **members):
    return server.request("POST", "/v1/jobs", json={"images": images, **members}, headers=headers)


def accepted(response):
    assert response.status_code == 202, response.text
    job = response.json()
    assert list(job) == JOB and response.headers["Location"] == f"/v1/jobs/{job['id']}"
    return job["id"]


def start_job(server, images, **members):
    return accepted(post(server, images, **members))


def get(server, id, **params):
    response = server.get(f"/v1/jobs/{id}", params=params)
    assert response.status_code == 200, response.text
    return response.json()


def ended(server, id, **params):
    """The job when it has ended."""
    return eventually(lambda: (job := get(server, id, wait=5, **params))["ended_at"] and job, "the job ends")


def progressed(server, id):
    """The job when some of it is done, but not all."""
    job = eventually(lambda: (job := get(server, id, limit=0))["counts"]["done"] and job, "the job begins")
    assert job["state"] == "running" and job["counts"]["done"] < job["counts"]["total"]
    return job


def delete(server, id, **options):
    return server.request("DELETE", f"/v1/jobs/{id}", **options)


def queue(server, *arguments):
    """(exit status, lines of JSON, standard error) of `imago queue`."""
    options = [f"--{name}={server.settings[name]}" for name in ("results", "queue", "images", "data")
               if name in server.settings]
    done = subprocess.run([str(IMAGO), "queue", *arguments, "--format=json", *options], capture_output=True, text=True,
                          timeout=PATIENCE_S, env=environment())
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def blob_of(server, hash):
    """The file in which a picture is kept."""
    found = [path for path in Path(server.settings["images"].removeprefix("file:")).rglob(f"*{hash[8:]}*") if path.is_file()]
    assert len(found) == 1, found
    return found[0]


def broken():
    """A picture with a sound header, whose pixels cannot be decoded."""
    data = bytearray(save(Image.linear_gradient("L").resize((64, 64)), "PNG"))
    data[len(data) // 2] ^= 0xff
    return bytes(data)


def check_missing(response):
    """The pictures that a refused job names."""
    problem = response.json()
    missing = problem.pop("missing")
    assert response.status_code == 400
    check_problem_object(problem, 400, "invalid")
    return missing, problem["detail"]


def without(prediction, *names):
    return {name: value for name, value in prediction.items() if name not in names}


# --- what a job does ----------------------------------------------------------------------------

def test_a_job_labels_what_a_request_labels(server, small_photos):
    before = billed(server)
    expected = [server.answer(picture)["predictions"] for picture in small_photos]
    images = [put(server, picture) for picture in small_photos]
    id = start_job(server, images, reference="order 7", metadata={"a": [1, 0.1]}, top_k=5)
    job = ended(server, id)
    assert list(job) == [*JOB, "results", "next"]
    assert (job["state"], job["reference"], job["reason"], job["next"]) == ("done", "order 7", None, None)
    assert job["counts"] == {"total": 24, "done": 24, "failed": 0}
    for image, labels, result in zip(images, expected, job["results"], strict=True):
        assert result["predictions"] == labels and result["image"]["sha256"] == image
        assert result["reference"] == "order 7" and result["metadata"] == {"a": [1, 0.1]}
        assert server.get(f"/v1/predictions/{result['id']}").json() == result
    assert len({result["id"] for result in job["results"]}) == 24
    used = billed(server)
    assert used["images"] - before["images"] == 48
    # A job is one request.
    assert used["requests"] - before["requests"] == 25


def test_parameters_are_those_of_predictions(server, cat):
    job = ended(server, start_job(server, [put(server, cat)], model="efficientnet-lite0-fp32", top_k=2, min_score=0.001))
    assert (job["model"], job["version"]) == ("efficientnet-lite0-fp32", "1")
    result, = job["results"]
    assert result["model"] == "efficientnet-lite0-fp32" and len(result["predictions"]) == 2


def test_a_picture_may_come_twice_and_each_is_billed(server, cat):
    before = billed(server)["images"]
    job = ended(server, start_job(server, [put(server, cat)] * 3))
    first, *others = job["results"]
    assert all(without(other, "id", "created_at", "timing_ms") == without(first, "id", "created_at", "timing_ms")
               for other in others)
    assert billed(server)["images"] - before == 3


def test_a_bad_picture_is_an_item_of_its_own(server, small_photos):
    good = [put(server, picture) for picture in small_photos[:2]]
    bad = put(server, broken())
    sync = server.predict(broken())
    before = billed(server)["images"]
    job = ended(server, start_job(server, [good[0], bad, good[1]]))
    assert job["state"] == "done" and job["counts"] == {"total": 3, "done": 2, "failed": 1}
    problem = job["results"][1]
    check_problem_object(problem, sync.status_code, sync.json()["type"].rpartition("/")[2])
    assert problem["detail"] == sync.json()["detail"] and problem["request_id"] == job["id"]
    assert billed(server)["images"] - before == 2


def test_results_are_paged(server, small_photos):
    images = [put(server, picture) for picture in small_photos[:7]]
    id = start_job(server, images)
    whole = ended(server, id)["results"]
    found, first = [], 0
    while first is not None:
        page = get(server, id, first=first, limit=3)
        found += page["results"]
        first = page["next"]
    assert found == whole
    assert get(server, id, limit=0)["results"] == [] and get(server, id, limit=0)["next"] == 0
    assert get(server, id, first=7)["results"] == [] and get(server, id, first=7)["next"] is None


def test_what_was_erased_is_gone_in_its_job_too(server, cat, small_photos):
    id = start_job(server, [put(server, cat), put(server, small_photos[0])])
    first, second = ended(server, id)["results"]
    assert server.request("DELETE", f"/v1/predictions/{first['id']}").status_code == 204
    job = get(server, id)
    check_problem_object(job["results"][0], 410, "gone")
    assert job["results"][1] == second and job["counts"]["done"] == 2


# --- respond-async ------------------------------------------------------------------------------

ASYNC = {"Prefer": "respond-async"}


def test_any_body_of_a_prediction_becomes_a_job(server, cat, small_photos):
    expected = [server.answer(picture)["predictions"] for picture in (cat, small_photos[0])]
    body, content_type = form([cat, small_photos[0]], reference="both")
    responses = [
        server.predict(cat, headers=ASYNC),
        server.predict(cat, headers={"Prefer": "wait=3, Respond-Async ; x=1"}, params={"reference": "one"}),
        server.predict(body, content_type, headers=ASYNC),
        server.request("POST", "/v1/predict", json={"images": [base64_of(cat), base64_of(small_photos[0])]}, headers=ASYNC),
        server.request("POST", "/v1/predict", headers=ASYNC, json={
            "images": [base64_of(picture) for picture in (cat, small_photos[0])], "metadata": "x" * 4000}),
    ]
    for response, count in zip(responses, [1, 1, 2, 2, 2]):
        assert response.headers["Preference-Applied"] == "respond-async"
        job = ended(server, accepted(response))
        assert [result["predictions"] for result in job["results"]] == expected[:count]


def test_a_single_broken_picture_is_refused_at_once(server):
    response = server.predict(NOT_A_PICTURE, headers=ASYNC)
    check_problem(response, 415, "unsupported")


def test_one_of_several_fails_alone(server, cat):
    body, content_type = form([NOT_A_PICTURE, cat])
    job = ended(server, accepted(server.predict(body, content_type, headers=ASYNC)))
    assert job["counts"] == {"total": 2, "done": 1, "failed": 1}
    check_problem_object(job["results"][0], 415, "unsupported")
    # What is no picture is not kept.
    assert server.get(f"/v1/images/{sha256(NOT_A_PICTURE)}").status_code == 404


def test_other_preferences_change_nothing(server, cat):
    for value in ("respond-asynchronously", "wait=10", "", "async", ","):
        assert server.predict(cat, headers={"Prefer": value}).status_code == 200


def test_a_server_without_a_queue_answers_at_once(keep, cat):
    server = keep(queue="none")
    assert server.predict(cat, headers=ASYNC).status_code == 200
    for method, path in [("POST", "/v1/jobs"), ("GET", "/v1/jobs"), ("GET", f"/v1/jobs/{NOBODY}"), ("DELETE", f"/v1/jobs/{NOBODY}")]:
        check_problem(server.request(method, path), 404, "not-found")


# --- waiting ------------------------------------------------------------------------------------

def test_a_wait_ends_with_the_job(server, cat):
    id = start_job(server, [put(server, cat)] * MANY)
    waiting = threading.Thread(target=lambda: answers.append(get(server, id, wait=60, limit=1)))
    answers = []
    waiting.start()
    job = get(server, id, wait=60, limit=0)
    waiting.join(PATIENCE_S)
    assert job["state"] == "done" and answers[0]["state"] == "done"
    assert get(server, id, wait=60, limit=0)["state"] == "done"


def test_a_wait_ends_with_its_time(server, cat):
    id = start_job(server, [put(server, cat)] * MANY)
    job = get(server, id, wait=1, limit=3)
    assert job["id"] == id and len(job["results"]) == 3
    assert delete(server, id).status_code in (200, 202)
    assert ended(server, id, limit=0)["state"] in ("cancelled", "done")


def test_a_client_that_leaves_is_not_waited_for(server, cat):
    id = start_job(server, [put(server, cat)] * MANY)
    with Wire(server.port) as wire:
        wire.send(f"GET /v1/jobs/{id}?wait=60&limit=0 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        eventually(lambda: get(server, id, limit=0)["counts"]["done"] > 0, "it has begun")
    server.event("access", lambda event: event["path"] == f"/v1/jobs/{id}" and event.get("problem") == "cancelled")
    delete(server, id)
    ended(server, id, limit=0)


def test_a_drain_answers_those_who_wait(keep, cat):
    server = keep()
    id = start_job(server, [put(server, cat)] * MANY)
    progressed(server, id)
    with Wire(server.port) as wire:
        wire.send(f"GET /v1/jobs/{id}?wait=60&limit=0 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        # The server has the request: it answers another one that came later.
        get(server, id, limit=0)
        server.terminate()
        answer = wire.answer("GET")
        assert answer.status == 200 and json.loads(answer.body)["ended_at"] is None
    assert server.wait() == 0


# --- cancelling ---------------------------------------------------------------------------------

def test_a_running_job_is_cancelled_and_what_is_done_stands(server, cat):
    before = billed(server)["images"]
    id = start_job(server, [put(server, cat)] * MANY)
    progressed(server, id)
    response = delete(server, id)
    assert response.status_code == 202, response.text
    job = ended(server, id)
    assert job["state"] == "cancelled"
    done = job["counts"]["done"]
    assert 0 < done < MANY and job["counts"]["failed"] == 0
    assert sum(result is not None for result in job["results"]) == done
    assert billed(server)["images"] - before == done
    again = delete(server, id)
    assert again.status_code == 200 and again.json()["state"] == "cancelled"


def failing_job(server, picture):
    """A job that cannot be done, since its picture is damaged on the disk; and how to repair it."""
    hash = put(server, picture)
    file = blob_of(server, hash)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return start_job(server, [hash]), lambda: file.write_bytes(content)


def test_a_waiting_job_is_cancelled_at_once(keep, cat):
    server = keep(job_retry="1h")
    id, _ = failing_job(server, cat)
    server.event("job_attempt_failed")
    assert get(server, id)["state"] == "queued"
    response = delete(server, id)
    assert response.status_code == 200 and response.json()["state"] == "cancelled"
    job = get(server, id)
    assert job["results"] == [None] and job["ended_at"] is not None


# --- failures, death, revival -------------------------------------------------------------------

def test_a_job_that_fails_for_good_is_dead_and_can_be_revived(keep, cat):
    server = keep(job_retry="1ms")
    id, repair = failing_job(server, cat)
    job = ended(server, id)
    assert job["state"] == "dead" and job["counts"] == {"total": 1, "done": 0, "failed": 0} and job["results"] == [None]
    assert "attempts" in job["reason"] and "/" not in job["reason"]
    status, lines, _ = queue(server, "dead", "default")
    assert status == 0 and [line["job"] for line in lines] == [id]
    assert lines[0]["attempts"] == 5 and lines[0]["reason"] and lines[0]["died_at"]
    server.event("job_dead")
    assert len(server.events("job_attempt_failed")) == 4
    assert queue(server, "stats")[1][0]["dead"] == 1
    assert delete(server, id).json()["state"] == "dead"
    repair()
    assert queue(server, "retry", "default", id)[0] == 0
    job = ended(server, id)
    assert job["state"] == "done" and job["counts"]["done"] == 1 and job["reason"] is None
    assert queue(server, "dead")[1] == []
    assert billed(server)["images"] == 1


def test_all_dead_jobs_of_a_tenant_are_revived(keep, small_photos):
    server = keep(job_retry="1ms")
    jobs = [failing_job(server, picture) for picture in small_photos[:3]]
    for id, repair in jobs:
        assert ended(server, id)["state"] == "dead"
        repair()
    status, lines, _ = queue(server, "retry", "default", "--all")
    assert status == 0 and {line["job"] for line in lines} == {id for id, _ in jobs}
    for id, _ in jobs:
        assert ended(server, id)["state"] == "done"
    status, lines, error = queue(server, "retry", "default", "--all")
    assert status == 0 and lines == [] and "no job of tenant 'default' is dead" in error
    for arguments in (["retry", "default"], ["retry", "default", "x"], ["retry", "default", NOBODY],
                      ["retry", "default", jobs[0][0]]):
        status, lines, error = queue(server, *arguments)
        assert status != 0 and lines == [] and error.startswith("imago: ")


def test_the_rest_is_done_before_the_attempt_fails(keep, cat, small_photos):
    server = keep(job_retry="1h")
    good = [put(server, picture) for picture in small_photos[:3]]
    bad = put(server, cat)
    file = blob_of(server, bad)
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    id = start_job(server, [good[0], bad, *good[1:]])
    server.event("job_attempt_failed")
    job = get(server, id)
    assert job["counts"] == {"total": 4, "done": 3, "failed": 0} and job["results"][1] is None
    assert queue(server, "list")[1][0] | {"created_at": 0, "reason": 0} == {
        "tenant": "default", "job": id, "state": "failed", "attempts": 1, "created_at": 0, "reason": 0}


def test_a_picture_that_vanished_is_the_items_failure(keep, cat):
    server = keep(job_retry="100ms")
    hash = put(server, cat)
    # The attempt fails until the picture is gone altogether.
    file = blob_of(server, hash)
    file.write_bytes(b"damaged")
    id = start_job(server, [hash])
    server.event("job_attempt_failed")
    file.unlink()
    job = ended(server, id)
    assert job["state"] == "done" and job["counts"] == {"total": 1, "done": 0, "failed": 1}
    check_problem_object(job["results"][0], 404, "not-found")
    # A job is refused if it is known to be absent.
    assert check_missing(post(server, [hash]))[0] == [hash]


# --- restarts -----------------------------------------------------------------------------------

def check_whole(server, id, count):
    """Each picture was done once, whatever happened meanwhile."""
    job = ended(server, id)
    assert job["state"] == "done" and job["counts"] == {"total": count, "done": count, "failed": 0}
    ids = [result["id"] for result in job["results"]]
    assert len(set(ids)) == count
    assert {prediction["id"] for prediction in pages(server)} == set(ids)
    assert billed(server) == {"requests": 1, "images": count}


def test_a_restart_loses_nothing_and_uses_up_no_attempt(keep, cat):
    server = keep()
    id = start_job(server, [put(server, cat)] * MANY)
    for _ in range(2):
        progressed(server, id)
        server.stop()
        line, = queue(server, "list")[1]
        assert (line["job"], line["state"], line["attempts"]) == (id, "queued", 0)
        server = keep()
    check_whole(server, id, MANY)


def test_a_killed_server_is_taken_over_from(keep, cat):
    server = keep(job_lease="1s")
    id = start_job(server, [put(server, cat)] * MANY)
    for _ in range(2):
        progressed(server, id)
        server.expected_status = -signal.SIGKILL
        server.process.send_signal(signal.SIGKILL)
        server.wait()
        server = keep(job_lease="1s")
    check_whole(server, id, MANY)


def test_a_server_that_always_dies_makes_the_job_dead(keep, cat):
    """Its attempts end with their leases, and nobody reports them as failed."""
    server = keep(job_lease="1s")
    id = start_job(server, [put(server, cat)] * MANY)
    progressed(server, id)
    server.expected_status = -signal.SIGKILL
    server.process.send_signal(signal.SIGKILL)
    server.wait()
    # As if it had died so four times before.
    with sqlite3.connect(Path(server.settings["data"]) / "imago.db") as database:
        assert database.execute("UPDATE queue_message SET delivery_count = 5").rowcount == 1
    database.close()
    server = keep(job_lease="1s")
    job = ended(server, id, limit=0)
    assert job["state"] == "dead" and job["reason"]
    assert billed(server)["images"] == job["counts"]["done"] < MANY
    assert queue(server, "retry", "default", id)[0] == 0
    check_whole(server, id, MANY)


def test_a_job_that_cannot_be_read_keeps_no_other_from_its_end(keep, cat):
    server = keep()
    images = [put(server, cat)]
    ids = [start_job(server, images) for _ in range(2)]
    for id in ids:
        ended(server, id)
    server.stop()
    # As if a crash had come before their ends, one record were damaged, and the queue did not know the other.
    first, second = sorted(uuid.UUID(id).bytes for id in ids)
    with sqlite3.connect(server.settings["results"].removeprefix("sqlite:")) as database:
        database.execute("UPDATE results_job SET ended = 0, ended_ms = 0, created_ms = created_ms - 10000")
        database.execute("UPDATE results_job SET body = x'ff' WHERE id = ?", [first])
    database.close()
    with sqlite3.connect(Path(server.settings["data"]) / "imago.db") as database:
        database.execute("UPDATE queue_message SET state = 5 WHERE id = ?", [first])
        database.execute("DELETE FROM queue_message WHERE id = ?", [second])
    database.close()
    server = keep()
    assert ended(server, str(uuid.UUID(bytes=second)))["state"] == "done"
    assert billed(server)["images"] == 2


def test_a_job_whose_message_was_lost_is_found(keep, cat, tmp_path):
    """The record is durable before the queue knows: a crash in between must not leave the job open for ever."""
    server = keep(queue=f"sqlite:{tmp_path}/queue.db", job_retry="1h")
    id, repair = failing_job(server, cat)
    server.event("job_attempt_failed")
    server.stop()
    repair()
    for file in tmp_path.glob("queue.db*"):
        file.unlink()
    server = keep(queue=f"sqlite:{tmp_path}/queue.db")
    assert ended(server, id)["state"] == "done"


# --- Idempotency-Key ----------------------------------------------------------------------------

def test_a_job_is_made_once_for_its_key(server, cat, small_photos):
    images = [put(server, cat), put(server, small_photos[0])]
    headers = {"Idempotency-Key": '"job-1"'}
    first = post(server, images, headers, reference="a")
    again = post(server, images, headers, reference="a")
    assert accepted(first) == accepted(again)
    assert "Idempotency-Replayed" not in first.headers and again.headers["Idempotency-Replayed"] == "true"
    check_problem(post(server, images[::-1], headers, reference="a"), 422, "key-reused")
    check_problem(post(server, images, headers, reference="b"), 422, "key-reused")
    assert ended(server, accepted(first))["counts"]["done"] == 2


def test_pictures_sent_again_are_the_same_job(server, cat):
    headers = ASYNC | {"Idempotency-Key": '"job-2"'}
    answers = [server.predict(cat, headers=headers), server.request("POST", "/v1/predict", files={"image": cat}, headers=headers)]
    first, again = [accepted(answer) for answer in answers]
    assert first == again and answers[1].headers["Preference-Applied"] == "respond-async"
    check_problem(server.predict(cat, headers=without(headers, "Prefer")), 422, "key-reused")


def crowd(server, by):
    """As if so many more jobs of the tenant waited."""
    with sqlite3.connect(Path(server.settings["data"]) / "imago.db") as database:
        assert database.execute("UPDATE queue_tenant SET queued = queued + ?", [by]).rowcount == 1
    database.close()


def test_a_job_that_found_no_room_is_made_when_it_is_sent_again(keep, cat):
    server = keep(webhook_internal="true")
    images = [put(server, cat)]
    ended(server, start_job(server, images))
    receiver = Receiver()

    def send():
        return post(server, images, {"Idempotency-Key": '"job-3"'}, webhook=f"{receiver.url}/job")

    crowd(server, 1_000_000)
    for _ in range(2):
        check_problem(send(), 503, "busy")
    crowd(server, -1_000_000)
    id = accepted(send())
    assert ended(server, id)["state"] == "done"
    again = send()
    assert accepted(again) == id and again.headers["Idempotency-Replayed"] == "true"
    assert billed(server)["images"] == 2
    assert [job["state"] for job in server.get("/v1/jobs").json()["jobs"]] == ["done", "cancelled", "cancelled", "done"]
    # Who was told 503 hears no more of it.
    assert [json.loads(request.body)["data"]["id"] for request in receiver.wait("/job")] == [id]
    receiver.close()


# --- what is refused ----------------------------------------------------------------------------

def test_absent_pictures_are_named(server, cat):
    known = put(server, cat)
    absent = [f"{i:064x}" for i in range(12)]
    missing, detail = check_missing(post(server, [known, *absent]))
    assert missing == absent[:10] and "12 of the 13" in detail
    assert set(check_missing(post(server, [absent[0]] * 2))[0]) == {absent[0]}


@pytest.mark.parametrize("body,status,slug", [
    ({}, 400, "invalid"),
    ({"images": []}, 400, "invalid"),
    ({"images": "ab" * 32}, 400, "invalid"),
    ({"images": [5]}, 400, "invalid"),
    ({"images": [None]}, 400, "invalid"),
    ({"images": ["AB" * 32]}, 400, "invalid"),
    ({"images": ["ab" * 31]}, 400, "invalid"),
    ({"images": ["ab" * 32] * 1001}, 413, "too-large"),
    ({"images": ["ab" * 32], "model": "nobody"}, 404, "not-found"),
    ({"images": ["ab" * 32], "top_k": 0}, 400, "invalid"),
    ({"images": ["ab" * 32], "nonsense": 1}, 400, "invalid"),
    ({"images": ["ab" * 32], "webhook": "http://127.0.0.1/"}, 400, "invalid"),
    ([], 400, "invalid"),
])
def test_bad_jobs_are_refused(server, body, status, slug):
    check_problem(server.request("POST", "/v1/jobs", json=body), status, slug)


def test_a_job_without_pictures_is_told_how_to_name_them(server):
    answer = server.request("POST", "/v1/jobs", json={"image": "ab" * 32})
    check_problem(answer, 400, "invalid")
    assert "no 'images'" in answer.json()["detail"]


def test_bad_questions_are_refused(server, cat):
    id = start_job(server, [put(server, cat)])
    for query in ("wait=61", "wait=-1", "wait=x", "first=1001", "limit=1001", "limit=", "cursor=x", "nonsense=1"):
        check_problem(server.get(f"/v1/jobs/{id}?{query}"), 400, "invalid")
    for query in ("limit=0", "limit=101", "cursor=", "cursor=nonsense", "wait=1"):
        check_problem(server.get(f"/v1/jobs?{query}"), 400, "invalid")
    for name in (NOBODY, "x", "0" * 36, "%00"):
        assert server.get(f"/v1/jobs/{name}").status_code in (400, 404)
        assert delete(server, name).status_code in (400, 404)
    check_problem(server.predict(cat, params={"webhook": "https://example.com"}), 400, "invalid")
    assert server.request("POST", "/v1/jobs", data=b"x" * (1 << 20), headers={"Content-Type": "application/json"}).status_code == 413


# --- tenants, scopes, limits --------------------------------------------------------------------

@pytest.fixture
def accounts(tmp_path):
    return Accounts(tmp_path)


@pytest.fixture
def guarded(start, accounts):
    accounts.owner = accounts.key()
    return start(**accounts.settings, webhook_internal="true")


def as_key(server, key, method, path, **options):
    return server.request(method, path, headers=key.headers | options.pop("headers", {}), **options)


def made_by(server, key, images, **members):
    return as_key(server, key, "POST", "/v1/jobs", json={"images": images, **members})


def test_jobs_of_tenants_are_apart(guarded, accounts, cat):
    accounts.tenant("a"), accounts.tenant("b")
    a, b = accounts.key(tenant="a"), accounts.key(tenant="b")
    hash = put(guarded, cat, headers=a.headers)
    id = accepted(made_by(guarded, a, [hash]))

    def shape(response):
        text = re.sub(id, NOBODY, response.text)
        return response.status_code, re.sub(r'"request_id":"[^"]*"', "", text), sorted(response.headers)

    for method in ("GET", "DELETE"):
        foreign, absent = [as_key(guarded, b, method, f"/v1/jobs/{name}") for name in (id, NOBODY)]
        assert shape(foreign) == shape(absent) and foreign.status_code == 404
    # Another's picture is as absent as one that nobody has.
    assert check_missing(made_by(guarded, b, [hash]))[0] == [hash]
    assert [job["id"] for job in as_key(guarded, a, "GET", "/v1/jobs").json()["jobs"]] == [id]
    assert as_key(guarded, b, "GET", "/v1/jobs").json() == {"jobs": [], "next": None}
    eventually(lambda: as_key(guarded, a, "GET", f"/v1/jobs/{id}").json()["state"] == "done", "a's job is done")
    assert as_key(guarded, b, "GET", "/v1/usage").json()["total"]["images"] == 0


def test_a_tenant_does_not_wait_behind_anothers_jobs(guarded, accounts, cat):
    """More large jobs than are worked on at a time; none of them can be done when the small one is."""
    accounts.tenant("a"), accounts.tenant("b")
    a, b = accounts.key(tenant="a"), accounts.key(tenant="b")
    hash = put(guarded, cat, headers=a.headers)
    large = [accepted(made_by(guarded, a, [hash] * MANY)) for _ in range(10)]

    def states():
        return [as_key(guarded, a, "GET", f"/v1/jobs/{id}?limit=0").json()["state"] for id in large]

    eventually(lambda: states().count("running") >= 8, "as many are worked on as can be")
    put(guarded, cat, headers=b.headers)
    small = accepted(made_by(guarded, b, [hash]))
    eventually(lambda: as_key(guarded, b, "GET", f"/v1/jobs/{small}?wait=5").json()["state"] == "done", "b's job is done")
    assert "done" not in states()
    for id in large:
        assert as_key(guarded, a, "DELETE", f"/v1/jobs/{id}").status_code in (200, 202)
    eventually(lambda: set(states()) == {"cancelled"}, "a's jobs are cancelled")


def test_jobs_are_listed_newest_first(server, cat):
    hash = put(server, cat)
    ids = [start_job(server, [hash]) for _ in range(5)]
    found, cursor = [], None
    while True:
        page = server.get("/v1/jobs", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found += [job["id"] for job in page["jobs"]]
        assert all(list(job) == JOB for job in page["jobs"])
        cursor = page["next"]
        if cursor is None:
            break
    assert len(set(found)) == len(found)
    assert sorted(found[:5]) == sorted(ids) and found[0] == max(found[:5])


def test_scopes_of_jobs(guarded, accounts, cat):
    predict, read, feedback = [accounts.key(scopes=scope) for scope in ("predict", "read", "feedback")]
    hash = put(guarded, cat, headers=predict.headers)
    id = accepted(made_by(guarded, predict, [hash]))
    for key, statuses in ((predict, (200, 403, 200)), (read, (200, 200, 403)), (feedback, (403, 403, 403))):
        eventually(lambda: as_key(guarded, accounts.owner, "GET", f"/v1/jobs/{id}").json()["ended_at"], "it ends")
        assert (as_key(guarded, key, "GET", f"/v1/jobs/{id}").status_code,
                as_key(guarded, key, "GET", "/v1/jobs").status_code,
                as_key(guarded, key, "DELETE", f"/v1/jobs/{id}").status_code) == statuses
    assert made_by(guarded, read, [hash]).status_code == 403


def test_a_job_needs_room_for_all_its_images(guarded, accounts, cat):
    key = accounts.key("--images-per-day=5")
    hash = put(guarded, cat, headers=key.headers)
    response = made_by(guarded, key, [hash] * 6)
    check_problem(response, 429, "rate-limited")
    assert int(response.headers["Retry-After"]) > 0
    bad = put(guarded, broken(), headers=key.headers)
    id = accepted(made_by(guarded, key, [hash] * 3 + [bad] * 2))
    # While it is open, all of it is taken; then what failed is given back.
    job = eventually(lambda: (job := as_key(guarded, key, "GET", f"/v1/jobs/{id}").json())["ended_at"] and job, "it ends")
    assert job["counts"] == {"total": 5, "done": 3, "failed": 2}
    check_problem(made_by(guarded, key, [hash] * 3), 429, "rate-limited")
    accepted(made_by(guarded, key, [hash] * 2))


def test_a_webhook_is_told_of_the_end(guarded, accounts, cat):
    receiver = Receiver()
    try:
        key = accounts.owner
        hash = put(guarded, cat, headers=key.headers)
        ids = {"done": accepted(made_by(guarded, key, [hash], webhook=receiver.url + "/done", reference="x"))}
        response = as_key(guarded, key, "POST", "/v1/predict", data=cat, params={"webhook": receiver.url + "/async"},
                          headers=ASYNC | {"Content-Type": "image/jpeg"})
        ids["async"] = accepted(response)
        secret = accounts.succeed("webhook", "secret", "default").strip()
        for path, id in ids.items():
            request, = receiver.wait(f"/{path}")
            verify(secret, request.headers, request.body)
            message = json.loads(request.body)
            assert message["type"] == "job.done"
            job = as_key(guarded, key, "GET", f"/v1/jobs/{id}").json()
            assert message["data"] == without(job, "results", "next")
        long = accepted(made_by(guarded, key, [hash] * MANY, webhook=receiver.url + "/cancelled"))
        as_key(guarded, key, "DELETE", f"/v1/jobs/{long}")
        request, = receiver.wait("/cancelled")
        message = json.loads(request.body)
        assert message["type"] in ("job.cancelled", "job.done") and message["data"]["id"] == long
    finally:
        receiver.close()


# --- beside requests ----------------------------------------------------------------------------

def test_requests_are_answered_beside_jobs(server, cat):
    ids = [start_job(server, [put(server, cat)] * MANY) for _ in range(2)]
    progressed(server, ids[0])
    for _ in range(20):
        assert server.predict(cat).status_code == 200
    states = [get(server, id, limit=0)["state"] for id in ids]
    for id in ids:
        delete(server, id)
    assert states == ["running", "running"], "jobs of one tenant take turns"
    for id in ids:
        ended(server, id, limit=0)
