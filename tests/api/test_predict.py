# SPDX-License-Identifier: Apache-2.0
"""POST /v1/predict and /v1/models: every way in, every way out, and what each answer must hold."""
import base64
import csv
import datetime
import io
import json
import re
import subprocess
import uuid

import pytest
import yaml
from imago_server import MODELS, SCENES, sha256
from pictures import flat, load, save, with_orientation
from wire import Wire, exchange, form, post

MODEL = "efficientnet-lite0"
RAW_TYPES = ["image/jpeg", "image/png", "IMAGE/X-whatever", "application/octet-stream", "binary/octet-stream",
             "application/x-www-form-urlencoded", "image/jpeg; charset=binary"]
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def check_problem(response, status, slug):
    """RFC 9457, as every error must be."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    check_problem_object(problem, status, slug)
    assert problem["request_id"] == response.headers["X-Request-Id"]
    return problem


def check_problem_object(problem, status, slug):
    assert problem["type"] == f"/problems/{slug}", problem
    assert problem["status"] == status
    assert problem["title"] and problem["detail"]
    assert uuid.UUID(problem["request_id"]).version == 7
    assert set(problem) <= {"type", "title", "status", "detail", "instance", "request_id"}


def check_answer(answer, picture, format="jpeg"):
    """The shape of one picture's answer, and what can be checked against the picture itself."""
    assert list(answer) == ["id", "model", "version", "created_at", "predictions", "image", "timing_ms"]
    assert uuid.UUID(answer["id"]).version == 7
    assert (answer["model"], answer["version"]) == (MODEL, "1")
    assert RFC3339.fullmatch(answer["created_at"])
    image = load(picture)
    assert answer["image"] == {"sha256": sha256(picture), "format": format,
                               "width": image.width, "height": image.height}
    assert list(answer["timing_ms"]) == ["queue", "decode", "fit", "infer", "total"]
    assert all(value >= 0 for value in answer["timing_ms"].values())
    assert answer["timing_ms"]["total"] >= max(answer["timing_ms"].values())
    labels = (MODELS / MODEL / "1" / "labels.txt").read_text().splitlines()
    scores = [prediction["score"] for prediction in answer["predictions"]]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    for prediction in answer["predictions"]:
        assert list(prediction) == ["class_id", "label", "score"]
        assert prediction["label"] == labels[prediction["class_id"]]
    assert len({prediction["class_id"] for prediction in answer["predictions"]}) == len(scores)


def base64_of(data):
    return base64.b64encode(data).decode()


def said(answer):
    """What the same picture must always be answered."""
    return [(p["class_id"], round(p["score"], 4)) for p in answer["predictions"]], answer["image"]


# --- a picture as it is ----------------------------------------------------------------------

def curl(*arguments):
    done = subprocess.run(["curl", "-sS", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.real_engine
def test_curl_gets_the_right_label(server):
    answer = json.loads(curl("--data-binary", f"@{SCENES / 'cat.jpg'}", f"{server.url}/v1/predict"))
    assert "cat" in answer["predictions"][0]["label"]
    assert answer["predictions"][0]["score"] > 0.3


def test_curl_form(server, cat):
    answer = json.loads(curl("-F", f"image=@{SCENES / 'cat.jpg'}", "-F", "top_k=2", f"{server.url}/v1/predict"))
    check_answer(answer, cat)
    assert len(answer["predictions"]) == 2


def test_curl_upload_file(server, cat):
    """curl -T is a PUT; with -X POST it is what people type, and is sent chunked from a pipe."""
    done = subprocess.run(["curl", "-sS", "-X", "POST", "-T", "-", f"{server.url}/v1/predict"],
                          input=cat, capture_output=True)
    check_answer(json.loads(done.stdout), cat)


@pytest.mark.parametrize("content_type", RAW_TYPES)
def test_raw(server, cat, content_type):
    response = server.predict(cat, content_type)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    check_answer(response.json(), cat)
    assert len(response.json()["predictions"]) == 5


def test_raw_without_a_content_type(server, cat):
    with Wire(server.port) as wire:
        wire.send(f"POST /v1/predict HTTP/1.1\r\nHost: t\r\nContent-Length: {len(cat)}\r\n\r\n".encode() + cat)
        answer = wire.answer()
    assert answer.status == 200
    check_answer(json.loads(answer.body), cat)


def test_every_content_type_gives_the_same_answer(server, cat):
    assert len({str(said(server.answer(cat, content_type=kind))) for kind in RAW_TYPES}) == 1


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF"])
def test_the_format_is_told_by_the_bytes(server, cat, format):
    picture = save(load(cat).resize((200, 150)), format)
    check_answer(server.answer(picture, content_type="image/jpeg"), picture, format.lower())


def test_chunked(server, cat):
    def pieces():
        for at in range(0, len(cat), 1000):
            yield cat[at:at + 1000]
    check_answer(server.answer(pieces()), cat)


def test_pipelined_requests_are_answered_in_order(server, small_photos):
    with Wire(server.port) as wire:
        wire.send(b"".join(post(photo) for photo in small_photos[:8]))
        for photo in small_photos[:8]:
            assert json.loads(wire.answer().body)["image"]["sha256"] == sha256(photo)


def test_keep_alive(server, small_photos):
    with Wire(server.port) as wire:
        for photo in small_photos:
            wire.send(post(photo))
            assert wire.answer().status == 200


def test_http_1_0(server, cat):
    with Wire(server.port) as wire:
        wire.send(b"POST /v1/predict HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(cat) + cat)
        assert wire.answer().status == 200
        assert wire.is_closed()


def test_upright_sides(server, cat):
    picture = with_orientation(load(cat), 6, "JPEG", quality=90)
    image = server.answer(picture)["image"]
    assert (image["width"], image["height"]) == load(cat).size


def test_ids_grow_with_time(server, small_photos):
    before = int(datetime.datetime.now().timestamp() * 1000)
    answers = [server.answer(photo) for photo in small_photos]
    after = int(datetime.datetime.now().timestamp() * 1000)
    times = [uuid.UUID(answer["id"]).int >> 80 for answer in answers]
    assert times == sorted(times) and len({answer["id"] for answer in answers}) == len(answers)
    assert before <= times[0] and times[-1] <= after
    created = [answer["created_at"] for answer in answers]
    assert created == sorted(created)


def test_the_id_is_the_request_id_of_one_picture(server, cat):
    response = server.predict(cat)
    assert uuid.UUID(response.headers["X-Request-Id"]).version == 7
    assert response.json()["id"] == response.headers["X-Request-Id"]


# --- multipart/form-data ---------------------------------------------------------------------

def test_one_picture_in_a_form_is_one_object(server, cat):
    check_answer(server.request("POST", "/v1/predict", files={"image": cat}).json(), cat)


def test_many_pictures_in_a_form_keep_their_order(server, small_photos):
    files = [("image", photo) for photo in small_photos]
    response = server.request("POST", "/v1/predict", files=files)
    assert response.status_code == 200, response.text
    assert list(response.json()) == ["results"]
    results = response.json()["results"]
    assert len(results) == len(small_photos)
    for result, photo in zip(results, small_photos):
        check_answer(result, photo)
        assert said(result) == said(server.answer(photo))
    assert len({result["id"] for result in results}) == len(results)


def test_good_and_bad_pictures_in_a_form(server, small_photos):
    bad = [b"no picture", b"", small_photos[0][:-600], save(flat(8, 8), "PNG")]
    slugs = [(415, "unsupported"), (400, "invalid"), (422, "bad-image"), (422, "image-limit")]
    mixed = [picture for pair in zip(small_photos, bad) for picture in pair]
    body, content_type = form(mixed)
    response = server.predict(body, content_type)
    assert response.status_code == 200
    results = response.json()["results"]
    for result, photo in zip(results[::2], small_photos):
        check_answer(result, photo)
    for result, (status, slug) in zip(results[1::2], slugs, strict=True):
        check_problem_object(result, status, slug)
        assert result["request_id"] == response.headers["X-Request-Id"]


def test_only_bad_pictures_in_a_form(server):
    body, content_type = form([b"one", b"two", b"three"])
    response = server.predict(body, content_type)
    assert response.status_code == 200
    for result in response.json()["results"]:
        check_problem_object(result, 415, "unsupported")


def test_one_bad_picture_in_a_form_is_a_problem(server):
    body, content_type = form([b"one"])
    check_problem(server.predict(body, content_type), 415, "unsupported")


# --- JSON ------------------------------------------------------------------------------------

@pytest.fixture(params=["small", "large"])
def any_size(request, small_photos, cat):
    """Below and above the size from which JSON is read on another thread."""
    if request.param == "small":
        return min(small_photos, key=len)
    large = save(load(cat), "PNG")
    assert len(large) > 65536
    return large


def test_json(server, any_size):
    for text in base64_of(any_size), "data:image/any;base64," + base64_of(any_size):
        answer = server.request("POST", "/v1/predict", json={"image": text})
        assert answer.status_code == 200, answer.text
        assert answer.json()["image"]["sha256"] == sha256(any_size)
        assert said(answer.json()) == said(server.answer(any_size))


def test_json_with_several(server, any_size, small_photos):
    pictures = [any_size, *small_photos[:5]]
    response = server.request("POST", "/v1/predict", json={"images": [base64_of(p) for p in pictures]})
    assert [result["image"]["sha256"] for result in response.json()["results"]] == [sha256(p) for p in pictures]


def test_json_with_a_list_of_one_gives_results(server, cat):
    response = server.request("POST", "/v1/predict", json={"images": [base64_of(cat)]})
    check_answer(response.json()["results"][0], cat)


def test_json_with_good_and_bad(server, cat):
    response = server.request("POST", "/v1/predict", json={"images": [base64_of(cat), base64_of(b"text")]})
    assert response.status_code == 200
    good, bad = response.json()["results"]
    check_answer(good, cat)
    check_problem_object(bad, 415, "unsupported")


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
def test_json_padding(server, cat, size):
    """Bytes after the end of a JPEG are harmless, and make every length of the base64."""
    picture = cat + bytes(size)
    answer = server.request("POST", "/v1/predict", json={"image": base64_of(picture)})
    assert answer.json()["image"]["sha256"] == sha256(picture)


# --- parameters ------------------------------------------------------------------------------

def send_query(server, picture, parameters):
    return server.predict(picture, params=parameters)


def send_form(server, picture, parameters):
    return server.predict(*form([picture], **parameters))


def send_form_after(server, picture, parameters):
    """Parameters behind the picture."""
    return server.request("POST", "/v1/predict",
                          files=[("image", ("a", picture))] + [(k, (None, str(v))) for k, v in parameters.items()])


def send_json(server, picture, parameters):
    return server.request("POST", "/v1/predict", json={"image": base64_of(picture), **parameters})


WAYS = pytest.mark.parametrize("send", [send_query, send_form, send_form_after, send_json])


@WAYS
@pytest.mark.parametrize("top_k", [1, 3, 999, 1000])
def test_top_k(server, cat, send, top_k):
    full = server.answer(cat, params={"top_k": 1000})["predictions"]
    assert len(full) == 1000
    assert abs(sum(prediction["score"] for prediction in full) - 1) < 1e-3
    given = send(server, cat, {"top_k": top_k}).json()["predictions"]
    assert [p["class_id"] for p in given] == [p["class_id"] for p in full[:top_k]]


@WAYS
@pytest.mark.parametrize("min_score", [0, 0.05, 0.5, 1, 1e-3])
def test_min_score(server, cat, send, min_score):
    full = server.answer(cat, params={"top_k": 1000})["predictions"]
    given = send(server, cat, {"top_k": 1000, "min_score": min_score}).json()["predictions"]
    assert [p["class_id"] for p in given] == [p["class_id"] for p in full if p["score"] >= min_score]


@WAYS
def test_model_and_version(server, cat, send):
    answer = send(server, cat, {"model": "efficientnet-lite0-fp32", "version": "1"}).json()
    assert (answer["model"], answer["version"]) == ("efficientnet-lite0-fp32", "1")


@WAYS
@pytest.mark.parametrize("parameters", [{"model": "no-such"}, {"version": "77"}, {"model": MODEL, "version": "x"}])
def test_unknown_model(server, cat, send, parameters):
    problem = check_problem(send(server, cat, parameters), 404, "not-found")
    assert MODEL in problem["detail"] or "1" in problem["detail"]


BAD_PARAMETERS = [("top_k", "0"), ("top_k", "1001"), ("top_k", "-1"), ("top_k", "many"), ("top_k", "2.5"),
                  ("top_k", ""), ("top_k", "99999999999999999999"), ("top_k", " 3"), ("min_score", "1.1"),
                  ("min_score", "-0.1"), ("min_score", "nan"), ("min_score", "inf"), ("min_score", "0x1"),
                  ("min_score", ""), ("min_score", "0.5;"), ("topk", "3"), ("image_", "x"), ("model", "m" * 300)]


@WAYS
@pytest.mark.parametrize("name,value", BAD_PARAMETERS)
def test_bad_parameter(server, cat, send, name, value):
    problem = check_problem(send(server, cat, {name: value}), 400, "invalid")
    assert name in problem["detail"]


@pytest.mark.parametrize("value", [None, True, [1], {"a": 1}, 2.5, 1e99])
def test_bad_parameter_in_json(server, cat, value):
    problem = check_problem(send_json(server, cat, {"top_k": value}), 400, "invalid")
    assert "top_k" in problem["detail"]


@pytest.mark.parametrize("query", ["top_k=%", "top_k=%zz", "%00=1", "top_k=1%00", "a" * 300 + "=1"])
def test_malformed_query(server, cat, query):
    check_problem(server.request("POST", "/v1/predict?" + query, data=cat), 400, "invalid")


def test_an_empty_query_is_fine(server, cat):
    with Wire(server.port) as wire:
        wire.send(post(cat, path="/v1/predict?&&top_k=1&"))
        answer = wire.answer()
    assert answer.status == 200 and len(json.loads(answer.body)["predictions"]) == 1


# --- Accept ----------------------------------------------------------------------------------

ACCEPT = [
    (None, "application/json"), ("", "application/json"), ("*/*", "application/json"),
    ("application/json", "application/json"), ("application/*", "application/json"),
    ("text/csv", "text/csv"), ("text/*", "text/csv"), ("TEXT/CSV", "text/csv"),
    ("application/x-ndjson", "application/x-ndjson"),
    ("text/html, application/xhtml+xml, */*;q=0.8", "application/json"),
    ("application/json;q=0.5, text/csv", "text/csv"),
    ("application/json;q=0.5, text/csv;q=0.4", "application/json"),
    ("application/json;q=0.1 , application/x-ndjson ; q=0.2", "application/x-ndjson"),
    ("image/png, text/csv;q=0.001", "text/csv"),
    ("application/json;q=0, text/csv;q=0.3", "text/csv"),
    ("application/json;q=0, */*;q=0.5", "application/x-ndjson"),
    ("text/csv;q=0.9, */*;q=0.1", "text/csv"),
]


@pytest.mark.parametrize("accept,content_type", ACCEPT)
def test_accept(server, cat, accept, content_type):
    response = server.predict(cat, headers={"Accept": accept})
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"].split(";")[0] == content_type


@pytest.mark.parametrize("accept", ["image/png", "text/html", "application/json;q=0", "*/*;q=0", "json"])
def test_not_acceptable(server, cat, accept):
    problem = check_problem(server.predict(cat, headers={"Accept": accept}), 406, "not-acceptable")
    assert "application/json" in problem["detail"] and "text/csv" in problem["detail"]


def test_ndjson(server, small_photos):
    pictures = [small_photos[0], b"text", small_photos[1]]
    body, content_type = form(pictures)
    response = server.predict(body, content_type, headers={"Accept": "application/x-ndjson"})
    assert response.status_code == 200 and response.text.endswith("\n")
    first, bad, last = map(json.loads, response.text.splitlines())
    check_answer(first, small_photos[0])
    check_problem_object(bad, 415, "unsupported")
    check_answer(last, small_photos[1])


def test_csv(server, small_photos):
    pictures = [small_photos[0], b"text", small_photos[1]]
    body, content_type = form(pictures)
    response = server.predict(body, content_type, headers={"Accept": "text/csv"})
    assert response.status_code == 200
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert list(rows[0]) == ["id", "rank", "class_id", "label", "score", "problem"]
    ids = list(dict.fromkeys(row["id"] for row in rows))
    assert len(ids) == 3 and all(uuid.UUID(id).version == 7 for id in ids)
    bad = [row for row in rows if row["problem"]]
    assert [row["id"] for row in bad] == [ids[1]] and not bad[0]["label"]
    for id, photo in (ids[0], small_photos[0]), (ids[2], small_photos[1]):
        wanted = server.answer(photo)["predictions"]
        own = [row for row in rows if row["id"] == id]
        assert [int(row["rank"]) for row in own] == list(range(1, 6))
        assert [(int(r["class_id"]), r["label"]) for r in own] == [(p["class_id"], p["label"]) for p in wanted]
        assert all(abs(float(r["score"]) - p["score"]) < 1e-4 for r, p in zip(own, wanted))


def test_a_problem_is_json_whatever_is_accepted(server):
    check_problem(server.predict(b"text", headers={"Accept": "text/csv"}), 415, "unsupported")


# --- other methods and paths -----------------------------------------------------------------

@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_predict_takes_post_alone(server, method):
    response = server.request(method, "/v1/predict")
    check_problem(response, 405, "method")
    assert response.headers["Allow"] == "POST"


def test_head_of_predict(server):
    response = server.request("HEAD", "/v1/predict")
    assert (response.status_code, response.headers["Allow"], response.content) == (405, "POST", b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/v1/models", f"/v1/models/{MODEL}", f"/v1/models/{MODEL}/versions/1"])
def test_models_take_get_and_head_alone(server, method, path):
    response = server.request(method, path)
    check_problem(response, 405, "method")
    assert response.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/predict/", "/V1/predict", "/v1/predictions/", "/v2",
                                  "/livez", "/readyz", "/v1/models/", "/v1//predict", "/v1/models/a/versions",
                                  "/v1/models/a/versions/", "/v1/models/a/b"])
def test_unknown_path(server, path):
    for method in "GET", "POST":
        problem = check_problem(server.request(method, path), 404, "not-found")
        assert problem["instance"] == path


# --- models ----------------------------------------------------------------------------------

def test_models(server):
    models = server.get("/v1/models").json()["models"]
    assert [model["name"] for model in models] == sorted(path.name for path in MODELS.iterdir() if path.is_dir())
    assert [model["name"] for model in models if model["default"]] == [MODEL]
    for model in models:
        one = server.get(f"/v1/models/{model['name']}")
        assert one.status_code == 200 and one.json() == model
        for version in model["versions"]:
            full = server.get(f"/v1/models/{model['name']}/versions/{version['version']}").json()
            assert len(full.pop("labels")) == full["classes"] == 1000
            assert full == version
            assert full["input"] == {"width": 224, "height": 224} and full["task"] == "classification"


def test_precision_is_stated(server):
    for model in server.get("/v1/models").json()["models"]:
        facts = yaml.safe_load((MODELS / model["name"] / "1" / "model.yaml").read_text())
        assert model["versions"][0]["precision"] == facts["precision"]


def test_head_is_get_without_a_body(server):
    got, head = server.get("/v1/models"), server.request("HEAD", "/v1/models")
    assert head.status_code == 200 and head.content == b""
    assert head.headers["Content-Length"] == got.headers["Content-Length"]


@pytest.mark.parametrize("path", ["/v1/models/nope", f"/v1/models/{MODEL}/versions/9", "/v1/models/nope/versions/1"])
def test_unknown_models(server, path):
    check_problem(server.get(path), 404, "not-found")


@pytest.mark.parametrize("path,status", [
    ("/v1/models/efficientnet%2Dlite0", 200), ("/v1/models/%65fficientnet-lite0/versions/%31", 200),
    ("/v1/models/a%2Fb", 404), ("/v1/models/%2e%2e", 404), ("/v1/models/..", 404), ("/%2e%2e/etc/passwd", 404),
    ("/../../etc/passwd", 404), ("/v1/models/%zz", 400), ("/v1/models/%", 400), ("/v1/models/%00", 400),
    ("/v1/models/" + "a" * 300, 400), ("/v1/models/%ff", 404)])
def test_escaped_paths(server, path, status):
    answer = exchange(server.port, f"GET {path} HTTP/1.1\r\nHost: t\r\n\r\n".encode())
    assert answer.status == status, answer.body
    assert json.loads(answer.body)


# --- health ----------------------------------------------------------------------------------

def test_health(server):
    for path in "/livez", "/readyz":
        response = server.session.get(server.admin_url + path)
        assert response.status_code == 200 and response.json()["status"] in ("live", "ready")
    assert server.session.get(server.admin_url + "/v1/models").status_code == 404
    assert server.session.post(server.admin_url + "/readyz").status_code == 405


# --- the log ---------------------------------------------------------------------------------

def test_access_line_of_a_success(server, cat):
    body, content_type = form([cat, b"text"])
    response = server.predict(body, content_type)
    line = server.access(response.headers["X-Request-Id"])
    assert RFC3339.fullmatch(line["time"]) and line["level"] == "info"
    assert (line["method"], line["path"], line["route"], line["status"]) == ("POST", "/v1/predict", "/v1/predict", 200)
    assert line["bytes_in"] == len(body) and line["bytes_out"] == len(response.content)
    assert line["duration_ms"] > 0 and line["peer"].startswith("127.0.0.1:")
    assert (line["model"], line["version"], line["images"], line["failed"]) == (MODEL, "1", 2, 1)
    assert line["infer_ms_max"] > 0 and "problem" not in line


def test_access_line_of_a_failure(server):
    response = server.predict(b"text")
    line = server.access(response.headers["X-Request-Id"])
    assert (line["status"], line["problem"]) == (415, "unsupported")
    assert line["detail"] == response.json()["detail"]


def test_access_line_leaves_the_query_out(server, cat):
    response = server.predict(cat, params={"model": "secret"})
    line = server.access(response.headers["X-Request-Id"])
    assert line["path"] == "/v1/predict"


def test_one_access_line_for_each_request(start, small_photos):
    server = start()
    wanted = [server.predict(picture).headers["X-Request-Id"] for picture in (*small_photos, b"text")]
    wanted += [server.get(path).headers["X-Request-Id"] for path in ("/v1/models", "/nowhere", "/v1/predict")]
    with Wire(server.port) as wire:
        wire.send(b"nonsense\r\n\r\n")
        wanted.append(wire.answer().headers["X-Request-Id"])
    server.stop()
    assert sorted(event["request_id"] for event in server.events("access")) == sorted(wanted)


def test_every_line_of_the_log_is_json(start, cat):
    server = start()
    server.predict(cat)
    for target in b"/%ff%00", b"/\xff\xfe", b'/"\\', b"/v1/models/%ff", b"/a\x01b":
        exchange(server.port, b"GET " + target + b" HTTP/1.1\r\nHost: t\r\n\r\n")
        exchange(server.port, b"G\xff\x01 " + target + b" HTTP/1.1\r\nHost: t\r\n\r\n")
    server.stop()
    for line in server.lines:
        event = json.loads(line)
        assert {"time", "level", "event"} <= set(event), line


def test_the_access_log_can_be_turned_off(start, cat):
    server = start(access_log="false")
    server.answer(cat)
    server.stop()
    assert server.events("access") == []
