"""Frames of a clip to RGB and back, with the matrix and the range that the clip has.

What comes back is the frame as it was plus the difference that deraining made, converted on its
own: where nothing changed the frame is the same to the bit, chroma is not resampled, and values
beyond the nominal range stay.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from av import VideoFrame
from av.codec.codec import find_best_pix_fmt_of_list
from av.video.format import VideoFormat
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter
from numpy.typing import NDArray

Rgb = NDArray[Any]
"""(H, W, 3), uint8 or uint16, the full range."""

_EXACT = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT
    | Interpolation.FULL_CHR_H_INP
    | Interpolation.BITEXACT
)
# From the matrix of a frame (AVCOL_SPC) to swscale's name for it (SWS_CS).
_MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
_BT709, _BT601 = 1, 5
_HD_LINES = 720
_FULL_RANGE_FORMATS = ("yuvj",)


def output_format(source: str, offered: list[str]) -> str:
    """The pixel format of an encoder that loses least of a source's.

    Args:
        source: Pixel format of the frames.
        offered: Those of the encoder; empty if it takes any.
    """
    usable = [name for name in offered or [source] if sample_bits(name)]
    # The range is a property of its own, and not only of these deprecated formats.
    source = source.replace("yuvj", "yuv")
    plain = [name for name in usable if not name.startswith(_FULL_RANGE_FORMATS)] or usable
    best, _ = find_best_pix_fmt_of_list(plain or ["yuv420p"], source, "yuva" in source)
    return best.name if best else "yuv420p"


class Colours:
    """Converts the frames of one clip; keeps swscale's tables between them.

    Args:
        pixel_format: Of the frames to be encoded, from `output_format`.
    """

    def __init__(self, pixel_format: str) -> None:
        self.pixel_format = pixel_format
        self._in, self._to_rgb, self._from_rgb = (VideoReformatter() for _ in range(3))

    def to_rgb(self, frame: VideoFrame) -> Rgb:
        """RGB pixels of a frame, (H, W, 3): uint8, or uint16 if it has more than 8 bits."""
        deep = max(component.bits for component in frame.format.components) > 8
        matrix, limits = _matrix(frame), _range(frame)
        converted = self._to_rgb.reformat(
            frame,
            format="rgb48le" if deep else "rgb24",
            interpolation=_EXACT,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=limits,
            dst_color_range=ColorRange.JPEG,
        )
        array: Any = converted.to_ndarray()
        return array  # type: ignore[no-any-return]

    def changed(self, frame: VideoFrame, before: Rgb, after: Rgb) -> VideoFrame:
        """The frame with what changed in its RGB pixels, ready to be encoded.

        Args:
            frame: As it was decoded. It may be changed itself.
            before: From `to_rgb`.
            after: The same pixels, changed.
        """
        matrix, limits = _matrix(frame), _range(frame)
        named = frame.colorspace, limits if _is_full(frame) else frame.color_range
        out = self._in.reformat(
            frame,
            format=self.pixel_format,
            interpolation=_EXACT,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=limits,
            dst_color_range=limits,
        )
        out.make_writable()
        old, new = (self._encode(rgb, matrix, limits) for rgb in (before, after))
        depth = sample_bits(self.pixel_format)
        highest = (1 << depth) - 1
        stored, wide = ("u1", np.int16) if depth == 8 else ("<u2", np.int32)
        for plane, minus, plus in zip(out.planes, old.planes, new.planes, strict=True):
            rows = [
                np.frombuffer(memoryview(part), stored).reshape(part.height, -1)
                for part in (plane, minus, plus)
            ]
            columns = min(row.shape[1] for row in rows)
            base, less, more = (row[:, :columns] for row in rows)
            total = base.astype(wide) + more
            total -= less
            base[:] = np.clip(total, 0, highest)
        out.pict_type = 0  # the encoder decides anew
        out.colorspace, out.color_range = named
        return out

    def _encode(self, rgb: Rgb, matrix: int, limits: int) -> VideoFrame:
        format_ = "rgb24" if rgb.dtype == np.uint8 else "rgb48le"
        return self._from_rgb.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format=format_),
            format=self.pixel_format,
            interpolation=_EXACT,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=limits,
        )


def _matrix(frame: VideoFrame) -> int:
    """The matrix that a frame names, else what players assume: BT.709 for HD, BT.601 below."""
    return _MATRICES.get(frame.colorspace, _BT709 if frame.height >= _HD_LINES else _BT601)


def _range(frame: VideoFrame) -> int:
    if frame.color_range == ColorRange.UNSPECIFIED:
        return int(ColorRange.JPEG if _is_full(frame) else ColorRange.MPEG)
    return frame.color_range


def _is_full(frame: VideoFrame) -> bool:
    return frame.format.name.startswith(_FULL_RANGE_FORMATS) or frame.format.is_rgb


def sample_bits(name: str) -> int:
    """Bits of the samples of a pixel format that `Colours` can write; 0 if it cannot."""
    format_: Any = VideoFormat(name)
    bits = {component.bits for component in format_.components}
    odd = format_.has_palette or format_.is_bit_stream
    packed = name.startswith(("p0", "p2", "p4", "y2", "xv", "rgb4", "bgr4", "rgb8", "bgr8"))
    depth = bits.pop() if len(bits) == 1 else 0
    swapped = format_.is_big_endian and depth > 8
    return depth if 8 <= depth <= 16 and not (odd or packed or swapped) else 0
