# SPDX-License-Identifier: Apache-2.0
"""Base64 that is almost right, log lines that quote what is no text, logs that nobody reads."""
import base64
import json
import os
import signal
import subprocess

import pytest
from conftest import ENGINE, IMAGO, MODELS, PATIENCE_S, environment
from wire import Wire


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
    settings = {"listen": "127.0.0.1:0", "data": tmp_path, "models": MODELS, "drain-linger": "10ms"}
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
