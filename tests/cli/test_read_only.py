# SPDX-License-Identifier: Apache-2.0
"""A data folder on a file system that is read-only or full: nothing starts that could not work, and what can work does."""
import json
import os
import subprocess

import pytest
from imago_server import IMAGO, MODELS, PATIENCE_S, environment, eventually

FILLER_MIB = 24


@pytest.fixture
def disk(tmp_path):
    """A small file system of the test's own: disk("ro"), disk("rw")."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={FILLER_MIB}m", "none", place],
                                           capture_output=True).returncode != 0:
        pytest.skip("only root mounts file systems")

    def remount(how):
        subprocess.run(["mount", "-o", f"remount,{how}", place], check=True)
    remount.path = place
    yield remount
    subprocess.run(["umount", "-l", place], check=True)


def imago(*arguments):
    return subprocess.run([str(IMAGO), *map(str, arguments)], capture_output=True, text=True, timeout=5 * PATIENCE_S,
                          env=environment())


def prepare(disk, start, warm_cache):
    """A server on it; what it compiles would fill it."""
    data = disk.path / "data"
    data.mkdir(mode=0o700)
    (data / "cache").symlink_to(warm_cache)
    return start(cold=True, data=data)


def test_a_start_on_a_read_only_disk(disk, start, warm_cache, tmp_path, cat):
    server = prepare(disk, start, warm_cache)
    id = server.answer(cat)["id"]
    server.stop()
    disk("ro")
    data = disk.path / "data"
    for command in (["serve", "--listen=127.0.0.1:0", f"--models={MODELS}"], ["key", "create"], ["key", "list"]):
        done = imago(*command, "--data", data)
        assert done.returncode == 11 and "Read-only" in done.stderr and "imago.db" in done.stderr, done.stderr
    done = imago("serve", "--listen=127.0.0.1:0", "--data", disk.path / "new")
    assert done.returncode == 11 and "--data" in done.stderr and "Read-only" in done.stderr

    done = imago("doctor", "--data", data, f"--models={MODELS}", "--listen=127.0.0.1:0")
    rows = {row["check"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1 and {name for name, row in rows.items() if row["state"] == "fail"} == {"file system", "free space"}
    assert rows["ledger"]["state"] == "ok"

    done = imago("backup", tmp_path / "copy", "--data", data)
    assert done.returncode == 0, done.stderr
    done = imago("restore", tmp_path / "copy", "--data", data, "--replace")
    assert done.returncode == 11 and "Read-only" in done.stderr
    disk("rw")
    server = start(cold=True, data=data)
    assert [row["id"] for row in server.get("/v1/predictions").json()["predictions"]] == [id]


def test_a_disk_that_fills_up_while_the_server_runs(disk, start, warm_cache, small_photos):
    server = prepare(disk, start, warm_cache)
    id = server.answer(small_photos[0])["id"]
    filler = disk.path / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            pass

    def refused():
        for photo in small_photos[1:]:
            response = server.predict(photo)
            if response.status_code != 200:
                return [response]  # itself it is false
        return None
    response, = eventually(refused, "a prediction cannot be stored")
    assert response.status_code == 503 and "Retry-After" in response.headers
    assert response.json()["type"].endswith("/unavailable") and response.json()["detail"]
    why = server.access(response.json()["request_id"])["store_error"]
    assert "full" in why or "space" in why, why
    assert server.get(f"/v1/predictions/{id}").status_code == 200
    assert server.get("/v1/usage").status_code == 200
    filler.unlink()
    eventually(lambda: server.predict(small_photos[3]).status_code == 200, "it goes on by itself")
    done = imago("doctor", "--data", disk.path / "data", f"--models={MODELS}", "--listen=127.0.0.1:0")
    rows = {row["check"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["ledger"]["state"] == rows["predictions"]["state"] == rows["pictures"]["state"] == "ok", rows


def test_a_backup_onto_a_full_disk(disk, start, tmp_path, small_photos):
    server = start()
    for photo in small_photos:
        server.answer(photo)
    server.stop()
    (disk.path / "filler").write_bytes(bytes((FILLER_MIB - 1) << 20))
    (disk.path / "more").write_bytes(bytes(900 << 10))
    done = imago("backup", disk.path / "copy", "--data", tmp_path / "data")
    assert done.returncode == 11 and ("full" in done.stderr or "space" in done.stderr), done.stderr
    (disk.path / "filler").unlink()
    done = imago("backup", disk.path / "copy", "--data", tmp_path / "data")
    assert done.returncode == 0 and json.loads(done.stdout)["images"] == len(small_photos), done.stderr
