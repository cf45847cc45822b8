# SPDX-License-Identifier: Apache-2.0
"""Pictures for the tests: photographs saved anew in every way Pillow knows, and files no program writes."""
import functools
import io
import struct
import zlib

from imago_server import SLOW
from PIL import Image

# Where the pixels of an upright picture must be stored for EXIF orientation 1 to 8.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
EXIF_ORIENTATION = 0x0112


def save(image, format, **options):
    """The bytes of a file."""
    into = io.BytesIO()
    image.save(into, format, **options)
    return into.getvalue()


def load(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def with_orientation(upright, orientation, format, **options):
    stored = upright if STORED[orientation] is None else upright.transpose(STORED[orientation])
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    return save(stored, format, exif=exif, **options)


def flat(width, height, colour=(90, 120, 60)):
    return Image.new("RGB", (width, height), colour)


def rough(width, height, mode="RGB"):
    """Not flat, and cheap to make: a small gradient, enlarged."""
    gradient = Image.linear_gradient("L")
    small = Image.merge("RGB", (gradient, gradient.transpose(Image.Transpose.ROTATE_90),
                                gradient.transpose(Image.Transpose.ROTATE_180)))
    return small.convert(mode).resize((width, height), Image.Resampling.NEAREST)


@functools.cache
def slow():
    """Tens of megapixels that take long to decode, in a small file; fewer where the program is slow itself."""
    side = 6800 if SLOW == 1 else 3400
    return save(rough(side, side, "L"), "JPEG", progressive=True, quality=30)


# --- PNG by hand -----------------------------------------------------------------------------

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def ihdr(width, height, depth=8, colour=2, interlace=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def png(header, *chunks):
    return PNG_SIGNATURE + header + b"".join(chunks) + chunk(b"IEND", b"")


def zeros_deflated(size):
    """zlib of `size` zero bytes (whole MiB): one block again and again, so that it is made at once."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packer.compress(b"")
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    adler = (size % 65521) << 16 | 1
    return b"\x78\xda" + block * (size >> 20) + b"\x03\x00" + struct.pack(">I", adler)


def png_with_chunk(data, kind, content):
    """A PNG file with one more chunk, after its header."""
    at = len(PNG_SIGNATURE) + 25
    return data[:at] + chunk(kind, content) + data[at:]


# --- JPEG by hand ----------------------------------------------------------------------------

def jpeg_segments(data):
    """[(marker, offset, end)] up to the first scan's data; the end of each is past its segment."""
    found, at = [], 2
    while True:
        assert data[at] == 0xFF, "not at a marker"
        marker = data[at + 1]
        size = struct.unpack(">H", data[at + 2:at + 4])[0]
        found.append((marker, at, at + 2 + size))
        at += 2 + size
        if marker == 0xDA:
            return found


def jpeg_with_sides(data, width, height):
    """The same file, with other sides in its frame header."""
    for marker, at, _ in jpeg_segments(data):
        if marker in (0xC0, 0xC1, 0xC2):
            return data[:at + 5] + struct.pack(">HH", height, width) + data[at + 9:]
    raise AssertionError("no frame header")


def scan_starts(data):
    """Offsets of the SOS markers."""
    found, at = [], jpeg_segments(data)[-1][1]
    while at >= 0:
        found.append(at)
        at = data.find(b"\xff\xda", at + 2)
    return found


def jpeg_with_scans(data, count):
    """A progressive JPEG whose last scan is there again and again, `count` scans in all."""
    starts = scan_starts(data)
    last = data[starts[-1]:data.rindex(b"\xff\xd9")]
    return data[:-2] + last * (count - len(starts)) + b"\xff\xd9"


# --- WebP and GIF by hand --------------------------------------------------------------------

def webp_extended(width, height, inner):
    """A VP8X header of these sides around the picture chunk of `inner`, a plain WebP file."""
    canvas = b"\0\0\0\0" + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + canvas + inner[12:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif_frame_at(data):
    """Offset of the first frame."""
    at = 13 + (3 << ((data[10] & 7) + 1) if data[10] & 0x80 else 0)
    while data[at] == 0x21:  # extensions
        at += 2
        while data[at]:
            at += data[at] + 1
        at += 1
    assert data[at] == 0x2C, "no frame"
    return at


def gif_with_sides(data, width, height):
    """The same GIF file with other sides for its screen and its first frame."""
    sides = struct.pack("<HH", width, height)
    at = gif_frame_at(data)
    return data[:6] + sides + data[10:at + 5] + sides + data[at + 9:]


def gif_with_frames(data, count):
    """A GIF file of one frame, which is there `count` times."""
    at = gif_frame_at(data)
    return data[:at] + data[at:-1] * count + b";"
