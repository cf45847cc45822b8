# SPDX-License-Identifier: Apache-2.0
"""`imago tenant` and `imago key`, as an operator types them."""
import calendar
import json
import os
import pty
import re
import select
import subprocess
import time

import pytest
from accounts import TOKEN, Accounts
from imago_server import IMAGO, PATIENCE_S, ROOT, environment

SCOPES = ["predict", "read", "feedback", "admin"]
NO_LIMITS = {"requests": 0, "window_s": 1, "burst": 0, "concurrent": 0, "bytes_per_day": 0, "images_per_day": 0}


@pytest.fixture
def accounts(tmp_path):
    return Accounts(tmp_path)


def refuse(accounts, status, *arguments):
    """Standard error of a command that must fail, in one line."""
    given, out, err = accounts.run(*arguments)
    assert given == status, (given, out, err)
    assert err.startswith("imago: ") and err.count("\n") == 1 and out == ""
    return err


def show(accounts, tenant):
    return json.loads(accounts.succeed("tenant", "show", tenant, "--format=json"))


def on_terminal(*arguments):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(str(IMAGO), [str(IMAGO), *map(str, arguments)], environment(TERM="xterm"))
    shown = b""
    while select.select([terminal], [], [], 5 * PATIENCE_S)[0]:
        try:
            data = os.read(terminal, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
    return shown.decode().replace("\r\n", "\n")


# --- keys ------------------------------------------------------------------------------------

def test_the_key_alone_is_on_standard_output(accounts):
    status, out, err = accounts.run("key", "create")
    assert status == 0 and TOKEN.fullmatch(out.removesuffix("\n"))
    assert "only now" in err and out.strip() not in err
    assert len({accounts.key().token for _ in range(5)}) == 5


def test_a_key_as_json(accounts):
    accounts.tenant("acme")
    key = json.loads(accounts.succeed("key", "create", "--tenant=acme", "--name=Läden", "--scopes=read,predict",
                                      "--requests=20", "--format=json"))
    secret = key.pop("key")
    assert TOKEN.fullmatch(secret)[1] == key["id"]
    assert (key["tenant"], key["name"], key["scopes"]) == ("acme", "Läden", ["predict", "read"])
    assert key["limits"] == NO_LIMITS | {"requests": 20, "burst": 20}
    assert key["expires_at"] is key["revoked_at"] is key["last_used_at"] is key["old_secret_until"] is None
    assert accounts.keys("acme") == {key["id"]: key}


def test_the_secret_is_nowhere(accounts, tmp_path):
    """Neither in a list nor in a file."""
    key = accounts.key("--name=one")
    key2 = accounts.rotate(key, "--overlap=1h")
    shown = accounts.succeed("key", "list") + accounts.succeed("key", "list", "--format=table")
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for token in key.token, key2.token:
        secret = token.rpartition("_")[2]
        assert secret not in shown and secret[:20].encode() not in stored


def test_what_a_new_key_may_do(accounts):
    key = accounts._key("default", "create")
    assert accounts.keys()[key.id]["scopes"] == ["predict", "read"]
    for scopes in SCOPES, ["admin", "predict"], ["feedback"]:
        key = accounts.key(scopes=",".join(scopes))
        assert accounts.keys()[key.id]["scopes"] == sorted(scopes, key=SCOPES.index)


@pytest.mark.parametrize("options,word", [
    (["--scopes=write"], "write"), (["--scopes="], "scopes"), (["--scopes=read,,predict"], "''"),
    (["--expires=tomorrow"], "tomorrow"), (["--expires=2001-01-01"], "expired"), (["--expires=2027-02-31"], "31"),
    (["--expires=90"], "90"), (["--expires=-1d"], "-1d"), (["--name=" + "x" * 65], "name"),
    (["--name=a\tb"], "name"), (["--window=1500ms"], "window"), (["--tenant=nobody"], "nobody"),
    (["--tenant=../x"], "../x"), (["--requests=2000000"], "requests"), (["--format=yaml"], "format")])
def test_a_key_that_cannot_be(accounts, options, word):
    given, out, err = accounts.run("key", "create", *options)
    assert given in (2, 4) and out == "" and err.startswith("imago: ") and word in err, err
    assert accounts.keys() == {}


@pytest.mark.parametrize("text,seconds", [("10s", 10), ("30m", 1800), ("12h", 43200), ("90d", 7776000)])
def test_expiry_from_now(accounts, text, seconds):
    before = time.time()
    key = accounts.shown(accounts.key(f"--expires={text}"))
    end = calendar.timegm(time.strptime(key["expires_at"][:19], "%Y-%m-%dT%H:%M:%S"))
    assert before + seconds - 2 <= end <= time.time() + seconds + 1


@pytest.mark.parametrize("text,end", [("2099-01-31", "2099-01-31T00:00:00.000Z"),
                                      ("2099-12-31T23:59:59Z", "2099-12-31T23:59:59.000Z"), ("never", None)])
def test_expiry_as_a_date(accounts, text, end):
    assert accounts.shown(accounts.key(f"--expires={text}"))["expires_at"] == end


def test_list_by_prefix_and_tenant(accounts):
    accounts.tenant("acme")
    mine = {accounts.key(tenant="acme").id for _ in range(6)}
    others = {accounts.key().id for _ in range(3)}
    assert set(accounts.keys("acme")) == mine and set(accounts.keys()) == others
    for id in mine:
        assert id in accounts.keys("acme", f"--prefix={id[:5]}")
        assert set(accounts.keys("acme", f"--prefix={id}")) == {id}
        assert accounts.keys("default", f"--prefix={id}") == {}


def test_more_keys_than_a_page(accounts):
    made = {accounts.key().id for _ in range(103)}
    assert set(accounts.keys()) == made


def test_revoke(accounts):
    key = accounts.key()
    accounts.revoke(key)
    first = accounts.keys()[key.id]["revoked_at"]
    accounts.revoke(key)
    assert first is not None and accounts.keys()[key.id]["revoked_at"] == first
    assert "revoked" in refuse(accounts, 2, "key", "rotate", key.id)


def test_rotate(accounts):
    key = accounts.key("--name=shop", "--requests=5", scopes="read")
    before = accounts.keys()[key.id]
    new = accounts.rotate(key)
    after = accounts.keys()[key.id]
    assert new.id == key.id and new.token != key.token
    assert after.pop("old_secret_until") is not None and before.pop("old_secret_until") is None
    assert before == after
    accounts.rotate(key, "--overlap=0s")
    assert accounts.keys()[key.id]["old_secret_until"] is None


@pytest.mark.parametrize("id", ["aaaaaaaa", "x", "../../etc", "imago_aaaaaaaa", "' OR 1=1 --", "ü"])
def test_a_key_that_is_not_there(accounts, id):
    key = accounts.key()
    accounts.tenant("acme")
    for verb in "revoke", "rotate":
        refuse(accounts, 4, "key", verb, id)
        # Another tenant's is not there either.
        refuse(accounts, 4, "key", verb, key.id, "--tenant=acme")
    assert accounts.keys()[key.id]["revoked_at"] is None


def test_limits_of_a_key_complete_those_of_its_tenant(accounts):
    accounts.tenant("acme", "--images-per-day=1k", "--requests=5")
    plain, own = accounts.key(tenant="acme"), accounts.key("--requests=50", "--window=1m", tenant="acme")
    assert accounts.keys("acme")[plain.id]["limits"] is None
    assert accounts.keys("acme")[own.id]["limits"] == NO_LIMITS | {
        "requests": 50, "window_s": 60, "burst": 50, "images_per_day": 1000}


def test_keys_as_a_table(accounts):
    accounts.key("--name=shop front", "--expires=2099-01-31", "--requests=5", "--concurrent=2", scopes="read")
    ended = accounts.key()
    accounts.revoke(ended)
    text = on_terminal("key", "list", "--accounts", accounts.url)
    head, *rows = text.splitlines()
    assert head.split()[:3] == ["KEY", "STATE", "SCOPES"] and len(rows) == 2
    row = next(row for row in rows if "shop front" in row)
    assert re.search(r"^\w{8} +active +read +2099-01-31T00:00:00Z +- +shop front +5/s, 2 at a time$", row)
    assert re.search(rf"^{ended.id} +revoked +predict read feedback admin +- ", text, re.M)


# --- tenants ---------------------------------------------------------------------------------

def test_default_is_built_in(accounts):
    accounts.key()
    assert [tenant["id"] for tenant in map(json.loads, accounts.succeed("tenant", "list").splitlines())] == ["default"]
    assert show(accounts, "default")["limits"] == NO_LIMITS


def test_set_changes_what_it_names(accounts):
    accounts.tenant("acme", "--requests=5", "--concurrent=3")
    before = show(accounts, "acme")
    accounts.succeed("tenant", "set", "acme", "--requests=7", "--suspended")
    after = show(accounts, "acme")
    assert after == before | {"suspended": True, "limits": before["limits"] | {"requests": 7, "burst": 7}}
    accounts.succeed("tenant", "set", "acme", "--no-suspended", "--requests=5")
    assert show(accounts, "acme") == before


def test_how_long_a_tenants_things_are_kept(accounts):
    accounts.tenant("acme", "--image-days=30")
    accounts.succeed("tenant", "set", "acme", "--result-days=365")
    assert (show(accounts, "acme")["image_days"], show(accounts, "acme")["result_days"]) == (30, 365)
    assert (show(accounts, "default")["image_days"], show(accounts, "default")["result_days"]) == (None, None)
    assert "30d/365d" in accounts.succeed("tenant", "list", "--format=table")
    assert "kept 365 days" in accounts.succeed("tenant", "show", "acme", "--format=table")
    accounts.succeed("tenant", "set", "acme", "--image-days=0")
    assert "-/365d" in accounts.succeed("tenant", "list", "--format=table")
    assert "36500" in refuse(accounts, 2, "tenant", "set", "acme", "--image-days=36501")


@pytest.mark.parametrize("name", ["", "A", "a_b", "a/b", "x" * 64, "ü", "a b"])
def test_names_that_no_tenant_has(accounts, name):
    refuse(accounts, 2, "tenant", "create", name)
    refuse(accounts, 4, "tenant", "show", name)


def test_a_name_that_looks_like_a_flag(accounts):
    assert accounts.run("tenant", "create", "--", "-a")[0] == 2
    assert accounts.run("tenant", "create", "-a")[0] == 2


def test_a_tenant_is_made_once(accounts):
    accounts.tenant("acme")
    assert "acme" in refuse(accounts, 2, "tenant", "create", "acme")
    assert "default" in refuse(accounts, 2, "tenant", "create", "default")
    assert "nobody" in refuse(accounts, 4, "tenant", "set", "nobody", "--requests=1")


def test_tenants_as_a_table(accounts):
    accounts.tenant("acme", "--requests=5", "--burst=9", "--suspended")
    text = on_terminal("tenant", "list", "--accounts", accounts.url)
    assert re.search(r"^acme +suspended +\d{4}-\S+Z +- +-/- +5/s, burst 9$", text, re.M), text
    assert re.search(r"^acme +suspended", on_terminal("tenant", "list", "--accounts", accounts.url), re.M)
    shown = on_terminal("tenant", "show", "acme", "--accounts", accounts.url)
    assert re.search(r"^tenant +acme$", shown, re.M) and re.search(r"^limits +5/s, burst 9$", shown, re.M)


# --- both ------------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments", [
    ["key", "brew"], ["key", "create", "x"], ["key", "revoke"], ["key", "rotate"], ["key", "list", "x"],
    ["tenant", "create"], ["tenant", "show"], ["tenant", "list", "x"], ["tenant", "brew"]])
def test_a_wrong_command_line(accounts, arguments):
    assert f"imago {arguments[0]} " in refuse(accounts, 2, *arguments)


@pytest.mark.parametrize("command", ["key", "tenant"])
def test_help_shows_every_option(command):
    done = subprocess.run([IMAGO, command, "--help"], capture_output=True, text=True, env=environment())
    table = (ROOT / f"src/cli/{command}_options.def").read_text() + (ROOT / "src/cli/accounts_limits.def").read_text()
    names = re.findall(r'^OPTION\("[^"]*", (\w+),', table, re.M)
    assert done.returncode == 0 and len(names) >= 8
    assert all(f"  --{name.replace('_', '-')}" in done.stdout for name in names)
