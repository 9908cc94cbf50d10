"""Requests that nobody should send, each with a name: bytes for the wire."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image
from tests.server.services import encoded

Case = tuple[str, bytes]
_SIDE = 40


def _photo() -> Any:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)


GOOD = encoded(_photo())


def post(
    body: bytes,
    query: str = "",
    kind: str | None = "application/octet-stream",
    *extra: str,
    path: str = "/v1/derain",
) -> bytes:
    """A whole request, after which the connection is closed."""
    lines = [f"POST {path}{query} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"Content-Type: {kind}"] * (kind is not None)
    lines += [f"Content-Length: {len(body)}", *extra, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def unending() -> bytes:
    """A request of a chunk that has no end."""
    whole = post(b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    return whole + b"f" * 20 + b"\r\n"


def get(target: str, method: str = "GET", *extra: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *extra]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def queries() -> Iterator[Case]:
    """Parameters that cannot be."""
    wrong = [
        *("strength=2", "strength=-0.1", "strength=nan", "strength=inf", "strength=1e999"),
        *("strength=", "strength=0,5", "strength=half", "strength=0x1", "strength=[]"),
        *("strength=%00", "strength=1;2", "strength=true1", "strength=--1"),
        *("stage=0", "stage=3", "stage=-1", "stage=1.5", "stage=two", "stage=", "stage=1e9"),
        *("stage=99999999999999999999999999", "stage=null"),
        *("precision=int4", "precision=FP32%20", "precision=", "precision=auto%00"),
        *("precision=fp64", "precision=../fp32", "precision=" + "x" * 3000),
        *("model=nothing", "model=universal%20", "model=../../etc/passwd"),
        *("model=/etc/passwd", "model=universal.safetensors", "model=./universal"),
        *("model=file:///etc/passwd", "model=http://127.0.0.1/x.pth", "model=%00"),
        *("model=%2e%2e%2funiversal", "model=universal%0d%0aX-Evil:1", "model=" + "a" * 3000),
        *("format=svg", "format=", "format=PNG%00", "format=../png", "format=heif%20"),
        *("temporal=maybe", "temporal=", "temporal=2", "tile=16", "memory=1GB"),
        *("device=gpu", "threads=64", "unknown=1", "__proto__=1", "model[]=universal"),
        *("a" * 2000 + "=1", "&".join(f"p{n}={n}" for n in range(500))),
    ]
    for query in wrong:
        yield f"query {query[:40]}", post(GOOD, "?" + query)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = (_chunk(b"IHDR", head), *chunks, _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _bomb(width: int, height: int) -> bytes:
    packer = zlib.compressobj(9)
    row = packer.compress(bytes(1 << 20))
    data = row + b"".join(packer.compress(bytes(1 << 20)) for _ in range(99)) + packer.flush()
    return _png(width, height, _chunk(b"IDAT", data))


def _jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(encoded(_photo(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _tiff_of_size(width: int, height: int) -> bytes:
    data = bytearray(encoded(_photo(), "TIFF"))
    start, count = struct.unpack("<I", data[4:8])[0], 0
    (count,) = struct.unpack("<H", data[start : start + 2])
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack("<H", data[entry : entry + 2])
        if tag in (256, 257):
            data[entry + 2 : entry + 4] = struct.pack("<H", 4)
            size = width if tag == 256 else height
            data[entry + 8 : entry + 12] = struct.pack("<I", size)
    return bytes(data)


def _several(kind: str) -> bytes:
    frames = [Image.fromarray(_photo() + np.uint8(60 * step)) for step in range(3)]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    return file.getvalue()


def whole() -> dict[str, bytes]:
    """A good picture of every kind."""
    photo = _photo()
    kinds = {"png": {}, "jpeg": {}, "tiff": {}, "webp": {"lossless": True}, "bmp": {}, "gif": {}}
    made = {kind: encoded(photo, kind.upper(), **options) for kind, options in kinds.items()}
    return {**made, "ppm": encoded(photo, "PPM"), "avif": encoded(photo, "AVIF")}


def pictures() -> Iterator[Case]:
    """Files that are no picture, not whole, or larger than they may be."""
    for kind, content in whole().items():
        for percent in (2, 20, 40, 60, 80):
            part = content[: max(13, len(content) * percent // 100)]
            yield f"{kind} cut to {percent} %", post(part)
    sizes = {"wide": (1 << 20, 1), "tall": (1, 65000 * 16), "vast": (60000, 60000)}
    for name, (width, height) in sizes.items():
        yield f"png claims {name}", post(_png(width, height * 2, _chunk(b"IDAT", b"")))
        ppm = f"P6 {width} {height * 2} 255\n".encode()
        yield f"ppm claims {name}", post(ppm + bytes(100))
        yield f"tiff claims {name}", post(_tiff_of_size(width, height * 2))
        bmp = bytearray(whole()["bmp"])
        bmp[18:26] = struct.pack("<ii", width, height * 2)
        yield f"bmp claims {name}", post(bytes(bmp))
    yield "jpeg claims vast", post(_jpeg_of_size(65500, 65500))
    yield (
        "webp claims vast",
        post(
            b"RIFF\x24\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\xff\xff" * 2 + b"VP8 " + bytes(12)
        ),
    )
    yield "png bomb that claims its size", post(_bomb(10000, 3495))
    yield "png of no size", post(_png(0, 0, _chunk(b"IDAT", b"")))
    yield "png of minus one", post(_png(0xFFFFFFFF, 0xFFFFFFFF, _chunk(b"IDAT", b"")))
    yield "png with a bad checksum", post(GOOD[:29] + b"\0\0\0\0" + GOOD[33:])
    yield "png of unknown depth", post(_png(9, 9, _chunk(b"IDAT", b""), depth=3))
    yield "png of unknown colours", post(_png(9, 9, _chunk(b"IDAT", b""), colour=7))
    yield "several frames of PNG", post(_several("PNG"))
    strangers = {
        "nothing": b"",
        "one byte": b"\x89",
        "zeros": bytes(5000),
        "noise": np.random.default_rng(2).bytes(5000),
        "text": b"rain, rain, go away\n" * 50,
        "json": b'{"image": "aGVsbG8="}',
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="/etc/passwd"/></svg>',
        "xml bomb": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]>',
        "html": b"<!doctype html><script>alert(1)</script>",
        "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file\n",
        "zip": b"PK\x03\x04" + bytes(60),
        "gzip": b"\x1f\x8b\x08" + bytes(60),
        "elf": b"\x7fELF" + bytes(60),
        "mvg": b"push graphic-context\nimage over 0,0 0,0 'https://127.0.0.1/x'",
        "a path": b"/etc/passwd",
        "a url": b"http://127.0.0.1:8000/healthz",
        "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
        "ico": b"\0\0\1\0\1\0" + bytes(40),
        "psd": b"8BPS\0\1" + bytes(60),
        "fits": b"SIMPLE  =                    T",
        "hdf": b"\x89HDF\r\n\x1a\n" + bytes(60),
        "pickle": b"\x80\x04\x95" + bytes(40),
        "vips": b"\x08\xf2\xa6\xb6" + bytes(60),
        "ascii map": b"P3 2 2 255 1 2 3 4 5 6 7 8 9 1 2 3",
        "map without a maximum": b"P6 4 4 0\n" + bytes(48),
        "map of negative size": b"P6 -4 -4 255\n" + bytes(48),
        "tiff that points to itself": b"II*\0\x08\0\0\0\x00\x00\x08\0\0\0",
        "tiff that points outside": b"II*\0\xff\xff\xff\x7f",
        "bigtiff cut short": b"II+\0\x08\0\0\0" + bytes(8),
        "jpeg of markers": b"\xff\xd8" + b"\xff\xe0\0\x02" * 500 + b"\xff\xd9",
        "webp without content": b"RIFF\0\0\0\0WEBP",
        "gif without frames": b"GIF89a\x10\0\x10\0\0\0\0;",
        "heif without content": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "png signature alone": b"\x89PNG\r\n\x1a\n",
    }
    for name, content in strangers.items():
        yield f"picture: {name}", post(content)
    yield "more bytes than may be", post(bytes(1 << 20) * 3)


def clips() -> Iterator[Case]:
    """Files that look like clips."""
    heads = {
        "mp4": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41",
        "mov": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
        "webm": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\x82\x84webm",
        "mkv": b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\1\x42\x82\x88matroska",
        "avi": b"RIFF\xff\0\0\0AVI LIST",
    }
    for name, head in heads.items():
        yield f"{name} of zeros", post(head + bytes(4000))
        yield f"{name} of noise", post(head + np.random.default_rng(3).bytes(4000))
    dash = b'<MPD profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><BaseURL>/etc/passwd'
    yield "mp4 that is a playlist too", post(b"AAAAftypisom" + dash)
    for name, head in {
        "playlist": b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n",
        "concat": b"ffconcat version 1.0\nfile /etc/passwd\n",
        "y4m": b"YUV4MPEG2 W64 H64 F25:1 Ip A1:1 C420\nFRAME\n" + bytes(6144),
        "mpeg": b"\x00\x00\x01\xba" + bytes(2000),
        "flv": b"FLV\x01\x05" + bytes(2000),
        "ogg": b"OggS" + bytes(2000),
    }.items():
        yield f"clip: {name}", post(head, "", "video/mp4")


def forms() -> Iterator[Case]:
    """Forms that are none."""

    def part(head: str, content: bytes = GOOD) -> bytes:
        return b"--b\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"

    file = 'Content-Disposition: form-data; name="file"; filename="a.png"'
    end = b"--b--\r\n"
    kind = "multipart/form-data; boundary=b"
    bodies = {
        "empty": b"",
        "only an end": end,
        "without an end": part(file),
        "of another field": part(file.replace('"file"', '"picture"')) + end,
        "without a file name": part('Content-Disposition: form-data; name="file"') + end,
        "without a disposition": part("Content-Type: image/png") + end,
        "without a name": part("Content-Disposition: form-data") + end,
        "of two files": part(file) + part(file) + end,
        "of many fields": b"".join(
            part(f'Content-Disposition: form-data; name="{n}"', b"") for n in range(300)
        )
        + end,
        "with a header too long": part(file + "\r\nX-Long: " + "x" * 40000) + end,
        "with too many headers": part(file + "\r\nX: 1" * 3000) + end,
        "of another boundary": part(file).replace(b"--b", b"--c") + end,
        "of noise": np.random.default_rng(4).bytes(3000),
        "of dashes": b"-" * 5000,
        "of an empty file": part(file, b"") + end,
        "of a text file": part(file, b"rain") + end,
        "with a path for a name": part(file.replace("a.png", "../../etc/x"), b"rain") + end,
        "with a bare line feed": part(file).replace(b"\r\n", b"\n") + end,
    }
    for name, body in bodies.items():
        yield f"form {name}", post(body, "", kind)
    good = part(file) + end
    for wrong in (
        *("multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=b"),
        *("application/x-www-form-urlencoded", "multipart/form-data; boundary=" + "b" * 300),
        *("multipart/form-data; charset=nix; boundary=x", "text/plain", "application/json"),
        *("text/html", "application/xml", "audio/wav", "image", "nonsense", "*/*", "/"),
    ):
        yield f"form as {wrong[:50]}", post(good, "", wrong)


def heads() -> Iterator[Case]:
    """Headers that cannot be, or too much of them."""
    yield "one header too long", get("/healthz", "GET", "X-Long: " + "x" * 100_000)
    yield "headers too many", get("/healthz", "GET", *[f"X-{n}: {n}" for n in range(20_000)])
    yield "address too long", get("/" + "a" * 100_000)
    yield "query too long", post(GOOD, "?model=" + "a" * 100_000)
    yield "cookie too long", get("/healthz", "GET", "Cookie: " + "a=b; " * 30_000)
    yield "null in a header", get("/healthz", "GET", "X-Null: a\0b")
    yield "line feed in a header", get("/healthz", "GET", "X-Feed: a\n b\nc")
    yield "no colon in a header", get("/healthz", "GET", "Nonsense")
    yield "space before the colon", get("/healthz", "GET", "X : 1")
    yield "two lengths", post(GOOD, "", "image/png", "Content-Length: 5")
    for length in ("-1", "abc", "1e3", "0x10", "9" * 30, "+5", ""):
        request = post(GOOD).replace(b"Content-Length: %d" % len(GOOD), b"Content-Length: %b")
        yield f"length {length}", request.replace(b"%b", length.encode())
    yield "length and chunks", post(GOOD, "", "image/png", "Transfer-Encoding: chunked")
    chunked = post(b"", "", "image/png").replace(b"Content-Length: 0", b"Transfer-Encoding: %b")
    yield "unknown transfer", chunked.replace(b"%b", b"gzip")
    for name, body in {
        "bad": b"zz\r\nabc\r\n0\r\n\r\n",
        "negative": b"-5\r\nabcde\r\n0\r\n\r\n",
        "unframed": b"5\r\nabcdefgh\r\n0\r\n\r\n",
    }.items():
        yield f"chunks {name}", chunked.replace(b"%b", b"chunked") + body
    many = b"".join(b"20000\r\n" + bytes(0x20000) + b"\r\n" for _ in range(30))
    yield "chunks too many", chunked.replace(b"%b", b"chunked") + many + b"0\r\n\r\n"
    for coding in ("gzip", "br", "deflate", "zstd", "identity, gzip", "nonsense"):
        yield f"encoded {coding}", post(GOOD, "", "image/png", f"Content-Encoding: {coding}")
    for accept in ("text/html", "image/svg+xml", "application/json", "image/png;q=0", "nonsense"):
        yield f"accept {accept}", post(GOOD, "", "image/png", f"Accept: {accept}")
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::"):
        request = get("/v1/models").replace(b"Host: localhost", b"Host: " + host.encode())
        yield f"host {host}", request
    yield "no host", get("/healthz").replace(b"Host: localhost\r\n", b"")
    yield "two hosts", get("/healthz", "GET", "Host: localhost")
    for version in ("HTTP/1.1 x", "HTTP/11", "ICY/1.0", ""):
        yield f"version {version}", get("/healthz").replace(b"HTTP/1.1", version.encode(), 1)
    yield "no request", b"\r\n\r\nnonsense\r\n\r\n"
    yield "TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)
    yield "HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield "zeros", bytes(10_000)
    yield "noise", np.random.default_rng(5).bytes(200_000)


def routes() -> Iterator[Case]:
    """Addresses that are not there, and methods that they do not have."""
    for target in (
        *("/nothing", "/v1", "/v1/", "/v1/derain/", "/v2/derain", "/V1/DERAIN", "//v1/models/"),
        *("/docs", "/redoc", "/admin", "/.git/config", "/.env", "/server/app.py", "/favicon.ico"),
        *(
            "/page/../app.py",
            "/page/../../server/app.py",
            "/page/%2e%2e/app.py",
            "/page//etc/passwd",
        ),
        *("/page/..%2fapp.py", "/page/%2e%2e%2f%2e%2e%2fzoo%2ftable.py", "/page/..%5capp.py"),
        *("/page/....//app.py", "/page/%00", "/page/index.html%00.png", "/page/..;/app.py"),
        *(
            "/page/examples",
            "/page/nothing.js",
            "/../../../../etc/passwd",
            "/page/%c0%ae%c0%ae/app.py",
        ),
        *("/page/" + "../" * 30 + "etc/passwd", "/page/" + "a" * 300, "/page/%252e%252e/app.py"),
    ):
        yield f"GET {target[:50]}", get(target)
    for method, target in (
        *(("GET", "/v1/derain"), ("PUT", "/v1/derain"), ("DELETE", "/v1/derain")),
        *(("PATCH", "/v1/models"), ("POST", "/v1/models"), ("POST", "/"), ("POST", "/healthz")),
        *(("DELETE", "/page/app.js"), ("PUT", "/page/app.js"), ("POST", "/metrics")),
        *(("TRACE", "/"), ("OPTIONS", "/v1/derain"), ("CONNECT", "127.0.0.1:22")),
        *(
            ("PROPFIND", "/"),
            ("NONSENSE", "/healthz"),
            ("get", "/healthz"),
            ("POST", "/openapi.json"),
        ),
    ):
        yield f"{method} {target}", get(target, method)


def survivable() -> Iterator[Case]:
    """Files of which libraries read what there is, without what they claim."""
    gif = bytearray(whole()["gif"])
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    yield "gif claims vast", post(bytes(gif))
    yield "png bomb that claims less", post(_bomb(64, 64))
    deep = zlib.compress(bytes(60 << 20), 9)
    for kind in (b"iCCP", b"zTXt"):
        yield (
            f"png of 60 MB in {kind.decode()}",
            post(
                _png(
                    9, 9, _chunk(kind, b"x\0\0" + deep), _chunk(b"IDAT", zlib.compress(bytes(252)))
                )
            ),
        )
    for name in ("GIF", "TIFF", "WEBP"):
        frames = _several(name)
        yield f"several frames of {name}", post(frames)
        yield f"several frames of {name}, cut short", post(frames[: len(frames) * 2 // 3])
    for version in ("HTTP/0.9", "HTTP/3.0"):
        yield f"version {version}", get("/healthz").replace(b"HTTP/1.1", version.encode(), 1)


def cases() -> list[Case]:
    """All of them."""
    kinds = (queries, pictures, clips, forms, heads, routes)
    return [case for kind in kinds for case in kind()]
