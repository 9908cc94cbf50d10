"""Several pictures in a file, made and read by other means than ours."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from dpenet.errors import PictureError
from dpenet.media import pages as module
from dpenet.media.formats import FORMATS
from dpenet.media.images import Picture, with_pixels
from dpenet.media.pages import encoding_pages, find_pages, write_pages

Array = NDArray[Any]
DURATIONS = [100, 200, 50, 70]


@pytest.fixture
def frames(photo: Array) -> list[Array]:
    return [np.roll(photo, 9 * step, axis=1) for step in range(4)]


def animation(frames: list[Array], name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    first, *others = map(Image.fromarray, frames)
    first.save(
        buffer, name, save_all=True, append_images=others, duration=DURATIONS, loop=3, **options
    )
    return buffer.getvalue()


def copy(data: bytes, target: str) -> bytes:
    pages = find_pages(data)
    assert pages is not None
    buffer = io.BytesIO()
    with encoding_pages(buffer, FORMATS[target], pages) as add:
        for picture in pages:
            add(picture)
    return buffer.getvalue()


def shown(data: bytes) -> list[tuple[float, Array]]:
    image: Any = Image.open(io.BytesIO(data))
    return [
        (frame.info["duration"], np.asarray(frame.convert("RGBA")).astype(int))
        for frame in ImageSequence.Iterator(image)
        if frame.load() is not None
    ]


@pytest.mark.parametrize("target", ["gif", "webp"])
@pytest.mark.parametrize("source", ["gif", "webp", "lossless webp"])
def test_frames_durations_and_loop_are_kept(frames: list[Array], source: str, target: str) -> None:
    lossless: dict[str, Any] = {"lossless": True} if "lossless" in source else {}
    data = animation(frames, source.split()[-1], **lossless)
    encoded = copy(data, target)
    before, after = shown(data), shown(encoded)
    assert [duration for duration, _ in after] == DURATIONS
    exact = "lossless" in source and target == "webp"
    for (_, one), (_, other) in zip(before, after, strict=True):
        assert np.abs(one - other).mean() <= (0 if exact else 4)
    loops = [Image.open(io.BytesIO(content)).info["loop"] for content in (data, encoded)]
    # A GIF counts how often it is repeated, a WebP how often it is shown.
    shows = [n + 1 if b"GIF8" in c[:6] else n for n, c in zip(loops, (data, encoded), strict=True)]
    assert shows[0] == shows[1]


def test_transparent_frames(frames: list[Array]) -> None:
    mask = np.zeros((61, 83, 1), np.uint8)
    mask[10:50, 10:70] = 255
    clear = [np.dstack([frame, mask]) for frame in frames]
    for name in ("gif", "webp"):
        options: dict[str, Any] = {"disposal": 2} if name == "gif" else {"lossless": True}
        data = animation(clear, name, **options)
        before, after = shown(data), shown(copy(data, name))
        assert before[0][1][..., 3].min() == 0
        for (_, one), (_, other) in zip(before, after, strict=True):
            np.testing.assert_array_equal(one[..., 3], other[..., 3])


def test_equal_frames_keep_their_time(photo: Array) -> None:
    data = animation([photo, photo, 255 - photo, 255 - photo], "webp", lossless=True)
    assert sum(duration for duration, _ in shown(copy(data, "webp"))) == sum(DURATIONS)


def multipage(photo: Array, **options: Any) -> tuple[bytes, list[Array]]:
    """Pages of different sizes and kinds."""
    contents = [
        photo,
        photo[:40, :33, 0].astype(np.uint16) * 257,
        photo.astype(np.float32) / 255,
        np.dstack([photo, photo[..., :1]]),
    ]
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, **options) as writer:
        for number, content in enumerate(contents):
            colour = content.ndim == 3
            writer.write(
                content,
                photometric="rgb" if colour else "minisblack",
                extrasamples=["unassalpha"] if content.shape[2:] == (4,) else None,
                description=f"page {number}",
                subfiletype=1 if number == 1 else 0,  # a smaller version of another
                metadata=None,
                resolution=(300, 150) if number else None,
                resolutionunit="INCH",
            )
    return buffer.getvalue(), contents


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_page_is_kept(
    photo: Array, order: str, big: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, contents = multipage(photo, byteorder=order, bigtiff=big)
    if big:
        monkeypatch.setattr(module, "_LARGEST_CLASSIC", 1000)
    encoded = copy(data, "tiff")
    with tifffile.TiffFile(io.BytesIO(encoded)) as file:
        assert file.is_bigtiff == big
        assert len(file.pages) == len(contents)
        for number, (page, content) in enumerate(zip(file.pages, contents, strict=True)):
            np.testing.assert_array_equal(page.asarray(), content)
            assert page.tags["ImageDescription"].value == f"page {number}"  # type: ignore[union-attr]
        assert [page.is_reduced for page in file.pages] == [False, True, False, False]  # type: ignore[union-attr]
        assert file.pages[1].tags["XResolution"].value == (300, 1)  # type: ignore[union-attr]
    again = find_pages(encoded)
    assert again is not None
    assert [picture.pixels.dtype.itemsize for picture in again] == [1, 2, 4, 1]


def test_a_still_picture_has_no_pages(photo: Array) -> None:
    for name in ("png", "jpeg", "tiff", "gif", "webp", "avif", "bmp"):
        buffer = io.BytesIO()
        Image.fromarray(photo).save(buffer, name)
        assert find_pages(buffer.getvalue()) is None


def test_what_a_format_cannot_hold_is_refused(
    tmp_path: Path, photo: Array, frames: list[Array]
) -> None:
    tiff = find_pages(multipage(photo)[0])
    gif = find_pages(animation(frames, "gif"))
    assert tiff is not None
    assert gif is not None
    for pages, suffix, said in (
        (tiff, "png", "a.png: holds 4 pages, and PNG cannot: write TIFF"),
        (tiff, "gif", "holds 4 pages, and GIF cannot: write TIFF"),
        (gif, "tif", "holds 4 frames, and TIFF cannot: write WEBP or GIF"),
        (gif, "jpg", "holds 4 frames, and JPEG cannot"),
    ):
        with (
            pytest.raises(PictureError, match=said),
            write_pages(tmp_path / f"a.{suffix}", pages),
        ):
            pytest.fail("must be refused before the work")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["png", "avif"])
def test_animations_of_other_kinds_are_refused(frames: list[Array], name: str) -> None:
    with pytest.raises(PictureError, match="is animated; save it as animated WebP or GIF"):
        find_pages(animation(frames, name))


def test_an_interrupted_file_is_not_written(tmp_path: Path, photo: Array) -> None:
    pages = find_pages(multipage(photo)[0])
    assert pages is not None
    with pytest.raises(ZeroDivisionError), write_pages(tmp_path / "a.tif", pages) as add:
        add(next(iter(pages)))
        1 / 0  # noqa: B018
    assert not list(tmp_path.iterdir())


def test_too_many_frames_are_refused_before_decoding(
    frames: list[Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PIXELS", 4 * 61 * 83 - 1)
    with pytest.raises(PictureError, match="4 frames of 83 x 61 pixels are more"):
        find_pages(animation(frames, "gif"))


@pytest.mark.parametrize("name", ["gif", "webp", "tiff"])
def test_damage_is_told(photo: Array, frames: list[Array], name: str) -> None:
    whole = multipage(photo)[0] if name == "tiff" else animation(frames, name)
    for end in (len(whole) // 2, len(whole) // 4):
        with pytest.raises(PictureError, match="damaged"):
            copy(whole[:end], name)


@pytest.mark.parametrize("kept", [0, 2000])
@pytest.mark.parametrize("name", ["gif", "webp", "tiff"])
def test_a_file_cut_short_while_it_is_read_ends_nothing_else(
    tmp_path: Path, name: str, kept: int, rng: np.random.Generator
) -> None:
    """A file mapped into memory would end the process instead."""
    noise = rng.integers(0, 256, (300, 300, 3), np.uint8)
    path = tmp_path / f"x.{name}"
    first, *others = (Image.fromarray(np.roll(noise, step, 0)) for step in range(6))
    first.save(path, name, save_all=True, append_images=others, lossless=True)
    pages = find_pages(path)
    assert pages is not None
    rest = iter(pages)
    next(rest)
    os.truncate(path, kept)
    if name == "tiff":
        with pytest.raises(PictureError, match="damaged, cut short"):
            list(rest)
    else:  # frames build on one another: the file was read at once
        assert len(list(rest)) == 5


@pytest.mark.parametrize("rest", [b"\0", b"more", b"\xff" * 5000, b"!!,,"])
def test_what_follows_the_end_of_a_gif_does_not_count(frames: list[Array], rest: bytes) -> None:
    whole = animation(frames, "gif")
    assert len(shown(copy(whole + rest, "gif"))) == 4
    still = io.BytesIO()
    Image.fromarray(frames[0]).save(still, "gif")
    assert find_pages(still.getvalue() + rest) is None
    for end in (len(whole) - 1, len(whole) - 300, 600):
        with pytest.raises(PictureError, match=r"its end is missing|damaged"):
            find_pages(whole[:end])


def test_a_gif_of_endless_blocks_is_refused_soon(frames: list[Array]) -> None:
    whole = animation(frames, "gif")
    start = time.perf_counter()
    with pytest.raises(PictureError, match="damaged"):
        find_pages(whole[:-1] + b"!\xfe" + b"\1x" * 3_000_000)
    assert time.perf_counter() - start < 10


def test_a_cycle_of_pages_ends(photo: Array) -> None:
    """The last page says that the first comes next."""
    data = bytearray(multipage(photo)[0])
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        last = file.pages[-1].offset
        first = file.pages[0].offset
    count = int.from_bytes(data[last : last + 2], "little")
    data[last + 2 + 12 * count :][:4] = b""
    at = last + 2 + 12 * count
    data[at : at + 4] = first.to_bytes(4, "little")
    try:
        pages = find_pages(bytes(data))
    except PictureError:
        return
    assert pages is None or pages.count <= 5


def test_pixels_of_a_frame_may_be_replaced(frames: list[Array]) -> None:
    pages = find_pages(animation(frames, "webp", lossless=True))
    assert pages is not None
    buffer = io.BytesIO()
    with encoding_pages(buffer, FORMATS["webp"], pages) as add:
        for picture in pages:
            assert isinstance(picture, Picture)
            add(with_pixels(picture, 255 - picture.pixels))
    for (_, frame), source in zip(shown(buffer.getvalue()), frames, strict=True):
        np.testing.assert_array_equal(frame[..., :3], 255 - source)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["gif", "webp", "tiff"]), st.data())
def test_changed_bytes_are_read_or_refused(photo: Array, name: str, data: st.DataObject) -> None:
    small = photo[:20, :24]
    whole = multipage(photo)[0] if name == "tiff" else animation([small, 255 - small] * 2, name)
    content = bytearray(whole)
    edges = st.integers(0, 100) | st.integers(len(content) - 900, len(content) - 1)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(edges | st.integers(0, len(content) - 1))
        content[max(at, 0)] = data.draw(st.integers(0, 255))
    try:
        pages = find_pages(bytes(content))
        if pages is not None:
            copy(bytes(content), pages.format)
    except PictureError as error:
        assert "\n" not in str(error)


def test_frames_are_turned_upright(frames: list[Array]) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x0110] = 6, "Model"
    encoded = copy(animation(frames, "webp", lossless=True, exif=exif), "webp")
    for (_, frame), source in zip(shown(encoded), frames, strict=True):
        np.testing.assert_array_equal(frame[..., :3], np.rot90(source, -1))
    said = Image.open(io.BytesIO(encoded)).getexif()
    assert (said.get(0x0112), said[0x0110]) == (1, "Model")


def test_pages_are_turned_upright(photo: Array) -> None:
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for orientation in (1, 8, 3):
            tag = (274, "H", 1, orientation, True)
            writer.write(photo, photometric="rgb", extratags=[tag], metadata=None)
    pages = find_pages(buffer.getvalue())
    assert pages is not None
    for picture, turns in zip(pages, (0, 1, 2), strict=True):
        np.testing.assert_array_equal(picture.pixels, np.rot90(photo, turns))
    with tifffile.TiffFile(io.BytesIO(copy(buffer.getvalue(), "tiff"))) as file:
        for page, turns in zip(file.pages, (0, 1, 2), strict=True):
            np.testing.assert_array_equal(page.asarray(), np.rot90(photo, turns))
            assert "Orientation" not in page.tags or page.tags["Orientation"].value == 1  # type: ignore[union-attr]
