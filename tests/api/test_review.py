# SPDX-License-Identifier: Apache-2.0
"""Corners that a careful reading of the sources found."""
import base64
import json
import os
import shutil
import re
import signal
import subprocess

import pytest
from imago_server import ENGINE, IMAGO, MODELS, PATIENCE_S, environment
from wire import Wire, exchange, form, part


@pytest.mark.parametrize("at", [4, 20_000, -4, None])
@pytest.mark.parametrize("sign", ["-", "_", "-----END"])
def test_base64_has_no_dashes(server, cat, at, sign):
    """The decoder behind it takes '-' for the end, as PEM files have it."""
    text = base64.b64encode(cat).decode()
    text = text + sign if at is None else text[:at] + sign + text[at:]
    answer = server.request("POST", "/v1/predict", json={"image": text})
    assert answer.status_code == 400 and "base64" in answer.json()["detail"]


def test_access_line_of_a_failure_that_quotes_no_text(server, cat):
    answer = server.request("POST", "/v1/predict?model=%ff", data=cat)
    line = server.access(answer.headers["X-Request-Id"])
    assert (line["status"], line["problem"]) == (404, "not-found")


def test_a_log_that_nobody_reads_does_not_keep_the_server_from_ending(tmp_path):
    """Standard error is a pipe that is full."""
    settings = {"listen": "127.0.0.1:0", "data": tmp_path, "models": MODELS, "drain-linger": "10ms", "preload": "false"}
    if ENGINE:
        settings["engine"] = ENGINE
    command = [IMAGO, "serve", *(f"--{name}={value}" for name, value in settings.items())]
    reading, writing = os.pipe()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=writing, env=environment())
    os.close(writing)
    try:
        port = json.loads(os.read(reading, 65536).partition(b"\n")[0])["port"]
        with Wire(port) as wire:
            for _ in range(1000):
                wire.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
                assert wire.answer().status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reading)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_can_never_fit_is_not_told_to_come_back(start, chunked):
    server = start(body_memory="1Mi")
    body = bytes(2 << 20)
    head = b"POST /v1/predict HTTP/1.1\r\nHost: test\r\n"
    if chunked:
        data = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    else:
        data = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    assert exchange(server.port, data).status == 413


def test_a_model_that_cannot_be_opened_is_no_fault_of_the_request(start, tmp_path, cat):
    models = tmp_path / "models"
    models.mkdir()
    for folder in MODELS.iterdir():
        if folder.is_dir():
            (models / folder.name).symlink_to(folder)
    source = next(models.glob("*/*/model.yaml")).parent
    broken = models / "zz-broken" / "1"
    broken.mkdir(parents=True)
    (broken / "labels.txt").write_bytes((source / "labels.txt").read_bytes())
    text = (source / "model.yaml").read_text()
    text = re.sub(r"^name:.*", "name: zz-broken", text, flags=re.M)
    (broken / "model.yaml").write_text(re.sub(r"^version:.*", 'version: "1"', text, flags=re.M))
    server = start(models=models)
    for _ in range(2):
        assert server.predict(cat, params={"model": "zz-broken"}).status_code == 500
    assert server.predict(cat).status_code == 200


def test_a_model_that_cannot_be_opened_is_told_at_the_start(start, tmp_path, cat):
    models = tmp_path / "models"
    shutil.copytree(MODELS, models, ignore=shutil.ignore_patterns(".done"))
    (models / "efficientnet-lite0-fp32/1/model.onnx").unlink()
    server = start(models=models, preload="true")
    failure = server.event("model_failed")
    assert failure["model"] == "efficientnet-lite0-fp32" and "model.onnx" in failure["detail"]
    answer = server.predict(cat, params={"model": "efficientnet-lite0-fp32"})
    assert answer.status_code == 500
    # Where the server keeps its files is for its log.
    assert str(tmp_path) not in answer.text and "model.onnx" not in answer.text
    assert "model.onnx" in server.access(answer.headers["X-Request-Id"])["detail"]


def test_the_time_for_a_request_runs_while_its_json_is_read(start, cat):
    server = start(request_timeout="50ms")
    picture = cat + bytes(19_900_000)
    answer = server.request("POST", "/v1/predict", json={"image": base64.b64encode(picture).decode()})
    assert answer.status_code == 504


def test_a_form_of_very_many_parameters(server, cat):
    body, content_type = form([cat], top_k=1)
    assert server.predict(part("top_k", 1) * 15 + body, content_type).status_code == 200
    assert server.predict(part("top_k", 1) * 16 + body, content_type).status_code == 413
