"""Colour spaces, against matrices and curves by hand."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageCms

from dpenet.media.images import Picture, encode_picture, read_picture
from dpenet.media.metadata import Metadata
from dpenet.media.profiles import profile_of

Array = NDArray[Any]

# Primaries as columns of XYZ, adapted to D50, as the makers' profiles have them.
SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.7141]]
)
P3 = np.array(
    [[0.51512, 0.29198, 0.1571], [0.2412, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)
ADOBE = np.array(
    [[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]]
)
ADOBE_GAMMA = 563 / 256


def linear(values: Array) -> Array:
    """The curve of sRGB (IEC 61966-2-1), which is that of Display P3 too."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded(values: Array) -> Array:
    values = np.clip(values, 0, 1)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def icc(primaries: Array | None, gamma: float | None) -> bytes:
    """A profile of version 2: matrix and curves, or the curve alone for grey."""

    def xyz(values: Any) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))

    if gamma is None:
        steps = np.rint(linear(np.linspace(0, 1, 1024)) * 65535).astype(int)
        curve = b"curv\0\0\0\0" + struct.pack(">I1024H", 1024, *steps)
    else:
        curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"made by a test\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(79),
        b"cprt": b"text\0\0\0\0" + text,
        b"wtpt": xyz([0.9642, 1, 0.8249]),
    }
    if primaries is None:
        tags[b"kTRC"] = curve
    else:
        for letter, column in zip("rgb", primaries.T, strict=True):
            tags[f"{letter}XYZ".encode()] = xyz(column)
            tags[f"{letter}TRC".encode()] = curve
    table, data = b"", b""
    start = 132 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    space = b"GRAY" if primaries is None else b"RGB "
    head = struct.pack(">I4sI4s4s4s", start + len(data), b"", 0x02400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s", 2024, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


PROFILES = {"p3": icc(P3, None), "adobe": icc(ADOBE, ADOBE_GAMMA)}


def in_srgb(name: str, colour: Array) -> Array:
    """Colours from 0 to 1 of a profile in sRGB, clipped."""
    light = linear(colour) if name == "p3" else colour**ADOBE_GAMMA
    primaries = P3 if name == "p3" else ADOBE
    return encoded(light @ (np.linalg.inv(SRGB) @ primaries).T)


def colours(dtype: Any) -> Array:
    samples = np.random.default_rng(0).random((40, 50, 3))
    if np.dtype(dtype).kind == "f":
        return samples.astype(dtype)
    return np.rint(samples * np.iinfo(dtype).max).astype(dtype)


def share(samples: Array) -> Array:
    """From 0 to 1."""
    return samples / (1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("name", PROFILES)
def test_wide_colours_become_srgb(name: str, dtype: Any) -> None:
    profile = profile_of(PROFILES[name], 3)
    assert profile is not None
    colour = colours(dtype)
    seen = share(profile.to_srgb(colour))
    wanted = in_srgb(name, share(colour).astype(float))
    assert np.abs(wanted - share(colour)).max() > 0.1  # they are other colours
    # A level of 8 bits, in the darkest colours: libvips's sRGB has its curve from a table.
    np.testing.assert_allclose(seen, wanted, atol=0.0045)
    assert np.abs(seen - wanted).mean() < 0.0005


@pytest.mark.parametrize("name", PROFILES)
def test_there_and_back(name: str) -> None:
    """What sRGB has comes back as it was."""
    profile = profile_of(PROFILES[name], 3)
    assert profile is not None
    seen = colours(np.uint16)
    back = profile.to_srgb(profile.from_srgb(seen))
    difference = np.abs(back.astype(int) - seen)  # 257 are a level of 8 bits
    assert difference.max() < 500
    assert difference.mean() < 20


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("name", PROFILES)
def test_what_did_not_change_stays_to_the_bit(name: str, dtype: Any) -> None:
    profile = profile_of(PROFILES[name], 3)
    assert profile is not None
    colour = colours(dtype)
    seen = profile.to_srgb(colour)
    np.testing.assert_array_equal(profile.with_change(colour, seen, seen), colour)


@pytest.mark.parametrize("gamma", [1.8, 2.2])
def test_grey_of_another_curve(gamma: float) -> None:
    profile = profile_of(icc(None, gamma), 1)
    assert profile is not None
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    seen = profile.to_srgb(grey)
    assert seen.shape == (16, 16, 3)
    wanted = encoded((grey / 255) ** gamma)
    assert np.abs(share(seen) - wanted).max() < 0.01
    clean = (seen * 0.9).astype(np.uint16)
    changed = profile.with_change(grey, seen, clean)
    assert (changed.shape, changed.dtype) == (grey.shape, grey.dtype)
    expected = linear(encoded((grey / 255) ** gamma) * 0.9) ** (1 / gamma) * 255
    assert np.abs(changed - expected)[8:].max() < 1.5


def test_what_is_no_use_counts_as_srgb() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    cut = PROFILES["p3"][:200]
    for unfit in (None, b"", b"no profile" * 40, srgb, icc(SRGB, None), cut):
        assert profile_of(unfit, 3) is None
    assert profile_of(PROFILES["p3"], 1) is None  # a grey picture may carry an RGB profile
    assert profile_of(icc(None, 2.2), 3) is None


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("target", ["png", "jpeg", "tiff", "webp", "avif"])
def test_files_keep_the_profile_and_their_values(target: str, name: str) -> None:
    colour = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[:, None, None], (1, 64, 3))
    colour[..., 0] = 255 - colour[..., 0]
    picture = read_picture(encode_picture(Picture(colour, info=Metadata(PROFILES[name])), target))
    assert picture.info.icc == PROFILES[name]
    assert np.abs(picture.pixels.astype(int) - colour).mean() < 1
