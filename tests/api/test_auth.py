# SPDX-License-Identifier: Apache-2.0
"""Keys, scopes, limits and tenants: who gets in, how much they may do, and that nobody sees another's data."""
import itertools
import json
import random
import re
import shutil
import subprocess
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from accounts import Accounts
from imago_server import IMAGO, MODELS, PATIENCE_S, ROOT, Server, environment, eventually, sha256
from test_predict import check_problem
from wire import Wire, exchange, form, post

SCOPES = ["predict", "read", "feedback", "admin"]
ROUTES = [(method, path, scope.lower()) for port, method, path, scope in re.findall(
    r'^ROUTE\((\w+), +"(\w+)", +"([^"]+)", +(\w+),', (ROOT / "src/api/routes.def").read_text(), re.M)
    if port == "PUBLIC"]
ABSENT = {"id": str(uuid.UUID(int=0x0199ab5a0aaa7000800000000000dead)), "sha256": "ab" * 32,
          "name": "efficientnet-lite0", "version": "1"}
REVOCATION_S = 5
NOT_A_PICTURE = b"not a picture at all"


def fill(path, **values):
    return re.sub(r"\{(\w+)\}", lambda match: (ABSENT | values)[match[1]], path)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, warm_cache):
    """(server, accounts): with stores, and a key already."""
    folder = tmp_path_factory.mktemp("guarded")
    accounts = Accounts(folder)
    accounts.owner = accounts.key()
    shutil.copytree(warm_cache, folder / "data" / "cache")
    server = Server(folder, accounts.settings)
    yield server, accounts
    server.stop()
    # Whatever these tests sent: no secret may have been written down.
    assert not any(secret in server.text for secret in accounts.secrets)


@pytest.fixture(scope="module")
def server(guarded):
    return guarded[0]


@pytest.fixture(scope="module")
def accounts(guarded):
    return guarded[1]


@pytest.fixture(scope="module")
def keys_of_scopes(accounts):
    """{set of scopes: a key with just these}"""
    subsets = [c for size in (1, 2, 4) for c in itertools.combinations(SCOPES, size)]
    return {frozenset(subset): accounts.key(scopes=",".join(subset)) for subset in subsets}


def ask(server, key, method="GET", path="/v1/models", **options):
    headers = (key.headers if key is not None else {}) | options.pop("headers", {})
    return server.request(method, path, headers=headers, **options)


def predict(server, key, picture, **options):
    return server.predict(picture, headers=key.headers, **options)


# --- scopes ----------------------------------------------------------------------------------

@pytest.mark.parametrize("method,path,scope", ROUTES, ids=lambda value: value)
def test_every_route_asks_for_its_scope(server, keys_of_scopes, method, path, scope):
    needed = {"any": SCOPES, "job": ["predict", "read"]}.get(scope, [scope])
    assert set(needed) <= set(SCOPES), "a public route without a key"
    target = fill(path)
    missing = ask(server, None, method, target)
    check_problem(missing, 401, "unauthenticated")
    assert missing.headers["WWW-Authenticate"] == 'Bearer realm="imago"'
    for scopes, key in keys_of_scopes.items():
        answer = ask(server, key, method, target)
        if scopes & set(needed):
            assert answer.status_code not in (401, 403), (scopes, answer.text)
            assert "WWW-Authenticate" not in answer.headers
        else:
            assert " ".join(needed) in check_problem(answer, 403, "forbidden")["detail"]
            assert answer.headers["WWW-Authenticate"] == \
                f'Bearer realm="imago", error="insufficient_scope", scope="{" ".join(needed)}"'


def test_the_admin_port_asks_for_no_key(server):
    assert server.ready() == 200


def test_what_is_served_nowhere_is_not_found_for_everybody(server, accounts):
    for key in None, accounts.owner:
        check_problem(ask(server, key, path="/v1/nothing"), 404, "not-found")


# --- the header ------------------------------------------------------------------------------

def with_authorization(server, *values, path="/v1/models"):
    lines = [f"GET {path} HTTP/1.1", "Host: t", *(f"Authorization: {value}" for value in values)]
    return exchange(server.port, "\r\n".join(lines).encode() + b"\r\n\r\n")


@pytest.mark.parametrize("value", ["Basic dTpw", "Digest x", "Bearerx abc", "imago_x", ""])
def test_another_scheme_is_no_credential(server, value):
    answer = with_authorization(server, value)
    assert answer.status == 401 and answer.headers["WWW-Authenticate"] == 'Bearer realm="imago"'


def mistakes(key):
    id, secret = key.token.split("_")[1:]
    other = "a" if secret[0] != "a" else "b"
    return [f"imago_{id}_{other}{secret[1:]}", f"imago_{id}_{secret[:-1]}", f"imago_{id}_{secret}a", f"imago_{id}_",
            f"imago_aaaaaaaa_{secret}", f"imago_{id}_{secret}".upper(), secret, id, "x", "eyJhbGciOiJub25lIn0.e30.", "=" * 8000]


def test_a_wrong_key(server, accounts):
    """Whatever is wrong with it, the answer is the same."""
    said = set()
    for token in mistakes(accounts.owner):
        answer = with_authorization(server, f"Bearer {token}")
        assert answer.status == 401, token
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="imago", error="invalid_token"'
        problem = json.loads(answer.body)
        said.add((problem["type"], problem["title"], problem["detail"]))
    assert len(said) == 1
    assert with_authorization(server, f"Bearer {accounts.owner.token}").status == 200


def test_a_header_that_is_not_one_key(server, accounts):
    good = f"Bearer {accounts.owner.token}"
    for values in [good, good], [good, "Bearer x"], ["Bearer x", good], [f"{good}, {good}"], [f"{good} x"], ["Bearer"], \
            ["Bearer ü"], [good + ","], ['Bearer "x"'], ["Bearer \x01"]:
        answer = with_authorization(server, *values)
        assert answer.status == 400, values
        if "\x01" not in values[0]:
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="imago", error="invalid_request"'
    for values in [good, "Basic x"], ["Basic x", good]:
        assert with_authorization(server, *values).status in (400, 401)


def test_forms_of_a_good_header(server, accounts):
    for scheme in "Bearer", "bearer", "BEARER", "Bearer  ":
        assert with_authorization(server, f"{scheme} {accounts.owner.token}  ").status == 200


def test_a_key_elsewhere_is_not_looked_at(server, accounts):
    token = accounts.owner.token
    for path in f"/v1/models?access_token={token}", f"/v1/models?key={token}":
        check_problem(ask(server, None, path=path), 401, "unauthenticated")
    body, content_type = form([NOT_A_PICTURE], access_token=token)
    answer = server.predict(body, content_type)
    check_problem(answer, 401, "unauthenticated")
    check_problem(ask(server, None, headers={"Cookie": f"key={token}", "X-API-Key": token}), 401, "unauthenticated")


def test_a_refused_upload_is_not_received(server, accounts, keys_of_scopes):
    """The answer comes on the headers: 15 MB are never sent, and 100 Continue is not said."""
    wrong = [(), (f"Authorization: Bearer {mistakes(accounts.owner)[0]}",),
             (f"Authorization: Bearer {keys_of_scopes[frozenset(['read'])].token}",)]
    for more, status in zip(wrong, (401, 401, 403)):
        for expect in (), ("Expect: 100-continue",):
            with Wire(server.port) as wire:
                wire.send(post(b"", length=15_000_000, more=[*more, *expect]))
                line = wire.file.readline()
                assert line.startswith(f"HTTP/1.1 {status} ".encode()), line


def test_every_request_of_a_connection_is_judged(server, accounts, cat):
    with Wire(server.port) as wire:
        for _ in range(2):
            wire.send(post(cat, more=[f"Authorization: Bearer {accounts.owner.token}"]))
            assert wire.answer().status == 200
        wire.send(post(cat))
        assert wire.answer().status == 401


def test_the_log_names_tenant_and_key(server, accounts, cat):
    key = accounts.key(tenant=accounts.tenant("log-reader"))
    for answer in predict(server, key, cat), ask(server, key, path="/v1/models/nothing"):
        line = server.access(answer.headers["X-Request-Id"])
        assert (line["tenant"], line["key"]) == ("log-reader", key.id)
    line = server.access(ask(server, None).headers["X-Request-Id"])
    assert "tenant" not in line and "key" not in line


# --- the life of a key -----------------------------------------------------------------------

def refused_in_time(server, key, since):
    """Nothing sent REVOCATION_S after `since` may pass."""
    def is_refused():
        sent = time.monotonic()
        status = ask(server, key).status_code
        assert status == 401 or sent - since < REVOCATION_S, f"still let in after {sent - since:.1f} s"
        return status == 401
    eventually(is_refused, "the key is refused")
    return ask(server, key)


def test_a_revoked_key(server, accounts):
    key, other = accounts.key(), accounts.key()
    assert ask(server, key).status_code == ask(server, other).status_code == 200
    accounts.revoke(key)
    answer = refused_in_time(server, key, time.monotonic())
    assert "revoked" in check_problem(answer, 401, "unauthenticated")["detail"]
    assert answer.headers["WWW-Authenticate"].endswith('error="invalid_token"')
    assert ask(server, other).status_code == 200


def test_a_key_that_was_never_seen_is_refused_at_once(server, accounts):
    key = accounts.key()
    accounts.revoke(key)
    check_problem(ask(server, key), 401, "unauthenticated")


def test_an_expired_key(server, accounts):
    key = accounts.key("--expires=2s")
    end = time.time() + 2
    answer = ask(server, key)
    assert answer.status_code == 200 or time.time() > end - 1
    eventually(lambda: ask(server, key).status_code == 401, "the key expires")
    assert "expired" in ask(server, key).json()["detail"]


def test_rotation(server, accounts):
    first = accounts.key()
    assert ask(server, first).status_code == 200
    second = accounts.rotate(first, "--overlap=1h")
    assert ask(server, first).status_code == ask(server, second).status_code == 200
    # The one before the last ends with the next rotation, whatever was left of its hour.
    third = accounts.rotate(first, "--overlap=1h")
    rotated = time.monotonic()
    assert ask(server, second).status_code == ask(server, third).status_code == 200
    refused_in_time(server, first, rotated)
    fourth = accounts.rotate(first, "--overlap=0s")
    rotated = time.monotonic()
    assert ask(server, fourth).status_code == 200
    refused_in_time(server, second, rotated)
    refused_in_time(server, third, rotated)
    assert ask(server, fourth).status_code == 200


def test_a_suspended_tenant(server, accounts):
    key = accounts.key(tenant=accounts.tenant("late-payer"))
    assert ask(server, key).status_code == 200
    accounts.succeed("tenant", "set", "late-payer", "--suspended")
    assert "suspended" in refused_in_time(server, key, time.monotonic()).json()["detail"]
    accounts.succeed("tenant", "set", "late-payer", "--no-suspended")
    eventually(lambda: ask(server, key).status_code == 200, "the tenant is let in again")


def test_last_use_is_noted(server, accounts):
    key = accounts.key()
    assert accounts.shown(key)["last_used_at"] is None
    assert ask(server, key).status_code == 200
    eventually(lambda: accounts.shown(key)["last_used_at"], "the use is written")


def test_accounts_that_are_lost_let_nobody_in(start, tmp_path):
    """Not even a key that would be good, and the answer says nothing of files."""
    accounts = Accounts(tmp_path)
    keys = [accounts.key() for _ in range(4)]
    server = start(accounts=accounts.url)
    for path in tmp_path.glob("imago.db*"):
        if not path.name.endswith("-shm"):
            with path.open("r+b") as file:
                file.write(random.Random(1).randbytes(max(path.stat().st_size, 4096)))
    for key in keys:
        answer = ask(server, key)
        assert answer.status_code in (401, 500, 503)
        assert "imago.db" not in answer.text and str(tmp_path) not in answer.text
    assert server.get("/v1/models").status_code == 401


# --- limits ----------------------------------------------------------------------------------

PARAMETER = re.compile(r'"(\w+)"((?:;\w+=(?:\d+|"[a-z-]+"))+)')


def parse_field(text):
    """{policy: {parameter: value}}"""
    parsed = {}
    for item in text.split(", "):
        name, parameters = PARAMETER.fullmatch(item).groups()
        pairs = (pair.split("=") for pair in parameters[1:].split(";"))
        parsed[name] = {key: int(value) if value.isdigit() else value.strip('"') for key, value in pairs}
    return parsed


def limits_of(answer):
    return parse_field(answer.headers["RateLimit-Policy"]), parse_field(answer.headers["RateLimit"])


def check_limited(answer):
    problem = check_problem(answer, 429, "rate-limited")
    assert int(answer.headers["Retry-After"]) >= 1
    return problem


def test_the_rate(server, accounts):
    """As many as the fields say, then none; another key of the same tenant is not touched."""
    key, other = (accounts.key("--requests=1", "--window=1h", "--burst=4") for _ in range(2))
    for left in 3, 2, 1, 0:
        answer = ask(server, key)
        policy, state = limits_of(answer)
        assert answer.status_code == 200 and "Retry-After" not in answer.headers
        assert policy == {"rate": {"q": 4, "w": 4 * 3600}}
        assert state["rate"]["r"] == left and 0 < state["rate"]["t"] <= 4 * 3600
    answer = ask(server, key)
    check_limited(answer)
    assert limits_of(answer)[1]["rate"]["r"] == 0 and int(answer.headers["Retry-After"]) <= 3600
    assert ask(server, other).status_code == 200
    # Of the key, not of its secret.
    check_limited(ask(server, accounts.rotate(key, "--overlap=0s")))


def test_the_rate_comes_back(server, accounts):
    key = accounts.key("--requests=1000", "--burst=1")
    eventually(lambda: ask(server, key).status_code == 200, "a token is there")
    eventually(lambda: ask(server, key).status_code == 200, "another has come")


@pytest.mark.parametrize("seed", range(3))
def test_the_fields_tell_the_truth(server, accounts, seed):
    """Random requests with three keys: each passes just when its field said so."""
    dice = random.Random(seed)
    left = {accounts.key("--requests=1", "--window=1h", f"--burst={burst}"): burst for burst in (3, 7, 12)}
    for _ in range(40):
        key = dice.choice(list(left))
        answer = ask(server, key, path=dice.choice(["/v1/models", "/v1/models/nothing", "/v1/predictions?limit=x"]))
        if left[key] == 0:
            check_limited(answer)
        else:
            assert answer.status_code in (200, 400, 404)
            left[key] -= 1
        assert limits_of(answer)[1]["rate"]["r"] == left[key]


def test_every_kind_of_answer_has_the_fields(server, accounts, cat):
    key = accounts.key("--requests=1000000", scopes="predict")
    for answer, status in [(predict(server, key, cat), 200), (predict(server, key, NOT_A_PICTURE), 415),
                           (ask(server, key, path="/v1/models/none"), 404), (ask(server, key, path="/v1/usage"), 403),
                           (predict(server, key, b""), 400), (ask(server, key, "HEAD"), 200)]:
        assert answer.status_code == status, answer.text
        assert limits_of(answer)[0] == {"rate": {"q": 1000000, "w": 1}}
    with Wire(server.port) as wire:
        wire.send(post(b"", length=10**12, more=[f"Authorization: Bearer {key.token}"]))
        answer = wire.answer()
    assert answer.status == 413 and parse_field(answer.headers["RateLimit"])["rate"]["r"] > 0


def test_a_key_without_limits_has_no_fields(server, accounts):
    answer = ask(server, accounts.owner)
    assert not any(name.startswith("RateLimit") for name in answer.headers)


def test_the_rate_is_exact_under_load(start, tmp_path):
    """Four loops, eight clients: as many pass as may, to the request."""
    accounts = Accounts(tmp_path)
    key = accounts.key("--requests=1", "--window=1h", "--burst=100")
    server = start(http_threads=4, **accounts.settings)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(server, key), range(160)))
    passed = [limits_of(answer)[1]["rate"]["r"] for answer in answers if answer.status_code == 200]
    assert sorted(passed) == list(range(100))
    assert all(answer.status_code in (200, 429) for answer in answers)


def test_requests_at_a_time(server, accounts, cat):
    key = accounts.key("--concurrent=2")
    held = []
    for left in 1, 0:
        wire = Wire(server.port)
        wire.send(post(b"", length=len(cat), more=["Expect: 100-continue", *(f"{n}: {v}" for n, v in key.headers.items())]))
        assert wire.file.readline().startswith(b"HTTP/1.1 100"), "let in, and now waited for"
        assert wire.file.readline() == b"\r\n"
        held.append(wire)
    answer = ask(server, key)
    check_limited(answer)
    assert limits_of(answer) == ({"concurrent": {"q": 2, "qu": "concurrent-requests"}}, {"concurrent": {"r": 0}})
    held[0].send(cat)
    first = held[0].answer()
    assert first.status == 200 and parse_field(first.headers["RateLimit"]) == {"concurrent": {"r": 1}}
    assert ask(server, key).status_code == 200
    # One that goes away within its body gives its place back too.
    for wire in held:
        wire.close()
    eventually(lambda: limits_of(ask(server, key))[1] == {"concurrent": {"r": 1}}, "both places are free")


def test_bytes_a_day(server, accounts):
    key = accounts.key("--bytes-per-day=1000")
    answer = predict(server, key, bytes(600))
    assert answer.status_code == 415
    assert limits_of(answer)[0] == {"bytes": {"q": 1000, "w": 86400, "qu": "content-bytes"}}
    assert limits_of(answer)[1]["bytes"]["r"] == 400
    answer = predict(server, key, bytes(401))
    check_limited(answer)
    assert int(answer.headers["Retry-After"]) <= 86400
    # Chunked: known when it is there.
    assert predict(server, key, iter([bytes(300)])).status_code == 415
    assert limits_of(predict(server, key, bytes(10)))[1]["bytes"]["r"] == 90
    assert predict(server, key, iter([bytes(300)])).status_code == 415
    check_limited(predict(server, key, bytes(1)))
    # A GET has none, but the day is over its limit.
    check_limited(ask(server, key))


def test_a_length_that_is_refused_is_not_counted(server, accounts):
    key = accounts.key("--bytes-per-day=100M")
    with Wire(server.port) as wire:
        wire.send(post(b"", length=99_000_000, more=[f"Authorization: Bearer {key.token}"]))
        assert wire.answer().status == 413
    assert limits_of(ask(server, key))[1]["bytes"]["r"] == 100_000_000


def test_images_a_day(server, accounts, small_photos):
    """What was labelled counts; what failed is given back."""
    key = accounts.key("--images-per-day=5")
    def left():
        return limits_of(ask(server, key))[1]["images"]["r"]
    assert limits_of(ask(server, key))[0] == {"images": {"q": 5, "w": 86400, "qu": "images"}}
    assert predict(server, key, NOT_A_PICTURE).status_code == 415
    eventually(lambda: left() == 5, "a failure is free")
    body, content_type = form([small_photos[0], NOT_A_PICTURE, small_photos[1]])
    assert predict(server, key, body, content_type=content_type).status_code == 200
    eventually(lambda: left() == 3, "two of three were labelled")
    assert predict(server, key, small_photos[0], params={"model": "none"}).status_code == 404
    eventually(lambda: left() == 3, "nothing was labelled")
    for expected in 2, 1, 0:
        assert predict(server, key, small_photos[2]).status_code == 200
        eventually(lambda: left() == expected, "one more")
    answer = predict(server, key, small_photos[3])
    assert "midnight" in check_limited(answer)["detail"] and int(answer.headers["Retry-After"]) <= 86400
    # Looking is no labelling.
    assert ask(server, key).status_code == 200


def test_limits_of_the_tenant_are_each_keys(server, accounts):
    accounts.tenant("small", "--requests=1", "--window=1h", "--burst=2")
    one, two = accounts.key(tenant="small"), accounts.key(tenant="small")
    own = accounts.key("--burst=1", tenant="small")
    assert [ask(server, key).status_code for key in (one, one, one, two, two, two, own, own)] == \
        [200, 200, 429, 200, 200, 429, 200, 429]


# --- tenants ---------------------------------------------------------------------------------

def without_names(answer, *values):
    """The answer with all that may differ between two requests taken out."""
    text = answer.text.replace(answer.headers["X-Request-Id"], "REQUEST")
    for value in values:
        text = text.replace(value, "VALUE")
    headers = {name: value for name, value in answer.headers.items() if name not in ("X-Request-Id", "Date")}
    return answer.status_code, headers, text


@pytest.fixture(scope="module")
def neighbours(accounts):
    return [accounts.key(tenant=accounts.tenant(name)) for name in ("castor", "pollux")]


def test_another_tenants_and_an_absent_thing_are_answered_alike(server, neighbours, cat):
    mine, other = neighbours
    answer = predict(server, mine, cat)
    assert answer.status_code == 200
    own = {"id": answer.json()["id"], "sha256": answer.json()["image"]["sha256"]}
    bodies = {"POST": {"json": {"label": "tabby, tabby cat"}}}
    compared = 0
    for method, path, _ in ROUTES:
        name = re.search(r"\{(id|sha256)\}", path)
        if name is None:
            continue
        foreign, absent = own[name[1]], ABSENT[name[1]]
        answers = [without_names(ask(server, other, method, fill(path, **{name[1]: value}), **bodies.get(method, {})),
                                 value) for value in (foreign, absent)]
        assert answers[0] == answers[1], (method, path)
        assert answers[0][0] == 404, (method, path, answers[0])
        compared += 1
    assert compared >= 4
    assert ask(server, mine, path=f"/v1/predictions/{own['id']}").status_code == 200


class Life:
    """What one tenant has done, by what the server answered."""

    def __init__(self, server, key, dice, photos):
        self.server, self.key, self.dice, self.photos = server, key, dice, photos
        self.live, self.erased, self.uploaded, self.billed = {}, set(), set(), 0

    def ask(self, *arguments, **options):
        return ask(self.server, self.key, *arguments, **options)

    def predict(self):
        photo = self.dice.choice(self.photos)
        answer = predict(self.server, self.key, photo).json()
        self.live[answer["id"]] = sha256(photo)
        self.billed += 1

    def predict_several(self):
        photos = self.dice.sample(self.photos, 2)
        body, content_type = form(photos)
        for answer, photo in zip(predict(self.server, self.key, body, content_type=content_type).json()["results"], photos):
            self.live[answer["id"]] = sha256(photo)
            self.billed += 1

    def upload(self):
        photo = self.dice.choice(self.photos)
        answer = self.ask("PUT", "/v1/images", data=photo)
        # 200 says that it was there: by this tenant's own doing alone.
        known = sha256(photo) in self.hashes()
        assert answer.status_code == (200 if known else 201) or sha256(photo) in self.may_linger(), answer.text
        self.uploaded.add(sha256(photo))

    def hashes(self):
        return set(self.live.values()) | self.uploaded

    def may_linger(self):
        """Erased, and perhaps not yet removed."""
        return self.erased

    def erase(self):
        if self.live:
            id = self.dice.choice(list(self.live))
            assert self.ask("DELETE", f"/v1/predictions/{id}").status_code == 204
            self.erased.add(self.live.pop(id))
            assert self.ask(path=f"/v1/predictions/{id}").status_code == 410

    def look(self):
        if self.live:
            id, hash = self.dice.choice(list(self.live.items()))
            assert self.ask(path=f"/v1/predictions/{id}").json()["image"]["sha256"] == hash
            assert sha256(self.ask(path=f"/v1/images/{hash}").content) == hash

    def history(self):
        seen, cursor = {}, None
        while True:
            page = self.ask(path="/v1/predictions", params={"limit": 7} | ({"cursor": cursor} if cursor else {})).json()
            seen |= {row["id"]: row["image"]["sha256"] for row in page["predictions"]}
            cursor = page["next"]
            if cursor is None:
                break
        assert seen == self.live

    def usage(self):
        usage = self.ask(path="/v1/usage", params={"group": "key"}).json()
        assert usage["total"]["images"] == self.billed, usage
        assert {row["key"] for row in usage["rows"]} <= {self.key.id}

    def feedback(self):
        if self.live:
            id = self.dice.choice(list(self.live))
            assert self.ask("POST", f"/v1/predictions/{id}/feedback", json={"label": "x"}).status_code < 300

    def trespass(self, other):
        """Another's ids and pictures, as if they were its own."""
        for id, hash in self.dice.sample(sorted(other.live.items()), min(2, len(other.live))):
            path = f"/v1/predictions/{id}"
            assert self.ask(path=path).status_code == self.ask("DELETE", path).status_code == 404
            assert self.ask("POST", path + "/feedback", json={"label": "x"}).status_code == 404
            if hash not in self.hashes() | self.may_linger():
                assert self.ask(path=f"/v1/images/{hash}").status_code == 404


@pytest.mark.parametrize("seed", range(3))
def test_two_tenants_know_nothing_of_each_other(server, accounts, small_photos, seed):
    """Random calls of both, over the same few photos: each sees exactly what it did itself."""
    dice = random.Random(seed)
    photos = small_photos[:6]
    lives = [Life(server, accounts.key(tenant=accounts.tenant(f"twin-{seed}-{i}")), dice, photos) for i in range(2)]
    for _ in range(60):
        life, other = dice.sample(lives, 2)
        act = dice.choice(["predict", "predict", "predict_several", "upload", "erase", "look", "history", "usage",
                           "feedback", "trespass"])
        if act == "trespass":
            life.trespass(other)
        else:
            getattr(life, act)()
    for life in lives:
        life.history()
        life.usage()


def test_cursors_are_not_passed_on(server, accounts, small_photos):
    """One tenant's cursor shows another nothing but its own."""
    keys = [accounts.key(tenant=accounts.tenant(f"page-{i}")) for i in range(2)]
    own = [{predict(server, key, photo).json()["id"] for photo in small_photos[:3]} for key in keys]
    cursor = ask(server, keys[0], path="/v1/predictions", params={"limit": 1}).json()["next"]
    answer = ask(server, keys[1], path="/v1/predictions", params={"limit": 100, "cursor": cursor})
    if answer.status_code == 200:
        assert {row["id"] for row in answer.json()["predictions"]} <= own[1]
    else:
        assert answer.status_code == 400


# --- open mode -------------------------------------------------------------------------------

LOOPBACK = ["127.0.0.1:0", "localhost:0", "127.8.9.10:0"]
ELSEWHERE = ["0.0.0.0:0", ":0", "[::]:0"]


def serve(folder, **settings):
    command = [IMAGO, "serve", f"--data={folder / 'data'}", f"--models={MODELS}",
               *(f"--{name.replace('_', '-')}={value}" for name, value in settings.items())]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=environment())


@pytest.mark.parametrize("listen", ELSEWHERE)
def test_without_a_key_only_loopback_is_served(tmp_path, listen):
    accounts = Accounts(tmp_path)
    for settings in {}, {"accounts": accounts.url}:
        done = serve(tmp_path, listen=listen, **settings)
        assert done.returncode == 2 and listen in done.stderr and "imago key create" in done.stderr
    # It refused before it compiled anything.
    assert not (tmp_path / "data" / "cache").exists()


def test_accounts_in_the_data_folder(start, tmp_path):
    """Which the server makes."""
    start(cold=True, folder=tmp_path, accounts=f"sqlite:{tmp_path / 'data' / 'imago.db'}")


@pytest.mark.parametrize("listen", LOOPBACK)
def test_open_mode_is_tenant_default_with_every_scope(start, tmp_path, cat, listen):
    accounts = Accounts(tmp_path)
    server = start(listen=listen, **accounts.settings)
    assert server.listening["authentication"].startswith("off")
    if listen != "127.0.0.1:0":
        return
    id = server.answer(cat)["id"]
    for method, path, _ in ROUTES:
        assert server.request(method, fill(path)).status_code not in (401, 403), path
    assert server.get(f"/v1/predictions/{id}").status_code == 200
    assert server.access(server.get("/v1/models").headers["X-Request-Id"])["tenant"] == "default"
    # What is not a key of ours is not looked at; what says it is one is.
    assert server.get("/v1/models", headers={"Authorization": "Basic dTpw"}).status_code == 200
    assert server.get("/v1/models", headers={"Authorization": "Bearer x"}).status_code == 401
    assert server.request("DELETE", f"/v1/predictions/{id}").status_code == 204


def test_without_accounts_credentials_are_not_looked_at(start):
    server = start(accounts="none")
    assert server.get("/v1/models", headers={"Authorization": "Bearer x"}).status_code == 200


def test_the_first_key_ends_open_mode_for_good(start, tmp_path):
    """While the server runs, and at every later start; a revoked key counts."""
    accounts = Accounts(tmp_path)
    server = start(accounts=accounts.url)
    assert server.get("/v1/models").status_code == 200
    key = accounts.key()
    eventually(lambda: server.get("/v1/models").status_code == 401, "authentication is on")
    assert ask(server, key).status_code == 200
    other = accounts.key()
    assert ask(server, other).status_code == 200
    accounts.revoke(key)
    accounts.revoke(other)
    server.stop()
    again = start(folder=tmp_path, accounts=accounts.url, listen="0.0.0.0:0")
    assert again.listening["authentication"] == "keys"
    check_problem(again.get("/v1/models"), 401, "unauthenticated")
    check_problem(ask(again, key), 401, "unauthenticated")


def test_the_new_key_works_before_the_server_has_noticed(start, tmp_path, cat):
    accounts = Accounts(tmp_path)
    accounts.tenant("acme")
    server = start(**accounts.settings)
    key = accounts.key(tenant="acme")
    line = server.access(predict(server, key, cat).headers["X-Request-Id"])
    assert line["tenant"] == "acme"
    # And whoever shows none is out from then on.
    check_problem(server.get("/v1/models"), 401, "unauthenticated")


def test_limits_of_default_hold_in_open_mode(start, tmp_path):
    accounts = Accounts(tmp_path)
    accounts.tenant("acme")
    accounts.succeed("tenant", "set", "default", "--requests=1", "--window=1h", "--burst=2")
    server = start(accounts=accounts.url)
    assert [server.get("/v1/models").status_code for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("url", ["redis:x", "x", "sqlite:", "sqlite:no/such/folder/a.db"])
def test_accounts_that_cannot_be_opened(tmp_path, url):
    done = serve(tmp_path, accounts=url)
    assert done.returncode in (2, 11) and done.stderr.startswith("imago: "), done.stderr
