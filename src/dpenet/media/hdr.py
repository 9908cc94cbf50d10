"""Clips of a high dynamic range: how bright the screen was on which they were made."""

from __future__ import annotations

import struct
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av

from dpenet.media.encoders import Encoder

_MASTERING, _LIGHT = "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"
# AVMasteringDisplayMetadata: red, green, blue, white as x and y, darkest, brightest, and whether
# there are colours and brightness; AVContentLightMetadata: brightest pixel and frame.
_MASTERING_FORM, _LIGHT_FORM = struct.Struct("=22i"), struct.Struct("=2I")
# What x265 counts in.
_CHROMATICITY, _LUMINANCE = 50000, 10000
_TRANSFERS = {16: "PQ", 18: "HLG"}


def hdr_name(transfer: int) -> str | None:
    """How a transfer (AVCOL_TRC) of a high dynamic range is called; None for any other."""
    return _TRANSFERS.get(transfer)


def light_of(frame: av.VideoFrame) -> tuple[bytes, bytes]:
    """What a frame says of its mastering display and its light, as FFmpeg keeps it; or nothing."""
    found: Any = (frame.side_data.get(name) for name in (_MASTERING, _LIGHT))
    mastering, light = (b"" if one is None else bytes(one) for one in found)
    return mastering[: _MASTERING_FORM.size], light[: _LIGHT_FORM.size]


def with_light(encoder: Encoder, light: tuple[bytes, bytes]) -> Encoder:
    """An encoder that writes what a clip says of its light, if it is one that can.

    Args:
        encoder: Any. x265 alone can be told.
        light: From `light_of`.
    """
    told = _x265_params(*light)
    if encoder.name != "libx265" or not told:
        return encoder
    options = dict(encoder.options)
    options["x265-params"] = ":".join((options["x265-params"], *told))
    return replace(encoder, options=tuple(sorted(options.items())))


def _x265_params(mastering: bytes, light: bytes) -> list[str]:
    params = []
    if len(mastering) == _MASTERING_FORM.size:
        *numbers, has_colours, has_luminance = _MASTERING_FORM.unpack(mastering)
        # x265 knows both or none.
        if has_colours and has_luminance and all(numbers[1::2]):
            values = [Fraction(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
            red, green, blue, white = (
                "({},{})".format(*(round(one * _CHROMATICITY) for one in values[at : at + 2]))
                for at in range(0, 8, 2)
            )
            low, high = (round(one * _LUMINANCE) for one in values[8:])
            params.append(f"master-display=G{green}B{blue}R{red}WP{white}L({high},{low})")
    if len(light) == _LIGHT_FORM.size:
        params.append("max-cll={},{}".format(*_LIGHT_FORM.unpack(light)))
    return params
