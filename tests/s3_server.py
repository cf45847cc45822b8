# SPDX-License-Identifier: Apache-2.0
"""A server that stands in for S3: it checks signatures and checksums and keeps objects as files.

As a program it runs a command beside one, with "{endpoint}" in the variable BLOB_URL filled in:
    BLOB_URL='s3://pictures%s?endpoint={endpoint}' python3 tests/s3_server.py build/tests/contract/blob/blob_contract
"""
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[1] / "build/deps/versitygw/versitygw"
BUCKET = "pictures"
ACCESS_KEY, SECRET_KEY, REGION = "AKIDIMAGOTEST", "the-secret-of-the-tests", "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": REGION,
               "AWS_EC2_METADATA_DISABLED": "true"}
PATIENCE_S = 60 * float(os.environ.get("IMAGO_TEST_SLOW", "1"))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_port(process, port):
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, f"the server that stands in for S3 ended with {process.returncode}"
            assert time.monotonic() < end, "the server that stands in for S3 does not listen"
            time.sleep(0.02)


class S3Server:
    """With one bucket, in a folder of its own."""

    def __init__(self, folder):
        self.folder = Path(folder)
        (self.folder / "objects" / BUCKET).mkdir(parents=True)
        assert PROGRAM.exists(), f"{PROGRAM} is missing: run tools/setup test"
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        self.log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(
            [str(PROGRAM), "--access", ACCESS_KEY, "--secret", SECRET_KEY, "--region", REGION,
             "--port", f"127.0.0.1:{self.port}", "posix", str(self.folder / "objects")],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT, cwd=self.folder)
        wait_for_port(self.process, self.port)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.log.close()


def main(command):
    with tempfile.TemporaryDirectory(prefix="imago-s3-") as folder:
        server = S3Server(folder)
        try:
            url = os.environ.get("BLOB_URL", "").replace("{endpoint}", server.endpoint)
            env = os.environ | CREDENTIALS | {"BLOB_URL": url, "S3_ENDPOINT": server.endpoint, "HOME": folder}
            return subprocess.run(command, env=env, check=False).returncode
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
