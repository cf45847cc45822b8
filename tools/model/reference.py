#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Classify photographs without imago: reference.py --models DIR --model NAME PHOTO|FOLDER...

Pillow decodes and resizes, OpenVINO's Python package infers; model.yaml is obeyed for the geometries and
types that the default models use. Prints JSON Lines: {"file": ..., "top": [[class_id, label, score], ...]}.
It is what imago's answers are compared with, so it must stay simple and share no code with it.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import openvino
import yaml

from preprocess import FILTERS, centre_crop, open_upright

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif"}
TOP = 5


class Reference:
    def __init__(self, models, name):
        folder = max((Path(models) / name).iterdir(), key=lambda version: int(version.name))
        facts = yaml.safe_load((folder / "model.yaml").read_text())
        self.input = facts["input"]
        self.labels = (folder / facts["labels"]).read_text().splitlines()
        if self.input["geometry"] != "center-crop" or facts["output"]["activation"] != "softmax":
            sys.exit("reference.py: only center-crop and softmax are known here")
        # fp32, or OpenVINO would silently compute in bf16 what is not int8.
        settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self.model = openvino.Core().compile_model(folder / "model.onnx", "CPU", settings)

    def tensor(self, path):
        facts = self.input
        pixels = centre_crop(open_upright(path), facts["width"], facts["crop_fraction"], FILTERS[facts["filter"]])
        if facts["channels"] == "bgr":
            pixels = pixels[:, :, ::-1]
        if facts["type"] == "f32":
            pixels = (pixels - np.float32(facts["mean"])) / np.float32(facts["scale"])
        if facts["layout"] == "NCHW":
            pixels = pixels.transpose(2, 0, 1)
        return np.ascontiguousarray(pixels)[None]

    def scores(self, path):
        """The probability of every class."""
        logits = self.model(self.tensor(path))[0][0].astype(np.float64)
        powers = np.exp(logits - logits.max())
        return powers / powers.sum()

    def top(self, path):
        scores = self.scores(path)
        best = np.argsort(-scores, kind="stable")[:TOP]
        return [[int(class_id), self.labels[class_id], float(scores[class_id])] for class_id in best]


def photographs(paths):
    for path in map(Path, paths):
        if path.is_dir():
            yield from sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        else:
            yield path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", required=True, help="model repository")
    parser.add_argument("--model", default="efficientnet-lite0", help="model's name (default: %(default)s)")
    parser.add_argument("photos", nargs="+", help="picture files or folders of them")
    arguments = parser.parse_args()
    reference = Reference(arguments.models, arguments.model)
    for path in photographs(arguments.photos):
        print(json.dumps({"file": str(path), "top": reference.top(path)}))


if __name__ == "__main__":
    main()
