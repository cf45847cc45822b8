# SPDX-License-Identifier: Apache-2.0
"""imago doctor: what is in order is said to be, and whatever is broken is found."""
import json
import os
import pty
import socket
import sqlite3
import subprocess

import pytest
from imago_server import ENGINE, IMAGO, MODELS, PATIENCE_S, environment
from test_backup import filled, picture, tree  # noqa: F401

STATES = {"ok", "warn", "fail"}


def doctor(data, *options, env=None):
    """(exit status, {check: (state, what was found and what to do)})"""
    engine = [f"--engine={ENGINE}"] if ENGINE else []
    done = subprocess.run([str(IMAGO), "doctor", f"--data={data}", f"--models={MODELS}", "--listen=127.0.0.1:0", *engine,
                           *map(str, options)], capture_output=True, text=True, timeout=10 * PATIENCE_S,
                          env=environment(**(env or {})))
    found = {}
    for line in done.stdout.splitlines():
        row = json.loads(line)
        assert row["state"] in STATES and row["found"]
        if row["check"] not in found or row["state"] != "ok":
            found[row["check"]] = (row["state"], f"{row['found']} {row['advice']}")
    return done.returncode, found


def failed(data, check, *options, words=()):
    status, found = doctor(data, *options)
    state, text = found[check]
    assert status == 1 and state == "fail", found
    assert all(word in text for word in words), text
    assert text.strip()
    return found


def test_all_is_well(filled, tmp_path):  # noqa: F811
    data, _ = filled
    data.chmod(0o700)  # the fixture's is made by hand
    before = tree(data)
    for options in (), ("--full",):
        status, found = doctor(data, *options)
        assert status == 0 and {state for state, _ in found.values()} <= {"ok", "warn"}, found
        for check in ("settings", "data folder", "results", "accounts", "queue", "ledger", "pictures", "predictions",
                      "listen", "access", "model"):
            assert found[check][0] == "ok", found[check]
        assert "6 entries" in found["ledger"][1] and "6, have their picture" in found["predictions"][1]
    assert tree(data) == before


def test_beside_a_running_server(start, tmp_path, cat):
    server = start()
    server.answer(cat)
    status, found = doctor(tmp_path / "data", f"--listen=127.0.0.1:{server.port}")
    assert status == 0 and found["results"][0] == found["predictions"][0] == "ok"
    assert found["listen"][0] == "warn" and "in use" in found["listen"][1]
    server.answer(cat)


def test_after_a_crash(start, tmp_path, cat):
    server = start(cold=True)
    server.answer(cat)
    server.kill()
    server.expected_status = -9
    before = tree(tmp_path / "data")
    status, found = doctor(tmp_path / "data")
    after = tree(tmp_path / "data")
    assert status == 0 and "1 entries" in found["ledger"][1]
    assert {name: data for name, data in after.items() if not name.name.endswith("-shm")} == \
        {name: data for name, data in before.items() if not name.name.endswith("-shm")}


def test_before_the_first_start(tmp_path):
    status, found = doctor(tmp_path / "data")
    assert status == 0 and found["data folder"][0] == found["pictures"][0] == "warn"
    assert not (tmp_path / "data").exists()


def test_on_a_terminal(filled):  # noqa: F811
    data, _ = filled
    ours, theirs = pty.openpty()
    process = subprocess.Popen([str(IMAGO), "doctor", f"--data={data}", f"--models={MODELS}", "--listen=127.0.0.1:0"],
                               stdout=theirs, stderr=subprocess.PIPE, env=environment(TERM="xterm"))
    os.close(theirs)
    text = b""
    try:
        while piece := os.read(ours, 4096):
            text += piece
    except OSError:
        pass
    process.communicate()
    lines = text.decode().replace("\r", "").splitlines()
    assert lines[0].startswith("ok    settings") and "0 failed" in lines[-1]
    assert process.returncode == 0


@pytest.mark.parametrize("page", ["first", "middle", "last"])
def test_a_damaged_database(filled, page):  # noqa: F811
    data, _ = filled
    with (data / "imago.db").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek({"first": 0, "middle": size // 2 // 4096 * 4096, "last": size - 4096}[page])
        file.write(os.urandom(600))
    failed(data, "results", words=["imago.db", "restore"])


def test_a_ledger_that_was_tampered_with(filled):  # noqa: F811
    data, _ = filled
    with sqlite3.connect(data / "imago.db") as db:
        db.execute("DELETE FROM results_ledger WHERE id = (SELECT min(id) FROM results_ledger)")
    db.close()
    failed(data, "ledger", words=["differences"])


def test_a_database_without_its_log_mode(filled):  # noqa: F811
    data, _ = filled
    db = sqlite3.connect(data / "imago.db")
    db.execute("PRAGMA journal_mode=DELETE")
    db.close()
    failed(data, "results", words=["journal mode"])


@pytest.mark.parametrize("version,state", [(0, "warn"), (999, "fail")])
def test_a_database_of_another_version(filled, version, state):  # noqa: F811
    data, _ = filled
    db = sqlite3.connect(data / "imago.db")
    db.execute("UPDATE migration SET version = max(?, 1) WHERE module = 'account'", (version,))
    db.commit()
    db.close()
    _, found = doctor(data)
    assert found["accounts"][0] == state and "version" in found["accounts"][1]
    assert found["results"][0] == "ok"


def test_a_file_that_is_no_database(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "imago.db").write_text("dear diary, " * 1000)
    failed(data, "results", words=["imago.db"])


@pytest.mark.parametrize("options", [(), ("--full",)])
def test_pictures_that_are_damaged_or_lost(filled, options):  # noqa: F811
    data, answers = filled
    hashes = [answer["image"]["sha256"] for answer in answers.values()]
    first = picture(data, hashes[0])
    content = first.read_bytes()
    first.write_bytes(content[:-3] + b"xyz")
    failed(data, "pictures", *options, words=["damaged", hashes[0], "1 of 6"])
    first.write_bytes(content[:100])
    failed(data, "pictures", *options, words=["damaged"])
    first.unlink()
    found = failed(data, "predictions", *options, words=["lost", hashes[0][:16]])
    assert found["pictures"][0] == "ok"
    first.write_bytes(content)
    assert doctor(data, *options)[0] == 0


def test_what_others_can_read_is_told(filled):  # noqa: F811
    data, _ = filled
    data.chmod(0o755)
    (data / "imago.db").chmod(0o644)
    status, found = doctor(data)
    assert status == 0 and found["data folder"][0] == found["results"][0] == "warn"
    assert "chmod 700" in found["data folder"][1] and "chmod 600" in found["results"][1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_what_another_user_owns(filled, tmp_path):  # noqa: F811
    data, _ = filled
    for folder in tmp_path, *list(tmp_path.parents)[:3]:
        if folder != folder.parent and folder.name:
            folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run([str(IMAGO), "doctor", f"--data={data}", f"--models={MODELS}", "--listen=127.0.0.1:0"],
                          capture_output=True, text=True, user=65534, group=65534, env=environment())
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert any(row["check"] == "data folder" and row["state"] == "fail" and "user" in row["advice"] for row in rows), rows


def test_settings_that_cannot_be(filled):  # noqa: F811
    data, _ = filled
    failed(data, "settings", "--images=none", words=["--results none"])
    failed(data, "access", "--listen=0.0.0.0:0", words=["imago key create"])
    failed(data, "listen", "--listen=nonsense", words=["HOST:PORT"])
    failed(data, "listen", "--listen=203.0.113.7:80")
    status, found = doctor(data, "--results=none", "--accounts=none")
    assert status == 0 and found["results"][1].strip() == found["accounts"][1].strip() == "switched off"
    taken = socket.create_server(("127.0.0.1", 0))
    assert doctor(data, f"--admin-listen=127.0.0.1:{taken.getsockname()[1]}")[1]["admin listen"][0] == "warn"
    taken.close()
    done = subprocess.run([str(IMAGO), "doctor", "--workers=x"], capture_output=True, text=True, env=environment())
    assert done.returncode == 2 and "--workers" in done.stderr


def test_a_model_that_does_not_load(tmp_path):
    version = tmp_path / "models/mine/1"
    version.mkdir(parents=True)
    (version / "model.yaml").write_text("nonsense: [")
    failed(tmp_path / "data", "models", f"--models={tmp_path / 'models'}", words=["model.yaml"])
    failed(tmp_path / "data", "models", f"--models={tmp_path / 'nowhere'}", words=["nowhere"])


def test_a_clock_that_went_back(filled):  # noqa: F811
    data, _ = filled
    db = sqlite3.connect(data / "imago.db")
    db.execute("UPDATE results_prediction SET created_ms = created_ms + 7200000")
    db.execute("UPDATE results_ledger SET created_ms = created_ms + 7200000")
    db.commit()
    db.close()
    failed(data, "clock", words=["prediction of"])


def test_few_open_files(filled):  # noqa: F811
    data, _ = filled
    done = subprocess.run(["bash", "-c", f'ulimit -n 200; exec "$0" doctor --data={data} --listen=127.0.0.1:0 '
                                         f'--models={MODELS}', str(IMAGO)],
                          capture_output=True, text=True, env=environment())
    rows = {row["check"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["open files"]["state"] == "warn" and "--connections" in rows["open files"]["advice"]
