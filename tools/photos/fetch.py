#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Collect real photographs for calibration, tests and benchmarks: fetch.py OUT

They come from one Debian package, an educational game that ships well over two hundred free photos of
animals, tools, food, monuments and musicians. The package is fetched by version and checked by its
SHA-256, unpacked beside OUT and never installed. Nothing here needs root.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

PACKAGE = "gcompris-qt-data"
VERSION = "3.1-2"
SHA256 = "e9cf06ab2105529068df73085784e835d2ff03f870d2a8091f09125d40abac9f"
RESOURCES = "usr/share/gcompris-qt/rcc"
LICENCES = f"usr/share/doc/{PACKAGE}/copyright"
SIDE_MIN = 200  # smaller pictures are icons
# Resource file: the positions of pictures in it that are not photographs (paintings, drawn shapes).
COLLECTIONS = {
    "categorization": (),
    "details": (2, 4, 7, 8, 10, 12, 15, 19),
    "erase": (),
    "explore_farm_animals": (),
    "explore_monuments": (),
    "explore_world_animals": (),
    "explore_world_music": (),
    "clickgame": (),
}
# A kitten, cut out of its garden: cat.jpg is for the first request of a new user.
TRY_IT, TRY_IT_BOX = "erase-032.webp", (720, 480, 1253, 880)


def fetch_package(folder):
    """Return the checked package file. apt knows the mirror, so no address is written here."""
    command = ["apt-get", "download", f"{PACKAGE}={VERSION}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    files = list(folder.glob("*.deb"))
    if done.returncode or len(files) != 1:
        sys.exit(f"fetch.py: could not download {PACKAGE} {VERSION}; try `apt-get update` first.\n{done.stderr}")
    digest = hashlib.sha256(files[0].read_bytes()).hexdigest()
    if digest != SHA256:
        sys.exit(f"fetch.py: {files[0].name} has SHA-256 {digest}, expected {SHA256}. Nothing was unpacked.")
    return files[0]


def riff_webp(data):
    """Yield each WebP file stored in a Qt resource file, which keeps compressed pictures as they are."""
    at = 0
    while (at := data.find(b"RIFF", at)) >= 0:
        if data[at + 8 : at + 12] == b"WEBP":
            size = int.from_bytes(data[at + 4 : at + 8], "little") + 8
            yield data[at : at + size]
        at += 4


def photographs(resource, skip):
    """Yield (position, WebP bytes) of the pictures that are large, opaque and not in skip."""
    position = 0
    for picture in riff_webp(resource.read_bytes()):
        with Image.open(BytesIO(picture)) as image:
            if min(image.size) < SIDE_MIN or image.mode != "RGB":
                continue
        if position not in skip:
            yield position, picture
        position += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of scenes to make")
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    # Made beside OUT and moved there when complete, so that an interrupted run leaves no half a folder.
    with tempfile.TemporaryDirectory(dir=out.parent) as temporary:
        temporary = Path(temporary)
        package = fetch_package(temporary)
        tree, scenes = temporary / "tree", temporary / "scenes"
        scenes.mkdir()
        subprocess.run(["dpkg-deb", "-x", package, tree], check=True)
        sources = []
        for collection, skip in COLLECTIONS.items():
            for position, picture in photographs(tree / RESOURCES / f"{collection}.rcc", skip):
                name = f"{collection}-{position:03d}.webp"
                (scenes / name).write_bytes(picture)
                sources.append(name)
        with Image.open(scenes / TRY_IT) as image:
            image.crop(TRY_IT_BOX).save(scenes / "cat.jpg", quality=90)
        (scenes / "SOURCES.txt").write_text(
            f"Photographs from the Debian package {PACKAGE} {VERSION} (SHA-256 {SHA256}).\n"
            f"cat.jpg is a part of {TRY_IT}. Fetched for local use; Imago does not redistribute them.\n\n"
            + "".join(f"{name}\n" for name in sources)
            + "\nThe package's own statement of copyright and licences:\n\n"
            + (tree / LICENCES).read_text()
        )
        if out.exists():
            shutil.rmtree(out)
        scenes.rename(out)
    print(f"{len(sources)} photographs in {out}")


if __name__ == "__main__":
    main()
