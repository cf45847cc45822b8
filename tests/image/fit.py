# SPDX-License-Identifier: Apache-2.0
"""Drives fit_tool: one process for all cases, pictures passed as files in a scratch folder."""
import os
import pathlib
import subprocess

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]


class FitError(Exception):
    def __init__(self, rc, text):
        super().__init__(f"{rc}: {text}")
        self.rc = rc
        self.text = text


class Fit:
    def __init__(self, folder):
        tool = os.environ.get("IMAGO_FIT_TOOL", str(ROOT / "build/tests/image/fit_tool"))
        self.folder = folder
        self.process = subprocess.Popen([tool], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self):
        self.process.stdin.close()
        self.process.wait()

    def _ask(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().decode().rstrip("\n")
        kind, _, rest = answer.partition(" ")
        if kind != "ok":
            rc, _, text = rest.partition(" ")
            raise FitError(rc, text)
        size = int(rest.split()[-1])
        self.answer = rest.split()
        return self.process.stdout.read(size)

    def _pixels(self, line, width, height):
        return np.frombuffer(self._ask(line), np.uint8).reshape(height, width, 3)

    def file(self, data, width, height, mode="stretch", filter="bicubic", crop=1.0, side=0, pad=0,
             bgr=False):
        path = self.folder / "case"
        path.write_bytes(data)
        return self._pixels(f"file {path} {mode} {filter} {width} {height} {crop!r} {side} {pad} "
                            f"{int(bgr)}", width, height)

    def raw(self, pixels, box, filter, width, height):
        """`box` is left, top, width, height."""
        path = self.folder / "case"
        path.write_bytes(pixels.tobytes())
        return self._pixels(f"raw {path} {pixels.shape[1]} {pixels.shape[0]} "
                            f"{box[0]} {box[1]} {box[2]} {box[3]} {filter} {width} {height}",
                            width, height)

    def encode(self, pixels, space="ycc", first=(1, 1), others=(1, 1), progressive=False,
               arithmetic=False, restart=0, quality=85):
        """A JPEG of components sampled as told; `pixels` is height x width x channels."""
        path = self.folder / "case"
        path.write_bytes(pixels.tobytes())
        return self._ask(f"encode {path} {pixels.shape[1]} {pixels.shape[0]} {space} "
                         f"{first[0]} {first[1]} {others[0]} {others[1]} {int(progressive)} "
                         f"{int(arithmetic)} {restart} {quality}")
