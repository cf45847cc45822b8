# SPDX-License-Identifier: Apache-2.0
"""imago backup and imago restore: nothing that was answered before is missing after."""
import concurrent.futures
import fcntl
import json
import os
import shutil
import sqlite3
import subprocess
import threading

import pytest
from imago_server import IMAGO, PATIENCE_S, eventually, environment, sha256


def imago(*arguments, status=0):
    done = subprocess.run([str(IMAGO), *map(str, arguments)], capture_output=True, text=True, timeout=5 * PATIENCE_S,
                          env=environment())
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


def backup(data, into, **options):
    return json.loads(imago("backup", into, "--data", data, **options).stdout)


def restore(folder, data, *options, **more):
    return json.loads(imago("restore", folder, "--data", data, *options, **more).stdout)


def refuse(status, words, *arguments):
    done = imago(*arguments, status=status)
    assert done.stdout == "" and all(word in done.stderr for word in words), done.stderr


def picture(data, hash, tenant="default"):
    return data / "images" / tenant / hash[:2] / hash[2:4] / hash


def tree(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def filled(start, tmp_path, small_photos):
    """A stopped server's data folder with 6 predictions, and their answers by id."""
    server = start()
    answers = [server.answer(photo) for photo in small_photos[:6]]
    server.stop()
    return tmp_path / "data", {answer["id"]: answer for answer in answers}


def history(server):
    page = server.get("/v1/predictions?limit=1000").json()
    return {row["id"]: row for row in page["predictions"]}


def test_there_and_back(filled, start, tmp_path, small_photos):
    data, answers = filled
    imago("key", "create", "--data", data, "--name=x")
    before = tree(data)
    said = backup(data, tmp_path / "copy")
    assert tree(data) == before
    assert said["databases"] == 1 and said["images"] == said["copied"] == 6
    manifest = json.loads((tmp_path / "copy/manifest.json").read_text())
    database, = manifest["databases"]
    file = tmp_path / "copy" / database["file"]
    assert database["holds"] == ["results", "accounts", "queue"]
    assert database["size"] == file.stat().st_size and database["sha256"] == sha256(file.read_bytes())
    assert manifest["complete"] and manifest["images"]["count"] == 6 and manifest["created_at"] == said["created_at"]
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["images", database["file"], "manifest.json"]
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700 and file.stat().st_mode & 0o777 == 0o600

    told = restore(tmp_path / "copy", tmp_path / "new")
    assert told["ledger_entries"] == told["predictions"] == told["images"] == 6 and told["missing"] == 0
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["images", "imago.db"]
    token = imago("key", "create", "--data", tmp_path / "new", "--scopes=read").stdout.strip()
    server = start(data=tmp_path / "new", cold=True)
    server.session.headers["Authorization"] = f"Bearer {token}"
    assert set(history(server)) == set(answers)
    for photo in small_photos[:6]:
        assert server.get(f"/v1/images/{sha256(photo)}").content == photo


def test_a_backup_under_load_has_all_that_was_answered_before(start, tmp_path, small_photos):
    server = start(cold=True)
    stop = threading.Event()
    done = []

    def send(number):
        while not stop.is_set():
            photo = small_photos[number % len(small_photos)]
            done.append((server.answer(photo)["id"], sha256(photo)))
            number += 5
    with concurrent.futures.ThreadPoolExecutor(4) as clients:
        futures = [clients.submit(send, i) for i in range(4)]
        eventually(lambda: len(done) > 20, "there are predictions")
        before = list(done)
        said = backup(tmp_path / "data", tmp_path / "copy")
        between = list(done)
        again = backup(tmp_path / "data", tmp_path / "copy")
        stop.set()
        for future in futures:
            future.result()
    assert len(done) > len(before)
    assert said["missing"] == said["damaged"] == again["missing"] == 0 and again["copied"] <= again["images"]
    told = restore(tmp_path / "copy", tmp_path / "new")
    assert told["missing"] == 0 and told["ledger_entries"] == told["predictions"] >= len(between)
    copy = start(data=tmp_path / "new", cold=True)
    for id, hash in between:
        assert copy.get(f"/v1/predictions/{id}").json()["image"]["sha256"] == hash
        assert picture(tmp_path / "new", hash).exists()


def test_a_second_backup_copies_what_is_new_and_drops_what_was_erased(start, tmp_path, small_photos):
    server = start()
    ids = [server.answer(photo)["id"] for photo in small_photos[:4]]
    copy = tmp_path / "copy"
    assert backup(tmp_path / "data", copy)["copied"] == 4
    first, = copy.glob("*.db")
    server.answer(small_photos[5])
    assert server.request("DELETE", f"/v1/predictions/{ids[0]}").status_code == 204
    server.stop()  # a picture may be kept until it is old enough; what the store has is what counts
    gone = picture(tmp_path / "data", sha256(small_photos[0]))
    gone.unlink(missing_ok=True)
    said = backup(tmp_path / "data", copy)
    assert said["copied"] == 1 and said["images"] == 4
    assert not first.exists() and len(list(copy.glob("*.db*"))) == 1
    assert not picture(copy, sha256(small_photos[0])).exists()
    told = restore(copy, tmp_path / "new")
    assert told["predictions"] == 4 and told["ledger_entries"] == 5


def test_what_is_erased_while_it_is_copied_does_not_come_back(start, tmp_path, small_photos):
    """Erasures go on beside backups; each copy is whole all the same."""
    server = start(cold=True)
    ids = [server.answer(photo)["id"] for photo in small_photos[:12]]

    def erase():
        for id in ids:
            assert server.request("DELETE", f"/v1/predictions/{id}").status_code == 204
    eraser = threading.Thread(target=erase)
    eraser.start()
    for number in range(3):
        said = backup(tmp_path / "data", tmp_path / "copy")
        assert said["missing"] == said["damaged"] == 0
        told = restore(tmp_path / "copy", tmp_path / f"new{number}")
        assert told["missing"] == 0 and told["ledger_entries"] == 12
    eraser.join()
    backup(tmp_path / "data", tmp_path / "copy")
    assert restore(tmp_path / "copy", tmp_path / "last")["predictions"] == 0


def test_a_backup_that_fails_leaves_the_one_before(filled, tmp_path):
    data, _ = filled
    copy = tmp_path / "copy"
    backup(data, copy)
    before = tree(copy)
    blocked = picture(data, "ab" * 32)  # what no picture is: its reading fails
    blocked.mkdir(parents=True)
    done = subprocess.run([str(IMAGO), "backup", str(copy), "--data", str(data)], capture_output=True, text=True,
                          env=environment())
    assert done.returncode in (0, 1, 11) and (done.returncode == 0 or tree(copy) == before), done.stderr
    assert restore(copy, tmp_path / "new")["predictions"] == 6


@pytest.mark.parametrize("steps", range(1, 6))
def test_a_killed_backup_can_be_taken_up(filled, tmp_path, steps):
    data, _ = filled
    copy = tmp_path / "copy"
    process = subprocess.Popen([str(IMAGO), "backup", str(copy), "--data", str(data)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, env=environment())
    eventually(lambda: len(list(copy.rglob("*"))) >= steps * 2 or process.poll() is not None, "it has begun")
    process.kill()
    process.wait()
    if not json.loads((copy / "manifest.json").read_text())["complete"]:
        refuse(2, ["cut short"], "restore", copy, "--data", tmp_path / "new")
    said = backup(data, copy)
    assert said["images"] == 6 and len(list(copy.glob("*.db*"))) == 1
    assert restore(copy, tmp_path / "new")["predictions"] == 6


def test_damage_in_the_source_is_told_and_the_rest_is_copied(filled, tmp_path):
    data, answers = filled
    hashes = [answer["image"]["sha256"] for answer in answers.values()]
    damaged, lost = picture(data, hashes[0]), picture(data, hashes[1])
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    lost.unlink()
    done = imago("backup", tmp_path / "copy", "--data", data, status=1)
    said = json.loads(done.stdout)
    assert said["damaged"] == 1 and said["missing"] == 2 and said["images"] == 4
    assert hashes[0] in done.stderr or hashes[0][:16] in done.stderr
    told = json.loads(imago("restore", tmp_path / "copy", "--data", tmp_path / "new", status=1).stdout)
    assert told["missing"] == 2 and told["predictions"] == 6 and told["images"] == 4


def test_a_damaged_database_is_not_copied_over_a_good_backup(filled, tmp_path):
    data, _ = filled
    copy = tmp_path / "copy"
    backup(data, copy)
    before = tree(copy)
    with (data / "imago.db").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        for page in range(2, size // 4096):
            file.seek(page * 4096)
            file.write(os.urandom(64))
    done = imago("backup", copy, "--data", data, status=1)
    assert "damaged" in done.stderr and tree(copy) == before


def test_a_backup_that_was_changed_is_not_restored(filled, tmp_path):
    data, answers = filled
    copy = tmp_path / "copy"
    backup(data, copy)
    file, = copy.glob("*.db")
    good = file.read_bytes()
    file.write_bytes(good[:5000] + b"x" + good[5001:])
    refuse(1, [file.name, "damaged"], "restore", copy, "--data", tmp_path / "new")
    file.write_bytes(good)
    bad = picture(copy, next(iter(answers.values()))["image"]["sha256"])
    bad.write_bytes(b"x" * bad.stat().st_size)
    told = json.loads(imago("restore", copy, "--data", tmp_path / "new", status=1).stdout)
    assert told["damaged"] == 1 and told["missing"] == 1
    for text in "", "{}", "[]", '{"format": 2}', (copy / "manifest.json").read_text().replace('"format": 1', '"format": 7'):
        (copy / "manifest.json").write_text(text)
        refuse(2, ["manifest"], "restore", copy, "--data", tmp_path / "other")
    (copy / "manifest.json").unlink()
    refuse(4, ["manifest.json"], "restore", copy, "--data", tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_restore_replaces_only_when_told(filled, start, tmp_path, small_photos):
    data, answers = filled
    copy = tmp_path / "copy"
    backup(data, copy)
    server = start(data=data, cold=True)
    later = server.answer(small_photos[7])["id"]
    # Not while it runs.
    refuse(9, ["imago serve"], "restore", copy, "--data", data, "--replace")
    assert later in history(server)
    server.stop()
    refuse(2, ["imago.db", "--replace"], "restore", copy, "--data", data)
    told = restore(copy, data, "--replace")
    assert told["replaced"] == 1 and told["images"] == 0 and told["images_there"] == 6
    assert [path.name for path in data.iterdir() if path.name.startswith("imago.db")] == ["imago.db"]
    assert set(history(start(data=data, cold=True))) == set(answers)


def test_a_replacement_that_fails_leaves_the_old_one(filled, start, tmp_path):
    """The database has its second name already when its log cannot get one."""
    data, answers = filled
    copy = tmp_path / "copy"
    backup(data, copy)
    (data / "imago.db-wal").touch()
    (data / "imago.db.replaced-wal").mkdir()
    before = tree(data)
    refuse(11, ["imago.db-wal"], "restore", copy, "--data", data, "--replace")
    assert tree(data) == before
    (data / "imago.db.replaced-wal").rmdir()
    assert restore(copy, data, "--replace")["replaced"] == 1
    assert set(history(start(data=data, cold=True))) == set(answers)


def test_no_server_begins_anew_where_a_restore_died(filled, start, tmp_path):
    """Its empty database would hide that, and has no keys: everybody could use it."""
    data, answers = filled
    copy = tmp_path / "copy"
    backup(data, copy)
    (data / "imago.db").rename(data / "imago.db.replaced")
    (data / "imago.db.restoring").write_bytes(b"half of it")
    for command in ["serve", "--listen=127.0.0.1:0"], ["key", "create"]:
        refuse(11, ["imago.db.restoring", "imago restore"], *command, "--data", data)
    assert not (data / "imago.db").exists()
    restore(copy, data)
    assert [path.name for path in data.iterdir() if path.name.startswith("imago.db")] == ["imago.db"]
    assert set(history(start(data=data, cold=True))) == set(answers)


def test_nobody_gets_in_while_it_is_restored(filled, tmp_path):
    data, _ = filled
    folder = os.open(data, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    refuse(9, ["restored"], "key", "list", "--data", data)
    refuse(9, ["restored"], "serve", "--data", data, "--listen=127.0.0.1:0")
    os.close(folder)


def test_pictures_that_the_server_lost_stay_in_the_backup(filled, tmp_path):
    data, _ = filled
    copy = tmp_path / "copy"
    backup(data, copy)
    kept = tree(copy / "images")
    shutil.move(data / "images", tmp_path / "away")  # its disk is not mounted:
    before = tree(copy)
    refuse(4, ["images"], "backup", copy, "--data", data)
    assert tree(copy) == before
    (data / "images").mkdir()  # or another one is, which is empty
    backup(data, copy)
    assert tree(copy / "images") == kept
    assert restore(copy, tmp_path / "new")["missing"] == 0


def test_stores_in_places_of_their_own(start, tmp_path, cat):
    places = tmp_path / "places"
    places.mkdir()
    settings = {"results": f"sqlite:{places / 'r.db'}", "accounts": f"sqlite:{places / 'a.db'}",
                "queue": f"sqlite:{places / 'q.db'}", "images": f"file:{places / 'pictures'}"}
    server = start(**settings)
    id = server.answer(cat)["id"]
    server.stop()
    flags = [f"--{name}={url}" for name, url in settings.items()]
    said = json.loads(imago("backup", tmp_path / "copy", *flags).stdout)
    assert said["databases"] == 3 and said["images"] == 1
    # A job that ends meanwhile may be done in the results and open in the queue, but not the other way round.
    holds = [database["holds"] for database in json.loads((tmp_path / "copy/manifest.json").read_text())["databases"]]
    assert holds.index(["queue"]) < holds.index(["results"])
    refuse(2, ["--"], "restore", tmp_path / "copy", "--data", tmp_path / "new", "--accounts=none")
    shutil.move(places, tmp_path / "gone")
    places.mkdir()
    assert json.loads(imago("restore", tmp_path / "copy", *flags).stdout)["predictions"] == 1
    assert sorted(path.name for path in places.iterdir()) == ["a.db", "pictures", "q.db", "r.db"]
    assert list(history(start(**settings))) == [id]


def test_accounts_alone(tmp_path):
    data = tmp_path / "data"
    imago("key", "create", "--data", data)
    assert backup(data, tmp_path / "copy")["databases"] == 1
    assert restore(tmp_path / "copy", tmp_path / "new")["databases"] == 1
    assert len(imago("key", "list", "--data", tmp_path / "new").stdout.splitlines()) == 1


def test_folders_that_are_not_for_it(filled, tmp_path):
    data, _ = filled
    (tmp_path / "home").mkdir()
    (tmp_path / "home/letter").write_text("dear")
    refuse(2, ["home", "backup"], "backup", tmp_path / "home", "--data", data)
    refuse(11, ["no/such"], "backup", tmp_path / "no/such", "--data", data)
    refuse(4, ["imago.db"], "backup", tmp_path / "copy", "--data", tmp_path / "nothing")
    assert not (tmp_path / "copy").exists() and not (tmp_path / "nothing").exists()
    refuse(2, ["imago backup DIR"], "backup", "--data", data)
    (tmp_path / "copy").mkdir()
    folder = os.open(tmp_path / "copy", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    refuse(9, ["another backup"], "backup", tmp_path / "copy", "--data", data)
    os.close(folder)
    refuse(9, ["in use", "folder of its own"], "backup", data, "--data", data)
    refuse(2, ["lies in the data folder", "elsewhere"], "backup", data / "copy", "--data", data)
    refuse(2, ["lies in the data folder"], "backup", data / "images", "--data", data)
    assert not (data / "copy").exists() and (data / "images").exists()


def test_a_backup_is_no_data_folder(filled, tmp_path):
    """A server would sweep its pictures, to which no prediction of the new database refers."""
    data, _ = filled
    backup(data, tmp_path / "copy")
    before = tree(tmp_path / "copy")
    words = ["is a backup", "imago restore"]
    refuse(2, words, "serve", "--listen=127.0.0.1:0", "--data", tmp_path / "copy")
    refuse(2, words, "key", "create", "--data", tmp_path / "copy")
    refuse(2, words, "restore", tmp_path / "copy", "--data", tmp_path / "copy")
    assert tree(tmp_path / "copy") == before


def test_the_copy_is_a_database_like_any_other(filled, tmp_path):
    data, answers = filled
    backup(data, tmp_path / "copy")
    file, = (tmp_path / "copy").glob("*.db")
    with sqlite3.connect(f"file:{file}?immutable=1", uri=True) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT count(*) FROM results_prediction").fetchone() == (len(answers),)
