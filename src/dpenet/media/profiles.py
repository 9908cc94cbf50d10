"""Colours as an ICC profile means them, and as the network has learnt to see them: sRGB."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpenet.media.plain import Samples, peak

_PEAK = 65535
# Profiles that differ less from sRGB than this share of the range, wherever in it, count as sRGB.
_INDISTINCT = 1.5 / 255
_SPACES = {b"GRAY": 1, b"RGB ": 3}


class Profile:
    """A colour space other than sRGB.

    Args:
        icc: The profile, of a grey or RGB space.
        channels: 1 or 3, as the profile has it.
    """

    def __init__(self, icc: bytes, channels: int) -> None:
        self._icc, self._channels = icc, channels

    def to_srgb(self, colour: Samples) -> NDArray[np.uint16]:
        """What colours look like in sRGB, as near as it comes to those that it lacks.

        Args:
            colour: (H, W, channels) of uint8, uint16 or float from 0 to 1.

        Returns:
            (H, W, 3) over the full range.
        """
        image = self._image(_deep(colour))
        self._attach(image)
        # In two steps, between them floats: in one, colours between those of a grid are guessed.
        connected = image.icc_import(embedded=True, intent="relative")
        return _array(connected.icc_export(output_profile="srgb", intent="relative", depth=16))

    def from_srgb(self, seen: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """The reverse of `to_srgb`: (H, W, 3) to (H, W, channels), both over the full range."""
        image = self._image(seen).icc_import(input_profile="srgb", intent="relative").copy()
        self._attach(image)
        return _array(image.icc_export(intent="relative", depth=16))

    def with_change(
        self, colour: Samples, seen: NDArray[np.uint16], clean: NDArray[np.uint16]
    ) -> Samples:
        """Colours changed by what changed in sRGB: where nothing did, they stay what they are.

        Args:
            colour: (H, W, channels), from 0 to 1 if floats.
            seen: The same in sRGB, from `to_srgb`.
            clean: What became of that.

        Returns:
            The shape and type of ``colour``.
        """
        change = self.from_srgb(clean).astype(np.float32) - self.from_srgb(seen)
        white = peak(colour.dtype)
        changed = np.clip(colour + change * np.float32(white / _PEAK), 0, white)
        result: Samples = (changed if white == 1 else np.rint(changed)).astype(colour.dtype)
        return result

    def _attach(self, image: Any) -> None:
        import pyvips

        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", self._icc)

    @staticmethod
    def _image(samples: NDArray[np.uint16]) -> Any:
        import pyvips

        image = pyvips.Image.new_from_array(np.ascontiguousarray(samples))
        return image.copy(interpretation="grey16" if samples.shape[2] == 1 else "rgb16")


@lru_cache(maxsize=16)
def profile_of(icc: bytes | None, channels: int) -> Profile | None:
    """The colour space of a picture, if it is another than sRGB and colours can be converted.

    Args:
        icc: Its profile. One for another number of channels, or that works in one direction only,
            is of no use.
        channels: 1 grey, 3 RGB.
    """
    if icc is None or _SPACES.get(icc[16:20]) != channels:
        return None
    import pyvips

    profile = Profile(icc, channels)
    steps = np.linspace(0, _PEAK, 9 if channels == 3 else 81).astype(np.uint16)
    cube = np.stack(np.meshgrid(*[steps] * channels), axis=-1).reshape(1, -1, channels)
    try:
        seen = profile.to_srgb(cube)
        profile.from_srgb(seen)
    except pyvips.Error:
        return None
    difference = np.abs(seen.astype(np.float32) - cube)
    return None if difference.max() <= _INDISTINCT * _PEAK else profile


def _deep(colour: Samples) -> NDArray[np.uint16]:
    deep: NDArray[np.uint16] = np.rint(colour * np.float32(_PEAK / peak(colour.dtype))).astype(
        np.uint16
    )
    return deep


def _array(image: Any) -> NDArray[np.uint16]:
    array: NDArray[np.uint16] = image.numpy().reshape(image.height, image.width, -1)
    return array
