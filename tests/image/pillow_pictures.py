# SPDX-License-Identifier: Apache-2.0
"""Pictures to test with, and a PNG writer for the kinds that Pillow does not write."""
import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def photo(width, height, seed=1, channels=3):
    """Smooth colours, hard edges and noise: what a photo has that a gradient has not."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for channel in range(channels):
        a, b, c = rng.uniform(0.01, 0.2, 3)
        plane = 128 + 60 * np.sin(a * x + channel) + 60 * np.cos(b * y) * np.sin(c * (x + y))
        plane += rng.normal(0, 8, plane.shape)
        edge = (x * (channel + 1) // 17 + y // 23) % 5 == 0
        planes.append(np.where(edge, 255 - plane, plane))
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def encoded(image, format, **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def opened(data):
    """As the model's training saw it: upright RGB."""
    return ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")


def center_crop(image, size, crop, filter):
    width, height = image.size
    side = max(1, int(min(width, height) * crop))
    left, top = (width - side + 1) // 2, (height - side + 1) // 2
    return image.crop((left, top, left + side, top + side)).resize(size, FILTERS[filter])


def resize_crop(image, size, side, filter):
    """torchvision's Resize(side) and CenterCrop(size)."""
    width, height = image.size
    if width <= height:
        resized = side, int(side * height / width)
    else:
        resized = int(side * width / height), side
    image = image.resize(resized, FILTERS[filter])
    pad_x, pad_y = max(0, size[0] - resized[0]), max(0, size[1] - resized[1])
    if pad_x or pad_y:
        padded = Image.new("RGB", (resized[0] + pad_x, resized[1] + pad_y))
        padded.paste(image, (pad_x // 2, pad_y // 2))
        image = padded
    left = int(round((image.size[0] - size[0]) / 2.0))
    top = int(round((image.size[1] - size[1]) / 2.0))
    return image.crop((left, top, left + size[0], top + size[1]))


def worst(got, want):
    return int(np.abs(got.astype(int) - np.asarray(want).astype(int)).max())


PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2)]


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _packed(samples, depth):
    """Rows of samples (height x samples a row), each preceded by filter 0."""
    rows = []
    for row in samples:
        if depth == 16:
            data = row.astype(">u2").tobytes()
        elif depth == 8:
            data = row.astype(np.uint8).tobytes()
        else:
            bits = "".join(format(int(value), f"0{depth}b") for value in row)
            bits += "0" * (-len(bits) % 8)
            data = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
        rows.append(b"\0" + data)
    return b"".join(rows)


def png(samples, color, depth, interlaced=False, palette=None, trns=None, extra=b""):
    """`samples` is height x width x channels, values of `depth` bits."""
    height, width, channels = samples.shape
    if interlaced:
        data = b""
        for x, y, dx, dy in PASSES:
            part = samples[y::dy, x::dx]
            if part.size:
                data += _packed(part.reshape(part.shape[0], -1), depth)
    else:
        data = _packed(samples.reshape(height, -1), depth)
    out = b"\x89PNG\r\n\x1a\n"
    out += _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced))
    out += extra
    if palette is not None:
        out += _chunk(b"PLTE", palette)
    if trns is not None:
        out += _chunk(b"tRNS", trns)
    return out + _chunk(b"IDAT", zlib.compress(data)) + _chunk(b"IEND", b"")
