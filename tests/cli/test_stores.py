# SPDX-License-Identifier: Apache-2.0
"""Where things are kept: the server and every command find the same, however it is said."""
import subprocess

import pytest
from imago_server import IMAGO, PATIENCE_S, environment


@pytest.fixture
def run(tmp_path):
    """run(argument, ..., VARIABLE=value): a command in a folder of the test's own."""
    def run_one(*arguments, cwd=tmp_path, **env):
        return subprocess.run([IMAGO, *map(str, arguments)], capture_output=True, text=True, cwd=cwd,
                              timeout=5 * PATIENCE_S, env=environment(**env))
    return run_one


def refused(done, status, *words):
    assert done.returncode == status and done.stdout == "", (done.returncode, done.stderr)
    assert all(word in done.stderr for word in words), done.stderr
    return done.stderr


def succeeded(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_everything_is_in_the_data_folder(run, tmp_path, start, cat):
    token = succeeded(run("key", "create", "--scopes=predict,read")).strip()
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["imago.db"]
    server = start(data=tmp_path / "data", cold=True)
    headers = {"Authorization": f"Bearer {token}"}
    assert server.get("/v1/predictions").status_code == 401
    answer = server.answer(cat, headers=headers)
    assert server.get(f"/v1/predictions/{answer['id']}", headers=headers).json()["id"] == answer["id"]
    assert list((tmp_path / "data/images/default").rglob(answer["image"]["sha256"]))
    succeeded(run("key", "revoke", token.split("_")[1]))
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "data/imago.db").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("command", ["key", "tenant"])
def test_what_only_reads_makes_nothing(run, tmp_path, command):
    text = refused(run(command, "list"), 4, "data/imago.db", "--data", "--accounts")
    assert "imago serve" in text
    assert list(tmp_path.iterdir()) == []
    refused(run(command, "list", "--accounts=none"), 2, "--accounts")
    refused(run(command, "list", IMAGO_ACCOUNTS="none"), 2, "--accounts")


def test_the_same_place_said_in_every_way(run, tmp_path):
    place = tmp_path / "elsewhere"
    token = succeeded(run("key", "create", "--data", place)).strip()
    file = tmp_path / "imago.yaml"
    file.write_text(f"listen: 127.0.0.1:0\nworkers: 2\ndata: {place}\n")
    url = f"sqlite:{place / 'imago.db'}"
    for arguments, env in [(("--data", place), {}), ((), {"IMAGO_DATA": str(place)}), (("--config", file), {}),
                           ((), {"IMAGO_CONFIG": str(file)}), (("--accounts", url), {}), ((), {"IMAGO_ACCOUNTS": url}),
                           (("--data", place), {"IMAGO_DATA": "nowhere"}),
                           (("--accounts", url), {"IMAGO_ACCOUNTS": "none"}),
                           ((), {"IMAGO_ACCOUNTS": "", "IMAGO_DATA": str(place)})]:
        assert token.split("_")[1] in succeeded(run("key", "list", *arguments, **env)), (arguments, env)
    succeeded(run("key", "list", cwd=place.parent, IMAGO_DATA="elsewhere"))


def test_a_command_s_own_options_are_not_read_from_the_environment(run):
    succeeded(run("key", "create", IMAGO_FORMAT="nonsense", IMAGO_TENANT="nobody", IMAGO_SCOPES="x"))


def test_places_that_cannot_be(run, tmp_path):
    refused(run("tenant", "list", "--accounts=redis:x"), 2, "redis:x")
    refused(run("tenant", "create", "a", "--accounts", f"sqlite:{tmp_path / 'no/such/a.db'}"), 11, "no/such")
    refused(run("tenant", "create", "a", "--data", tmp_path / "no/such"), 11, "--data", "no/such")
    refused(run("tenant", "create", "a", "--data="), 2, "--data")
    refused(run("tenant", "list", "--data", "x" * 5000), 2)
    (tmp_path / "file").write_text("")
    refused(run("tenant", "create", "a", "--data", tmp_path / "file"), 11, "file")


@pytest.mark.parametrize("settings,words", [
    (["--images=none"], ["--images none", "--results none"]),
    (["--results=none", "--images=file:x"], ["--images", "--results none"]),
    (["--results=none", "--queue=sqlite:x"], ["--queue", "--results none"]),
    (["--results=none", "--images=none", "--queue=sqlite:x"], ["--queue", "--results none"])])
def test_what_makes_no_sense_together(run, tmp_path, settings, words):
    refused(run("serve", *settings), 2, *words)
    refused(run("tenant", "create", "a", *settings), 2, *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("settings", [{"results": "none"}, {"results": "none", "images": "none", "accounts": "none"},
                                      {"results": "none", "queue": "none"}])
def test_a_server_without_stores(start, cat, settings):
    server = start(**settings)
    server.answer(cat)
    assert server.get("/v1/predictions").status_code == 404
    data = server.settings["data"]
    assert not (data / "images").exists()
    assert (data / "imago.db").exists() == ("accounts" not in settings)


def test_a_server_without_jobs(start, cat):
    server = start(queue="none")
    server.answer(cat)
    assert len(server.get("/v1/predictions").json()["predictions"]) == 1


def test_reachable_from_elsewhere_needs_a_key_in_the_same_place(run, tmp_path):
    text = refused(run("serve", "--listen=0.0.0.0:0"), 2, "imago key create", "--data")
    assert "--accounts none" not in text
    refused(run("serve", "--listen=0.0.0.0:0", "--accounts=none"), 2, "without --accounts none")
