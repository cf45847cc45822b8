# SPDX-License-Identifier: Apache-2.0
"""Tokens of an OpenID Connect issuer, which runs in the test."""
import base64
import hashlib
import hmac
import json
import subprocess
import time

import pytest
from accounts import Accounts
from imago_server import IMAGO, MODELS, PATIENCE_S, Server, environment, eventually
from issuer import Issuer, SigningKey, base64url


@pytest.fixture
def accounts(tmp_path):
    return Accounts(tmp_path)


@pytest.fixture
def issuer(tmp_path):
    issuer = Issuer(tmp_path).up()
    yield issuer
    issuer.down()


@pytest.fixture
def serve(start, accounts, issuer):
    def serve_one(**settings):
        server = start(**(accounts.settings | issuer.settings | settings))
        server.event("issuer", lambda event: event.get("keys") == "ready")
        return server
    return serve_one


@pytest.fixture(scope="module")
def wrong_server(tmp_path_factory):
    """One server for tokens that get nowhere."""
    folder = tmp_path_factory.mktemp("wrong")
    issuer = Issuer(folder).up()
    server = Server(folder, Accounts(folder).settings | issuer.settings)
    server.event("issuer", lambda event: event.get("keys") == "ready")
    yield server, issuer
    server.stop()
    issuer.down()


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def ask(server, token, path="/v1/usage"):
    return server.get(path, headers=bearer(token))


def refused(server, token, error="invalid_token"):
    response = ask(server, token)
    assert response.status_code == 401, (response.status_code, response.text)
    assert response.headers["WWW-Authenticate"] == f'Bearer realm="imago", error="{error}"'
    assert response.headers["Content-Type"] == "application/problem+json"
    return response.json()["detail"]


def test_tokens_of_both_algorithms(serve, accounts, issuer, cat):
    server = serve()
    accounts.tenant("acme")
    assert server.listening["authentication"] == "keys and tokens"
    for key in issuer.rsa, issuer.ec:
        token = issuer.token(key, tenant="acme")
        answer = server.answer(cat, headers=bearer(token))
        assert ask(server, token, f"/v1/predictions/{answer['id']}").status_code == 200
        # Another tenant's sees nothing of it.
        assert ask(server, issuer.token(key), f"/v1/predictions/{answer['id']}").status_code == 404
        access = server.event("access", lambda event: event.get("tenant") == "acme" and event["status"] == 200)
        assert access["key"].startswith("jwt-")
        assert token.rpartition(".")[2] not in server.text
    # Keys go on beside them.
    assert server.get("/v1/usage", headers=accounts.key().headers).status_code == 200
    assert issuer.fetch_count() == 1


def test_scopes(serve, issuer):
    server = serve()
    for changes, statuses in [
            ({"scope": "openid imago/read"}, (200, 403)),
            ({"scope": "imago/admin"}, (403, 404)),
            ({"scope": None, "scp": ["imago/read", "imago/admin"]}, (200, 404)),
            ({"scope": None, "cognito:groups": ["imago-read", "others"]}, (200, 403)),
            ({"scope": "read admin imago-read imago/reader Imago/read"}, (403, 403)),
            ({"scope": None, "cognito:groups": ["imago/read"]}, (403, 403))]:
        token = issuer.token(**changes)
        assert ask(server, token).status_code == statuses[0], changes
        nothing = "/v1/predictions/01234567-89ab-7def-8123-456789abcdef"
        response = server.request("DELETE", nothing, headers=bearer(token))
        assert response.status_code == statuses[1], changes
        if statuses[1] == 403:
            assert response.headers["WWW-Authenticate"] == \
                'Bearer realm="imago", error="insufficient_scope", scope="admin"'


def test_prefixes_of_scopes(serve, issuer):
    server = serve(jwt_scope_prefix="", jwt_group_prefix="none")
    assert ask(server, issuer.token(scope="read")).status_code == 200
    assert ask(server, issuer.token(scope="imago/read")).status_code == 403
    assert ask(server, issuer.token(scope=None, **{"cognito:groups": ["imago-read"]})).status_code == 403


def test_as_amazon_cognito_makes_them(serve, accounts, issuer):
    accounts.tenant("acme")
    server = serve(jwt_tenant_claim="custom:tenant", jwt_audience="3n4b5urk1ft4fl3mg5e62d9ado")
    common = {"tenant": None, "scope": None, "custom:tenant": "acme", "cognito:groups": ["imago-read"],
              "auth_time": int(time.time()), "cognito:username": "alice", "origin_jti": "aaaa", "jti": "bbbb"}
    identity = common | {"aud": "3n4b5urk1ft4fl3mg5e62d9ado", "token_use": "id", "email": "alice@example.com"}
    assert ask(server, issuer.token(**identity)).status_code == 200
    access = common | {"aud": None, "client_id": "3n4b5urk1ft4fl3mg5e62d9ado", "token_use": "access",
                       "scope": "openid imago/predict"}
    assert ask(server, issuer.token(**access)).status_code == 200
    assert "audience" in refused(server, issuer.token(**(access | {"client_id": "somebody-elses"})))
    # An ID token of another client is not saved by a client_id.
    assert "audience" in refused(server, issuer.token(**(identity | {
        "aud": "somebody-elses", "client_id": "3n4b5urk1ft4fl3mg5e62d9ado"})))


@pytest.mark.parametrize("changes, says", [
    ({"exp": time.time() - 3600}, "expired"),
    ({"exp": None}, "exp"),
    ({"exp": "tomorrow"}, "exp"),
    ({"nbf": time.time() + 3600}, "nbf"),
    ({"aud": "another"}, "audience"),
    ({"aud": ["another", "and another"]}, "audience"),
    ({"aud": None}, "audience"),
    ({"iss": "https://example.com"}, "issuer"),
    ({"iss": None}, "issuer"),
    ({"sub": None}, "sub"),
    ({"tenant": "nobody"}, "tenant"),
    ({"tenant": None}, "tenant"),
    ({"tenant": "../default"}, "tenant"),
    ({"tenant": ["default"]}, "tenant"),
    ({"tenant": "Default"}, "tenant"),
    ({"header": {"kid": None}}, "kid"),
    ({"header": {"crit": ["exp"]}}, "critical"),
    ({"header": {"alg": "none"}, "signature": lambda signed: b""}, "alg"),
    ({"header": {"alg": "ES256"}}, "alg"),
    ({"header": {"alg": "RS512"}}, "alg"),
    ({"signature": lambda signed: b""}, "signature"),
    ({"signature": lambda signed: bytes(256)}, "signature"),
])
def test_wrong_tokens(wrong_server, changes, says):
    server, issuer = wrong_server
    assert says in refused(server, issuer.token(**changes))


def test_a_signature_with_what_is_public(wrong_server):
    server, issuer = wrong_server
    for secret in issuer.rsa.public_pem, base64.urlsafe_b64decode(issuer.rsa.jwk["n"] + "=="):
        token = issuer.token(header={"alg": "HS256"},
                             signature=lambda signed: hmac.digest(secret, signed, hashlib.sha256))
        assert "alg" in refused(server, token)


def test_keys_that_a_token_brings_along(wrong_server, tmp_path):
    server, issuer = wrong_server
    own = SigningKey("rsa-1", "RSA")
    for header in {"jwk": own.jwk}, {"jku": issuer.url + "/evil.json"}, {"x5u": issuer.url + "/evil.pem"}:
        assert "signature" in refused(server, issuer.token(own, header=header))
    assert not any("evil" in path for path in issuer.requests)


def test_a_changed_token(wrong_server):
    server, issuer = wrong_server
    header, payload, signature = issuer.token(scope="imago/read").split(".")
    assert ask(server, f"{header}.{payload}.{signature}").status_code == 200
    changed = base64url(json.dumps(issuer.claims()).encode())
    assert "signature" in refused(server, f"{header}.{changed}.{signature}")
    for token in f"{header}.{payload}", f"{header}.{payload}.", f".{payload}.{signature}", "a.b.c", "x", \
            f"{header}.{payload}.{signature}.{signature}", "A" * 9000:
        refused(server, token)
    assert ask(server, "").status_code == 400


def test_leeway_of_a_minute(wrong_server):
    server, issuer = wrong_server
    assert ask(server, issuer.token(exp=time.time() - 10)).status_code == 200
    assert ask(server, issuer.token(nbf=time.time() + 10)).status_code == 200
    assert ask(server, issuer.token(aud=["x", "imago"], nbf=time.time() - 10.5)).status_code == 200


def test_a_suspended_tenant(serve, accounts, issuer):
    accounts.tenant("acme", "--suspended")
    assert "suspended" in refused(serve(), issuer.token(tenant="acme"))


# --- the issuer's keys -----------------------------------------------------------------------

def test_a_new_key_is_found(serve, issuer):
    server = serve(jwt_refetch="100ms")
    new = SigningKey("rsa-2", "RSA")
    issuer.keys = [new]
    old_token, token = issuer.token(), issuer.token(new)
    assert ask(server, old_token).status_code == 200

    def answer():
        response = ask(server, token)
        if response.status_code == 503:
            assert int(response.headers["Retry-After"]) > 0 and "WWW-Authenticate" not in response.headers
        return response.status_code == 200
    eventually(answer, "a token of the new key is taken")
    # The old key is no more; between two fetches the answer is final.
    eventually(lambda: ask(server, issuer.token()).status_code == 401, "the old key is refused")


def test_unknown_keys_cause_no_more_than_one_fetch(serve, issuer):
    server = serve(jwt_refetch="100ms")
    unknown = [issuer.token(header={"kid": f"unknown-{number}"}) for number in range(5)]
    before = issuer.fetch_count()
    eventually(lambda: ask(server, unknown[0]).status_code == 503, "a fetch is due")
    eventually(lambda: issuer.fetch_count() > before, "the keys were fetched")
    assert ask(server, issuer.token()).status_code == 200


def test_strangers_cannot_make_it_fetch(serve, issuer):
    server = serve(jwt_refetch="1h")
    for number in range(20):
        assert "no such key" in refused(server, issuer.token(header={"kid": f"unknown-{number}"}))
    assert issuer.fetch_count() == 1


def test_before_the_issuer_answers(start, accounts, tmp_path):
    issuer = Issuer(tmp_path)
    server = start(**(accounts.settings | issuer.settings | {"jwt_refetch": "100ms"}))
    server.event("issuer", lambda event: "detail" in event)
    response = ask(server, issuer.token())
    assert response.status_code == 503 and int(response.headers["Retry-After"]) > 0
    assert "WWW-Authenticate" not in response.headers
    assert server.get("/v1/usage", headers=accounts.key().headers).status_code == 200
    issuer.up()
    try:
        eventually(lambda: ask(server, issuer.token()).status_code == 200, "the keys are there")
        # What was fetched stays when the issuer does not.
        issuer.answers["/pool/jwks.json"] = (500, {}, b"")
        assert ask(server, issuer.token(issuer.ec)).status_code == 200
    finally:
        issuer.down()


@pytest.mark.parametrize("path, answer", [
    ("/pool/.well-known/openid-configuration", (404, {}, b"")),
    ("/pool/.well-known/openid-configuration", (200, {}, b"[]")),
    ("/pool/.well-known/openid-configuration", (200, {}, b'{"issuer": "https://other.example", "jwks_uri": "URL"}')),
    ("/pool/.well-known/openid-configuration", (200, {}, b'{"issuer": "ISSUER", "jwks_uri": "http://example.com/"}')),
    ("/pool/.well-known/openid-configuration", (200, {}, b'{"issuer": "ISSUER", "jwks_uri": "file:///etc/passwd"}')),
    ("/pool/jwks.json", (302, {"Location": "/pool/real.json"}, b"")),
    ("/pool/jwks.json", (200, {}, b"{}")),
    ("/pool/jwks.json", (200, {}, b'{"keys": []}')),
    ("/pool/jwks.json", (200, {}, b'{"keys": [' + b" " * 70000 + b"]}")),
])
def test_an_issuer_that_answers_nonsense(start, accounts, issuer, path, answer):
    status, headers, body = answer
    body = body.replace(b"ISSUER", issuer.url.encode()).replace(b"URL", issuer.url.encode() + b"/jwks.json")
    issuer.answers[path] = status, headers, body
    server = start(**(accounts.settings | issuer.settings))
    assert server.event("issuer")["detail"]
    assert ask(server, issuer.token()).status_code == 503
    assert "/pool/real.json" not in issuer.requests


def test_keys_at_an_address_of_their_own(serve, issuer):
    issuer.answers["/pool/.well-known/openid-configuration"] = (500, {}, b"")
    server = serve(jwt_keys=issuer.url + "/jwks.json", jwt_issuer="https://login.example.com/a")
    assert ask(server, issuer.token(iss="https://login.example.com/a")).status_code == 200
    assert "issuer" in refused(server, issuer.token())


# --- starting --------------------------------------------------------------------------------

def test_an_issuer_ends_open_mode_for_good(start, accounts, issuer, tmp_path):
    server = start(**(accounts.settings | issuer.settings | {"listen": "0.0.0.0:0"}))
    response = server.get("/v1/usage")
    assert response.status_code == 401 and response.headers["WWW-Authenticate"] == 'Bearer realm="imago"'
    server.stop()
    server = start(**accounts.settings)
    assert server.get("/v1/usage").status_code == 401
    assert "no such key" in refused(server, issuer.token())


@pytest.mark.parametrize("settings, says", [
    ({"jwt-issuer": "https://login.example.com"}, "--jwt-audience"),
    ({"jwt-issuer": "https://login.example.com", "jwt-audience": "x", "jwt-tenant-claim": ""}, "--jwt-tenant-claim"),
    ({"jwt-issuer": "http://login.example.com", "jwt-audience": "x"}, "https://"),
    ({"jwt-issuer": "login.example.com", "jwt-audience": "x"}, "--jwt-issuer"),
    ({"jwt-issuer": "x", "jwt-audience": "x", "jwt-keys": "http://10.0.0.1/"}, "--jwt-keys"),
    ({"jwt-issuer": "https://login.example.com", "jwt-audience": "x" * 300}, "--jwt-audience"),
    ({"jwt-issuer": "https://login.example.com", "jwt-audience": "x", "accounts": "none"}, "--accounts none"),
])
def test_settings_that_cannot_be(tmp_path, settings, says):
    settings = {"listen": "127.0.0.1:0", "data": tmp_path / "data", "models": MODELS} | settings
    done = subprocess.run([IMAGO, "serve", *(f"--{name}={value}" for name, value in settings.items())],
                          capture_output=True, text=True, timeout=PATIENCE_S, env=environment())
    assert done.returncode == 2 and says in done.stderr, done.stderr
