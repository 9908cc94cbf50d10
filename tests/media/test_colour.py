"""Frames to RGB and back: against the formulas of the standards, and without loss."""

from __future__ import annotations

import av
import numpy as np
import pytest
from tests.clipmaking import planes

from dpenet.media.colour import Colours, output_format

# ITU-R BT.709, BT.601 and BT.2020: weights of red and blue, by FFmpeg's number of the matrix.
WEIGHTS = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}
LIMITED, FULL = 1, 2


def flat(
    format_: str, levels: tuple[int, int, int], width: int = 32, height: int = 16
) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, format_)
    deep = "10" in format_
    for plane, level in zip(frame.planes, levels, strict=True):
        samples = np.full(plane.buffer_size // (1 + deep), level, np.uint16 if deep else np.uint8)
        plane.update(samples.tobytes())
    return frame


def by_formula(levels: tuple[int, int, int], matrix: int, limits: int, bits: int) -> np.ndarray:
    red, blue = WEIGHTS[matrix]
    unit, most = 1 << (bits - 8), (1 << bits) - 1
    y, u, v = levels
    if limits == LIMITED:
        luma = (y - 16 * unit) / (219 * unit)
        cb, cr = ((chroma - 128 * unit) / (224 * unit) for chroma in (u, v))
    else:
        luma = y / most
        cb, cr = ((chroma - 128 * unit) / most for chroma in (u, v))
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    return np.array([r, (luma - red * r - blue * b) / (1 - red - blue), b])


@pytest.mark.parametrize("limits", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize(
    ("format_", "bits"),
    [("yuv420p", 8), ("yuv422p", 8), ("yuv444p", 8), ("yuv420p10le", 10), ("yuv422p10le", 10)],
)
def test_rgb_is_that_of_the_standard(format_: str, bits: int, matrix: int, limits: int) -> None:
    unit = 1 << (bits - 8)
    colours = Colours(format_)
    for levels in [(90, 120, 140), (150, 140, 112), (128, 128, 128), (60, 118, 131)]:
        scaled = (levels[0] * unit, levels[1] * unit, levels[2] * unit)
        frame = flat(format_, scaled)
        frame.colorspace, frame.color_range = matrix, limits
        rgb = colours.to_rgb(frame)
        assert rgb.dtype == (np.uint8 if bits == 8 else np.uint16)
        error = rgb[8, 16] / np.iinfo(rgb.dtype).max - by_formula(scaled, matrix, limits, bits)
        assert np.abs(error).max() * 255 < (0.51 if bits == 8 else 0.9)


@pytest.mark.parametrize(("height", "matrix"), [(576, 6), (720, 1)])
def test_a_frame_that_names_no_matrix_has_that_of_its_size(height: int, matrix: int) -> None:
    levels = (120, 90, 180)
    rgb = Colours("yuv420p").to_rgb(flat("yuv420p", levels, 64, height))
    np.testing.assert_allclose(
        rgb[8, 16] / 255, np.clip(by_formula(levels, matrix, LIMITED, 8), 0, 1), atol=0.51 / 255
    )


@pytest.mark.parametrize("limits", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize(
    "format_",
    [
        "yuv420p",
        "yuv422p",
        "yuv444p",
        "yuv420p10le",
        "yuv422p10le",
        "yuva420p",
        "gray",
        "rgb24",
        "gbrp",
    ],
)
def test_what_did_not_change_stays_to_the_bit(
    format_: str, matrix: int, limits: int, rng: np.random.Generator
) -> None:
    frame = av.VideoFrame(98, 50, format_)
    for plane in frame.planes:
        # All values: also those beyond the nominal range, and colours that RGB lacks.
        samples = rng.integers(0, 1024 if "10" in format_ else 256, plane.buffer_size)
        kind = np.uint16 if "10" in format_ else np.uint8
        plane.update(samples.astype(kind).tobytes()[: plane.buffer_size])
    frame.colorspace, frame.color_range = matrix, limits
    before = planes(frame)
    colours = Colours(format_)
    rgb = colours.to_rgb(frame)
    out = colours.changed(frame, rgb, rgb.copy())
    assert planes(out) == before
    assert (out.colorspace, out.color_range) == (matrix, limits)


@pytest.mark.parametrize("limits", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize(("format_", "bits"), [("yuv420p", 8), ("yuv422p10le", 10)])
def test_a_change_arrives_in_the_right_colours(
    format_: str, bits: int, matrix: int, limits: int
) -> None:
    unit = 1 << (bits - 8)
    old = (140 * unit, 120 * unit, 135 * unit)
    frame = flat(format_, old)
    frame.colorspace, frame.color_range = matrix, limits
    colours = Colours(format_)
    rainy = colours.to_rgb(frame)
    wanted = (100 * unit, 128 * unit, 125 * unit)
    target = by_formula(wanted, matrix, limits, bits) * np.iinfo(rainy.dtype).max
    clean = np.broadcast_to(target.round().astype(rainy.dtype), rainy.shape)
    out = colours.changed(frame, rainy, clean)
    assert out.pict_type == 0  # or the encoder would be told where its key frames are
    kind = np.uint8 if bits == 8 else np.uint16
    got = [np.frombuffer(plane, kind)[0] for plane in planes(out)]
    np.testing.assert_allclose(got, wanted, atol=1 if bits == 8 else 4)


@pytest.mark.parametrize(
    ("source", "offered", "chosen"),
    [
        ("yuv420p", ["yuv420p", "yuv444p"], "yuv420p"),
        ("yuvj420p", ["yuvj420p", "yuv420p"], "yuv420p"),
        ("yuv420p10le", ["yuv420p", "yuv420p10le"], "yuv420p10le"),
        ("yuv420p10le", ["yuv420p"], "yuv420p"),
        ("yuv444p", ["yuv420p", "yuv444p"], "yuv444p"),
        ("rgb24", ["yuv420p", "yuv444p", "gbrp"], "gbrp"),
        ("pal8", ["pal8", "rgb24"], "rgb24"),
        ("yuv420p", [], "yuv420p"),
    ],
)
def test_the_pixel_format_that_loses_least(source: str, offered: list[str], chosen: str) -> None:
    assert output_format(source, offered) == chosen
