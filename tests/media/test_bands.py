from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from dpenet.errors import PictureError
from dpenet.media import bands, images
from dpenet.media.bands import read_bands, read_header, write_bands
from dpenet.media.formats import format_for
from dpenet.media.images import Picture, read_picture, write_picture
from dpenet.media.metadata import Metadata

Array = NDArray[Any]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(shape: tuple[int, ...], dtype: Any = np.uint8, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def save(path: Path, samples: Array, info: Metadata | None = None) -> None:
    alpha = samples.shape[2] in (2, 4)
    colour = np.ascontiguousarray(samples[..., :-1]) if alpha else samples
    picture = Picture(colour, samples[..., -1] if alpha else None, info or Metadata())
    write_picture(picture, path, overwrite=True)


def copy(source: Path, target: Path, core: int, halo: int = 0) -> None:
    """Copy a picture in bands, reading rows around each as deraining does."""
    with (
        read_bands(source, source.parent) as (header, reader),
        write_bands(target, header, overwrite=True) as write,
    ):
        for start in range(0, header.height, core):
            stop = min(start + core, header.height)
            first, last = max(0, start - halo), min(header.height, stop + halo)
            rows = reader.read(first, last)
            assert rows.shape == (last - first, header.width, header.channels)
            write(rows[start - first : stop - first])


def same(one: Picture, other: Picture) -> bool:
    return (
        np.array_equal(one.pixels, other.pixels)
        and (one.alpha is None) == (other.alpha is None)
        and (one.alpha is None or np.array_equal(one.alpha, other.alpha))  # type: ignore[arg-type]
        and one.info == other.info
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bands")


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(1, 80), st.integers(1, 40), st.integers(1, 4)),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    suffixes=st.tuples(st.sampled_from(["png", "tif"]), st.sampled_from(["png", "tif", "jpg"])),
    core=st.integers(1, 90),
    halo=st.integers(0, 40),
)
def test_bands_give_what_the_whole_gives(
    folder: Path, shape: tuple[int, ...], dtype: Any, suffixes: Any, core: int, halo: int
) -> None:
    source, target = folder / f"in.{suffixes[0]}", folder / f"out.{suffixes[1]}"
    save(source, noise(shape, dtype, core), Metadata(icc=SRGB if shape[2] > 2 else None))
    header = read_header(source)
    assert header is not None
    assert (header.height, header.width, header.channels, header.dtype) == (*shape, dtype)
    assert header.nbytes == np.prod(shape) * np.dtype(dtype).itemsize
    copy(source, target, core, halo)
    whole = folder / f"whole.{suffixes[1]}"
    write_picture(read_picture(source), whole, overwrite=True)
    assert same(read_picture(target), read_picture(whole))
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_orientation_is_applied_once(
    tmp_path: Path, photo: Array, suffix: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bands, "_CHUNK_COLUMNS", 30)
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = tmp_path / f"in.{suffix}"
    Image.fromarray(photo).save(source, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(source))
    header = read_header(source)
    assert header is not None
    assert (header.width, header.height) == expected.size
    copy(source, tmp_path / "out.png", 25, 10)
    image = Image.open(tmp_path / "out.png")
    assert image.getexif().get(0x0112, 1) == 1
    off = np.asarray(image).astype(int) - np.asarray(expected)
    assert np.abs(off).max() <= (2 if suffix == "jpg" else 0)  # two inverse DCTs
    assert len(list(tmp_path.iterdir())) == 2
    write_picture(read_picture(source), tmp_path / "whole.png")
    assert same(read_picture(tmp_path / "out.png"), read_picture(tmp_path / "whole.png"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("source_suffix", ["jpg", "png", "tif"])
def test_metadata_is_kept(tmp_path: Path, photo: Array, source_suffix: str, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x0132] = "Maker", "2024:01:02 03:04:05"
    source, target = tmp_path / f"in.{source_suffix}", tmp_path / f"out.{suffix}"
    Image.fromarray(photo).save(source, exif=exif, icc_profile=SRGB, dpi=(300, 300))
    copy(source, target, 20)
    image = Image.open(target)
    assert image.info["icc_profile"] == SRGB
    assert image.getexif()[0x010F] == "Maker"
    assert image.getexif()[0x0132] == "2024:01:02 03:04:05"
    assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)


def bigtiff(samples: Array, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, samples, bigtiff=True, photometric="rgb", **options)
    return file.getvalue()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
def test_bigtiff_is_read_with_what_it_says(tmp_path: Path, byteorder: str, tile: Any) -> None:
    samples = noise((70, 50, 3), np.uint16)
    tags = [(0x013B, "s", 0, "An artist", True), (0x8298, "s", 0, "C", True)]
    options = {"byteorder": byteorder, "tile": tile, "extratags": tags, "metadata": None}
    (tmp_path / "in.tif").write_bytes(bigtiff(samples, **options))
    copy(tmp_path / "in.tif", tmp_path / "out.png", 20, 5)
    picture = read_picture(tmp_path / "out.png")
    np.testing.assert_array_equal(picture.pixels, samples)
    exif = Image.open(tmp_path / "out.png").getexif()
    assert (exif[0x013B], exif[0x8298]) == ("An artist", "C")


def test_what_is_too_large_for_tiff_becomes_bigtiff(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x9003] = "2024:01:02 03:04:05"
    samples = noise((40, 30, 3))
    Image.fromarray(samples).save(tmp_path / "in.jpg", exif=exif, quality=95)
    header = read_header(tmp_path / "in.jpg")
    assert header is not None
    monkeypatch.setattr(bands, "CLASSIC_TIFF_BYTES", header.nbytes - 1)
    copy(tmp_path / "in.jpg", tmp_path / "out.tif", 40)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.is_bigtiff
        page: Any = file.pages[0]
        assert page.tags[0x010F].value == "Maker"
        assert page.tags[0x8769].value["DateTimeOriginal"] == "2024:01:02 03:04:05"
        expected = read_picture(tmp_path / "in.jpg").pixels
        np.testing.assert_array_equal(page.asarray(), expected)
    again = read_picture(tmp_path / "out.tif")
    assert again.info.exif is not None
    assert b"2024:01:02" in again.info.exif


def test_cmyk_becomes_srgb(tmp_path: Path) -> None:
    inks = noise((40, 30, 4))
    Image.fromarray(inks, "CMYK").save(tmp_path / "in.tif")
    copy(tmp_path / "in.tif", tmp_path / "out.tif", 7, 3)
    write_picture(read_picture(tmp_path / "in.tif"), tmp_path / "whole.tif")
    assert same(read_picture(tmp_path / "out.tif"), read_picture(tmp_path / "whole.tif"))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.webp", {}),
        ("a.bmp", {}),
        ("a.ppm", {}),
        ("progressive.jpg", {"progressive": True}),
    ],
)
def test_what_cannot_be_read_in_bands_is_known(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    Image.fromarray(noise((30, 40, 3))).save(tmp_path / name, **options)
    assert read_header(tmp_path / name) is None
    with (
        pytest.raises(PictureError, match="cannot be read in bands"),
        read_bands(tmp_path / name, tmp_path),
    ):
        pytest.fail("entered")


def test_an_interlaced_png_is_not_read_in_bands(tmp_path: Path) -> None:
    save(tmp_path / "a.png", noise((1, 1, 1)))
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[28] = 1
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    (tmp_path / "a.png").write_bytes(data)
    assert read_header(tmp_path / "a.png") is None


def test_no_file_and_no_picture_are_refused(tmp_path: Path) -> None:
    assert read_header(tmp_path / "none.png") is None
    for content, said in ((b"", "empty"), (b"\x89PNG\r\n\x1a\n" + b"x" * 50, "damaged")):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(PictureError, match=said):
            read_header(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_damage_is_met_on_the_way_and_nothing_is_left(tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / f"in.{suffix}", tmp_path / "out.png"
    save(source, noise((400, 300, 3)))
    data = source.read_bytes()
    broken = data[: len(data) // 2]
    if suffix == "tif":  # its directory is at the end
        broken = data[: len(data) // 4] + b"\xff" * (len(data) // 2) + data[-len(data) // 4 :]
    source.write_bytes(broken)
    with pytest.raises(PictureError, match=rf"in\.{suffix}.*damaged"):
        copy(source, target, 20)
    assert list(tmp_path.iterdir()) == [source]
    assert "dpenet-encode" not in {thread.name for thread in threading.enumerate()}


def test_what_fails_between_leaves_nothing(tmp_path: Path) -> None:
    save(tmp_path / "in.png", noise((100, 90, 3)))
    header = read_header(tmp_path / "in.png")
    assert header is not None

    def target(suffix: str) -> Path:
        return tmp_path / f"out.{suffix}"

    for suffix in ("png", "jpg", "tif"):
        for error in (KeyError, KeyboardInterrupt):
            with pytest.raises(error), write_bands(target(suffix), header) as write:
                write(noise((60, 90, 3)))
                raise error
        said = pytest.raises(PictureError, match="cannot be written")
        with said, write_bands(target(suffix), header) as write:
            write(noise((60, 90, 3)))  # and no more
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_a_full_disk_is_told(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / "in.png", noise((2000, 300, 3)))
    header = read_header(tmp_path / "in.png")
    assert header is not None
    full = Path("/dev/full")
    target = format_for(Path(f"a.{suffix}"))
    said = pytest.raises(PictureError, match="cannot be written as")
    with said, bands._encoding(full, target, header) as write:
        for _ in range(200):
            write(noise((10, 300, 3)))


def test_targets_are_checked_before_the_work(tmp_path: Path) -> None:
    header = bands.Header(10, 70_000, 3, np.dtype(np.uint8), Metadata(), "png")
    (tmp_path / "mine.png").write_bytes(b"mine")
    for name, said in (
        ("a.webp", "PNG, JPEG or TIFF only"),
        ("a.xyz", "cannot write .xyz"),
        ("a.jpg", "65500 pixels a side"),
        ("mine.png", "exists already"),
    ):
        with pytest.raises(PictureError, match=said), write_bands(tmp_path / name, header):
            pytest.fail("entered")
    assert (tmp_path / "mine.png").read_bytes() == b"mine"


def claiming(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("size", "said"),
    [((65_536, 65_537), "4294 megapixels"), ((60_000, 60_000), "bytes cannot hold")],
)
def test_absurd_claims_are_refused(tmp_path: Path, size: tuple[int, int], said: str) -> None:
    (tmp_path / "a.png").write_bytes(claiming(*size))
    with pytest.raises(PictureError, match=said), read_bands(tmp_path / "a.png", tmp_path):
        pytest.fail("entered")


def test_the_size_is_read_without_the_rest_of_the_file(tmp_path: Path) -> None:
    """A file of a terabyte, nearly all of it a hole."""
    path = tmp_path / "a.tif"
    for suffix, head in (("tif", bigtiff(noise((20, 30, 3)))), ("png", claiming(30, 20))):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(head)
        try:
            os.truncate(path, 2**40)
        except OSError:
            pytest.skip("the file system has no sparse files")
        assert images.read_size(path) == (20, 30)


CHANGING = """
import os, sys
from pathlib import Path
from dpenet.media.bands import read_bands

path = Path(sys.argv[1])
with read_bands(path, path.parent) as (header, reader):
    reader.read(0, 8)
    os.truncate(path, path.stat().st_size // 3)
    for row in range(8, header.height, 8):
        reader.read(row, min(row + 8, header.height))
"""


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_file_that_is_cut_short_while_it_is_read_is_damaged(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    save(path, noise((4000, 300, 3)))
    command = [sys.executable, "-c", CHANGING, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1  # and not killed by a signal
    assert "damaged, cut short" in done.stderr.splitlines()[-1]
