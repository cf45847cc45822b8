# SPDX-License-Identifier: Apache-2.0
"""Nothing a client sends hurts: each bad input gets its own clear 4xx, and the same server goes on as before."""
import base64
import io
import json
import random
import selectors
import socket
import struct
import subprocess
import threading
import time
import zlib

import pytest
from imago_server import MIB, PATIENCE_S, SLOW, eventually, sha256
from PIL import Image
from pictures import (chunk, flat, gif_with_frames, gif_with_sides, ihdr, jpeg_with_scans, jpeg_with_sides, load, png, png_with_chunk,
                      rough, save, webp_extended, zeros_deflated)
from test_predict import base64_of, check_problem, check_problem_object, said
from wire import BOUNDARY, Wire, exchange, form, part, post

# A sanitizer keeps freed memory for a while and shadows all of it.
MEMORY_PEAK_MAX = int(900 * MIB * (1 if SLOW == 1 else 6))
FORMATS = ["JPEG", "PNG", "WEBP", "GIF"]


@pytest.fixture(scope="module", autouse=True)
def unharmed(shared, cat):
    """After all of this module, the same server gives the same answer and has not grown without bound."""
    server = shared.get()
    server.settle()  # what a test costs is measured as the server's CPU time
    before = said(server.answer(cat))
    yield
    assert server.is_running()
    assert said(server.answer(cat)) == before
    assert server.memory_peak() < MEMORY_PEAK_MAX
    assert not [e for e in server.events("access") if e["status"] in (500, 502)]


@pytest.fixture(scope="module")
def photo(cat):
    return load(cat).resize((320, 240))


def refused(server, picture, status, slug):
    return check_problem(server.predict(picture), status, slug)


# --- what is no picture ----------------------------------------------------------------------

def test_empty(server):
    assert "empty" in refused(server, b"", 400, "invalid")["detail"]


@pytest.mark.parametrize("data", [b"hello", b"a", b"\0" * 1000, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7\n",
                                  b"BM" + bytes(100), b"II*\0" + bytes(100), b"RIFF\x10\0\0\0WAVE", b"\xff\xd8", b"\xff",
                                  b"\x89PNG", b"GIF8", b"GIF80a", bytes(range(256)) * 100], ids=repr)
def test_no_picture(server, data):
    response = server.predict(data)
    assert response.status_code in (415, 422), response.text
    check_problem(response, response.status_code, {415: "unsupported", 422: "bad-image"}[response.status_code])


def test_text_names_what_is_read(server):
    detail = refused(server, b"no picture at all", 415, "unsupported")["detail"]
    assert all(name in detail for name in ("JPEG", "PNG", "WebP", "GIF"))


def test_unsupported_content_type(server, cat):
    for kind in "text/plain", "application/xml", "image", "application/jsonp", "multipart/mixed; boundary=a":
        problem = check_problem(server.predict(cat, kind), 415, "unsupported")
        assert kind.split(";")[0] in problem["detail"]


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "gzip, gzip", "x" * 100])
def test_content_encoding(server, cat, coding):
    check_problem(server.predict(cat, headers={"Content-Encoding": coding}), 415, "unsupported")


def test_content_encoding_identity(server, cat):
    assert server.predict(cat, headers={"Content-Encoding": "identity"}).status_code == 200


# --- cut short -------------------------------------------------------------------------------

SAVED = {
    "JPEG": ("JPEG", {"quality": 95}),
    "JPEG, progressive": ("JPEG", {"quality": 95, "progressive": True}),
    "JPEG, restarts": ("JPEG", {"quality": 95, "restart_marker_rows": 1}),
    "PNG": ("PNG", {}),
    "WebP": ("WEBP", {"quality": 97}),
    "WebP, lossless": ("WEBP", {"lossless": True}),
    "GIF": ("GIF", {}),
}


@pytest.mark.parametrize("name", SAVED)
def test_truncated_at_every_kilobyte(server, photo, name):
    format, options = SAVED[name]
    whole = save(photo.quantize(256) if format == "GIF" else photo, format, **options)
    assert server.predict(whole).status_code == 200
    cuts = sorted({*range(1024, len(whole), 1024), *range(1, 64), *range(len(whole) - 16, len(whole) - 2)})
    assert len(cuts) > 80
    for cut in cuts:
        response = server.predict(whole[:cut])
        assert 400 <= response.status_code < 500, f"cut after {cut} of {len(whole)}: {response.text}"
        check_problem_object(response.json(), response.status_code,
                             {415: "unsupported", 422: "bad-image"}[response.status_code])


def test_a_truncated_picture_says_so(server, photo):
    for format in "JPEG", "PNG":
        detail = refused(server, save(photo, format)[:5000], 422, "bad-image")["detail"]
        assert "cut short" in detail and "5000" in detail


# --- headers that promise too much -----------------------------------------------------------

def huge(format, width, height):
    if format == "PNG":
        return png(ihdr(width, height), chunk(b"IDAT", zlib.compress(bytes(1000))))
    small = flat(min(max(width, 1), 64), min(max(height, 1), 64))  # no larger than a canvas around it
    if format == "JPEG":
        return jpeg_with_sides(save(small, "JPEG"), width, height)
    if format == "WEBP":
        return webp_extended(width, height, save(small, "WEBP", lossless=True))
    return gif_with_sides(save(small.quantize(4), "GIF"), width, height)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("sides", [(65000, 65000), (16385, 100), (100, 16385), (10000, 10000), (7072, 7072), (65535, 16),
                                   (15, 200), (200, 15), (1, 1)], ids=str)
def test_sides_over_the_limits(server, format, sides):
    before = server.cpu_s()
    detail = refused(server, huge(format, *sides), 422, "image-limit")["detail"]
    assert str(sides[0]) in detail and str(sides[1]) in detail
    # Clearing the pixels of these alone takes longer.
    assert server.cpu_s() - before < 0.5 * SLOW


@pytest.mark.parametrize("sides", [(2**31 - 1, 2**31 - 1), (2**31, 5), (2**32 - 1, 2**32 - 1), (0, 100), (100, 0), (0, 0)],
                         ids=str)
def test_impossible_sides(server, sides):
    response = server.predict(huge("PNG", *sides))
    assert response.status_code == 422
    for other in "JPEG", "GIF":
        if max(sides) < 65536:
            assert server.predict(huge(other, *sides)).status_code == 422


def test_limits_are_inclusive(server):
    for sides in (16, 16), (16384, 16), (16, 3000), (5000, 1000):
        assert server.predict(save(Image.new("L", sides, 99), "PNG")).status_code == 200


@pytest.fixture(scope="module")
def giant():
    """A header of 13000 x 13000 before 21 kB; decoders fill up what is missing."""
    data = save(Image.new("L", (13000, 800), 128), "JPEG", progressive=True)
    assert len(data) < 50000
    return jpeg_with_sides(data, 13000, 13000)


def test_a_giant_jpeg_is_refused_by_its_header(server, giant):
    server.predict(giant)
    before = server.cpu_s()
    for _ in range(10):
        detail = refused(server, giant, 422, "image-limit")["detail"]
        assert "13000" in detail and "50000000" in detail
    # Decoding one of them takes longer than that.
    assert server.cpu_s() - before < 0.5 * SLOW


def test_a_giant_among_others_does_not_hurt_them(server, giant, small_photos):
    body, content_type = form([small_photos[0], giant, small_photos[1]])
    first, problem, last = server.predict(body, content_type).json()["results"]
    assert said(first) == said(server.answer(small_photos[0])) and said(last) == said(server.answer(small_photos[1]))
    check_problem_object(problem, 422, "image-limit")


# --- bombs -----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def gigabyte():
    return zeros_deflated(1 << 30)


def test_png_data_that_inflates_without_end(server, gigabyte):
    """A gigabyte behind a header of 224 x 224: what is too much is not inflated."""
    server.predict(save(flat(224, 224), "PNG"))
    before = server.cpu_s()
    response = server.predict(png(ihdr(224, 224), chunk(b"IDAT", gigabyte)))
    assert response.status_code in (200, 422), response.text
    assert server.cpu_s() - before < 0.5 * SLOW


@pytest.mark.parametrize("kind,head", [(b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0"), (b"iCCP", b"a\0\0")])
def test_png_chunks_that_inflate_without_end(server, photo, gigabyte, kind, head):
    plain = save(photo, "PNG")
    wanted = said(server.answer(plain))[0]
    before = server.cpu_s()
    bombed = png_with_chunk(plain, kind, head + gigabyte)
    for _ in range(2):
        assert said(server.answer(bombed))[0] == wanted
    assert server.cpu_s() - before < 0.5 * SLOW


def test_png_of_many_chunks(server, photo):
    plain = save(photo, "PNG")
    at = len(plain) - 12
    many = plain[:at] + chunk(b"tEXt", b"a\0b") * 500000 + plain[at:]
    before = server.cpu_s()
    assert said(server.answer(many))[0] == said(server.answer(plain))[0]
    assert server.cpu_s() - before < 2 * SLOW


def test_progressive_jpeg_of_2000_scans(server):
    plain = save(rough(1200, 900), "JPEG", progressive=True, quality=80)
    assert server.predict(plain).status_code == 200
    before = server.cpu_s()
    for count in 101, 2000:
        detail = refused(server, jpeg_with_scans(plain, count), 422, "image-limit")["detail"]
        assert "scans" in detail
    # Each scan is a pass over a megapixel.
    assert server.cpu_s() - before < 0.5 * SLOW


def test_the_scans_that_are_allowed(server):
    plain = save(rough(300, 200), "JPEG", progressive=True, quality=80)
    assert server.predict(jpeg_with_scans(plain, 100)).status_code in (200, 422)


def test_gif_of_many_frames(server, photo):
    """Only the first is looked at."""
    one = save(photo.quantize(256), "GIF")
    many = gif_with_frames(one, 19_000_000 // len(one))
    assert Image.open(io.BytesIO(many)).n_frames > 200
    wanted = said(server.answer(one))[0]
    before = server.cpu_s()
    for _ in range(5):
        assert said(server.answer(many))[0] == wanted
    assert server.cpu_s() - before < 0.6 * SLOW


def test_pictures_of_the_largest_size_do_not_pile_up(server):
    """Of 49 megapixels; each would take 147 MB whole."""
    picture = save(rough(7000, 7000, "L"), "PNG", compress_level=1)
    body, content_type = form([picture] * (6 if SLOW == 1 else 2))
    for result in server.predict(body, content_type).json()["results"]:
        assert result["image"]["width"] == 7000
    assert server.memory_peak() < MEMORY_PEAK_MAX


# --- damage at random ------------------------------------------------------------------------

def damaged(dice, data):
    data = bytearray(data)
    for _ in range(dice.choice([1, 1, 2, 5, 30])):
        at = dice.randrange(len(data))
        kind = dice.randrange(5)
        if kind == 0:
            data[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            data[at] = dice.choice([0, 0xFF, dice.randrange(256)])
        elif kind == 2:
            del data[at:at + dice.randrange(1, 9)]
        elif kind == 3:
            data[at:at] = dice.randbytes(dice.randrange(1, 9))
        else:
            other = dice.randrange(len(data))
            data[at:at + 16] = data[other:other + 16]
    return bytes(data)


@pytest.mark.parametrize("name", SAVED)
def test_damaged(server, photo, name):
    format, options = SAVED[name]
    small = photo.resize((48, 40))
    whole = save(small.quantize(64) if format == "GIF" else small, format, **options)
    dice = random.Random(name)
    counts = {}
    for number in range(120):
        picture = damaged(dice, whole)
        response = server.predict(picture)
        counts[response.status_code] = counts.get(response.status_code, 0) + 1
        assert response.status_code in (200, 400, 415, 422), f"mutation {number}: {response.text}"
        if response.status_code != 200:
            check_problem_object(response.json(), response.status_code, response.json()["type"].rpartition("/")[2])
    assert counts.get(422, 0) > 0, counts


def test_damaged_heads(server, photo):
    """The first bytes decide most: all of them are tried."""
    dice = random.Random(7)
    for format in FORMATS:
        whole = save(photo.resize((40, 40)), format)
        for at in range(min(120, len(whole))):
            picture = whole[:at] + bytes([dice.randrange(256)]) + whole[at + 1:]
            assert server.predict(picture).status_code in (200, 400, 413, 415, 422)


# --- framing ---------------------------------------------------------------------------------

HEAD = "POST /v1/predict HTTP/1.1\r\nHost: t\r\n"
FRAMING = {
    "doubled length": (HEAD + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    "contradictory lengths": (HEAD + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    "a list of lengths": (HEAD + "Content-Length: 5, 5\r\n\r\nhello", 400),
    "length and chunked": (HEAD + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked and length": (HEAD + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (HEAD + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "gzip, chunked": (HEAD + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", (400, 501)),
    "chunked, identity": (HEAD + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", (400, 501)),
    "unknown coding": (HEAD + "Transfer-Encoding: cow\r\n\r\n0\r\n\r\n", (400, 501)),
    "blank before colon": (HEAD + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
    "folded header": (HEAD + "X: a\r\n b\r\nContent-Length: 0\r\n\r\n", 400),
    "negative length": (HEAD + "Content-Length: -5\r\n\r\nhello", 400),
    "signed length": (HEAD + "Content-Length: +5\r\n\r\nhello", 400),
    "hexadecimal length": (HEAD + "Content-Length: 0x5\r\n\r\nhello", 400),
    "empty length": (HEAD + "Content-Length: \r\n\r\n", 400),
    "length in words": (HEAD + "Content-Length: five\r\n\r\nhello", 400),
    "length of 30 digits": (HEAD + "Content-Length: " + "9" * 30 + "\r\n\r\n", 400),
    "length of 2^64": (HEAD + "Content-Length: 18446744073709551616\r\n\r\n", 400),
    "bare CR": (HEAD + "X: a\rb\r\nContent-Length: 0\r\n\r\n", 400),
    "NUL in a header": (HEAD + "X: a\0b\r\nContent-Length: 0\r\n\r\n", 400),
    "bare LF lines": ("POST /v1/predict HTTP/1.1\nHost: t\nContent-Length: 0\n\n", 400),
    "no Host": ("POST /v1/predict HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400),
    "two Hosts": (HEAD + "Host: u\r\nContent-Length: 0\r\n\r\n", 400),
    "bad chunk size": (HEAD + "Transfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n", 400),
    "chunk size over 2^64": (HEAD + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n", 400),
    "large chunk": (HEAD + "Transfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413),
    "chunk without its line end": (HEAD + "Transfer-Encoding: chunked\r\n\r\n5\r\nhelloX\r\n0\r\n\r\n", 400),
    "HTTP/2.0": ("POST /v1/predict HTTP/2.0\r\nHost: t\r\n\r\n", 505),
    "HTTP/1.2": ("GET /v1/models HTTP/1.2\r\nHost: t\r\n\r\n", 505),
    "HTTP/2 preface": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/0.9": ("GET /v1/models\r\n\r\n", (400, 505)),
    "unknown method": ("BREW /v1/predict HTTP/1.1\r\nHost: t\r\n\r\n", (405, 501)),
    "lower-case method": ("post /v1/predict HTTP/1.1\r\nHost: t\r\n\r\n", (400, 405, 501)),
    "CONNECT": ("CONNECT t:80 HTTP/1.1\r\nHost: t\r\n\r\n", 501),
    "no target": ("GET  HTTP/1.1\r\nHost: t\r\n\r\n", 400),
    "relative target": ("GET v1/models HTTP/1.1\r\nHost: t\r\n\r\n", 400),
    "TLS": ("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 400),
    "unknown expectation": (HEAD + "Expect: tea\r\nContent-Length: 5\r\n\r\nhello", 417),
    "one long header": (HEAD + "X: " + "a" * 20000 + "\r\n\r\n", 431),
    "many headers": (HEAD + "".join(f"X-{i}: {i}\r\n" for i in range(200)) + "\r\n", 431),
    "long target": ("GET /" + "a" * 20000 + " HTTP/1.1\r\nHost: t\r\n\r\n", 431),
}


@pytest.mark.parametrize("name", FRAMING)
def test_framing(server, name):
    request, wanted = FRAMING[name]
    with Wire(server.port) as wire:
        wire.send(request.encode("latin-1"))
        answer = wire.answer()
        assert answer is not None, "closed without a word"
        assert answer.status in (wanted if isinstance(wanted, tuple) else (wanted,)), answer.body
        problem = json.loads(answer.body)
        check_problem_object(problem, answer.status, problem["type"].rpartition("/")[2])
        assert answer.headers["Connection"] == "close"
        assert wire.is_closed()


def test_smuggling(server, cat):
    """What follows an ambiguous request is never taken for another."""
    inner = "GET /v1/models HTTP/1.1\r\nHost: t\r\n\r\n"
    for name in "doubled length", "length and chunked", "contradictory lengths", "blank before colon":
        with Wire(server.port) as wire:
            wire.send((FRAMING[name][0] + inner).encode())
            assert wire.answer().status == 400
            assert wire.is_closed()


def test_length_too_short(server, cat):
    """The rest is a request of its own, and none."""
    with Wire(server.port) as wire:
        wire.send(post(cat, len(cat) - 5000))
        assert wire.answer().status == 422
        assert wire.answer().status in (400, 501, 505)
        assert wire.is_closed()


def test_length_too_long(start, cat):
    server = start(body_timeout="300ms")
    with Wire(server.port) as wire:
        wire.send(post(cat, len(cat) + 1))
        answer = wire.answer()
        assert answer.status == 408
        check_problem_object(json.loads(answer.body), 408, "timeout")
        assert wire.is_closed()
    assert server.predict(cat).status_code == 200


def test_body_stops_half_way_and_the_client_stays(start, cat):
    server = start(body_timeout="300ms")
    for request in (post(cat)[:-1000], HEAD.encode() + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel"):
        with Wire(server.port) as wire:
            wire.send(request)
            assert wire.answer().status == 408
            assert wire.is_closed()


def test_headers_stop_half_way_and_the_client_stays(start, cat):
    server = start(header_timeout="300ms")
    for request in b"POST /v1/pre", b"POST /v1/predict HTTP/1.1\r\nHost:":
        with Wire(server.port) as wire:
            wire.send(request)
            assert wire.answer().status == 408
            assert wire.is_closed()


def test_body_stops_half_way_and_the_client_goes(server, cat):
    request = post(cat)
    for size in (10, 60, len(request) // 2, len(request) - 1):
        for how in "close", "reset", "shutdown":
            wire = Wire(server.port)
            wire.send(request[:size])
            if how == "reset":
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if how == "shutdown":
                wire.socket.shutdown(socket.SHUT_WR)
                answer = wire.answer()
                assert answer is None or answer.status in (400, 408)
            wire.close()
    assert server.predict(cat).status_code == 200


def test_idle_connections_are_closed(start, cat):
    server = start(idle_timeout="200ms")
    with Wire(server.port) as fresh, Wire(server.port) as used:
        used.send(post(cat))
        assert used.answer().status == 200
        assert used.is_closed() and fresh.is_closed()


# --- sizes -----------------------------------------------------------------------------------

def test_a_large_body_is_refused_before_it_is_sent(server):
    """No byte of the body is ever sent: an answer can only come from the header."""
    for length, kind in ((20_000_001, "image/jpeg"), (64_000_001, "multipart/form-data; boundary=a"),
                         (64_000_001, "application/json"), (10**15, "image/jpeg")):
        with Wire(server.port) as wire:
            wire.send(post(b"", length, content_type=kind))
            answer = wire.answer()
            assert answer.status == 413
            detail = json.loads(answer.body)["detail"]
            assert str(length) in detail
            assert wire.is_closed()


def test_a_large_body_is_refused_while_it_is_sent(server):
    """A client that does not look gets to read the answer all the same."""
    response = server.predict(bytes(21_000_000))
    check_problem(response, 413, "too-large")


def test_curl_is_told_not_to_send(server, tmp_path):
    large = tmp_path / "large.jpg"
    large.write_bytes(bytes(21_000_000))
    done = subprocess.run(["curl", "-sS", "-v", "-H", "Expect: 100-continue", "--data-binary", f"@{large}",
                           "-w", "%{http_code} %{size_upload}", "-o", str(tmp_path / "answer"), f"{server.url}/v1/predict"],
                          capture_output=True, text=True)
    status, uploaded = done.stdout.split()
    assert (status, uploaded) == ("413", "0")
    assert "100 Continue" not in done.stderr
    check_problem_object(json.loads((tmp_path / "answer").read_text()), 413, "too-large")


def test_curl_is_told_to_go_on(server, cat):
    done = subprocess.run(["curl", "-sS", "-v", "-H", "Expect: 100-continue", "--data-binary", "@-",
                           f"{server.url}/v1/predict"], input=cat, capture_output=True)
    assert b"100 Continue" in done.stderr
    assert json.loads(done.stdout)["image"]["sha256"] == sha256(cat)


def test_chunked_over_the_limit(server):
    with Wire(server.port) as wire:
        wire.send(HEAD.encode() + b"Content-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        for _ in range(40):
            if not wire.send(piece):
                break
        assert wire.answer().status == 413


def test_a_picture_over_the_limit_in_a_form(server, cat):
    large = cat + bytes(20_000_001 - len(cat))
    body, content_type = form([cat, large])
    good, bad = server.predict(body, content_type).json()["results"]
    assert good["image"]["sha256"] == sha256(cat)
    check_problem_object(bad, 413, "too-large")


def test_a_picture_at_the_limit(server, cat):
    assert server.predict(cat + bytes(20_000_000 - len(cat))).status_code == 200
    check_problem(server.predict(cat + bytes(20_000_001 - len(cat))), 413, "too-large")


def test_a_get_with_a_large_body(server):
    answer = exchange(server.port, b"GET /v1/models HTTP/1.1\r\nHost: t\r\nContent-Length: 4097\r\n\r\n")
    assert answer.status == 413


def test_too_many_pictures(server, small_photos):
    body, content_type = form([small_photos[0]] * 65)
    detail = check_problem(server.predict(body, content_type), 413, "too-large")["detail"]
    assert "64" in detail
    images = [base64_of(small_photos[0])] * 65
    check_problem(server.request("POST", "/v1/predict", json={"images": images}), 413, "too-large")
    body, content_type = form([small_photos[0]] * 64)
    assert len(server.predict(body, content_type).json()["results"]) == 64


# --- forms -----------------------------------------------------------------------------------

END = f"--{BOUNDARY}--\r\n".encode()


def bad_forms(cat):
    one = part("image", cat, "a.jpg")
    head = f"--{BOUNDARY}\r\n".encode()
    return {
        "nothing": b"", "no boundary": cat, "only the end": END, "no end": one, "half an end": one + END[:-4],
        "cut in the picture": one[:3000], "a file in another field": part("picture", cat, "a.jpg") + END,
        "an unknown field": one + part("colour", "red") + END, "no picture": part("top_k", "3") + END,
        "no disposition": head + b"\r\n" + cat + b"\r\n" + END,
        "no name": head + b"Content-Disposition: form-data\r\n\r\nx\r\n" + END,
        "another disposition": head + b'Content-Disposition: attachment; name="image"\r\n\r\nx\r\n' + END,
        "two dispositions": head + b'Content-Disposition: form-data; name="image"\r\n' * 2 + b"\r\nx\r\n" + END,
        "two names": head + b'Content-Disposition: form-data; name="image"; name="x"\r\n\r\nx\r\n' + END,
        "open quote": head + b'Content-Disposition: form-data; name="image\r\n\r\nx\r\n' + END,
        "endless headers": head + b"X: " + b"a" * 100000 + b"\r\n\r\nx\r\n" + END,
        "headers without end": head + b"X: y",
        "base64 part": head + b'Content-Disposition: form-data; name="image"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
                       + base64.b64encode(cat) + b"\r\n" + END,
        "NUL in a value": one + part("model", b"a\0b") + END,
        "bare line feeds": (one + END).replace(b"\r\n--", b"\n--"),
    }


@pytest.mark.parametrize("name", bad_forms(b""))
def test_malformed_form(server, cat, name):
    response = server.predict(bad_forms(cat)[name], f"multipart/form-data; boundary={BOUNDARY}")
    check_problem(response, 400, "invalid")


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=",
                                          "multipart/form-data; boundary=" + "a" * 71,
                                          'multipart/form-data; boundary="a b ', "multipart/form-data; boundary=a;boundary=b",
                                          "multipart/form-data boundary=a", "multipart/form-data; boundary=\xe4"])
def test_malformed_boundary(server, cat, content_type):
    body = form([cat])[0]
    check_problem(server.predict(body, content_type.encode("latin-1")), 400, "invalid")


def test_a_form_of_many_fields(server, cat):
    body = part("top_k", "3") * 20000 + part("image", cat, "a") + END
    response = server.predict(body, f"multipart/form-data; boundary={BOUNDARY}")
    assert response.status_code in (200, 400, 413)


def test_forms_that_are_unusual_but_right(server, cat):
    head = f"--{BOUNDARY}\r\n".encode()
    tail = b"\r\n\r\n" + cat + b"\r\n" + END
    for body in (b"a preamble\r\n" + head + b'Content-Disposition: form-data; name="image"' + tail,
                 head + b"content-disposition: FORM-DATA; NAME=image" + tail,
                 head + b'Content-Type: image/png\r\nX-Other: 1\r\nContent-Disposition: form-data; filename="a;b\\"c"; name="image"' + tail,
                 head + b'Content-Disposition: form-data; name="image"' + tail + b"an epilogue"):
        response = server.predict(body, f'multipart/form-data; charset=utf-8; boundary="{BOUNDARY}"')
        assert response.status_code == 200, response.text
        assert response.json()["image"]["sha256"] == sha256(cat)


def test_a_picture_that_holds_the_boundary(server, cat):
    """Only a boundary at the start of a line ends a part."""
    picture = cat + f" --{BOUNDARY}--\r\n".encode()
    body, content_type = form([picture])
    assert server.predict(body, content_type).json()["image"]["sha256"] == sha256(picture)


# --- JSON ------------------------------------------------------------------------------------

BAD_JSON = {
    "empty": b"", "text": b"hello", "number": b"1", "list": b"[]", "null": b"null", "object without image": b"{}",
    "cut": b'{"image": "abc', "trailing": b'{"image": "abcd"} x', "not UTF-8": b'{"image": "\xff\xfe"}',
    "a number for a picture": b'{"image": 5}', "null for a picture": b'{"image": null}', "a list for a picture": b'{"image": ["YQ=="]}',
    "text for pictures": b'{"images": "YQ=="}', "no pictures": b'{"images": []}', "numbers for pictures": b'{"images": [1, 2]}',
    "both": b'{"image": "YQ==", "images": ["YQ=="]}', "twice": b'{"image": "YQ==", "image": "YQ=="}',
    "unknown member": b'{"image": "YQ==", "colour": 1}', "bad base64": b'{"image": "?!?!"}', "empty base64": b'{"image": ""}',
    "base64 cut": b'{"image": "YWJj", "images"', "single quotes": b"{'image': 'YQ=='}", "NaN": b'{"image": "YQ==", "top_k": NaN}',
    "NUL": b'{"image": "YQ\\u0000=="}', "data URL without comma": b'{"image": "data:image/png;base64"}',
    "base64 without padding": b'{"image": "YQ"}', "base64 of one": b'{"image": "Y"}', "deep": b'{"image":' + b"[" * 3000,
    "lone surrogate": b'{"image": "\\ud800"}',
}


@pytest.mark.parametrize("name", BAD_JSON)
@pytest.mark.parametrize("padding", [0, 70000])
def test_bad_json(server, name, padding):
    """In both readers: blanks in front make the body a large one."""
    response = server.predict(b" " * padding + BAD_JSON[name], "application/json")
    check_problem(response, 400, "invalid")


def test_json_of_many_values(server):
    before = server.cpu_s()
    for body in (b"[" * 20_000_000, b"[" + b"0," * 10_000_000 + b"0]", b'{"images": [' + b'"",' * 5_000_000 + b'""]}',
                 b'{"a":' * 3_000_000):
        response = server.predict(body, "application/json")
        assert response.status_code in (400, 413), response.text
    assert server.cpu_s() - before < 3 * SLOW
    assert server.memory_peak() < MEMORY_PEAK_MAX


def test_large_json_keeps_nobody_waiting_for_ever(server, cat):
    """Many at once are read one after the other, and all are answered."""
    body = json.dumps({"image": base64_of(cat + bytes(3_000_000))}).encode()
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(server.predict(body, "application/json").status_code))
               for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 8


# --- slow clients ----------------------------------------------------------------------------

def test_a_thousand_slow_connections(start, cat, small_photos):
    """A byte now and then, half of them in the header, half in the body; others are served meanwhile."""
    server = start(header_timeout=f"{int(4000 * SLOW)}ms", body_timeout=f"{int(4000 * SLOW)}ms")
    wanted = said(server.answer(small_photos[0]))
    head = b"POST /v1/predict HTTP/1.1\r\nHost: t\r\nContent-Type: image/jpeg\r\n"
    selector = selectors.DefaultSelector()
    received, drips = {}, {}
    for number in range(1000):
        client = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)
        in_body = number % 2 == 0
        client.sendall(head + (b"Content-Length: 90000\r\n\r\n" if in_body else b"X-Slow: "))
        client.setblocking(False)
        received[client], drips[client] = b"", b"\xff" if in_body else b"a"
        selector.register(client, selectors.EVENT_READ)
    served, end = 0, time.monotonic() + PATIENCE_S
    while selector.get_map() and time.monotonic() < end:
        for key, _ in selector.select(0.05):
            client = key.fileobj
            try:
                data = client.recv(65536)
            except ConnectionResetError:
                data = b""
            received[client] += data
            if not data:
                selector.unregister(client)
        for key in list(selector.get_map().values()):
            try:
                key.fileobj.send(drips[key.fileobj])
            except OSError:
                pass
        response = server.predict(small_photos[0])
        assert response.status_code == 200 and said(response.json()) == wanted
        served += 1
    still_open = len(selector.get_map())
    for client in received:
        client.close()
    assert still_open == 0
    assert served >= 5
    assert {data.split(b"\r\n")[0] for data in received.values()} == {b"HTTP/1.1 408 Request Timeout"}
    server.event("access", lambda event: event["status"] == 408)


def test_a_client_that_does_not_read(start, cat):
    """An answer that nobody takes ends with the write timeout; what was behind it is not worked on."""
    server = start(write_timeout="500ms")
    with Wire(server.port) as wire:
        request = post(cat, path="/v1/predict?top_k=1000")
        peer = f"127.0.0.1:{wire.socket.getsockname()[1]}"
        wire.socket.setblocking(False)
        sent = 0
        whole = server.predict(cat, params={"top_k": 1000})

        def is_cut_off():
            nonlocal sent
            try:
                while True:
                    sent += wire.socket.send(request[sent % len(request):])
            except OSError:
                pass
            return [e for e in server.events("access") if e["peer"] == peer and e["bytes_out"] < len(whole.content) // 2]
        eventually(is_cut_off, "the connection is given up")
        assert server.predict(cat).status_code == 200
    assert server.memory_peak() < MEMORY_PEAK_MAX


def test_too_many_connections(start, cat):
    server = start(connections=8)
    with_answer = []
    wires = [Wire(server.port) for _ in range(40)]
    try:
        for wire in wires:
            wire.send(b"GET /v1/models HTTP/1.1\r\nHost: t\r\n\r\n")
        for wire in wires:
            answer = wire.answer()
            with_answer.append(answer.status if answer else None)
    finally:
        for wire in wires:
            wire.close()
    assert with_answer[:8] == [200] * 8
    assert set(with_answer[8:]) <= {503, None} and 503 in with_answer[8:]
    refusal = server.event("access", lambda event: event["status"] == 503)
    assert refusal["duration_ms"] < PATIENCE_S * 1000, "it counts from the refusal, not from the machine's start"
    eventually(lambda: server.predict(cat).status_code == 200, "closed connections make room")
