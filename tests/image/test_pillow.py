# SPDX-License-Identifier: Apache-2.0
"""Decode, orientation and resize against Pillow: the same samples, bit for bit, but for AVIF."""
import io
import random

import numpy as np
import pytest
from PIL import Image

from fit import FitError
from pillow_pictures import (FILTERS, center_crop, encoded, opened, photo, png, resize_crop, worst)


def agrees(fit, data, want=None, level=0):
    """The centre crop of 7/8, and the whole picture stretched."""
    image = opened(data) if want is None else want
    for filter in FILTERS:
        got = fit.file(data, 64, 48, "center_crop", filter, 0.875)
        assert worst(got, center_crop(image, (64, 48), 0.875, filter)) <= level, filter
        got = fit.file(data, 64, 48, "stretch", filter)
        assert worst(got, image.resize((64, 48), FILTERS[filter])) <= level, filter


def exact(fit, data):
    """Cropped without scaling: the very samples of a whole decode."""
    image = opened(data)
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    for part in (0.5, 0.8, 0.999, 1.0):
        side = int(min(width, height) * part)
        if side < 1:
            continue
        got = fit.file(data, side, side, "center_crop", "bicubic", part)
        left, top = (width - side + 1) // 2, (height - side + 1) // 2
        assert np.array_equal(got, pixels[top:top + side, left:left + side]), (width, height, side)


# Resize

def test_resize_of_random_boxes(fit):
    rng = random.Random(20261124)
    for number in range(600):
        big = number % 10 == 0
        width, height = (rng.randint(1, 2500 if big else 300) for _ in range(2))
        if number % 3 == 0:
            pixels = np.random.default_rng(number).integers(0, 2, (height, width, 3),
                                                            dtype=np.uint8) * 255
        else:
            pixels = photo(width, height, number)
        left, top = rng.randrange(width), rng.randrange(height)
        box = left, top, rng.randint(1, width - left), rng.randint(1, height - top)
        out = rng.randint(1, 260), rng.randint(1, 260)
        filter = rng.choice(list(FILTERS))
        got = fit.raw(pixels, box, filter, *out)
        crop = Image.fromarray(pixels).crop((left, top, left + box[2], top + box[3]))
        assert worst(got, crop.resize(out, FILTERS[filter])) == 0, (number, box, filter, out)


@pytest.mark.parametrize("filter", FILTERS)
@pytest.mark.parametrize("side", [1, 2, 3, 7, 100, 223, 224, 225, 256, 328, 447, 448, 449, 900])
def test_resize_to_the_usual_side(fit, filter, side):
    for other in (side, side + 1, max(1, side // 3), side * 3):
        pixels = photo(side, other, side)
        got = fit.raw(pixels, (0, 0, side, other), filter, 224, 224)
        assert worst(got, Image.fromarray(pixels).resize((224, 224), FILTERS[filter])) == 0


def test_modes(fit):
    rng = random.Random(5)
    for number in range(120):
        image = Image.fromarray(photo(rng.randint(16, 400), rng.randint(16, 400), number))
        data = encoded(image, "PNG")
        out = rng.randint(16, 200), rng.randint(16, 200)
        filter = rng.choice(list(FILTERS))
        part = rng.choice([0.875, 0.9, 1.0, rng.uniform(0.1, 1.0)])
        got = fit.file(data, *out, "center_crop", filter, part)
        assert worst(got, center_crop(image, out, part, filter)) == 0
        side = rng.randint(20, 300)
        got = fit.file(data, *out, "resize_crop", filter, side=side)
        assert worst(got, resize_crop(image, out, side, filter)) == 0, (image.size, out, side)


def test_letterbox(fit):
    from PIL import ImageOps
    for size in ((100, 300), (300, 100), (64, 64), (640, 427), (33, 400), (500, 17)):
        image = Image.fromarray(photo(*size))
        got = fit.file(encoded(image, "PNG"), 96, 80, "letterbox", "bilinear", pad=114)
        want = ImageOps.pad(image, (96, 80), FILTERS["bilinear"], color=(114, 114, 114))
        assert worst(got, want) == 0, size


def test_bgr(fit):
    data = encoded(photo(90, 70), "PNG")
    for mode in ("stretch", "letterbox"):
        rgb = fit.file(data, 32, 32, mode)
        assert np.array_equal(fit.file(data, 32, 32, mode, bgr=True), rgb[:, :, ::-1])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(200, 150), (150, 200), (97, 301), (64, 64)])
def test_orientations(fit, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for format in ("JPEG", "PNG", "WEBP"):
        data = encoded(photo(*size), format, exif=exif)
        agrees(fit, data)
        assert fit.answer[3] == str(orientation)
        image = opened(data)
        got = fit.file(data, 50, 40, "resize_crop", "bicubic", side=60)
        assert worst(got, resize_crop(image, (50, 40), 60, "bicubic")) == 0
        exact(fit, data)


# JPEG

SAMPLINGS = {"444": (1, 1), "422": (2, 1), "420": (2, 2), "440": (1, 2), "411": (4, 1),
             "441": (1, 4), "410": (4, 2), "24": (2, 4)}


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_jpeg_sampling(fit, sampling, progressive):
    for size in ((200, 150), (201, 151), (97, 301), (33, 17), (16, 16), (8, 8), (320, 240)):
        for restart in (0, 3):
            data = fit.encode(photo(*size), "ycc", SAMPLINGS[sampling], (1, 1), progressive,
                              restart=restart)
            exact(fit, data)
            agrees(fit, data)


def test_jpeg_odd_samplings(fit):
    for first, others in (((2, 2), (2, 1)), ((2, 2), (1, 2)), ((1, 1), (2, 2)), ((2, 1), (1, 2)),
                          ((3, 1), (1, 1)), ((4, 4), (2, 2)), ((1, 2), (2, 1))):
        for size in ((200, 150), (131, 77)):
            try:
                data = fit.encode(photo(*size), "ycc", first, others)
            except FitError:
                continue
            exact(fit, data)


@pytest.mark.parametrize("space,channels", [("grey", 1), ("rgb", 3), ("cmyk", 4), ("ycck", 4)])
def test_jpeg_colours(fit, space, channels):
    for progressive in (False, True):
        for size in ((200, 150), (131, 77)):
            data = fit.encode(photo(*size, channels=channels), space, progressive=progressive)
            exact(fit, data)
            agrees(fit, data)


def test_jpeg_ycck_with_sampled_chroma(fit):
    exact(fit, fit.encode(photo(200, 150, channels=4), "ycck", (2, 2), (1, 1)))


def test_jpeg_arithmetic(fit):
    for progressive in (False, True):
        data = fit.encode(photo(120, 90), "ycc", (2, 2), (1, 1), progressive, arithmetic=True)
        exact(fit, data)


def test_jpeg_every_small_size(fit):
    for width in range(1, 40):
        for height in (1, 2, 7, 16, 17, 33):
            data = fit.encode(photo(width, height), "ycc", (2, 2), (1, 1))
            exact(fit, data)


def test_jpeg_qualities(fit):
    for quality in (1, 10, 50, 100):
        exact(fit, fit.encode(photo(150, 120), "ycc", (2, 2), (1, 1), quality=quality))
        exact(fit, fit.encode(np.random.default_rng(quality).integers(
            0, 256, (120, 150, 3), dtype=np.uint8), "ycc", (2, 1), (1, 1), quality=quality))


# PNG

PNG_KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4),
             (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)]
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png_samples(color, depth, width, height):
    rng = np.random.default_rng(color * 100 + depth)
    return rng.integers(0, 1 << depth, (height, width, PNG_CHANNELS[color]))


def png_wanted(samples, color, depth, palette):
    if color == 3:
        return Image.fromarray(np.frombuffer(palette, np.uint8).reshape(-1, 3)[samples[:, :, 0]])
    eight = samples >> 8 if depth == 16 else samples * 255 // ((1 << depth) - 1)
    if color in (0, 4):
        eight = np.repeat(eight[:, :, :1], 3, axis=2)
    return Image.fromarray(eight[:, :, :3].astype(np.uint8))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("color,depth", PNG_KINDS)
def test_png_kinds(fit, color, depth, interlaced):
    palette = bytes(np.random.default_rng(3).integers(0, 256, 3 << depth, dtype=np.uint8)) \
        if color == 3 else None
    for size in ((61, 47), (1, 1), (5, 3), (64, 48)):
        samples = png_samples(color, depth, *size)
        data = png(samples, color, depth, interlaced, palette)
        want = png_wanted(samples, color, depth, palette)
        agrees(fit, data, want)
        if not (color == 0 and depth == 16):  # Pillow clips 16-bit grey
            agrees(fit, data)


def test_png_transparency_is_ignored(fit):
    palette = bytes(range(48))
    agrees(fit, png(png_samples(3, 4, 40, 30), 3, 4, palette=palette, trns=bytes(range(0, 256, 16))))
    agrees(fit, png(png_samples(0, 8, 40, 30), 0, 8, trns=b"\0\x10"))
    agrees(fit, png(png_samples(2, 8, 40, 30), 2, 8, trns=b"\0\x10\0\x20\0\x30"))


def test_png_written_by_pillow(fit):
    image = Image.fromarray(photo(120, 90))
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        converted = image.convert(mode)
        agrees(fit, encoded(converted, "PNG"))
    agrees(fit, encoded(image.quantize(16), "PNG", bits=4, transparency=3))


# WebP, GIF, AVIF

def with_alpha(pixels):
    image = Image.fromarray(pixels)
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def test_webp(fit):
    for size in ((200, 150), (201, 151), (97, 301), (17, 33), (1, 1)):
        image = Image.fromarray(photo(*size))
        for options in ({"quality": 70}, {"quality": 5}, {"lossless": True}, {"method": 0}):
            data = encoded(image, "WEBP", **options)
            exact(fit, data)
            agrees(fit, data)
            data = encoded(with_alpha(photo(*size)), "WEBP", exact=True, **options)
            exact(fit, data)


def test_webp_animated(fit):
    frames = [with_alpha(photo(90, 60, seed)) for seed in range(3)]
    for options in ({}, {"lossless": True}):
        data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], **options)
        exact(fit, data)
        agrees(fit, data)


def test_webp_first_frame_smaller_than_its_canvas(fit):
    canvas = Image.new("RGBA", (90, 60), (0, 0, 0, 0))
    canvas.paste(Image.fromarray(photo(20, 10)), (30, 22))
    later = with_alpha(photo(90, 60, 2))
    data = encoded(canvas, "WEBP", save_all=True, append_images=[later], lossless=True,
                   minimize_size=True)
    agrees(fit, data)


def test_gif(fit):
    image = Image.fromarray(photo(121, 90))
    for interlace in (0, 1):
        exact(fit, encoded(image.quantize(256), "GIF", interlace=interlace))
        exact(fit, encoded(image.quantize(7), "GIF", interlace=interlace, transparency=2))
        exact(fit, encoded(image.convert("L"), "GIF", interlace=interlace))
        exact(fit, encoded(image.convert("1"), "GIF", interlace=interlace))


def gif(canvas, box, pixels, palette, transparent=None, local=False, interlaced=False):
    """A GIF whose codes are never longer than the first: a clear code before each run of two."""
    left, top, width, height = box
    bits = 7
    order = list(range(height))
    if interlaced:
        order = [*range(0, height, 8), *range(4, height, 8), *range(2, height, 4),
                 *range(1, height, 2)]
    codes = []
    flat = [int(value) for row in order for value in pixels[row]]
    for i, value in enumerate(flat):
        if i % 100 == 0:
            codes.append(128)
        codes.append(value)
    codes.append(129)
    stream, count, data = 0, 0, bytearray()
    for code in codes:
        stream |= code << count
        count += bits + 1
        while count >= 8:
            data.append(stream & 255)
            stream >>= 8
            count -= 8
    data.append(stream & 255)
    table = bytes(palette)
    out = b"GIF89a" + bytes([canvas[0] & 255, canvas[0] >> 8, canvas[1] & 255, canvas[1] >> 8])
    out += bytes([0 if local else 0x80 | (bits - 1), 0, 0]) + (b"" if local else table)
    if transparent is not None:
        out += bytes([0x21, 0xF9, 4, 1, 0, 0, transparent, 0])
    out += b"," + b"".join(bytes([v & 255, v >> 8]) for v in (left, top, width, height))
    flags = (0x80 | (bits - 1) if local else 0) | (0x40 if interlaced else 0)
    out += bytes([flags]) + (table if local else b"") + bytes([bits])
    for i in range(0, len(data), 255):
        part = data[i:i + 255]
        out += bytes([len(part)]) + part
    return out + b"\0;"


@pytest.mark.parametrize("interlaced", [False, True])
def test_gif_frame_on_a_canvas(fit, interlaced):
    rng = np.random.default_rng(9)
    palette = rng.integers(0, 256, 128 * 3, dtype=np.uint8)
    for box in ((0, 0, 50, 40), (7, 5, 30, 20), (20, 10, 50, 45)):
        pixels = rng.integers(0, 128, (box[3], box[2]))
        for transparent in (None, 3):
            for local in (False, True):
                data = gif((50, 40), box, pixels, palette, transparent, local, interlaced)
                exact(fit, data)
                agrees(fit, data)


def test_avif(fit):
    pixels = photo(160, 120)
    try:
        data = encoded(pixels, "AVIF", subsampling="4:4:4", quality=90)
        fit.file(data, 32, 32)
    except FitError as error:
        if error.rc == "UNSUPPORTED":
            pytest.skip("libheif is not built in")
        raise
    # Another AV1 decoder's colour conversion may round otherwise: one level more.
    agrees(fit, data, level=2)


def test_avif_rotated(fit):
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photo(160, 120), "AVIF", subsampling="4:4:4", quality=90, exif=exif)
    try:
        agrees(fit, data, level=2)
    except FitError as error:
        if error.rc != "UNSUPPORTED":
            raise


# Damage

@pytest.mark.parametrize("format,options", [("JPEG", {}), ("JPEG", {"progressive": True}),
                                            ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True}),
                                            ("GIF", {}), ("AVIF", {})])
def test_cut_short_anywhere(fit, format, options):
    data = encoded(photo(64, 48), format, **options)
    fit.file(data, 32, 32) if format != "AVIF" else None
    for size in range(0, len(data) - 1, max(1, len(data) // 300)):
        with pytest.raises(FitError) as caught:
            fit.file(data[:size], 32, 32)
        assert caught.value.rc in ("BAD_IMAGE", "UNSUPPORTED", "INVALID"), size
        assert len(caught.value.text) > 20


def test_rubbish_after_the_end_is_harmless(fit):
    for format in ("JPEG", "PNG", "WEBP", "GIF"):
        data = encoded(photo(64, 48), format)
        assert np.array_equal(fit.file(data + b"rubbish" * 9, 32, 32), fit.file(data, 32, 32))


def test_random_damage_never_breaks_the_tool(fit):
    rng = random.Random(3)
    seeds = [encoded(photo(64, 48), format, **options) for format, options in
             (("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}), ("GIF", {}))]
    for _ in range(1500):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 8)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            fit.file(bytes(data), 32, 32)
        except FitError as error:
            assert error.rc in ("BAD_IMAGE", "UNSUPPORTED", "IMAGE_LIMIT", "INVALID")
