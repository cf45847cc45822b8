# SPDX-License-Identifier: Apache-2.0
"""From a picture file to the 224 × 224 pixels that the network was trained on, with Pillow."""

import numpy as np
from PIL import Image, ImageOps

FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def open_upright(path):
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def centre_crop(image, size=224, fraction=0.875, resample=FILTERS["bicubic"]):
    """uint8 [size, size, 3]. The odd pixel goes where TensorFlow's crop puts it: top and left."""
    width, height = image.size
    side = int(min(width, height) * fraction)
    left, top = (width - side + 1) // 2, (height - side + 1) // 2
    cropped = image.crop((left, top, left + side, top + side))
    return np.asarray(cropped.resize((size, size), resample))
