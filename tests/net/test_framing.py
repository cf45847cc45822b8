# SPDX-License-Identifier: Apache-2.0
"""What is a request and what is not: every refusal, and every legal shape in every split."""
import random
import subprocess
import zlib

import pytest

H = "Host: x\r\n"


def crc(body):
    return f"{zlib.crc32(body):08x}".encode()


REFUSED = {
    # name: (request, status)
    "two lengths": ("POST / HTTP/1.1\r\n" + H + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    "contradictory lengths": ("POST / HTTP/1.1\r\n" + H + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
    "a list of lengths": ("POST / HTTP/1.1\r\n" + H + "Content-Length: 5, 5\r\n\r\nhello", 400),
    "length then chunked": ("POST / HTTP/1.1\r\n" + H + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked then length": ("POST / HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
    "negative length": ("POST / HTTP/1.1\r\n" + H + "Content-Length: -1\r\n\r\n", 400),
    "signed length": ("POST / HTTP/1.1\r\n" + H + "Content-Length: +5\r\n\r\nhello", 400),
    "hex length": ("POST / HTTP/1.1\r\n" + H + "Content-Length: 0x5\r\n\r\nhello", 400),
    "empty length": ("POST / HTTP/1.1\r\n" + H + "Content-Length:\r\n\r\n", 400),
    "blank in length": ("POST / HTTP/1.1\r\n" + H + "Content-Length: 1 1\r\n\r\nhello", 400),
    "length over 64 bits": ("POST / HTTP/1.1\r\n" + H + "Content-Length: 18446744073709551617\r\n\r\n", 400),
    "length of 400 digits": ("POST / HTTP/1.1\r\n" + H + "Content-Length: " + "0" * 399 + "5\r\n\r\nhello", 400),
    "unknown coding": ("POST / HTTP/1.1\r\n" + H + "Transfer-Encoding: gzip\r\n\r\n", 501),
    "gzip, chunked": ("POST / HTTP/1.1\r\n" + H + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "chunked, gzip": ("POST / HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
    "chunked, chunked": ("POST / HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", (400, 501)),
    "chunked twice": ("POST / HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "xchunked": ("POST / HTTP/1.1\r\n" + H + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "identity": ("POST / HTTP/1.1\r\n" + H + "Transfer-Encoding: identity\r\n\r\n", 501),
    "quoted chunked": ("POST / HTTP/1.1\r\n" + H + 'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', 501),
    "chunked with a control": ("POST / HTTP/1.1\r\n" + H + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    "empty coding": ("POST / HTTP/1.1\r\n" + H + "Transfer-Encoding:\r\n\r\n", 501),
    "chunked in 1.0": ("POST / HTTP/1.0\r\n" + H + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "bare CR in a value": ("GET / HTTP/1.1\r\n" + H + "A: b\rc\r\n\r\n", 400),
    "bare CR as line end": ("GET / HTTP/1.1\rHost: x\r\r", 400),
    "bare LF as line end": ("GET / HTTP/1.1\nHost: x\n\n", 400),
    "bare LF after a header": ("GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", 400),
    "bare LF before the body": ("GET / HTTP/1.1\r\nHost: x\r\n\n", 400),
    "folded header": ("GET / HTTP/1.1\r\n" + H + "A: b\r\n c\r\n\r\n", 400),
    "folded header, tab": ("GET / HTTP/1.1\r\n" + H + "A: b\r\n\tc\r\n\r\n", 400),
    "folded first header": ("GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "folded length": ("POST / HTTP/1.1\r\n" + H + "Content-Length:\r\n 5\r\n\r\nhello", 400),
    "space before the colon": ("GET / HTTP/1.1\r\n" + H + "A : b\r\n\r\n", 400),
    "space before a length's colon": ("POST / HTTP/1.1\r\n" + H + "Content-Length : 5\r\n\r\nhello", 400),
    "tab before the colon": ("GET / HTTP/1.1\r\n" + H + "A\t: b\r\n\r\n", 400),
    "no colon": ("GET / HTTP/1.1\r\n" + H + "Nonsense\r\n\r\n", 400),
    "empty name": ("GET / HTTP/1.1\r\n" + H + ": b\r\n\r\n", 400),
    "NUL in a value": ("GET / HTTP/1.1\r\n" + H + "A: b\0c\r\n\r\n", 400),
    "NUL in a name": ("GET / HTTP/1.1\r\n" + H + "A\0: b\r\n\r\n", 400),
    "NUL in the target": ("GET /\0 HTTP/1.1\r\n" + H + "\r\n", 400),
    "control in a value": ("GET / HTTP/1.1\r\n" + H + "A: b\x01\r\n\r\n", 400),
    "non-ASCII name": ("GET / HTTP/1.1\r\n" + H + "\xe4: b\r\n\r\n", 400),
    "no host": ("GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": ("GET / HTTP/1.1\r\n" + H + "Host: y\r\n\r\n", 400),
    "two hosts in 1.0": ("GET / HTTP/1.0\r\n" + H + H + "\r\n", 400),
    "illegal host": ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "user in host": ("GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 400),
    "HTTP/2 preface": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/2.0": ("GET / HTTP/2.0\r\n" + H + "\r\n", 505),
    "HTTP/1.2": ("GET / HTTP/1.2\r\n" + H + "\r\n", 505),
    "HTTP/0.9 with a version": ("GET / HTTP/0.9\r\n" + H + "\r\n", 505),
    "HTTP/9.9": ("GET / HTTP/9.9\r\n" + H + "\r\n", 505),
    "HTTP/0.9": ("GET /\r\n\r\n", (400, 505)),
    "lower-case http": ("GET / http/1.1\r\n" + H + "\r\n", 400),
    "RTSP": ("SETUP / RTSP/1.0\r\n" + H + "\r\n", 400),
    "ICE": ("SOURCE / ICE/1.0\r\n" + H + "\r\n", 400),
    "unknown method": ("BREW / HTTP/1.1\r\n" + H + "\r\n", 501),
    "CONNECT": ("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
    "lower-case method": ("get / HTTP/1.1\r\n" + H + "\r\n", 400),
    "TLS hello": ("\x16\x03\x01\x02\x00\x01\x00", 400),
    "two spaces before the target": ("GET  / HTTP/1.1\r\n" + H + "\r\n", 400),
    "two spaces after the target": ("GET /  HTTP/1.1\r\n" + H + "\r\n", 400),
    "space at the end of the line": ("GET / HTTP/1.1 \r\n" + H + "\r\n", 400),
    "tab before the target": ("GET\t/ HTTP/1.1\r\n" + H + "\r\n", 400),
    "space in the target": ("GET /a b HTTP/1.1\r\n" + H + "\r\n", 400),
    "no slash": ("GET index HTTP/1.1\r\n" + H + "\r\n", 400),
    "fragment": ("GET /a#b HTTP/1.1\r\n" + H + "\r\n", 400),
    "star for GET": ("GET * HTTP/1.1\r\n" + H + "\r\n", 400),
    "non-ASCII target": ("GET /\xe4 HTTP/1.1\r\n" + H + "\r\n", 400),
    "empty authority": ("GET http:///x HTTP/1.1\r\n" + H + "\r\n", 400),
    "other scheme": ("GET ftp://x/ HTTP/1.1\r\n" + H + "\r\n", 400),
    "large header": ("GET / HTTP/1.1\r\n" + H + "A: " + "b" * 20000 + "\r\n\r\n", 431),
    "large target": ("GET /" + "b" * 20000 + " HTTP/1.1\r\n" + H + "\r\n", 431),
    "many headers": ("GET / HTTP/1.1\r\n" + H + "A: b\r\n" * 100 + "\r\n", 431),
    "other expectation": ("POST / HTTP/1.1\r\n" + H + "Expect: 200-maybe\r\nContent-Length: 1\r\n\r\nx", 417),
    "body over the limit": ("POST /limit/4 HTTP/1.1\r\n" + H + "Content-Length: 5\r\n\r\nhello", 413),
    "chunk over the limit": ("POST /limit/4 HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 413),
    "chunks over the limit": ("POST /limit/4 HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", 413),
    "huge chunk": ("POST / HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffff0\r\n", 413),
    "denied by the handler": ("POST /deny HTTP/1.1\r\n" + H + "Content-Length: 5\r\n\r\nhello", 403),
}

CHUNKED = "POST / HTTP/1.1\r\n" + H + "Transfer-Encoding: chunked\r\n\r\n"
for name, body in {
    "chunk size over 64 bits": "10000000000000000\r\n",
    "chunk size with a sign": "+5\r\nhello\r\n0\r\n\r\n",
    "chunk size with 0x": "0x5\r\nhello\r\n0\r\n\r\n",
    "empty chunk size": "\r\nhello\r\n0\r\n\r\n",
    "space after a chunk size": "5 \r\nhello\r\n0\r\n\r\n",
    "space before a chunk size": " 5\r\nhello\r\n0\r\n\r\n",
    "LF after a chunk size": "5\nhello\r\n0\r\n\r\n",
    "LF after a chunk": "5\r\nhello\n0\r\n\r\n",
    "CR after a chunk": "5\r\nhello\r0\r\n\r\n",
    "chunk too long": "5\r\nhellooo\r\n0\r\n\r\n",
    "chunk too short": "5\r\nhell\r\n0\r\n\r\n",
    "LF in a chunk extension": "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "LF after the last chunk": "5\r\nhello\r\n0\n\n",
    "trailer with a bare LF": "5\r\nhello\r\n0\r\nA: b\n\r\n",
    "endless chunk extension": "5;" + "a" * 40000,
    "endless trailer": "0\r\nA: " + "b" * 40000,
    "endless zeros": "0" * 40000,
}.items():
    REFUSED[name] = (CHUNKED + body, (400, 413) if "64 bits" in name else 400)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_and_closed(server, name):
    request, status = REFUSED[name]
    client = server.client()
    client.send(request)
    answer = client.answer()
    assert answer is not None, "closed without an answer"
    assert answer.status in (status if isinstance(status, tuple) else (status,)), answer.body
    assert answer.headers["connection"] == "close"
    client.close()


@pytest.mark.parametrize("name", [n for n, (r, _) in REFUSED.items() if len(r) < 300])
def test_refused_byte_by_byte_and_smuggles_nothing(server, name):
    """However the bytes are cut, the answer is the same and what follows is never a request."""
    request, status = REFUSED[name]
    before = server.stats()["delivered"]
    client = server.client()
    client.socket.setsockopt(6, 1, 1)  # TCP_NODELAY
    for byte in request.encode("latin-1") + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n":
        client.send(bytes([byte]))
    answer = client.answer()
    assert answer.status in (status if isinstance(status, tuple) else (status,)), answer.body
    client.socket.shutdown(1)
    assert client.ends()
    assert server.stats()["delivered"] == before + 1  # the question itself


LEGAL = {
    # name: (request, expected first words of the answer)
    "get": ("GET /a?b=c%20d HTTP/1.1\r\n" + H + "\r\n", "GET /a ?b=c%20d 0"),
    "empty query": ("GET /a? HTTP/1.1\r\n" + H + "\r\n", "GET /a ? 0"),
    "two question marks": ("GET /a?b?c HTTP/1.1\r\n" + H + "\r\n", "GET /a ?b?c 0"),
    "blank lines first": ("\r\n\r\nGET /a HTTP/1.1\r\n" + H + "\r\n", "GET /a ? 0"),
    "post without a length": ("POST /a HTTP/1.1\r\n" + H + "\r\n", "POST /a ? 0"),
    "post": ("POST /a HTTP/1.1\r\n" + H + "Content-Length: 5\r\n\r\nhello", "POST /a ? 5 3610a686"),
    "zeros before a length": ("POST /a HTTP/1.1\r\n" + H + "Content-Length: 0005\r\n\r\nhello", "POST /a ? 5"),
    "length zero": ("PUT /a HTTP/1.1\r\n" + H + "Content-Length: 0\r\n\r\n", "PUT /a ? 0"),
    "get with a body": ("GET /a HTTP/1.1\r\n" + H + "Content-Length: 5\r\n\r\nhello", "GET /a ? 5"),
    "chunked": (CHUNKED + "5\r\nhello\r\n0\r\n\r\n", "POST / ? 5 3610a686"),
    "Chunked": ("POST / HTTP/1.1\r\n" + H + "transfer-encoding:   CHUNKED \r\n\r\n2\r\nhe\r\n3\r\nllo\r\n00\r\n\r\n", "POST / ? 5 3610a686"),
    "chunk extensions and trailers": (CHUNKED + '2;a=b\r\nhe\r\n3;c="d"\r\nllo\r\n0\r\nA: b\r\nHost: y\r\n\r\n', "POST / ? 5 3610a686"),
    "no chunk": (CHUNKED + "0\r\n\r\n", "POST / ? 0"),
    "absolute form": ("GET http://x:80/a?b HTTP/1.1\r\n" + H + "\r\n", "GET /a ?b 0"),
    "absolute form without a path": ("GET http://x HTTP/1.1\r\n" + H + "\r\n", "GET / ? 0"),
    "absolute form, query alone": ("GET http://x?q HTTP/1.1\r\n" + H + "\r\n", "GET / ?q 0"),
    "star": ("OPTIONS * HTTP/1.1\r\n" + H + "\r\n", "OPTIONS * ? 0"),
    "no blank after a colon": ("GET /a HTTP/1.1\r\nHost:x\r\nX-Test:v\r\n\r\n", "GET /a ? 0 00000000 [v]"),
    "blanks around a value": ("GET /a HTTP/1.1\r\n" + H + "X-Test: \t v w \t \r\n\r\n", "GET /a ? 0 00000000 [v w]"),
    "header twice": ("GET /a HTTP/1.1\r\nx-TEST: v\r\n" + H + "B: c\r\nX-Test: w\r\nX-test:\r\n\r\n", "GET /a ? 0 00000000 [v, w, ]"),
    "empty header": ("GET /a HTTP/1.1\r\n" + H + "X-Test:\r\n\r\n", "GET /a ? 0 00000000 []"),
    "empty host": ("GET /a HTTP/1.1\r\nHost:\r\n\r\n", "GET /a ? 0"),
    "IPv6 host": ("GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "GET /a ? 0"),
    "upgrade is not taken": ("GET /a HTTP/1.1\r\n" + H + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n\r\n", "GET /a ? 0"),
    "upgrade with a body": ("POST /a HTTP/1.1\r\n" + H + "Connection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "POST /a ? 5"),
    "all but too many headers": ("GET /a HTTP/1.1\r\n" + H + "A: b\r\n" * 99 + "\r\n", "GET /a ? 0"),
    "almost too large": ("GET /" + "a" * 16000 + " HTTP/1.1\r\n" + H + "X-Test: v\r\n\r\n", "GET /" + "a" * 16000 + " ? 0 00000000 [v]"),
    "awaited body": ("POST /a HTTP/1.1\r\n" + H + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", "POST /a ? 5"),
}


@pytest.mark.parametrize("name", LEGAL)
def test_legal_in_one_piece(server, name):
    request, expected = LEGAL[name]
    client = server.client()
    client.send(request)
    answer = client.answer()
    assert answer.status == 200, answer.body
    assert answer.body.decode().startswith(expected)
    client.close()


@pytest.mark.parametrize("name", [n for n, (r, _) in LEGAL.items() if len(r) < 300])
def test_legal_byte_by_byte_on_one_connection_twice(server, name):
    request, expected = LEGAL[name]
    client = server.client()
    client.socket.setsockopt(6, 1, 1)
    for _ in range(2):
        for byte in request.encode():
            client.send(bytes([byte]))
        answer = client.answer()
        if answer.status == 100:
            answer = client.answer()
        assert answer.status == 200, answer.body
        assert answer.body.decode().startswith(expected)
    client.close()


def test_legal_ones_pipelined_in_random_pieces(server):
    random.seed(7)
    names = [n for n in LEGAL if n != "awaited body"] * 8
    random.shuffle(names)
    stream = "".join(LEGAL[name][0] for name in names).encode()
    client = server.client()
    answers = []
    while stream:
        cut = random.choice((1, 7, 100, 1000, 5000, 40000))
        client.send(stream[:cut])
        stream = stream[cut:]
        if len(answers) < len(names) and random.random() < 0.1:
            answers.append(client.answer())
    while len(answers) < len(names):
        answers.append(client.answer())
    for name, answer in zip(names, answers):
        assert answer.status == 200, (name, answer.body)
        assert answer.body.decode().startswith(LEGAL[name][1]), name
    client.close()


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 65536, 107000, 1 << 20])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_bodies_arrive_whole(server, size, is_chunked):
    random.seed(size)
    body = random.randbytes(size)
    client = server.client()
    for _ in range(3):
        if is_chunked:
            raw, rest = b"", body
            while rest:
                cut = random.choice((1, 10, 5000, 100000)) if size > 100 else 1
                raw += b"%x\r\n%s\r\n" % (min(cut, len(rest)), rest[:cut])
                rest = rest[cut:]
            client.send(CHUNKED.encode() + raw + b"0\r\n\r\n")
        else:
            client.send(f"POST / HTTP/1.1\r\n{H}Content-Length: {size}\r\n\r\n".encode() + body)
        answer = client.answer()
        assert answer.status == 200
        assert answer.body.split()[3:5] == [str(size).encode(), crc(body)]
    client.close()


def test_random_bytes_never_break_it(server):
    """Seeded garbage and mutations of legal requests: an answer or a close, and it serves on."""
    random.seed(11)
    seeds = [r.encode("latin-1") for r, _ in list(LEGAL.values()) + list(REFUSED.values()) if len(r) < 400]
    for round in range(600):
        data = bytearray(random.choice(seeds))
        for _ in range(random.randrange(1, 6)):
            at = random.randrange(len(data) + 1)
            kind = random.randrange(4)
            if kind == 0:
                data[at:at] = random.randbytes(random.randrange(1, 9))
            elif kind == 1:
                del data[at:at + random.randrange(1, 9)]
            elif kind == 2 and at < len(data):
                data[at] = random.choice(b"\r\n \t:;,0123456789\0\xff")
            else:
                other = random.choice(seeds)
                data[at:at] = other[random.randrange(len(other)):]
        client = server.client()
        client.send(bytes(data))
        client.socket.shutdown(1)
        while client.answer():
            pass
        client.close()
    assert server.get("/a").status == 200


def test_head_has_the_length_and_no_body(server):
    client = server.client()
    client.send("HEAD /a HTTP/1.1\r\n" + H + "\r\nGET /b HTTP/1.1\r\n" + H + "\r\n")
    answer = client.answer(is_head=True)
    assert answer.status == 200 and int(answer.headers["content-length"]) > 0
    assert client.answer().body.startswith(b"GET /b")
    client.close()


def test_no_content_has_no_length(server):
    answer = server.get("/empty")
    assert answer.status == 204 and "content-length" not in answer.headers
    assert "date" in answer.headers and answer.headers["x-server"] == "echo"


@pytest.mark.parametrize("version,asked,kept", [
    ("1.1", "", True), ("1.1", "close", False), ("1.1", "foo, Close", False),
    ("1.0", "", False), ("1.0", "keep-alive", True), ("1.0", "close", False),
])
def test_keep_alive(server, version, asked, kept):
    client = server.client()
    line = f"Connection: {asked}\r\n" if asked else ""
    client.send(f"GET /a HTTP/{version}\r\n{H}{line}\r\n")
    answer = client.answer()
    assert answer.status == 200
    if kept:
        assert answer.headers.get("connection", "") == ("keep-alive" if version == "1.0" else "")
        client.send(f"GET /b HTTP/1.1\r\n{H}\r\n")
        assert client.answer().body.startswith(b"GET /b")
    else:
        assert answer.headers["connection"] == "close"
        assert client.ends()
    client.close()


def test_continue_is_sent_after_the_headers_were_accepted(server):
    client = server.client()
    client.send("POST /a HTTP/1.1\r\n" + H + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert client.answer().status == 100
    client.send("hello")
    assert client.answer().status == 200
    client.send("POST /deny HTTP/1.1\r\n" + H + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert client.answer().status == 403
    client.close()


def curl(server, *arguments, **options):
    return subprocess.run(["curl", "-s", "--max-time", "20", *arguments],
                          capture_output=True, check=True, **options)


@pytest.mark.parametrize("extra", [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"], ["--http1.0"]])
def test_curl_uploads(server, tmp_path, extra):
    photo = tmp_path / "photo"
    photo.write_bytes(random.Random(3).randbytes(1 << 20))
    done = curl(server, *extra, "--data-binary", f"@{photo}", f"http://127.0.0.1:{server.port}/a")
    assert done.stdout.split()[4] == crc(photo.read_bytes())


@pytest.mark.parametrize("path,status", [("deny", "403"), ("limit/1000", "413")])
@pytest.mark.parametrize("extra", [[], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]])
def test_an_early_refusal_reaches_curl(server, tmp_path, path, status, extra):
    """It is still uploading 20 MB when the answer comes."""
    photo = tmp_path / "photo"
    photo.write_bytes(bytes(20 << 20))
    done = curl(server, *extra, "-w", "%{http_code}", "-o", "/dev/null", "--data-binary", f"@{photo}",
                f"http://127.0.0.1:{server.port}/{path}")
    assert done.stdout.decode() == status


def test_an_early_refusal_reaches_a_client_that_sends_all_first(server):
    client = server.client()
    client.send(b"POST /limit/1000 HTTP/1.1\r\nHost: x\r\nContent-Length: 25000000\r\n\r\n" + bytes(25000000))
    assert client.answer().status == 413
    client.close()
