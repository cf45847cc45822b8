# SPDX-License-Identifier: Apache-2.0
"""Tenants and keys for tests, made by `imago tenant` and `imago key` as an operator makes them."""
import json
import re
import subprocess

from imago_server import IMAGO, PATIENCE_S, environment

TOKEN = re.compile(r"imago_([a-z2-7]{8})_[a-z2-7]{52}")


class Key:
    def __init__(self, token, tenant):
        self.token, self.tenant = token, tenant
        self.id = TOKEN.fullmatch(token)[1]

    @property
    def headers(self):
        return {"Authorization": f"Bearer {self.token}"}


class Accounts:
    """One database of accounts. `settings` are those of a server over it, with stores beside it."""

    def __init__(self, folder):
        self.file = folder / "imago.db"
        self.url = f"sqlite:{self.file}"
        self.settings = {"accounts": self.url, "results": self.url, "images": f"file:{folder / 'images'}",
                         "queue": self.url}
        self.secrets = []

    def run(self, *arguments):
        """(exit status, standard output, standard error)"""
        done = subprocess.run([str(IMAGO), *map(str, arguments), "--accounts", self.url], capture_output=True,
                              text=True, timeout=5 * PATIENCE_S, env=environment())
        return done.returncode, done.stdout, done.stderr

    def succeed(self, *arguments):
        status, out, err = self.run(*arguments)
        assert status == 0, err
        return out

    def tenant(self, name, *options):
        self.succeed("tenant", "create", name, *options)
        return name

    def _key(self, tenant, *arguments):
        token = self.succeed("key", *arguments, "--tenant", tenant).strip()
        self.secrets.append(token.rpartition("_")[2])
        return Key(token, tenant)

    def key(self, *options, tenant="default", scopes="predict,read,feedback,admin"):
        return self._key(tenant, "create", "--scopes", scopes, *options)

    def rotate(self, key, *options):
        return self._key(key.tenant, "rotate", key.id, *options)

    def revoke(self, key):
        self.succeed("key", "revoke", key.id, "--tenant", key.tenant)

    def keys(self, tenant="default", *options):
        if not self.file.exists():
            return {}
        lines = self.succeed("key", "list", "--tenant", tenant, "--format=json", *options).splitlines()
        return {key["id"]: key for key in map(json.loads, lines)}

    def shown(self, key):
        """What `imago key list` says of it."""
        return self.keys(key.tenant, f"--prefix={key.id}")[key.id]
