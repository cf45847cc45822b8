# SPDX-License-Identifier: Apache-2.0
"""The servers that bench/run compares: how each is built, started and stopped."""
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
PEERS = ROOT / "bench/peers"
IMAGO = Path(os.environ.get("IMAGO_BIN", BUILD / "imago"))
MODELS = Path(os.environ.get("IMAGO_MODELS", BUILD / "models"))
INT8, FP32 = MODELS / "efficientnet-lite0/1", MODELS / "efficientnet-lite0-fp32/1"
NATIVE = BUILD / "peers/native/release/native-peer"
PYTHON = BUILD / "peers/fastapi/bin/python"
START_SECONDS = 60


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


@dataclass
class Kind:
    name: str
    what: str
    precision: str
    command: object  # host:port -> list of arguments

    def start(self, log_folder):
        return Server(self, log_folder)


class Server:
    """A started server. It is killed with everything below it, whatever happens."""

    def __init__(self, kind, log_folder):
        self.kind = kind
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = log_folder / f"{kind.name}.log"
        with self.log.open("w") as log:
            command = [str(part) for part in kind.command(f"127.0.0.1:{self.port}")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1/predict"

    def predict(self, data):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/v1/predict", data, {"Content-Type": "image/jpeg"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def wait_until_ready(self, photo):
        """Ready is when a photo is answered, by each of its processes as far as can be told."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if self.predict(photo)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"{self.kind.name} did not start; see {self.log.relative_to(ROOT)}")

    def stop(self):
        """Only the process group that was started here."""
        for kind in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, kind)
                self.process.wait(timeout=10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass


def openvino_libs():
    done = subprocess.run([ROOT / "tools/openvino-dir"], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip()) / "libs"


def up_to_date(target, sources):
    return target.exists() and all(target.stat().st_mtime >= source.stat().st_mtime for source in sources)


def build_native():
    """True when the Rust peer is there."""
    folder = PEERS / "native"
    if up_to_date(NATIVE, [*folder.glob("src/*.rs"), folder / "Cargo.toml", folder / "build.rs"]):
        return True
    if shutil.which("cargo") is None:
        say("cargo is not installed: the native peer is left out. Rust 1.87 or newer is needed.")
        return False
    say("building the native peer (some minutes the first time)")
    environment = os.environ | {"OPENVINO_LIBS": str(openvino_libs()), "RUSTFLAGS": "-C target-cpu=native"}
    command = ["cargo", "build", "--release", "--quiet", "--target-dir", BUILD / "peers/native"]
    if subprocess.run(command, cwd=folder, env=environment, check=False).returncode:
        say("the native peer could not be built and is left out; its build's messages are above")
        return False
    NATIVE.touch()
    return True


def build_fastapi():
    """True when the Python peer's packages are there."""
    wanted, stamp = PEERS / "fastapi/requirements.txt", PYTHON.parent.parent / ".done"
    if up_to_date(stamp, [wanted]):
        return True
    say("installing the FastAPI peer's packages")
    folder = PYTHON.parent.parent
    commands = [
        [sys.executable, "-m", "venv", folder],
        [PYTHON, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", wanted],
    ]
    for command in commands:
        if subprocess.run(command, check=False).returncode:
            say("the FastAPI peer could not be installed and is left out; the messages are above")
            return False
    stamp.touch()
    return True


def imago_command(listen):
    data = BUILD / "bench/data"
    return [IMAGO, "serve", "--listen", listen, "--data", data, "--models", MODELS, "--model", "efficientnet-lite0"]


def fastapi_command(model, engine):
    return lambda listen: [PYTHON, PEERS / "fastapi/server.py", listen, model, "--engine", engine]


def kinds():
    """Everything that can run here, ours first."""
    found = []
    if IMAGO.exists():
        found.append(Kind("imago", "C, OpenVINO", "int8", imago_command))
    else:
        say(f"{IMAGO} is missing: run 'make build'. The peers are measured alone.")
    if build_native():
        command = lambda listen: [NATIVE, listen, INT8]
        found.append(Kind("native", "Rust axum, turbojpeg, fast_image_resize, OpenVINO", "int8", command))
    if build_fastapi():
        what = "FastAPI, uvicorn, Pillow, "
        found.append(Kind("fastapi-openvino", what + "OpenVINO", "int8", fastapi_command(INT8, "openvino")))
        found.append(Kind("fastapi-ort", what + "ONNX Runtime", "int8", fastapi_command(INT8, "onnxruntime")))
        if (FP32 / "model.onnx").exists():
            found.append(Kind("fastapi-ort-fp32", what + "ONNX Runtime", "fp32", fastapi_command(FP32, "onnxruntime")))
    return found
