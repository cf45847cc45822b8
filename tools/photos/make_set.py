#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Make varied JPEG photographs out of scenes: make_set.py SCENES OUT --count 240 --seed 1

The sizes follow ImageNet's: most near 500 × 375 and 100 kB, some thumbnails, some of two thousand pixels.
Qualities, chroma sampling, progressive coding, grey and EXIF orientation vary as they do in uploads.
The same scenes, count and seed give the same bytes. OUT gets the photographs and manifest.json.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

LONG_SIDE_COMMON, LONG_SIDE_MIN, LONG_SIDE_MAX = 500, 100, 2000
ENLARGE_MAX = 2.2  # more would give pictures smoother than any camera's
ASPECTS = [4 / 3] * 10 + [3 / 4] * 4 + [3 / 2] * 3 + [1.0] * 2 + [16 / 9]
EXIF_ORIENTATION = 0x0112
# EXIF orientation: what a camera held that way would have recorded, so that undoing it shows the scene upright.
RECORDED = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


def random_size(scene, rng):
    if rng.random() < 0.55:  # most were scaled to a common size
        long_side = LONG_SIDE_COMMON
    else:
        typical = max(LONG_SIDE_COMMON, max(scene.size) * 0.6)
        long_side = int(np.clip(typical * np.exp(rng.normal(0, 0.7)), LONG_SIDE_MIN, LONG_SIDE_MAX))
    aspect = ASPECTS[rng.integers(len(ASPECTS))] * rng.uniform(0.98, 1.02)
    short_side = long_side / max(aspect, 1 / aspect)
    return (long_side, round(short_side)) if aspect >= 1 else (round(short_side), long_side)


def random_crop(scene, size, rng):
    """Cut a part of the scene in the shape of size, and scale it to size or as near as ENLARGE_MAX lets."""
    width, height = size
    fit = min(scene.width / width, scene.height / height)
    part = rng.uniform(0.75, 1.0) * fit
    box_width, box_height = width * part, height * part
    left, top = rng.uniform(0, scene.width - box_width), rng.uniform(0, scene.height - box_height)
    shrink = min(1.0, part * ENLARGE_MAX)
    size = max(16, round(width * shrink)), max(16, round(height * shrink))
    box = (left, top, left + box_width, top + box_height)
    return scene.resize(size, Image.Resampling.LANCZOS, box=box)


def add_grain(image, rng):
    """Sensor noise, which scaling took away; without it the files would be smaller than real ones."""
    grain = rng.normal(0, rng.uniform(3, 8), (image.height, image.width, 1)).astype(np.float32)
    return Image.fromarray((np.asarray(image) + grain).round().clip(0, 255).astype(np.uint8))


def write_photo(scene_path, path, rng):
    with Image.open(scene_path) as scene:
        scene = scene.convert("RGB")
    image = add_grain(random_crop(scene, random_size(scene, rng), rng), rng)
    facts = {
        "file": path.name,
        "scene": scene_path.name,
        "width": image.width,  # upright
        "height": image.height,
        "quality": max(75, 95 - int(rng.exponential(4))),
        "subsampling": "4:4:4" if rng.random() < 0.4 else "4:2:0",
        "progressive": bool(rng.random() < 0.12),
        "orientation": int(rng.choice(list(RECORDED))) if rng.random() < 0.06 else 1,
        "grey": bool(rng.random() < 0.03),
    }
    exif = Image.Exif()
    if facts["orientation"] != 1:
        image = image.transpose(RECORDED[facts["orientation"]])
        exif[EXIF_ORIENTATION] = facts["orientation"]
    if facts["grey"]:
        image = image.convert("L")
    options = {"quality": facts["quality"], "progressive": facts["progressive"], "exif": exif}
    if not facts["grey"]:
        options["subsampling"] = facts["subsampling"]
    image.save(path, "JPEG", **options)
    facts["bytes"] = path.stat().st_size
    return facts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenes", type=Path, help="folder of photographs")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--count", type=int, default=240, help="photographs to write (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="chooses crops, sizes and coding (default: %(default)s)")
    arguments = parser.parse_args()

    scenes = sorted(path for path in arguments.scenes.iterdir() if path.suffix == ".webp")
    if not scenes:
        sys.exit(f"make_set.py: {arguments.scenes} has no scenes; run fetch.py first")
    rng = np.random.default_rng(arguments.seed)
    order = [scenes[i] for _ in range(-(-arguments.count // len(scenes))) for i in rng.permutation(len(scenes))]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.out.parent) as temporary:
        made = Path(temporary) / "set"
        made.mkdir()
        manifest = [
            write_photo(scene, made / f"{index:04d}.jpg", rng) for index, scene in enumerate(order[: arguments.count])
        ]
        (made / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        shutil.rmtree(arguments.out, ignore_errors=True)
        made.rename(arguments.out)
    print(f"{len(manifest)} photographs of {len({photo['scene'] for photo in manifest})} scenes in {arguments.out}")


if __name__ == "__main__":
    main()
