"""Pictures of any kind to what the network takes, and back to their own kind.

An array is (H, W) or (H, W, 1) grey, (H, W, 2) grey and alpha, (H, W, 3) RGB, or (H, W, 4) RGB and
alpha; uint8 and uint16 over their whole range, floats from 0 to 1. Alpha goes through untouched.
Grey is given to the network as three equal channels, and its luma (ITU-R BT.601) is taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dpenet.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

LUMA = np.array([0.299, 0.587, 0.114], np.float32)

# PIL modes that numpy sees as one of the arrays above, and those converted to RGB on the way.
_PLAIN_MODES = {"L", "LA", "RGB", "RGBA", "I;16", "I;16L", "I;16B", "I;16N", "F"}
_CONVERTED_MODES = {"P", "CMYK", "YCbCr", "HSV"}


def split_alpha(picture: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Take a picture apart.

    Args:
        picture: An array as described above.

    Returns:
        Colour, (H, W, 1) or (H, W, 3), and alpha, (H, W) or None; views of ``picture``.

    Raises:
        UsageError: If the array is not a picture.
    """
    kind = f"an array of shape {picture.shape} and type {picture.dtype}"
    if picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[2] not in (1, 2, 3, 4)):
        raise UsageError(f"a picture is (H, W) or (H, W, 1 to 4), not {kind}")
    if 0 in picture.shape:
        raise UsageError(f"a picture has at least one pixel, unlike {kind}")
    if picture.dtype.kind != "f" and not (picture.dtype.kind == "u" and picture.dtype.itemsize < 4):
        raise UsageError(f"a picture is uint8, uint16 or float from 0 to 1, not {kind}")
    if picture.ndim == 2:
        return picture[..., None], None
    if picture.shape[2] in (2, 4):
        return picture[..., :-1], picture[..., -1]
    return picture, None


def check_range(colour: NDArray[Any]) -> None:
    """Refuse floats that are not from 0 to 1: guessing their range would give a wrong picture.

    Raises:
        UsageError: If a value is NaN, below 0 or above 1.
    """
    if colour.dtype.kind != "f":
        return
    low, high = colour.min(), colour.max()
    if np.isnan(low) or np.isnan(high):
        raise UsageError("the picture holds NaN")
    if low < 0 or high > 1:
        raise UsageError(
            f"a float picture runs from 0 to 1, this one from {low:g} to {high:g}: scale or clip it"
        )


def join_alpha(
    colour: NDArray[Any], alpha: NDArray[Any] | None, shape: tuple[int, ...]
) -> NDArray[Any]:
    """Undo `split_alpha`: colour and alpha to an array of the shape that they came from."""
    if alpha is not None:
        return np.concatenate([colour, alpha[..., None]], axis=2)
    return colour.reshape(shape)


def to_network(colour: NDArray[Any]) -> NDArray[np.float32]:
    """(h, w, 1) or (h, w, 3), of the dtypes above, to (1, 3, h, w) float32 from 0 to 1."""
    height, width, _ = colour.shape
    x = np.empty((1, 3, height, width), np.float32)
    x[0] = np.moveaxis(colour, 2, 0)
    x /= np.float32(_peak(colour.dtype))
    return x


def from_network(x: NDArray[np.float32], like: NDArray[Any]) -> NDArray[Any]:
    """(1, 3, h, w), 0..1, to the channels and the dtype of ``like``; integers are rounded."""
    colour = np.moveaxis(x[0], 0, 2)
    if like.shape[2] == 1:
        colour = (colour @ LUMA)[..., None]
    # The luma's weights add up to 1 only to within rounding, which must not leave the range.
    colour = np.clip(colour, 0, 1)
    if like.dtype.kind != "f":
        colour = np.rint(colour * np.float32(_peak(like.dtype)))
    out: NDArray[Any] = colour.astype(like.dtype)
    return out


def rain_layer(before: NDArray[Any], after: NDArray[Any]) -> NDArray[Any]:
    """What a deraining took away: the input minus the result, 0 where the result is brighter.

    Args:
        before: The rainy picture, an array as described above.
        after: The derained one, of the same shape and dtype.

    Returns:
        An array of the same shape and dtype, alpha untouched.

    Raises:
        UsageError: If the two differ in shape or dtype, or are not pictures.
    """
    if before.shape != after.shape or before.dtype != after.dtype:
        raise UsageError("a rain layer needs two pictures of the same shape and type")
    rainy, alpha = split_alpha(before)
    clean, _ = split_alpha(after)
    return join_alpha(np.maximum(rainy, clean) - clean, alpha, before.shape)


def from_pil(image: Image) -> NDArray[Any]:
    """The pixels of a PIL image.

    Raises:
        UsageError: If its mode holds no picture as described above.
    """
    if image.mode not in _PLAIN_MODES | _CONVERTED_MODES:
        raise UsageError(
            f"PIL images of mode {image.mode!r} are not derained; convert to 'L' or 'RGB' first"
        )
    if "transparency" in image.info:
        # A colour or palette entry declared transparent would be lost with the change of colours.
        image = image.convert("LA" if image.mode == "L" else "RGBA")
    elif image.mode in _CONVERTED_MODES:
        image = image.convert("RGB")
    return np.asarray(image)


def to_pil(pixels: NDArray[Any], like: Image) -> Image:
    """Pixels from `from_pil`, derained, as an image of the mode of ``like`` and with its ``info``.

    An image whose transparency is a colour or palette entry comes back with an alpha channel.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    info = dict(like.info)
    if info.pop("transparency", None) is None and like.mode in _CONVERTED_MODES:
        palette = like.mode == "P"
        image = image.quantize(dither=Image.Dither.NONE) if palette else image.convert(like.mode)
    image.info = info
    return image


def _peak(dtype: np.dtype[Any]) -> int:
    return 1 if dtype.kind == "f" else np.iinfo(dtype).max
