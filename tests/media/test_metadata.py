"""What files say beside their pixels, checked by Pillow's own parsers."""

from __future__ import annotations

import io
import struct
import time
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageFile, IptcImagePlugin, PngImagePlugin

from dpenet.media.directories import tiff_directory
from dpenet.media.images import Picture, encode_picture, read_picture, with_pixels
from dpenet.media.metadata import Metadata, Thumbnail, exif_of_tiff, upright

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><note>&#252;</note></x:xmpmeta>'
MAKER = b"Maker\0\x01\x02 with offsets of its own"
FIRST = {0x010F: "Maker", 0x0110: "Model 1", 0x010E: "street", 0x8298: "(c) someone", 0x013B: "A"}
DATE = {0x0132: "2024:01:02 03:04:05"}
INNER = {0x9003: "2024:01:02 03:04:05", 0x9010: "+02:00", 0xA434: "a lens", 0x9207: 5}
INNER_MORE = {0x829A: 0.008, 0x9201: -1.5, 0x927C: MAKER, 0x9286: b"ASCII\0\0\0wet"}
PLACE = {1: "N", 2: (48.0, 51.0, 29.5), 3: "E", 4: (2.0, 17.0, 40.0)}
IPTC = b"\x1c\x02\x78\x00\x05rainy\x1c\x02\x50\x00\x02me"
RESOURCES = b"8BIM\x03\xf3\x03abc" + struct.pack(">I", 3) + b"xyz\0"  # named, odd sizes
RESOURCES += b"8BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC + b"\0"
HOLDERS = ("jpeg", "png", "webp", "tiff", "avif")


def exif(order: str = "<", **more: Any) -> Image.Exif:
    block = Image.Exif()
    block.endian = order
    block.update(FIRST | DATE)
    block[0x0112] = more.get("orientation", 1)
    block.get_ifd(0x8769).update(INNER | INNER_MORE)
    block.get_ifd(0x8825).update(PLACE)
    return block


def described(data: bytes) -> dict[int, Any]:
    """All that the EXIF of a file says, by Pillow."""
    block = Image.open(io.BytesIO(data)).getexif()
    said = {tag: block.get(tag) for tag in FIRST | DATE}
    return said | dict(block.get_ifd(0x8769)) | dict(block.get_ifd(0x8825))


def source(name: str, pixels: NDArray[np.uint8], block: Image.Exif) -> bytes:
    buffer = io.BytesIO()
    options: dict[str, Any] = {"exif": block.tobytes(), "icc_profile": ICC, "dpi": (300, 150)}
    if name == "png":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", XMP.decode())
        options["pnginfo"].add_text("Title", "rainy street")
    elif name == "tiff":
        block[700] = XMP
        options["exif"] = block.tobytes()
    else:
        options["xmp"] = XMP
    if name == "webp":
        options["lossless"] = True
    Image.fromarray(pixels).save(buffer, name, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("target", HOLDERS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", HOLDERS)
def test_metadata_is_kept_across_formats(
    photo: NDArray[np.uint8], name: str, order: str, target: str
) -> None:
    data = source(name, photo, exif(order))
    encoded = encode_picture(read_picture(data), target)
    image: Any = Image.open(io.BytesIO(encoded))
    image.load()
    assert image.info["icc_profile"] == ICC
    xmp = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
    assert xmp.rstrip(b"\0") == XMP
    before, after = described(data), described(encoded)
    assert before[0x010F] == "Maker"
    for tag, value in before.items():
        assert after[tag] == pytest.approx(value) if isinstance(value, float) else value, tag
    if not {"webp", "avif"} & {name, target}:  # they have no resolution but EXIF's
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.02)


def test_exif_of_every_kind_is_read(photo: NDArray[np.uint8]) -> None:
    """The check above compares what Pillow wrote; this one what was meant."""
    for name in ("jpeg", "png", "webp", "avif"):
        said = described(encode_picture(read_picture(source(name, photo, exif())), "tiff"))
        for tag, value in (FIRST | DATE | INNER | INNER_MORE | PLACE).items():
            assert said[tag] == (pytest.approx(value) if isinstance(value, float) else value)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
def test_an_upright_block_is_kept_byte_for_byte(photo: NDArray[np.uint8], name: str) -> None:
    block = exif().tobytes().removeprefix(b"Exif\0\0")
    encoded = encode_picture(read_picture(source(name, photo, exif())))
    assert block in encoded


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("icc", [None, ICC])
@pytest.mark.parametrize("size", [(1, 1), (7, 300)])
def test_webp_of_every_kind_takes_exif(
    alpha: bool, icc: bytes | None, size: tuple[int, int]
) -> None:
    pixels = np.full((*size, 3), 90, np.uint8)
    picture = Picture(pixels, np.full(size, 9, np.uint8) if alpha else None, Metadata(icc))
    block = exif().tobytes().removeprefix(b"Exif\0\0")
    marked = Picture(pixels, picture.alpha, Metadata(icc, block))
    plain, encoded = encode_picture(picture, "webp"), encode_picture(marked, "webp")
    assert described(encoded)[0x0110] == "Model 1"
    with Image.open(io.BytesIO(encoded)) as image, Image.open(io.BytesIO(plain)) as other:
        assert (image.mode, image.size) == (other.mode, size[::-1])
        assert image.tobytes() == other.tobytes()


def test_nothing_is_invented() -> None:
    for name in HOLDERS:
        data = encode_picture(Picture(np.zeros((4, 4, 3), np.uint8)), name)
        image: Any = Image.open(io.BytesIO(data))
        assert not {"exif", "xmp", "icc_profile", "photoshop"} & set(image.info)
        assert not image.getexif().get_ifd(0x8769)
        assert read_picture(data).info == Metadata(resolution=read_picture(data).info.resolution)


def test_png_comments_are_kept(photo: NDArray[np.uint8]) -> None:
    image: Any = Image.open(io.BytesIO(encode_picture(read_picture(source("png", photo, exif())))))
    image.load()
    assert image.text["Title"] == "rainy street"


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


@pytest.mark.parametrize("target", ["jpeg", "tiff"])
@pytest.mark.parametrize("name", ["jpeg", "tiff", "tiff with resources"])
def test_iptc_is_kept(photo: NDArray[np.uint8], name: str, target: str) -> None:
    buffer = io.BytesIO()
    if name == "jpeg":
        Image.fromarray(photo).save(buffer, "jpeg")
        data = buffer.getvalue()
        data = data[:2] + segment(0xED, b"Photoshop 3.0\0" + RESOURCES) + data[2:]
    else:
        tags = {34377: RESOURCES} if "resources" in name else {33723: IPTC}
        Image.fromarray(photo).save(buffer, "tiff", tiffinfo=tags)
        data = buffer.getvalue()
    for _ in range(2):  # also from what we wrote
        data = encode_picture(read_picture(data), target)
        image = Image.open(io.BytesIO(data))
        assert isinstance(image, ImageFile.ImageFile)
        found = IptcImagePlugin.getiptcinfo(image)
        assert found is not None
        assert (found[2, 120], found[2, 80]) == (b"rainy", b"me")


def with_thumbnail(block: bytes, jpeg: bytes) -> bytes:
    """An EXIF block with a second directory, which points at a thumbnail behind it."""
    (count,) = struct.unpack_from("<H", block, 8)
    link = 10 + 12 * count
    place = len(block) + 42
    second = struct.pack("<HHHIHH", 3, 0x0112, 3, 1, 6, 0)
    second += struct.pack("<HHIIHHIII", 0x0201, 4, 1, place, 0x0202, 4, 1, len(jpeg), 0)
    return block[:link] + struct.pack("<I", len(block)) + block[link + 4 :] + second + jpeg


def thumbnail_of(data: bytes) -> Image.Image | None:
    """As libexif finds it."""
    image = pyvips.Image.new_from_buffer(data, "")
    if not image.get_typeof("jpeg-thumbnail-data"):
        return None
    return Image.open(io.BytesIO(bytes(image.get("jpeg-thumbnail-data"))))


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("target", ["jpeg", "png", "webp", "avif"])
def test_the_thumbnail_shows_the_new_picture(
    photo: NDArray[np.uint8], target: str, orientation: int
) -> None:
    old, buffer = io.BytesIO(), io.BytesIO()
    Image.fromarray(photo).save(old, "jpeg")
    block = exif(orientation=orientation).tobytes().removeprefix(b"Exif\0\0")
    block = with_thumbnail(block, old.getvalue())
    Image.fromarray(photo).save(buffer, "jpeg", exif=b"Exif\0\0" + block)
    assert thumbnail_of(buffer.getvalue()) is not None

    rainy = read_picture(buffer.getvalue())
    encoded = encode_picture(with_pixels(rainy, 255 - rainy.pixels), target)
    shown = thumbnail_of(encoded)
    assert shown is not None
    wanted = 255 - rainy.pixels
    assert shown.size == wanted.shape[1::-1]  # it is smaller than a thumbnail may be
    assert np.abs(np.asarray(shown).astype(int) - wanted).mean() < 6
    assert old.getvalue()[-200:-100] not in encoded
    assert described(encoded)[0x010F] == "Maker"
    # Of the same length, so that all else is where it was.
    assert len(read_picture(encoded).info.exif or b"") == len(block)
    if target != "png":  # of which Pillow hides it
        inner = Image.open(io.BytesIO(encoded)).getexif().get_ifd(ExifTags.IFD.IFD1)
        assert inner[0x0112] == 1


def test_a_thumbnail_without_room_is_dropped(photo: NDArray[np.uint8]) -> None:
    block = with_thumbnail(exif().tobytes().removeprefix(b"Exif\0\0"), b"\xff\xd8 tiny \xff\xd9")
    patched, thumbnail = upright(block, 61, 83)
    assert isinstance(thumbnail, Thumbnail)
    info = Metadata(exif=patched, thumbnail=thumbnail)
    encoded = encode_picture(Picture(photo, info=info), "jpeg")
    assert thumbnail_of(encoded) is None
    assert b" tiny " not in encoded
    assert described(encoded)[0x010F] == "Maker"


def test_thumbnails_among_the_resources_of_adobe_are_dropped(photo: NDArray[np.uint8]) -> None:
    buffer = io.BytesIO()
    thumbnail = b"8BIM\x04\x0c\0\0" + struct.pack(">I", 5) + b"small\0"
    Image.fromarray(photo).save(
        buffer, "jpeg", extra=segment(0xED, b"Photoshop 3.0\0" + thumbnail + RESOURCES)
    )
    assert read_picture(buffer.getvalue()).info.photoshop == RESOURCES


@pytest.mark.parametrize(
    "form", [b'tiff:Orientation="6"', b"<tiff:Orientation>6</tiff:Orientation>"]
)
def test_xmp_says_that_the_picture_is_upright(photo: NDArray[np.uint8], form: bytes) -> None:
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "jpeg", exif=exif(orientation=6), xmp=XMP + form)
    picture = read_picture(buffer.getvalue())
    assert picture.pixels.shape == (83, 61, 3)
    assert picture.info.xmp == XMP + form.replace(b"6", b"1")


def test_a_block_too_long_for_jpeg_is_left_out() -> None:
    long = Metadata(exif=exif().tobytes().removeprefix(b"Exif\0\0") + bytes(70000))
    picture = Picture(np.zeros((4, 4, 3), np.uint8), info=long)
    assert read_picture(encode_picture(picture, "jpeg")).info.exif is None
    assert read_picture(encode_picture(picture, "png")).info.exif == long.exif


@given(st.data())
def test_damaged_exif_never_breaks_a_picture(data: st.DataObject) -> None:
    """Bytes of a good block changed anywhere: patched, left out, or parsed in part; no error."""
    block = bytearray(exif().tobytes().removeprefix(b"Exif\0\0"))
    for _ in range(data.draw(st.integers(1, 6))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(block[: data.draw(st.integers(0, len(block)))])
    patched, _ = upright(damaged, 10, 10)
    assert patched is None or len(patched) == len(damaged)
    exif_of_tiff(tiff_directory(damaged))
    pixels = np.full((4, 4, 3), 77, np.uint8)
    for name in HOLDERS:
        encoded = encode_picture(Picture(pixels, info=Metadata(exif=patched)), name)
        assert abs(int(read_picture(encoded).pixels.mean()) - 77) <= 2


def directory_of(*entries: tuple[int, int, int, int]) -> bytes:
    """A directory of tags, types, counts and values."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + packed + bytes(4)


SELF_REFERENCE = (
    b"II*\0\x08\0\0\0"
    + directory_of((0x8769, 4, 1, 26))
    + directory_of((0x9003, 2, 3, 0x393939), (0xA005, 4, 1, 26))
)


def test_directories_that_go_round_in_circles_end() -> None:
    pixels = np.full((4, 4, 3), 77, np.uint8)
    source = encode_picture(Picture(pixels, info=Metadata(exif=SELF_REFERENCE)), "jpeg")
    again = read_picture(encode_picture(read_picture(source), "tiff"))
    assert again.info.exif is not None
    exif_block = tiff_directory(again.info.exif)[0x8769]
    assert isinstance(exif_block, dict)
    assert exif_block[0x9003] == (2, b"999")


def test_directories_that_are_repeated_are_read_once() -> None:
    """Each of 5000 fields points at 5000 more, and so on."""
    size = 2 + 12 * 5000 + 4
    levels = b"".join(
        directory_of(*[(tag, 4, 1, 8 + size * (level + 1))] * 5000)
        for level, tag in enumerate((0x8769, 0xA005, 0xA005))
    )
    data = b"II*\0\x08\0\0\0" + levels + directory_of((0x9003, 2, 3, 0x393939))
    start = time.perf_counter()
    assert tiff_directory(data) == {
        0x8769: {0xA005: {0xA005: (4, struct.pack("<I", 8 + 3 * size))}}
    }
    assert upright(data, 9, 9)[0] == data
    assert time.perf_counter() - start < 5


def test_a_long_directory_is_written_again_soon() -> None:
    """Its fields share values of 40 bytes."""
    inner = directory_of(*((tag, 7, 40, 26) for tag in range(0xA000)))
    data = b"II*\0\x08\0\0\0" + directory_of((0x8769, 4, 1, 26)) + inner
    start = time.perf_counter()
    block = exif_of_tiff(tiff_directory(data))
    assert block is not None and len(block) > 50 * 0xA000
    assert time.perf_counter() - start < 5


def test_values_that_share_all_bytes_do_not_fill_the_memory() -> None:
    data = b"II*\0\x08\0\0\0" + directory_of(*((tag, 7, 60_000, 8) for tag in range(5000)))
    assert tiff_directory(data) == {}
