# SPDX-License-Identifier: Apache-2.0
"""An OpenID Connect issuer: discovery, keys, and tokens signed with them by openssl."""
import base64
import http.server
import json
import subprocess
import threading
import time


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True).stdout


class SigningKey:
    def __init__(self, kid, kind):
        self.kid, self.kind = kid, kind
        options = {"RSA": ["rsa_keygen_bits:2048"], "EC": ["ec_paramgen_curve:P-256"]}[kind]
        self.pem = openssl("genpkey", "-algorithm", kind, "-pkeyopt", *options)
        self.alg = {"RSA": "RS256", "EC": "ES256"}[kind]

    def _file(self, tmp):
        path = tmp / f"{self.kid}.pem"
        path.write_bytes(self.pem)
        return path

    @property
    def public_pem(self):
        return openssl("pkey", "-pubout", data=self.pem)

    @property
    def jwk(self):
        jwk = {"kid": self.kid, "kty": self.kind, "use": "sig", "alg": self.alg}
        if self.kind == "RSA":
            modulus = openssl("rsa", "-noout", "-modulus", data=self.pem).decode().strip().partition("=")[2]
            return jwk | {"n": base64url(bytes.fromhex(modulus)), "e": "AQAB"}
        point = openssl("pkey", "-pubout", "-outform", "DER", data=self.pem)[-64:]
        return jwk | {"crv": "P-256", "x": base64url(point[:32]), "y": base64url(point[32:])}

    def sign(self, data, tmp):
        signature = openssl("dgst", "-sha256", "-sign", self._file(tmp), data=data)
        return signature if self.kind == "RSA" else raw(signature)


def raw(der):
    """r and s of an ECDSA signature, 32 bytes each: JWTs have no DER."""
    numbers, at = [], 2
    for _ in range(2):
        size = der[at + 1]
        numbers.append(int.from_bytes(der[at + 2:at + 2 + size]))
        at += 2 + size
    return b"".join(number.to_bytes(32) for number in numbers)


class Issuer:
    """`answers[path]` replaces what is served there: (status, headers, body)."""

    def __init__(self, tmp, port=0):
        self.tmp = tmp
        self.rsa, self.ec = SigningKey("rsa-1", "RSA"), SigningKey("ec-1", "EC")
        self.keys = [self.rsa, self.ec]
        self.answers, self.requests = {}, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.serve(self)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler, bind_and_activate=False)
        self.server.server_bind()
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/pool"
        self.name = self.url  # what iss and the discovery document say
        self.settings = {"jwt_issuer": self.url, "jwt_audience": "imago"}

    def up(self):
        self.server.server_activate()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def down(self):
        self.server.shutdown()
        self.server.server_close()

    def serve(self, handler):
        path = handler.path
        self.requests.append(path)
        found = {
            "/pool/.well-known/openid-configuration": {"issuer": self.name, "jwks_uri": self.url + "/jwks.json"},
            "/pool/jwks.json": {"keys": [key.jwk for key in self.keys]},
        }
        status, headers, body = self.answers.get(path) or (
            (200, {}, json.dumps(found[path]).encode()) if path in found else (404, {}, b""))
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def fetch_count(self):
        return self.requests.count("/pool/jwks.json")

    def claims(self, **changes):
        """Those of a good token; a change to None leaves one out."""
        now = time.time()
        claims = {"iss": self.url, "aud": "imago", "sub": "alice", "iat": now, "exp": now + 600, "tenant": "default",
                  "scope": "imago/predict imago/read imago/feedback imago/admin"} | changes
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, key=None, header=None, signature=None, **changes):
        key = key or self.rsa
        header = {"typ": "JWT", "alg": key.alg, "kid": key.kid} | (header or {})
        header = {name: value for name, value in header.items() if value is not None}
        parts = [base64url(json.dumps(part).encode()) for part in (header, self.claims(**changes))]
        signed = ".".join(parts)
        made = key.sign(signed.encode(), self.tmp) if signature is None else signature(signed.encode())
        return f"{signed}.{base64url(made)}"
