# SPDX-License-Identifier: Apache-2.0
"""Pictures that are worked on together do not touch each other; what is too much or too late is told so."""
import json
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pictures
import pytest
from imago_server import PATIENCE_S, SLOW, eventually, sha256
from pictures import flat, jpeg_with_scans, jpeg_with_sides, load, save
from test_predict import check_problem_object
from wire import Wire, form, post

ROUNDS = max(40, int(float(os.environ.get("IMAGO_TEST_ROUNDS", "1000")) / SLOW))
TOGETHER = 16


@pytest.fixture(scope="module")
def slow_picture():
    return pictures.slow()


@pytest.fixture(scope="module")
def alone(shared, small_photos):
    """What each photograph is answered with nothing beside it."""
    return {sha256(photo): shared.get().answer(photo)["predictions"] for photo in small_photos}


def bad_pictures(photo):
    """One of every kind, as small as the photographs."""
    progressive = save(load(photo), "JPEG", progressive=True)
    png = save(load(photo), "PNG")
    broken = bytearray(png)
    broken[len(png) // 2] ^= 0xFF
    return [b"", b"not a picture", photo[:len(photo) // 2], png[:len(png) // 2], bytes(broken), save(flat(9, 9), "GIF"),
            jpeg_with_sides(photo, 60000, 60000), jpeg_with_scans(progressive, 400),
            save(load(photo), "WEBP")[:-300], bytes(100000)]


def check_good(result, photo, alone):
    assert "predictions" in result, result
    assert result["image"]["sha256"] == sha256(photo)
    wanted = alone[sha256(photo)]
    assert result["predictions"][0]["class_id"] == wanted[0]["class_id"]
    assert abs(result["predictions"][0]["score"] - wanted[0]["score"]) <= 0.02


def check_bad(result):
    assert 400 <= result["status"] < 500, result
    check_problem_object(result, result["status"], result["type"].rpartition("/")[2])


def rounds(small_photos, count, seed):
    """(images, index of the bad one), `count` times."""
    dice = random.Random(seed)
    bad = bad_pictures(small_photos[0])
    for number in range(count):
        images = dice.sample(small_photos, TOGETHER - 1)
        at = dice.randrange(TOGETHER)
        images.insert(at, bad[number % len(bad)])
        yield images, at


def test_one_bad_beside_fifteen_good_in_a_request(server, small_photos, alone):
    for images, at in rounds(small_photos, ROUNDS * 3 // 4, 1):
        response = server.predict(*form(images))
        assert response.status_code == 200, response.text
        results = response.json()["results"]
        assert len(results) == TOGETHER
        for index, result in enumerate(results):
            check_bad(result) if index == at else check_good(result, images[index], alone)


def test_one_bad_beside_fifteen_good_connections(server, small_photos, alone):
    """Sixteen clients send at the same moment, each over its own connection."""
    wires = [Wire(server.port) for _ in range(TOGETHER)]
    together = threading.Barrier(TOGETHER, timeout=PATIENCE_S)

    def one(index, picture):
        together.wait()
        wires[index].send(post(picture))
        answer = wires[index].answer()
        if answer.headers["Connection"] == "close":
            wires[index].close()
            wires[index] = Wire(server.port)
        return answer

    with ThreadPoolExecutor(TOGETHER) as clients:
        for images, at in rounds(small_photos, ROUNDS - ROUNDS * 3 // 4, 2):
            answers = list(clients.map(one, range(TOGETHER), images))
            for index, answer in enumerate(answers):
                result = json.loads(answer.body)
                if index == at:
                    assert answer.status == result["status"]
                    check_bad(result)
                else:
                    assert answer.status == 200
                    check_good(result, images[index], alone)
    for wire in wires:
        wire.close()


def test_two_models_at_once(server, small_photos):
    """Pictures for different models do not share a batch."""
    models = ["efficientnet-lite0", "efficientnet-lite0-fp32"]
    wanted = {(model, photo): server.answer(photo, params={"model": model})["predictions"]
              for model in models for photo in small_photos[:4]}

    def one(number):
        model, photo = models[number % 2], small_photos[number % 4]
        answer = server.answer(photo, params={"model": model})
        return answer["model"] == model and [p["class_id"] for p in answer["predictions"][:1]] == \
            [p["class_id"] for p in wanted[model, photo][:1]]

    with ThreadPoolExecutor(8) as clients:
        assert all(clients.map(one, range(100)))


def send_all(server, images, path="/v1/predict"):
    """Connections that have each sent one picture, and wait."""
    wires = []
    for picture in images:
        wires.append(Wire(server.port))
        wires[-1].send(post(picture, path=path))
    return wires


def answers_of(wires):
    answers = [wire.answer() for wire in wires]
    for wire in wires:
        wire.close()
    return answers


def wait_for_work(server, send):
    """What `send` returns, as soon as the server, at rest before, is at work on it."""
    server.settle()
    before = server.cpu_ticks()
    sent = send()
    eventually(lambda: server.cpu_ticks() > before + 5, "the server works on it")
    return sent


def test_a_full_queue_says_when_to_come_back(start, slow_picture, cat):
    server = start(workers=1, waiting=2, batch=1)
    answers = answers_of(send_all(server, [slow_picture] * 12))
    assert {answer.status for answer in answers} == {200, 503}
    # One in work and two waiting at a time; how far the first ones got meanwhile is the machine's affair.
    assert sum(answer.status == 200 for answer in answers) >= 2
    for answer in answers:
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) >= 1
            check_problem_object(json.loads(answer.body), 503, "busy")
    assert server.predict(cat).status_code == 200


def test_a_request_that_never_fits_the_queue(start, small_photos):
    server = start(waiting=4)
    response = server.predict(*form(small_photos[:5]))
    assert response.status_code == 413
    assert "4" in response.json()["detail"]
    assert len(server.predict(*form(small_photos[:4])).json()["results"]) == 4


def test_a_deadline_while_decoding(start, slow_picture, cat):
    server = start(workers=1, request_timeout="60ms")
    before = server.cpu_s()
    for _ in range(4):
        response = server.predict(slow_picture)
        assert response.status_code == 504
        check_problem_object(response.json(), 504, "deadline")
    # Four whole decodes cost far more than four times 60 ms.
    assert server.cpu_s() - before < 2 * SLOW
    eventually(lambda: server.predict(cat).status_code == 200, "a small picture is in time")


def test_a_deadline_while_waiting(start, slow_picture, cat):
    """Answered when it passes, not when a worker gets there: the worker is busy with what has no such deadline."""
    server = start(workers=1, batch=1, request_timeout="400ms")
    wires = send_all(server, [slow_picture] * 6 + [cat] * 6)
    answers = answers_of(wires)
    late = [answer for answer in answers if answer.status == 504]
    assert late and {answer.status for answer in answers} <= {200, 504}
    for answer in late:
        check_problem_object(json.loads(answer.body), 504, "deadline")
    eventually(lambda: server.predict(cat).status_code == 200, "the server goes on")


def test_work_of_clients_that_went_away_is_dropped(start, slow_picture, cat):
    server = start(workers=1, batch=1, waiting=200)
    in_front = wait_for_work(server, lambda: send_all(server, [slow_picture] * 2))
    gone = send_all(server, [slow_picture] * 20 + [cat] * 20)
    ports = {f"127.0.0.1:{wire.socket.getsockname()[1]}" for wire in gone}
    for wire in gone:
        wire.close()
    assert [answer.status for answer in answers_of(in_front)] == [200, 200]
    spent = server.cpu_s()
    lines = eventually(lambda: (lines := [e for e in server.events("access") if e["peer"] in ports]) and
                       len(lines) == len(gone) and lines, "every one of them is logged")
    dropped = [line for line in lines if line.get("problem") == "cancelled"]
    assert len(dropped) == len(gone), [line for line in lines if line not in dropped]
    assert all(line.get("infer_ms_max", 0) == 0 for line in dropped)
    # Twenty decodes of tens of megapixels did not happen.
    assert server.cpu_s() - spent < 2 * SLOW
    assert server.predict(cat).status_code == 200


def test_a_client_that_goes_while_its_picture_is_decoded(start, slow_picture, cat):
    server = start(workers=1, batch=1)
    wire, = wait_for_work(server, lambda: send_all(server, [slow_picture]))
    wire.close()
    server.event("access", lambda event: event.get("problem") == "cancelled")
    assert server.predict(cat).status_code == 200
