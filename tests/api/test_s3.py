# SPDX-License-Identifier: Apache-2.0
"""Pictures in S3: what is written there, and what happens when S3 does not do as it should.

versitygw stands in for S3, since it checks signatures and checksums; moto where it is about archives and encryption."""
import base64
import datetime
import hashlib
import http.server
import json
import os
import random
import signal
import subprocess
import sys
import threading

import boto3
import pytest
import requests
from botocore.config import Config
from faulty_proxy import FaultyProxy, First
from imago_server import ENGINE, IMAGO, MODELS, PATIENCE_S, environment, eventually, serve_command, serve_settings, sha256
from pictures import flat, save
from s3_server import ACCESS_KEY, BUCKET, CREDENTIALS, REGION, SECRET_KEY, S3Server, free_port, wait_for_port
from test_predict import check_problem

PREFIX = "imago/test"


def client_of(endpoint):
    return boto3.client("s3", endpoint_url=endpoint, region_name=REGION, aws_access_key_id=ACCESS_KEY,
                        aws_secret_access_key=SECRET_KEY,
                        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))


def picture(number, size=64):
    return save(flat(size, size, (number * 7 % 256, number * 13 % 256, number * 29 % 256)), "PNG")


def key_of(data, tenant="default"):
    name = sha256(data)
    return f"{PREFIX}/{tenant}/{name[:2]}/{name}"


class Store:
    """A stand-in behind a proxy that may spoil requests."""

    def __init__(self, port, endpoint):
        self.direct = client_of(endpoint)
        self.proxy = FaultyProxy(port)
        self.url = f"s3://{BUCKET}/{PREFIX}?endpoint={self.proxy.endpoint}"

    def keys(self):
        found = self.direct.list_objects_v2(Bucket=BUCKET, Prefix=PREFIX + "/").get("Contents", [])
        return {one["Key"] for one in found} - {f"{PREFIX}/.imago-removals"}


@pytest.fixture
def gateway(tmp_path):
    server = S3Server(tmp_path / "s3")
    yield server
    server.stop()


@pytest.fixture
def store(gateway):
    store = Store(gateway.port, gateway.endpoint)
    yield store
    store.proxy.stop()


@pytest.fixture
def moto(tmp_path):
    port = free_port()
    with open(tmp_path / "moto.log", "wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for_port(process, port)
            store = Store(port, f"http://127.0.0.1:{port}")
            store.direct.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
            yield store
            store.proxy.stop()
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def serve(start):
    def serve_one(store, more="", env=CREDENTIALS, **settings):
        server = start(images=store.url + more, env=env, **settings)
        eventually(lambda: server.ready() == 200, "the server is ready")
        return server
    return serve_one


def no_secrets(server):
    assert SECRET_KEY not in server.text and "Authorization" not in server.text


def put(server, data):
    return server.request("PUT", "/v1/images", data=data, headers={"Content-Type": "image/png"})


def run(*arguments, env=CREDENTIALS):
    done = subprocess.run([str(IMAGO), *map(str, arguments)], capture_output=True, text=True, timeout=5 * PATIENCE_S,
                          env=environment(**env))
    return done.returncode, done.stdout, done.stderr


def billed(server):
    return server.get("/v1/usage").json()["total"]["images"]


def test_other_tools_read_what_is_written(store, serve, cat):
    server = serve(store)
    answer = server.answer(cat, content_type="image/jpeg")
    assert answer["image"]["sha256"] == sha256(cat)
    found = store.direct.get_object(Bucket=BUCKET, Key=key_of(cat), ChecksumMode="ENABLED")
    assert found["Body"].read() == cat
    assert found["ContentType"] == "image/jpeg"
    assert found["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(cat).digest()).decode()
    renewed_ms = int(found["Metadata"]["renewed-ms"])
    assert abs(renewed_ms / 1000 - found["LastModified"].timestamp()) < 120
    assert store.keys() == {key_of(cat)}
    back = server.get(f"/v1/images/{sha256(cat)}")
    assert back.status_code == 200 and back.content == cat and back.headers["Content-Type"] == "image/jpeg"
    # Sent again it is not written again, but its age begins anew.
    server.answer(cat, content_type="image/jpeg")
    again = store.direct.head_object(Bucket=BUCKET, Key=key_of(cat))
    assert int(again["Metadata"]["renewed-ms"]) > renewed_ms and again["ContentType"] == "image/jpeg"
    no_secrets(server)


def test_many_pictures_in_one_request_go_side_by_side(store, serve):
    server = serve(store)
    pictures = [picture(i) for i in range(48)]
    response = server.request("POST", "/v1/predict", files=[("image", (f"{i}.png", data, "image/png"))
                                                            for i, data in enumerate(pictures)])
    assert response.status_code == 200
    assert all("predictions" in one for one in response.json()["results"])
    assert store.keys() == {key_of(data) for data in pictures}
    assert billed(server) == 48


def test_it_costs_what_the_manual_says(store, serve):
    server = serve(store)
    methods = []
    put(server, picture(0))

    def note(request):
        methods.append(request.command)

    store.proxy.spoil = note
    assert put(server, picture(1)).status_code == 201
    assert methods == ["PUT", "GET"]
    methods.clear()
    assert put(server, picture(1)).status_code == 200
    assert methods == ["PUT", "HEAD", "PUT", "GET"]
    methods.clear()
    assert server.get(f"/v1/images/{sha256(picture(1))}").status_code == 200
    assert methods == ["HEAD", "GET"]


def test_encryption_and_class_are_asked_for(moto, serve):
    server = serve(moto, "&sse=AES256&storage-class=STANDARD_IA")
    data = picture(1)
    assert put(server, data).status_code == 201
    assert put(server, data).status_code == 200
    head = moto.direct.head_object(Bucket=BUCKET, Key=key_of(data))
    assert head["ServerSideEncryption"] == "AES256" and head["StorageClass"] == "STANDARD_IA"
    server.stop()
    server = serve(moto, "&sse=aws:kms&kms-key=arn:aws:kms:eu-central-1:123456789012:key/abc")
    assert put(server, picture(2)).status_code == 201
    head = moto.direct.head_object(Bucket=BUCKET, Key=key_of(picture(2)))
    assert head["ServerSideEncryption"] == "aws:kms" and head["SSEKMSKeyId"].endswith("key/abc")


@pytest.mark.parametrize("verdict", [(500, "InternalError"), (503, "SlowDown"), (503, "ServiceUnavailable"),
                                     (400, "RequestTimeout"), (409, "ConditionalRequestConflict"), "drop", "lose"],
                         ids=str)
def test_what_passes_is_tried_again(store, serve, verdict):
    server = serve(store)
    spoil = First(2, verdict)
    # S3 says what is wrong in the body, which the answer to a HEAD does not have.
    unsaid = isinstance(verdict, tuple) and verdict[0] < 500
    store.proxy.spoil = lambda request: None if unsaid and request.command == "HEAD" else spoil(request)
    data = picture(1)
    assert put(server, data).status_code == 201
    assert server.get(f"/v1/images/{sha256(data)}").content == data
    assert server.predict(data, content_type="image/png").status_code == 200
    assert billed(server) == 1
    assert store.keys() == {key_of(data)}


def test_while_s3_is_away_nothing_is_billed_and_then_all_goes_on(gateway, store, serve):
    server = serve(store)
    kept, lost = picture(1), picture(2)
    assert server.predict(kept, content_type="image/png").status_code == 200
    gateway.stop()
    response = server.predict(lost, content_type="image/png")
    check_problem(response, 503, "unavailable")
    check_problem(server.get(f"/v1/images/{sha256(kept)}"), 503, "unavailable")
    assert billed(server) == 1
    gateway.start()
    assert server.predict(lost, content_type="image/png").status_code == 200
    assert server.get(f"/v1/images/{sha256(kept)}").content == kept
    assert billed(server) == 2


def test_a_server_starts_while_s3_is_away(gateway, store, serve):
    gateway.stop()
    server = serve(store)
    check_problem(put(server, picture(1)), 503, "unavailable")
    gateway.start()
    assert put(server, picture(1)).status_code == 201


class Endpoint:
    """Gives out credentials as a container's endpoint does: session tokens token-1, token-2 and so on."""

    def __init__(self):
        self.count = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.count += 1
                expires = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)
                body = json.dumps({"AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY,
                                   "Token": f"token-{outer.count}",
                                   "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/credentials"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def endpoint():
    endpoint = Endpoint()
    yield endpoint
    endpoint.server.shutdown()
    endpoint.server.server_close()


def without_keys(tmp_path, **more):
    kept = {"AWS_REGION": REGION, "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    return kept | more


def test_expired_credentials_are_renewed_and_never_make_a_picture_absent(moto, serve, endpoint, tmp_path):
    server = serve(moto, env=without_keys(tmp_path, AWS_CONTAINER_CREDENTIALS_FULL_URI=endpoint.url))
    data = picture(1)
    assert put(server, data).status_code == 201
    assert endpoint.count == 1
    refused = {"token-1"}
    moto.proxy.spoil = lambda request: ((400, "ExpiredToken")
                                        if request.headers["x-amz-security-token"] in refused else None)
    assert server.get(f"/v1/images/{sha256(data)}").content == data
    assert endpoint.count == 2
    # Whatever it is given is refused: the picture is not said to be absent.
    refused.update(f"token-{i}" for i in range(2, 1000))
    check_problem(server.get(f"/v1/images/{sha256(data)}"), 503, "unavailable")
    check_problem(put(server, picture(2)), 503, "unavailable")
    eventually(lambda: "ExpiredToken" in server.text, "the log says it")
    refused.clear()
    assert server.get(f"/v1/images/{sha256(data)}").status_code == 200
    assert "token-" not in server.text
    no_secrets(server)


def test_a_wrong_clock_is_explained(store, serve):
    server = serve(store)
    store.proxy.spoil = lambda request: (403, "RequestTimeTooSkewed")
    check_problem(put(server, picture(1)), 503, "unavailable")
    eventually(lambda: "clock" in server.text and "NTP" in server.text, "the log explains it")


def test_what_cannot_work_is_said_at_the_start(store, tmp_path):
    def serve_once(url, env):
        return run(*serve_command(serve_settings(tmp_path, {"images": url}))[1:], env=env)

    status, _, err = serve_once(store.url.replace(BUCKET, "no-such-bucket"), CREDENTIALS)
    assert status != 0 and "no such bucket" in err
    status, _, err = serve_once(store.url, CREDENTIALS | {"AWS_SECRET_ACCESS_KEY": "wrong-and-secret"})
    assert status != 0 and "secret access key" in err and "wrong-and-secret" not in err
    status, _, err = serve_once(store.url, without_keys(tmp_path))
    assert status == 3 and "no AWS credentials" in err
    status, _, err = serve_once("s3://B@d/x", CREDENTIALS)
    assert status == 2 and "bucket" in err


def removals(*data):
    return "\n".join(["imago removals 1", "0123456789abcdef", *(key_of(one)[len(PREFIX) + 1:] for one in data), ""])


def test_a_put_waits_for_the_removal_of_its_picture(store, serve):
    """Another process has announced that it removes a picture: a put of it ends only when that has ended."""
    server = serve(store)
    doomed, other = picture(1), picture(2)
    assert put(server, doomed).status_code == 201
    place = {"Bucket": BUCKET, "Key": f"{PREFIX}/.imago-removals"}
    store.direct.put_object(**place, Body=removals(doomed).encode())
    assert put(server, other).status_code == 201
    answers = []
    thread = threading.Thread(target=lambda: answers.append(put(server, doomed).status_code))
    thread.start()
    looks = store.proxy.count("GET", ".imago-removals")
    eventually(lambda: store.proxy.count("GET", ".imago-removals") >= looks + 3, "it looks again and again")
    assert not answers
    store.direct.delete_object(Bucket=BUCKET, Key=key_of(doomed))
    store.direct.put_object(**place, Body=removals().encode())
    thread.join(PATIENCE_S)
    assert answers == [200]
    assert server.get(f"/v1/images/{sha256(doomed)}").content == doomed


def test_a_remover_that_died_keeps_nobody_waiting_for_ever(store, serve):
    """What it announced counts for three minutes, by the clock of S3."""
    server = serve(store, request_timeout="100ms")
    doomed = picture(1)
    eventually(lambda: server.predict(doomed, content_type="image/png").status_code == 200, "it is labelled in time")
    store.direct.put_object(Bucket=BUCKET, Key=f"{PREFIX}/.imago-removals", Body=removals(doomed).encode())
    store.proxy.ahead_s = 200
    assert put(server, doomed).status_code == 200
    for one in server.get("/v1/predictions").json()["predictions"]:
        assert server.request("DELETE", f"/v1/predictions/{one['id']}").status_code in (200, 204)
    eventually(lambda: not store.keys(), "another remover takes the place")


def test_what_a_sleeping_remover_sends_later_is_refused_by_s3(store, serve):
    """Requests to erase are dated so that S3 refuses them after a minute: here two have passed, by the clocks."""
    server = serve(store, request_timeout="100ms")
    data = picture(1)
    eventually(lambda: server.predict(data, content_type="image/png").status_code == 200, "it is labelled in time")
    store.proxy.ahead_s = -120
    for one in server.get("/v1/predictions").json()["predictions"]:
        assert server.request("DELETE", f"/v1/predictions/{one['id']}").status_code in (200, 204)
    eventually(lambda: store.proxy.count("DELETE"), "it is to be erased")
    assert store.keys() == {key_of(data)}
    store.proxy.ahead_s = 0
    eventually(lambda: not store.keys(), "it is erased when the clocks agree")


def test_an_erased_prediction_takes_its_picture_along(store, serve):
    server = serve(store, request_timeout="100ms")
    data = picture(1)
    eventually(lambda: server.predict(data, content_type="image/png").status_code == 200, "it is labelled in time")
    for one in server.get("/v1/predictions").json()["predictions"]:
        assert server.request("DELETE", f"/v1/predictions/{one['id']}").status_code in (200, 204)
    eventually(lambda: not store.keys(), "the picture has gone from the bucket")
    check_problem(server.get(f"/v1/images/{sha256(data)}"), 404, "not-found")


def archive(moto, data):
    head = moto.direct.head_object(Bucket=BUCKET, Key=key_of(data))
    moto.direct.copy_object(Bucket=BUCKET, Key=key_of(data), CopySource=f"{BUCKET}/{key_of(data)}",
                            StorageClass="GLACIER", MetadataDirective="REPLACE", Metadata=head["Metadata"],
                            ContentType=head["ContentType"])


def test_an_archived_picture_is_restored_or_sent_again(moto, serve):
    server = serve(moto)
    restored, again = picture(1), picture(2)
    for data in (restored, again):
        assert put(server, data).status_code == 201
        archive(moto, data)
        check_problem(server.get(f"/v1/images/{sha256(data)}"), 409, "archived")
    body = {"images": [sha256(restored)]}
    check_problem(server.request("POST", "/v1/jobs", json=body), 409, "archived")
    images = ["--images", moto.url]
    status, out, err = run("image", "restore", sha256(restored), *images, "--days", 3, "--tier", "bulk")
    assert status == 0, err
    assert json.loads(out) == {"tenant": "default", "sha256": sha256(restored), "state": "asked"}
    assert json.loads(run("image", "restore", sha256(restored), *images)[1])["state"] in ("under-way", "restored")
    assert server.get(f"/v1/images/{sha256(restored)}").content == restored
    # Sent again, it is an object like any other.
    assert put(server, again).status_code == 200
    assert server.get(f"/v1/images/{sha256(again)}").content == again
    assert "StorageClass" not in moto.direct.head_object(Bucket=BUCKET, Key=key_of(again))
    assert json.loads(run("image", "restore", sha256(again), *images)[1])["state"] == "at-hand"
    status, _, err = run("image", "restore", sha256(again), *images, "--tenant", "acme")
    assert status == 4 and "no such picture" in err
    assert run("image", "restore", "abc", *images)[0] == 2
    assert run("image", "restore", sha256(again), *images, "--tier", "slow")[0] == 2


def test_an_archived_prediction_can_still_be_read_and_erased(moto, serve):
    server = serve(moto, request_timeout="100ms")
    data = picture(3)
    eventually(lambda: server.predict(data, content_type="image/png").status_code == 200, "it is labelled in time")
    archive(moto, data)
    found = server.get("/v1/predictions").json()["predictions"]
    assert {one["image"]["sha256"] for one in found} == {sha256(data)}
    for one in found:
        assert server.request("DELETE", f"/v1/predictions/{one['id']}").status_code in (200, 204)
    eventually(lambda: not moto.keys(), "the picture has gone from the archive")


def test_doctor_looks_into_the_bucket(store, serve, tmp_path):
    server = serve(store)
    assert server.predict(picture(1), content_type="image/png").status_code == 200
    server.stop()

    def pictures(url):
        engine = [f"--engine={ENGINE}"] if ENGINE else []
        _, out, _ = run("doctor", "--data", tmp_path / "data", f"--models={MODELS}", "--images", url, *engine)
        return next(row for row in map(json.loads, out.splitlines()) if row["check"] == "pictures")

    fine = pictures(store.url)
    assert fine["state"] == "ok" and f"s3://{BUCKET}/{PREFIX}" in fine["found"]
    broken = pictures(store.url.replace(BUCKET, "no-such-bucket"))
    assert broken["state"] == "fail" and "no such bucket" in broken["found"]


def test_a_server_without_s3_asks_nobody_for_credentials(start, endpoint, tmp_path):
    server = start(env=without_keys(tmp_path, AWS_CONTAINER_CREDENTIALS_FULL_URI=endpoint.url))
    assert server.predict(picture(1), content_type="image/png").status_code == 200
    assert endpoint.count == 0


def test_a_backup_copies_from_the_bucket_and_back(store, serve, tmp_path):
    server = serve(store)
    pictures = [picture(i) for i in range(3)]
    for data in pictures:
        assert server.predict(data, content_type="image/png").status_code == 200
    server.stop()
    at = ["--data", tmp_path / "data", "--images", store.url]
    status, out, err = run("backup", tmp_path / "backup", *at)
    assert status == 0, out + err
    for data in pictures[:2]:
        store.direct.delete_object(Bucket=BUCKET, Key=key_of(data))
    status, out, err = run("restore", tmp_path / "backup", *at, "--replace")
    assert status == 0, out + err
    assert store.keys() == {key_of(data) for data in pictures}
    server = serve(store)
    assert server.get(f"/v1/images/{sha256(pictures[0])}").content == pictures[0]


def test_killed_servers_before_a_failing_s3_lose_nothing(store, serve, tmp_path):
    """What was answered has its prediction and its picture, whatever S3 and kill -9 did meanwhile."""
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print("SEED", seed)
    dice = random.Random(seed)
    lock = threading.Lock()
    answered = {}

    def spoil(request):
        with lock:
            roll = dice.random()
        return "drop" if roll < 0.03 else "lose" if roll < 0.06 else (503, "SlowDown") if roll < 0.12 else None

    def client(server, numbers):
        for number in numbers:
            data = picture(number)
            try:
                response = server.predict(data, content_type="image/png")
            except requests.RequestException:
                return
            if response.status_code == 200:
                with lock:
                    answered[response.json()["id"]] = data
            else:
                check_problem(response, 503, "unavailable")

    for turn in range(3):
        store.proxy.spoil = lambda request: None
        server = serve(store)
        store.proxy.spoil = spoil
        before = len(answered)
        threads = [threading.Thread(target=client, args=(server, range(turn * 500 + i * 100, turn * 500 + i * 100 + 90)))
                   for i in range(4)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(answered) >= before + 25 + turn, "some are answered")
        server.expected_status = -signal.SIGKILL
        server.kill()
        for thread in threads:
            thread.join()
    store.proxy.spoil = lambda request: None
    server = serve(store)
    assert len(answered) >= 75
    for prediction, data in answered.items():
        assert server.get(f"/v1/predictions/{prediction}").json()["image"]["sha256"] == sha256(data)
        assert server.get(f"/v1/images/{sha256(data)}").content == data
    assert billed(server) >= len(answered)
    server.stop()
    status, out, err = run("usage", "verify", "--data", tmp_path / "data", "--images", store.url)
    assert status == 0, out + err
