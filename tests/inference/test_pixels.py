from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.errors import UsageError
from dpenet.inference.pixels import (
    check_range,
    from_network,
    from_pil,
    join_alpha,
    rain_layer,
    split_alpha,
    to_network,
    to_pil,
)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, ">u2"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_integer_level_survives(dtype: Any, channels: int) -> None:
    levels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    colour = np.repeat(levels[:, None, None], channels, axis=2)
    x = to_network(colour)
    assert x.shape == (1, 3, len(levels), 1)
    assert x.dtype == np.float32
    assert (x.min(), x.max()) == (0, 1)
    back = from_network(x, like=colour)
    assert back.dtype == colour.dtype
    assert np.array_equal(back, colour)


def test_integers_are_rounded_not_cut() -> None:
    x = np.full((1, 3, 1, 1), 200.6 / 255, np.float32)
    assert from_network(x, like=np.zeros((1, 1, 3), np.uint8)).tolist() == [[[201, 201, 201]]]


def test_channels_stay_in_order() -> None:
    colour = np.array([[[10, 20, 30]]], np.uint8)
    np.testing.assert_allclose(to_network(colour)[0, :, 0, 0] * 255, [10, 20, 30], rtol=1e-6)


def test_grey_takes_the_luma_back() -> None:
    x = np.array([1.0, 0.5, 0.0], np.float32).reshape(1, 3, 1, 1)
    grey = from_network(x, like=np.zeros((1, 1, 1), np.float64))
    np.testing.assert_allclose(grey, [[[0.299 + 0.587 / 2]]], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_white_stays_in_range(dtype: Any) -> None:
    grey = np.ones((2, 2, 1), dtype)
    back = from_network(to_network(grey), like=grey)
    assert back.dtype == dtype
    assert back.max() <= 1


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 2), (4, 5, 3), (4, 5, 4)])
def test_alpha_comes_off_and_back(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    picture = rng.integers(0, 256, shape, np.uint8)
    colour, alpha = split_alpha(picture)
    assert colour.shape[2] in (1, 3)
    assert (alpha is None) == (shape[2:] in ((), (1,), (3,)))
    assert np.array_equal(join_alpha(colour, alpha, picture.shape), picture)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 5, 3), bool),
        np.zeros((4, 5, 3), np.int32),
        np.zeros((4, 5, 3), np.int8),
        np.zeros((4, 5, 3), np.uint32),
        np.zeros((4, 5, 3), complex),
        np.zeros((4, 5, 3), object),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((1, 4, 5, 3), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((4, 0), np.uint8),
    ],
    ids=lambda picture: f"{picture.dtype}{picture.shape}",
)
def test_what_is_no_picture_is_refused_by_name(picture: NDArray[Any]) -> None:
    with pytest.raises(UsageError) as caught:
        split_alpha(picture)
    assert str(picture.dtype) in str(caught.value)
    assert str(picture.shape) in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN"), (255.0, "255"), (-0.5, "-0.5"), (np.inf, "inf")]
)
def test_floats_out_of_range_are_refused(value: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_range(np.array([[[0.5], [value]]], np.float32))


def test_the_rain_layer_is_what_was_taken_away() -> None:
    before = np.array([[[200, 7], [10, 8]]], np.uint8)
    after = np.array([[[150, 7], [30, 8]]], np.uint8)
    assert rain_layer(before, after).tolist() == [[[50, 7], [0, 8]]]


def test_a_rain_layer_of_different_pictures_is_refused() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    for other in (picture[:1], picture.astype(np.uint16)):
        with pytest.raises(UsageError, match="same shape"):
            rain_layer(picture, other)


PLAIN = ["L", "LA", "RGB", "RGBA", "I;16", "I;16B", "F"]
CONVERTED = ["P", "CMYK", "YCbCr", "HSV"]


@pytest.mark.parametrize("mode", PLAIN + CONVERTED)
def test_pil_images_keep_mode_and_info(mode: str) -> None:
    image = Image.new(mode, (5, 4))
    image.info = {"dpi": (300, 300), "icc_profile": b"..."}
    back = to_pil(from_pil(image), like=image)
    assert (back.mode, back.size) == (image.mode, image.size)
    assert back.info == image.info
    assert np.array_equal(np.asarray(back.convert("RGB")), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["1", "I", "LAB", "PA", "La", "RGBa", "RGBX"])
def test_pil_images_that_hold_no_such_picture_are_refused(mode: str) -> None:
    with pytest.raises(UsageError, match=repr(mode)):
        from_pil(Image.new(mode, (5, 4)))


def test_a_palette_keeps_its_few_colours(photo: NDArray[np.uint8]) -> None:
    image = Image.fromarray(photo).quantize(200)
    back = to_pil(from_pil(image), like=image)
    assert back.mode == "P"
    assert np.array_equal(np.asarray(back.convert("RGB")), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(("mode", "key", "kind"), [("P", 3, "RGBA"), ("L", 7, "LA")])
def test_transparency_by_colour_becomes_alpha(mode: str, key: int, kind: str) -> None:
    image = Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5))
    if mode == "P":
        image.putpalette([level // 3 for level in range(768)])
    image.info["transparency"] = key
    back = to_pil(from_pil(image), like=image)
    assert back.mode == kind
    assert "transparency" not in back.info
    alpha = np.asarray(back.getchannel("A")).ravel()
    assert alpha.tolist() == [0 if level == key else 255 for level in range(20)]
