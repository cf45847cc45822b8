# SPDX-License-Identifier: Apache-2.0
"""However a photograph is stored, it gets the answer of the same photograph as a plain upright RGB PNG.

What the pixels are is Pillow's word, except where Pillow is wrong: 16-bit samples are v >> 8.
"""
import io
import random
import struct
import zlib

import numpy as np
import pytest
from imago_server import PHOTOS
from PIL import Image, ImageOps
from pictures import (EXIF_ORIENTATION, STORED, chunk, ihdr, load, png, png_with_chunk, save, webp_extended,
                      with_orientation)

SCORE_DIFFERENCE_MAX = 0.02
CLASS_COUNT = 1000


@pytest.fixture(scope="module")
def photo(cat):
    """A photograph with a clear answer, upright RGB, of sides that are no multiple of 8 or 16."""
    return load(cat).convert("RGB").resize((501, 283)).crop((1, 0, 500, 281))


def scores(server, picture, **options):
    """By class, of every class."""
    answer = server.answer(picture, params={"top_k": CLASS_COUNT}, **options)
    return {prediction["class_id"]: prediction["score"] for prediction in answer["predictions"]}


def top(scores):
    return max(scores, key=scores.get)


def check_same(server, picture, reference, format, difference_max=SCORE_DIFFERENCE_MAX):
    """`picture` (a file) is answered as `reference` (an upright RGB image) is."""
    wanted = scores(server, save(reference, "PNG", compress_level=1))
    given = scores(server, picture)
    assert top(given) == top(wanted)
    assert max(abs(given[c] - wanted[c]) for c in wanted) <= difference_max
    image = server.answer(picture)["image"]
    assert (image["format"], image["width"], image["height"]) == (format, *reference.size)


def exactly(picture):
    """As Pillow sees it, upright."""
    image = ImageOps.exif_transpose(load(picture))
    return image.convert("RGBA").convert("RGB") if image.mode in ("P", "PA") else image.convert("RGB")


@pytest.mark.real_engine
def test_the_photograph_has_a_clear_answer(server, photo):
    """Otherwise the rest would prove little."""
    answer = server.answer(save(photo, "PNG"))["predictions"]
    assert "cat" in answer[0]["label"] and answer[0]["score"] > 0.3


@pytest.mark.parametrize("orientation", sorted(STORED))
@pytest.mark.parametrize("format,options", [
    ("JPEG", {"quality": 95, "subsampling": 0}), ("JPEG", {"quality": 92}), ("JPEG", {"quality": 92, "progressive": True}),
    ("PNG", {}), ("WEBP", {"quality": 92}), ("WEBP", {"lossless": True})])
def test_orientation(server, photo, orientation, format, options):
    picture = with_orientation(photo, orientation, format, **options)
    check_same(server, picture, exactly(picture), format.lower())
    assert top(scores(server, picture)) == top(scores(server, save(photo, "PNG", compress_level=1)))


@pytest.mark.parametrize("orientation", sorted(STORED))
def test_orientation_of_a_lossless_file_is_exact(server, photo, orientation):
    """Turning is done on whole pixels: what is resized afterwards is the same."""
    check_same(server, with_orientation(photo, orientation, "PNG", compress_level=1), photo, "png", 0.005)


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_an_impossible_orientation_is_none(server, photo, value):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = value
    picture = save(photo, "JPEG", quality=95, exif=exif)
    check_same(server, picture, load(picture), "jpeg")


@pytest.mark.parametrize("seed", range(20))
def test_broken_exif_is_no_obstacle(server, photo, seed):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    block = bytearray(exif.tobytes())
    dice = random.Random(seed)
    for _ in range(4):
        block[dice.randrange(6, len(block))] = dice.randrange(256)
    picture = save(photo, "JPEG", quality=90, exif=bytes(block))
    assert server.predict(picture).status_code == 200


@pytest.mark.parametrize("turned", [False, True])
def test_photographs_of_the_set(server, manifest, turned):
    """Their sides are as the manifest says: upright."""
    chosen = [photo for photo in manifest if (photo["orientation"] != 1) == turned][:12]
    assert chosen
    for facts in chosen:
        image = server.answer((PHOTOS / facts["file"]).read_bytes())["image"]
        assert (image["width"], image["height"]) == (facts["width"], facts["height"])


# --- JPEG ------------------------------------------------------------------------------------

@pytest.mark.parametrize("options", [
    {"quality": 95}, {"quality": 95, "subsampling": 0}, {"quality": 95, "subsampling": 1}, {"quality": 95, "subsampling": 2},
    {"quality": 95, "progressive": True}, {"quality": 95, "progressive": True, "subsampling": 0},
    {"quality": 95, "optimize": True}, {"quality": 95, "keep_rgb": True}, {"quality": 95, "restart_marker_rows": 1},
    {"quality": 95, "restart_marker_blocks": 3}, {"quality": 60}, {"quality": 95, "comment": b"x" * 65000},
    {"quality": 95, "icc_profile": b"\0" * 200000}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg(server, photo, options, mode):
    picture = save(photo.convert(mode), "JPEG", **options)
    check_same(server, picture, exactly(picture), "jpeg")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}], ids=str)
def test_cmyk_jpeg(server, photo, options):
    picture = save(photo.convert("CMYK"), "JPEG", quality=95, **options)
    assert load(picture).mode == "CMYK"
    check_same(server, picture, exactly(picture), "jpeg")


# --- PNG -------------------------------------------------------------------------------------

def alpha_of(photo):
    return Image.linear_gradient("L").resize(photo.size)


def png_modes(photo):
    grey, alpha = photo.convert("L"), alpha_of(photo)
    with_alpha = photo.copy()
    with_alpha.putalpha(alpha)
    la = Image.merge("LA", (grey, alpha))
    palette = photo.quantize(256)
    few = photo.quantize(13)
    keyed = photo.quantize(64)
    return {
        "RGB": (photo, {}), "RGBA": (with_alpha, {}), "L": (grey, {}), "LA": (la, {}), "P": (palette, {}),
        "P of 4 bits": (few, {"bits": 4}), "P of 2 bits": (photo.quantize(4), {"bits": 2}), "1": (grey.convert("1"), {}),
        "P with tRNS of one": (keyed, {"transparency": 5}),
        "P with alpha": (keyed, {"transparency": bytes(range(0, 256, 4))}),
        "RGB with tRNS": (photo, {"transparency": photo.getpixel((3, 3))}),
        "L with tRNS": (grey, {"transparency": grey.getpixel((3, 3))}),
        "RGB with gamma and ICC": (photo, {"icc_profile": b"not a profile"}),
    }


@pytest.mark.parametrize("name", ["RGB", "RGBA", "L", "LA", "P", "P of 4 bits", "P of 2 bits", "1", "P with tRNS of one",
                                  "P with alpha", "RGB with tRNS", "L with tRNS", "RGB with gamma and ICC"])
def test_png(server, photo, name):
    image, options = png_modes(photo)[name]
    picture = save(image, "PNG", **options)
    check_same(server, picture, exactly(picture), "png", 0.005)


def packed_rows(samples, depth):
    """PNG rows of `samples` (height x width x channels) at 1 to 16 bits each, without their filter bytes."""
    height = samples.shape[0]
    flat = samples.reshape(height, -1)
    if depth == 16:
        return [row.astype(">u2").tobytes() for row in flat]
    if depth == 8:
        return [row.astype(np.uint8).tobytes() for row in flat]
    bits = (flat[:, :, None] >> np.arange(depth - 1, -1, -1)) & 1
    return [np.packbits(row.reshape(-1).astype(np.uint8)).tobytes() for row in bits]


PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
COLOURS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def write_png(samples, depth, colour, interlaced, *chunks):
    """A PNG of these samples, which Pillow would not write: 16 bits, few bits, Adam7."""
    parts = [samples[y::dy, x::dx] for x, y, dx, dy in PASSES] if interlaced else [samples]
    raw = b"".join(b"\0" + row for part in parts if part.size for row in packed_rows(part, depth))
    height, width = samples.shape[:2]
    return png(ihdr(width, height, depth, colour, interlaced), *chunks, chunk(b"IDAT", zlib.compress(raw)))


DEPTHS = [(colour, depth) for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16),
                                                 6: (8, 16)}.items() for depth in depths]


@pytest.mark.parametrize("interlaced", [0, 1])
@pytest.mark.parametrize("colour,depth", DEPTHS)
def test_png_of_every_colour_and_depth(server, photo, colour, depth, interlaced):
    pixels = np.asarray(photo).astype(np.uint32)
    grey = np.asarray(photo.convert("L")).astype(np.uint32)[:, :, None]
    alpha = np.asarray(alpha_of(photo)).astype(np.uint32)[:, :, None]
    chunks = []
    if colour == 3:
        quantised = photo.quantize(1 << depth)
        samples = np.asarray(quantised).astype(np.uint32)[:, :, None]
        palette = bytes(quantised.getpalette())[:3 << depth]
        chunks.append(chunk(b"PLTE", palette))
        wanted = np.frombuffer(palette, np.uint8).reshape(-1, 3)[samples[:, :, 0]]
    else:
        parts = {0: [grey], 2: [pixels], 4: [grey, alpha], 6: [pixels, alpha]}[colour]
        eight = np.concatenate(parts, axis=2)
        if depth == 16:
            # The low byte is noise: only the high one may count.
            samples = eight << 8 | np.random.default_rng(1).integers(0, 256, eight.shape, dtype=np.uint32)
            visible = samples >> 8
        else:
            samples = eight >> (8 - depth)
            visible = samples * 255 // ((1 << depth) - 1)
        wanted = visible[:, :, :3] if colour in (2, 6) else np.repeat(visible[:, :, :1], 3, axis=2)
    picture = write_png(samples, depth, colour, interlaced, *chunks)
    assert load(picture).size == photo.size
    check_same(server, picture, Image.fromarray(wanted.astype(np.uint8)), "png", 0.005)


def test_png_with_pieces_of_data(server, photo):
    """Many IDAT chunks, of one byte among them."""
    raw = b"".join(b"\0" + row for row in packed_rows(np.asarray(photo), 8))
    data = zlib.compress(raw)
    pieces = [data[:1], data[1:2], b""] + [data[at:at + 1013] for at in range(2, len(data), 1013)]
    picture = png(ihdr(*photo.size), *(chunk(b"IDAT", piece) for piece in pieces))
    check_same(server, picture, photo, "png", 0.002)


def test_png_chunks_that_do_not_matter(server, photo):
    plain = save(photo, "PNG")
    for kind, content in [(b"tEXt", b"Title\0" + b"x" * 100000), (b"gAMA", struct.pack(">I", 1)),
                          (b"prVt", bytes(70000)), (b"pHYs", bytes(9)), (b"tIME", bytes(7)), (b"sBIT", b"\1\1\1")]:
        check_same(server, png_with_chunk(plain, kind, content), photo, "png", 0.002)


# --- WebP and GIF ----------------------------------------------------------------------------

@pytest.mark.parametrize("options", [{"quality": 95}, {"quality": 40}, {"lossless": True}, {"quality": 95, "method": 6}],
                         ids=str)
@pytest.mark.parametrize("alpha", [False, True])
def test_webp(server, photo, options, alpha):
    image = photo.copy()
    if alpha:
        image.putalpha(alpha_of(photo))
        options = options | {"exact": True}
    picture = save(image, "WEBP", **options)
    check_same(server, picture, exactly(picture), "webp")


def test_webp_extended(server, photo):
    plain = save(photo, "WEBP", lossless=True)
    check_same(server, webp_extended(*photo.size, plain), photo, "webp", 0.005)


@pytest.mark.parametrize("format", ["WEBP", "GIF"])
def test_animations_give_their_first_frame(server, photo, format):
    others = [Image.new("RGB", photo.size, colour) for colour in ("red", "green", "blue")]
    picture = save(photo, format, save_all=True, append_images=others, duration=100,
                   **({"lossless": True} if format == "WEBP" else {}))
    image = Image.open(io.BytesIO(picture))
    assert image.n_frames == 4
    check_same(server, picture, image.convert("RGB"), format.lower())


@pytest.mark.parametrize("options", [{}, {"interlace": 0}, {"interlace": 1}, {"transparency": 0}], ids=str)
@pytest.mark.parametrize("colours", [256, 16, 2])
def test_gif(server, photo, options, colours):
    picture = save(photo.quantize(colours), "GIF", **options)
    check_same(server, picture, exactly(picture), "gif", 0.005)


# --- all of it, at sides of chance -----------------------------------------------------------

@pytest.mark.parametrize("seed", range(24))
def test_sides_and_forms_of_chance(server, photo, seed):
    dice = random.Random(seed)
    width, height = dice.choice([(16, 16), (17, 400), (1600, 16), (dice.randrange(16, 900), dice.randrange(16, 900))])
    image = photo.resize((width, height), Image.Resampling.BICUBIC)
    format, options = dice.choice([("JPEG", {"quality": 97, "subsampling": 0}), ("JPEG", {"quality": 97, "progressive": True}),
                                   ("PNG", {}), ("WEBP", {"quality": 97}), ("WEBP", {"lossless": True})])
    picture = with_orientation(image, dice.randrange(1, 9), format, **options)
    check_same(server, picture, exactly(picture), format.lower())
