from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from dpenet.errors import PictureError
from dpenet.media.formats import FORMATS, WRITTEN
from dpenet.media.images import (
    Picture,
    encode_picture,
    read_picture,
    read_shape,
    read_size,
    with_pixels,
    write_picture,
)
from dpenet.media.metadata import Metadata

Array = NDArray[Any]


def pillow(image: Image.Image | Array, name: str, **options: Any) -> bytes:
    """Encode by other means than ours."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        buffer, name, **options
    )
    return buffer.getvalue()


def tiff(pixels: Array, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def png16(pixels: Array) -> bytes:
    """A 16-bit PNG by the specification: Pillow has none with colours."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def unpng16(data: bytes) -> Array:
    """Decode a 16-bit PNG by the specification, filters included (for small pictures)."""
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    assert depth == 16
    step = 2 * {0: 1, 4: 2, 2: 3, 6: 4}[colour]
    at, stream = 8, b""
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        stream += data[at + 8 : at + 8 + size] if data[at + 4 : at + 8] == b"IDAT" else b""
        at += 12 + size
    raw = np.frombuffer(zlib.decompress(stream), np.uint8).reshape(height, 1 + width * step)
    rows = np.zeros((height + 1, width * step + step), np.int64)  # with a border of zeros
    for y, (kind, *row) in enumerate(raw.tolist(), start=1):
        for x, value in enumerate(row, start=step):
            left, up, corner = rows[y, x - step], rows[y - 1, x], rows[y - 1, x - step]
            guess = left + up - corner
            paeth = min((abs(guess - v), i, v) for i, v in enumerate((left, up, corner)))[2]
            rows[y, x] = (value + [0, left, up, (left + up) // 2, paeth][kind]) % 256
    samples = rows[1:, step:].astype(np.uint8).tobytes()
    return np.frombuffer(samples, ">u2").reshape(height, width, -1).astype(np.uint16)


def noise(shape: tuple[int, ...], dtype: Any = np.uint8, seed: int = 0) -> Array:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, shape, dtype, endpoint=True)


RGB, GREY, ALPHA = noise((9, 13, 3)), noise((9, 13, 1), seed=1), noise((9, 13), seed=2)
RGB16, GREY16 = noise((9, 13, 3), np.uint16, seed=3), noise((9, 13, 1), np.uint16, seed=4)
ALPHA16 = noise((9, 13), np.uint16, seed=5)
RGBA, RGBA16 = np.dstack([RGB, ALPHA]), np.dstack([RGB16, ALPHA16])
MASK = ALPHA > 127
STEPS = (RGB // 86 * 80).astype(np.uint8)  # few colours, for palettes
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><note>&#252;</note></x:xmpmeta>'


def masked_palette() -> bytes:
    """A palette whose entries are transparent to different degrees."""
    image = Image.fromarray(STEPS).quantize(27)
    return pillow(image, "png", transparency=bytes(range(100, 127)))


READ = {
    "png": (pillow(RGB, "png"), RGB, None),
    "png grey": (pillow(GREY[..., 0], "png"), GREY, None),
    "png alpha": (pillow(RGBA, "png"), RGB, ALPHA),
    "png grey alpha": (pillow(np.dstack([GREY, ALPHA]), "png"), GREY, ALPHA),
    "png 1 bit": (pillow(MASK, "png"), MASK[..., None] * np.uint8(255), None),
    "png palette": (pillow(Image.fromarray(STEPS).quantize(27), "png"), STEPS, None),
    "png 16": (png16(RGB16), RGB16, None),
    "png 16 grey": (pillow(GREY16[..., 0], "png"), GREY16, None),
    "png 16 alpha": (png16(RGBA16), RGB16, ALPHA16),
    "png 16 grey alpha": (png16(np.dstack([GREY16, ALPHA16])), GREY16, ALPHA16),
    "tiff": (pillow(RGB, "tiff"), RGB, None),
    "tiff lzw": (pillow(RGB, "tiff", compression="tiff_lzw"), RGB, None),
    "tiff grey": (pillow(GREY[..., 0], "tiff"), GREY, None),
    "tiff 1 bit": (pillow(MASK, "tiff"), MASK[..., None] * np.uint8(255), None),
    "tiff palette": (pillow(Image.fromarray(STEPS).quantize(27), "tiff"), STEPS, None),
    "tiff alpha": (pillow(RGBA, "tiff"), RGB, ALPHA),
    "tiff big endian": (tiff(RGB16, photometric="rgb", byteorder=">"), RGB16, None),
    "tiff 16": (tiff(RGB16, photometric="rgb"), RGB16, None),
    "tiff 16 planar": (
        tiff(RGB16.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate"),
        *(RGB16, None),
    ),
    "tiff 16 grey": (tiff(GREY16[..., 0], photometric="minisblack"), GREY16, None),
    "tiff 16 white is 0": (tiff(GREY16[..., 0], photometric="miniswhite"), 65535 - GREY16, None),
    "tiff 16 alpha": (
        tiff(RGBA16, photometric="rgb", extrasamples=["unassalpha"]),
        *(RGB16, ALPHA16),
    ),
    "bigtiff": (tiff(RGB, photometric="rgb", bigtiff=True), RGB, None),
    "webp": (pillow(RGB, "webp", lossless=True), RGB, None),
    "webp alpha": (pillow(RGBA, "webp", lossless=True, exact=True), RGB, ALPHA),
    "gif": (pillow(Image.fromarray(STEPS).quantize(27), "gif"), STEPS, None),
    "gif grey": (pillow(GREY[..., 0], "gif"), GREY, None),
    "bmp": (pillow(RGB, "bmp"), RGB, None),
    "bmp grey": (pillow(GREY[..., 0], "bmp"), GREY, None),
    "bmp 1 bit": (pillow(MASK, "bmp"), MASK[..., None] * np.uint8(255), None),
    "ppm": (pillow(RGB, "ppm"), RGB, None),
    "ppm 16": (b"P6 # note\n13 9\n65535\n" + RGB16.astype(">u2").tobytes(), RGB16, None),
    "ppm 10 bits": (
        b"P5 13 9 1023\n" + (GREY16 // 64).astype(">u2").tobytes(),
        *(np.rint(GREY16 // 64 * (65535 / 1023)).astype(np.uint16), None),
    ),
    "pgm": (pillow(GREY[..., 0], "ppm"), GREY, None),
    "pbm": (pillow(MASK, "ppm"), MASK[..., None] * np.uint8(255), None),
    "tga alpha": (pillow(RGBA, "tga"), RGB, ALPHA),
    "jpeg 2000": (pillow(RGB, "jpeg2000"), RGB, None),
}


@pytest.mark.parametrize("case", READ)
def test_reads_what_others_write(case: str) -> None:
    data, pixels, alpha = READ[case]
    picture = read_picture(data)
    assert picture.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(picture.pixels, pixels)
    np.testing.assert_array_equal(picture.alpha, alpha)
    assert read_size(data) == pixels.shape[:2]
    held = pixels.nbytes + (0 if alpha is None else alpha.nbytes)
    assert held <= read_shape(data).nbytes <= 4 * held
    kind = case.split()[0]
    names = {"bigtiff": "tiff", "pgm": "ppm", "pbm": "other", "tga": "other"}
    assert picture.format == ("other" if case == "jpeg 2000" else names.get(kind, kind))


def test_palette_transparency_is_alpha() -> None:
    picture = read_picture(masked_palette())
    expected = np.asarray(Image.open(io.BytesIO(masked_palette())).convert("RGBA"))
    np.testing.assert_array_equal(np.dstack([picture.pixels, picture.alpha]), expected)  # type: ignore[list-item]


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_jpeg_decodes_as_elsewhere(photo: Array, grey: bool, options: dict[str, Any]) -> None:
    data = pillow(photo[..., 0] if grey else photo, "jpeg", **options)
    other = np.asarray(Image.open(io.BytesIO(data)))
    picture = read_picture(data)
    assert picture.pixels.shape == (61, 83, 1 if grey else 3)
    difference = picture.pixels.reshape(other.shape).astype(int) - other
    assert np.abs(difference).max() <= 2  # two inverse DCTs


WRITE = [
    (name, alpha, deep, grey)
    for name in ("png", "tiff", "bmp", "ppm", "webp", "gif", "jpeg")
    for alpha in (False, True)
    for deep in (False, True)
    for grey in (False, True)
]


@pytest.mark.parametrize(("name", "alpha", "deep", "grey"), WRITE)
def test_writes_what_others_read(
    photo: Array, name: str, alpha: bool, deep: bool, grey: bool
) -> None:
    """16 bits where the format has them, else rounded; alpha where it has it, else on white."""
    pixels = photo[:24, :32, :1] if grey else photo[:24, :32]
    mask = (noise((24, 32)) > 100).astype(np.uint8) * 255 if name == "gif" else noise((24, 32))
    if deep:
        pixels = np.minimum(pixels, 254).astype(np.uint16) * 257 + noise(pixels.shape)
        mask = mask.astype(np.uint16) * 257
    data = encode_picture(Picture(pixels, mask if alpha else None), name)

    holds = FORMATS[name]
    expected = pixels.astype(float)
    if alpha and not holds.alpha:
        cover = mask[..., None] / np.iinfo(mask.dtype).max
        expected = expected * cover + np.iinfo(mask.dtype).max * (1 - cover)
    sixteen = deep and holds.sixteen_bit
    if deep and not sixteen:
        expected, mask = expected / 257, mask // 257
    if sixteen and name == "png":
        found = unpng16(data)
    elif sixteen and name == "tiff":
        found = tifffile.imread(io.BytesIO(data)).reshape(24, 32, -1)
    elif sixteen:
        found = np.frombuffer(data[-pixels.nbytes :], ">u2").reshape(pixels.shape)
    else:
        image = Image.open(io.BytesIO(data))
        assert image.format == name.upper()
        palette = "RGBA" if alpha else "RGB"
        found = np.asarray(image.convert(palette) if name == "gif" else image)
        found = found.reshape(24, 32, -1)
    assert found.dtype.itemsize == (2 if sixteen else 1)
    with_alpha = alpha and holds.alpha
    no_grey = name in ("webp", "gif") or (name == "bmp" and alpha)
    assert found.shape[2] == (1 if grey and not no_grey else 3) + with_alpha
    colours = found[..., :-1] if with_alpha else found
    if with_alpha:
        np.testing.assert_array_equal(found[..., -1], mask)
    visible = mask > 0 if name == "gif" and alpha else np.ones((24, 32), bool)
    error = np.abs(colours.astype(float) - expected)[visible]
    # 0.5: rounding. Lossy ones: near in the mean (a GIF has 256 colours).
    worst, mean = {"gif": (150, 8), "jpeg": (25, 3), "webp": (60, 4)}.get(name, (0.51, 0.5))
    assert error.max() <= worst
    assert error.mean() <= mean


def test_colours_under_transparency_survive() -> None:
    clear = Picture(RGB, np.zeros_like(ALPHA))
    for name in ("png", "tiff", "bmp"):
        again = read_picture(encode_picture(clear, name))
        np.testing.assert_array_equal(again.pixels, RGB)
        np.testing.assert_array_equal(again.alpha, clear.alpha)
    slope = np.tile(np.arange(64, dtype=np.uint8)[:, None, None] * 4, (1, 64, 3))
    half = np.repeat(np.array([255, 0], np.uint8), [20, 44])[:, None].repeat(64, axis=1)
    lossy = read_picture(encode_picture(Picture(slope, half), "webp"))
    assert np.abs(lossy.pixels.astype(int) - slope).max() <= 4


SAMPLES = st.tuples(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1, 3]),
    st.booleans(),
    st.sampled_from([np.uint8, np.uint16]),
    st.integers(0, 99),
)


@settings(deadline=None, max_examples=150)
@given(SAMPLES, st.sampled_from(["png", "tiff", "bmp", "ppm"]))
def test_lossless_formats_lose_nothing(sample: Any, name: str) -> None:
    height, width, channels, transparent, dtype, seed = sample
    if dtype == np.uint16 and not FORMATS[name].sixteen_bit:
        dtype = np.uint8
    pixels = noise((height, width, channels), dtype, seed)
    alpha = noise((height, width), dtype, seed + 1)
    transparent = transparent and FORMATS[name].alpha
    if name == "bmp" and transparent and channels == 1:  # it has no grey with alpha
        pixels = np.repeat(pixels, 3, axis=2)
    again = read_picture(encode_picture(Picture(pixels, alpha if transparent else None), name))
    assert again.format == name
    assert again.pixels.dtype == dtype
    np.testing.assert_array_equal(again.pixels, pixels)
    np.testing.assert_array_equal(again.alpha, alpha if transparent else None)


@pytest.mark.parametrize("name", FORMATS)
def test_one_pixel(name: str) -> None:
    again = read_picture(encode_picture(Picture(np.full((1, 1, 3), 200, np.uint8)), name))
    assert again.pixels.shape[:2] == (1, 1)
    white = 1 if name == "pfm" else 255
    assert abs(again.pixels.mean() / white * 255 - 200) <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "tiff"])
def test_orientation_is_applied_once(photo: Array, name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif.get_ifd(0x8769).update({0xA002: 83, 0xA003: 61})
    lossless: dict[str, Any] = {"lossless": True} if name == "webp" else {}
    data = pillow(photo, name, exif=exif, **lossless)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    picture = read_picture(data)
    assert read_size(data) == picture.pixels.shape[:2] == expected.size[::-1]
    assert np.abs(picture.pixels.astype(int) - np.asarray(expected)).max() <= 2
    for target in ("jpeg", "png", "webp", "tiff"):
        image = Image.open(io.BytesIO(encode_picture(picture, target)))
        assert image.size == expected.size
        assert image.getexif().get(0x0112, 1) == 1
        inner = image.getexif().get_ifd(0x8769)
        if inner or name != "tiff":  # Pillow writes no inner directory into a TIFF
            assert (inner[0xA002], inner[0xA003]) == expected.size


def test_alpha_turns_with_the_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = read_picture(pillow(RGBA, "png", exif=exif))
    np.testing.assert_array_equal(picture.alpha, np.rot90(ALPHA, -1))


def test_jpeg_is_written_at_95_without_subsampling(photo: Array) -> None:
    image: Any = Image.open(io.BytesIO(encode_picture(Picture(photo), "jpeg")))
    other: Any = Image.open(io.BytesIO(pillow(photo, "jpeg", quality=95, subsampling=0)))
    assert image.quantization == other.quantization
    assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [20, 60, 98])
def test_a_jpeg_is_written_as_it_was(
    photo: Array, quality: int, subsampling: str, progressive: bool
) -> None:
    options = {"quality": quality, "subsampling": subsampling, "progressive": progressive}
    data = pillow(photo, "jpeg", **options)
    before: Any = Image.open(io.BytesIO(data))
    after: Any = Image.open(io.BytesIO(encode_picture(read_picture(data))))
    assert after.quantization == before.quantization
    assert after.layer == before.layer
    assert after.info.get("progressive") == before.info.get("progressive")
    other: Any = Image.open(io.BytesIO(encode_picture(read_picture(data), "jpeg")))
    assert other.quantization == before.quantization
    # Once more is nearly without loss, as the steps are the same.
    assert np.abs(np.asarray(after).astype(int) - np.asarray(before)).mean() < 1


def test_tables_of_any_kind_are_kept(photo: Array) -> None:
    tables = [[7] * 64, list(range(1, 65)), [99 - n for n in range(64)]]
    for count in (1, 2, 3):
        data = pillow(photo, "jpeg", qtables=tables[:count], subsampling=0)
        before: Any = Image.open(io.BytesIO(data))
        after: Any = Image.open(io.BytesIO(encode_picture(read_picture(data))))
        used = [
            [image.quantization[layer[3]] for layer in image.layer] for image in (before, after)
        ]
        assert used[0] == used[1]
    grey = pillow(photo[..., 0], "jpeg", qtables=tables[1:2])
    result: Any = Image.open(io.BytesIO(encode_picture(read_picture(grey))))
    assert (result.mode, result.quantization[0]) == ("L", tables[1])


def test_a_turned_jpeg_keeps_its_quality_but_not_one_sided_chroma(photo: Array) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for subsampling, sampling in (("4:2:2", (1, 1)), ("4:2:0", (2, 2))):
        data = pillow(photo, "jpeg", quality=50, subsampling=subsampling, exif=exif)
        after: Any = Image.open(io.BytesIO(encode_picture(read_picture(data))))
        assert after.layer[0][1:3] == sampling
        assert after.quantization == Image.open(io.BytesIO(data)).quantization  # type: ignore[attr-defined]


def test_noise_is_written_too() -> None:
    """What hardly shrinks is more than Pillow has room for at once."""
    pixels = noise((700, 700, 3))
    for options in ({"quality": 100, "subsampling": 0}, {"quality": 100, "progressive": True}):
        data = pillow(Image.fromarray(pixels // 2 + 60), "jpeg", quality=90)
        info = read_picture(pillow(pixels[:8, :8], "jpeg", **options)).info
        picture = Picture(pixels, info=info)
        encoded = encode_picture(picture, "jpeg")
        image: Any = Image.open(io.BytesIO(encoded))
        assert set(image.quantization[0]) == {1}
        assert len(encoded) > len(data)


def test_a_webp_without_loss_stays_so() -> None:
    for pixels in (RGB, RGBA):
        data = pillow(pixels, "webp", lossless=True, exact=True)
        again = Image.open(io.BytesIO(encode_picture(read_picture(data))))
        np.testing.assert_array_equal(np.asarray(again), pixels)
        exif = Image.Exif()
        exif[0x0110] = "Model"
        marked = pillow(pixels, "webp", lossless=True, exact=True, exif=exif)
        again = Image.open(io.BytesIO(encode_picture(read_picture(marked))))
        np.testing.assert_array_equal(np.asarray(again), pixels)
        assert again.getexif()[0x0110] == "Model"


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_an_avif_is_written_as_it_was(photo: Array, subsampling: str, deep: bool) -> None:
    if deep:
        samples = pyvips.Image.new_from_array(photo.astype(np.uint16) * 257)
        mode = "on" if subsampling == "4:2:0" else "off"
        data = samples.copy(interpretation="rgb16").heifsave_buffer(
            compression="av1", bitdepth=10, subsample_mode=mode, Q=90
        )
    else:
        data = pillow(photo, "avif", subsampling=subsampling, quality=90)
    before = read_picture(data)
    assert before.pixels.dtype == (np.uint16 if deep else np.uint8)
    encoded = encode_picture(before)
    box, wanted = (content[content.find(b"av1C") + 6] for content in (encoded, data))
    assert box & 0b01111100 == wanted & 0b01111100  # depth and subsampling
    difference = before.pixels.astype(int) - read_picture(encoded).pixels
    assert np.abs(difference).mean() < (2 * 257 if deep else 2)


def test_a_grey_avif_is_grey(photo: Array) -> None:
    data = pillow(photo[..., 0], "avif", subsampling="4:0:0")
    assert read_picture(data).pixels.shape == (61, 83, 1)


def test_white_of_few_bits_is_white() -> None:
    white = pyvips.Image.new_from_array(np.full((16, 16, 3), 65535, np.uint16))
    for depth in (10, 12):
        data = white.copy(interpretation="rgb16").heifsave_buffer(
            compression="av1", bitdepth=depth, lossless=True
        )
        assert read_picture(data).pixels.min() == 65535


@pytest.mark.parametrize("name", ["jpeg", "tiff"])
def test_cmyk_is_told(name: str, caplog: pytest.LogCaptureFixture) -> None:
    read_picture(pillow(Image.new("CMYK", (8, 8)), name))
    assert "printing inks (CMYK) become sRGB" in caplog.text


@pytest.mark.parametrize("name", ["jpeg", "tiff"])
def test_cmyk_becomes_srgb(name: str) -> None:
    inks = np.zeros((8, 32, 4), np.uint8)
    inks[:, 8:16, 0] = inks[:, 16:24, 1] = inks[:, 24:, 3] = 255  # paper, cyan, magenta, black
    picture = read_picture(pillow(Image.fromarray(inks, "CMYK"), name))
    assert picture.pixels.shape == (8, 32, 3)
    paper, cyan, magenta, black = picture.pixels[4, [4, 12, 20, 28]].astype(int)
    assert paper.min() >= 250
    assert cyan[0] < 60 < 140 < cyan[1:].min()
    assert magenta[1] < 60 < 120 < magenta[[0, 2]].min()
    assert black.max() < 60
    profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info.icc or b""))
    assert profile.profile.xcolor_space == "RGB "
    assert Image.open(io.BytesIO(encode_picture(picture))).mode == "RGB"


def test_cmyk_of_16_bits_stays_16_bits() -> None:
    inks = np.zeros((2, 2, 4), np.uint16)
    inks[0, :, 3] = 32768
    picture = read_picture(tiff(inks, photometric="separated"))
    assert picture.pixels.dtype == np.uint16
    assert picture.pixels[1].min() > 64000 > 45000 > picture.pixels[0].max()


def test_cmyk_with_alpha_and_a_broken_profile() -> None:
    inks = np.zeros((3, 5, 5), np.uint8)
    inks[..., 4] = ALPHA[:3, :5]
    data = tiff(inks, photometric="separated", extrasamples=["unassalpha"], planarconfig="contig")
    picture = read_picture(data)
    np.testing.assert_array_equal(picture.alpha, ALPHA[:3, :5])
    assert picture.pixels.min() >= 250
    junk = pillow(Image.fromarray(inks[..., :4], "CMYK"), "jpeg", icc_profile=b"no profile" * 20)
    assert read_picture(junk).pixels.min() >= 250


@pytest.mark.parametrize("depth", [8, 16])
def test_lab_becomes_srgb(depth: int) -> None:
    """White, and the red primary: L 54.3, a 80.8, b 69.9 (D50)."""
    lab = np.array([[[100, 0, 0], [54.29, 80.81, 69.89]]])
    scaled = lab * [2**depth / 100, 2 ** (depth - 8), 2 ** (depth - 8)]
    stored = np.clip(np.rint(scaled), -(2 ** (depth - 1)), 2**depth - 1).astype(int)
    pixels = (stored % 2**depth).astype(np.uint8 if depth == 8 else np.uint16)
    data = tiff(pixels, photometric="cielab")
    picture = read_picture(data)
    assert read_size(data) == (1, 2)
    levels = picture.pixels / np.iinfo(pixels.dtype).max
    assert picture.pixels.dtype == pixels.dtype
    np.testing.assert_allclose(levels, [[[1, 1, 1], [1, 0, 0]]], atol=0.05)


def test_a_grey_picture_may_carry_an_rgb_profile() -> None:
    for name in ("png", "jpeg", "tiff", "webp"):
        data = encode_picture(Picture(GREY, info=Metadata(icc=SRGB)), name)
        assert read_picture(data).pixels.shape[:2] == (9, 13)


def test_with_pixels_keeps_the_rest() -> None:
    picture = Picture(RGB, ALPHA, Metadata(icc=SRGB), "tiff")
    other = with_pixels(picture, RGB // 2)
    assert (other.alpha is ALPHA, other.info, other.format) == (True, picture.info, "tiff")
    np.testing.assert_array_equal(other.pixels, RGB // 2)
    for unfit in (RGB[:5], RGB16, GREY):
        with pytest.raises(ValueError, match="pixels are"):
            with_pixels(picture, unfit)


@pytest.mark.parametrize("suffix", WRITTEN)
def test_the_suffix_decides_what_is_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "new folder" / f"a{suffix.upper()}"
    write_picture(Picture(RGB, format="gif"), path)
    assert read_picture(path).format == WRITTEN[suffix].name
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_content_decides_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "wrong.jpg"
    path.write_bytes(pillow(RGB, "png"))
    assert read_picture(path).format == "png"
    np.testing.assert_array_equal(read_picture(path).pixels, RGB)
    path.write_bytes(pillow(GREY[..., 0], "tiff"))  # and nothing old is remembered
    np.testing.assert_array_equal(read_picture(path).pixels, GREY)


def test_a_format_that_is_only_read_is_written_as_png() -> None:
    picture = read_picture(pillow(RGB, "jpeg2000"))
    assert picture.format == "other"
    assert read_picture(encode_picture(picture)).format == "png"
    with pytest.raises(PictureError, match="cannot write jp2; use one of png jpeg"):
        encode_picture(picture, "jp2")


def test_files_are_not_overwritten_unasked(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    with pytest.raises(PictureError, match="exists already"):
        write_picture(Picture(RGB), path)
    assert path.read_bytes() == b"precious"
    write_picture(Picture(RGB), path, overwrite=True)
    np.testing.assert_array_equal(read_picture(path).pixels, RGB)


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"cannot write \.xyz; use one of \.png"):
        write_picture(Picture(RGB), tmp_path / "a.xyz")
    (tmp_path / "file").touch()
    with pytest.raises(PictureError, match=r"file/a\.png: cannot be written"):
        write_picture(Picture(RGB), tmp_path / "file" / "a.png")
    wide = Picture(np.zeros((1, 20000, 3), np.uint8))
    with pytest.raises(PictureError, match=r"a\.webp: cannot be written as WEBP"):
        write_picture(wide, tmp_path / "a.webp")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
