"""Pictures in and out: every pixel where it was, and everything that the file says beside them.

libvips decodes and encodes; what its wheel lacks is in :mod:`dpenet.media.plain`, what it would
not carry over faithfully in :mod:`dpenet.media.metadata`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpenet.errors import PictureError
from dpenet.media import heif, plain, vips
from dpenet.media import metadata as kept
from dpenet.media.directories import Content, Directory, tiff_directory
from dpenet.media.embedding import embed
from dpenet.media.files import load, new_file, refusing_damage, viewed
from dpenet.media.formats import FORMATS, Format, default_format, format_for, sniff
from dpenet.media.metadata import Metadata
from dpenet.media.named_colours import with_named_colours
from dpenet.media.plain import Samples, peak
from dpenet.media.profiles import profile_of

MAX_PIXELS = 2**28
"""Larger pictures (268 megapixels) are refused before they are decoded: a file of a few kilobytes
can claim a picture that fills the memory. No camera's single shot is as large."""

# EXIF orientation: how to turn the stored picture upright (CIPA DC-008, tag 274).
UPRIGHT: dict[int, Callable[[Samples], Samples]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p[::-1].swapaxes(0, 1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p[:, ::-1].swapaxes(0, 1),
}


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: (H, W, 3) RGB or (H, W, 1) grey, upright, in the colour space of the ICC profile
            (sRGB if there is none); uint8 or uint16 over their full range, or float32 from 0 to 1,
            of which some may lie beyond.
        alpha: (H, W) of the same type, 0 transparent, or None. Colours are not multiplied by it.
        info: What else the file holds.
        format: What the file was: a key of ``FORMATS``, ``"heic"``, or ``"other"``.
    """

    pixels: Samples
    alpha: Samples | None = None
    info: Metadata = field(default_factory=Metadata)
    format: str = "png"


def read_picture(source: Path | bytes) -> Picture:
    """Decode a picture, told apart by its content, not its name.

    Palettes are expanded, CMYK and Lab become sRGB (of the former a warning is logged), the EXIF
    orientation is applied.

    Args:
        source: A file, or the content of one.

    Returns:
        The picture with all that its file says.

    Raises:
        PictureError: If there is no such file, or it is not a whole picture of 8 or 16 bits or
            floats and at most ``MAX_PIXELS``, or holds several (see `dpenet.media.pages`).
        MissingExtraError: If it is a HEIC photo and the extra ``heif`` is not installed.
    """
    name, data = load(source)
    kind = sniff(data) or "other"
    with refusing_damage(name, kind):
        return decode(name, kind, data, data)


def decode(
    name: str, kind: str, source: Path | bytes, data: Content, page: int | None = None
) -> Picture:
    """Decode a picture whose format is known, or one of its pages.

    Args:
        name: Of the file, for errors.
        kind: Its format.
        source: The file.
        data: Its content.
        page: Which page of a TIFF; None for that of a file that has but one.

    Raises:
        Exception: Of many kinds; `refusing_damage` tells what they mean.
    """
    if kind in ("ppm", "pfm"):
        size, read = _MAPS[kind]
        _check_size(name, *size(data))
        return check_floats(name, Picture(read(data[:]), format=kind))
    directory = tiff_directory(data, page or 0) if kind == "tiff" else {}
    if is_for_pillow(kind, directory):
        opened = plain.open_with_pillow(source)
        opened.seek(page or 0)
        _check_size(name, opened.height, opened.width)
        return separate(*plain.decode_with_pillow(opened), kind)
    if kind == "heic":
        photo = heif.open_heic(source)
        _check_size(name, *photo.size[::-1])
        samples, info = heif.decode_heic(photo)
        return separate(samples, with_named_colours(name, kind, data, info), kind)
    image = vips.open_image(kind, source, **({} if page is None else {"page": page}))
    if page is None and vips.count_pages(kind, image, data) > 1:
        raise PictureError(
            f"{name}: holds several pages or frames, and here only still pictures are read; "
            "save each as a file of its own"
        )
    _check_size(name, image.height, image.width)
    image = vips.converted(name, kind, image)
    samples = image.numpy().reshape(image.height, image.width, -1)
    samples = turned_upright(image, samples)
    info = vips.metadata(image, kind, data, directory, samples.shape[:2])
    may_be_grey = image.get_typeof("palette") or (
        info.coding and info.coding.subsampling == "4:0:0"
    )
    if may_be_grey and _is_grey(samples):
        samples = samples[:, :, [0, *range(3, samples.shape[2])]]
    samples = np.ascontiguousarray(samples)
    info = with_named_colours(name, kind, data, info)
    return check_floats(name, separate(samples, info, kind))


_MAPS = {
    "ppm": (plain.read_map_size, plain.read_map),
    "pfm": (plain.read_float_map_size, plain.read_float_map),
}


def turned_upright(image: Any, samples: Samples) -> Samples:
    """Samples (H, W, channels) of an image, turned as it says."""
    turn = UPRIGHT.get(vips.orientation(image))
    return turn(samples) if turn else samples


def check_floats(name: str, picture: Picture) -> Picture:
    """The picture, unless its values are floats that cannot be meant to lie between 0 and 1.

    Raises:
        PictureError: If most are above 1, or some are no number.
    """
    if picture.pixels.dtype.kind != "f":
        return picture
    if not np.isfinite(picture.pixels).all():
        raise PictureError(f"{name}: some of its samples are no numbers (NaN or infinite)")
    if (top := float(np.median(picture.pixels))) > 1:
        raise PictureError(
            f"{name}: its samples are floats around {top:.4g}, and white should be 1: scale them"
        )
    return picture


class Shape(NamedTuple):
    """What a picture will be once it is decoded.

    Attributes:
        height: In pixels, upright.
        width: In pixels, upright.
        channels: At most, alpha included.
        dtype: Of its samples, or a larger one.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Bytes of its samples."""
        return self.height * self.width * self.channels * self.dtype.itemsize


def read_shape(source: Path | bytes, page: int | None = None) -> Shape:
    """The shape of a picture as ``read_picture`` would give it, from its header alone.

    Args:
        source: A file, or the content of one.
        page: Which page of a TIFF; by default the first.

    Raises:
        PictureError: As ``read_picture``, except for damage further on.
        MissingExtraError: As ``read_picture``.
    """
    with viewed(source) as (name, data), refusing_damage(name, kind := sniff(data) or "other"):
        if kind in _MAPS:
            height, width = _MAPS[kind][0](data)
            channels = 3 if data[1:2] in (b"6", b"F") else 1
            # Told by its length: a whole file of 16 bits is longer than that.
            deep = len(data) > 2 * height * width * channels
            samples = "float32" if kind == "pfm" else "uint16" if deep else "uint8"
        elif is_for_pillow(kind, tiff_directory(data, page or 0)):
            with plain.open_with_pillow(source) as opened:
                opened.seek(page or 0)
                height, width, mode = opened.height, opened.width, opened.mode
            samples = _PILLOW_SAMPLES.get(mode.partition(";")[0], "uint8")
            channels = 1 if mode in ("1", "L") or samples != "uint8" else 4
        elif kind == "heic":
            photo = heif.open_heic(source)
            (width, height), mode = photo.size, photo.mode
            channels = len(mode.partition(";")[0])
            samples = "uint16" if ";" in mode else "uint8"
        else:
            image = vips.open_image(kind, source, **({} if page is None else {"page": page}))
            height, width, channels = image.height, image.width, image.bands
            samples = _VIPS_SAMPLES.get(image.format, "float64")
            if vips.orientation(image) > 4:
                height, width = width, height
    _check_size(name, height, width)
    return Shape(height, width, channels, np.dtype(samples))


_PILLOW_SAMPLES = {"I": "uint32", "F": "float32"}
_VIPS_SAMPLES = {"uchar": "uint8", "ushort": "uint16", "short": "uint16", "float": "float32"}


def read_size(source: Path | bytes) -> tuple[int, int]:
    """Height and width of a picture as ``read_picture`` would give it, from its header alone.

    Of several pages it is the first.

    Raises:
        PictureError: As ``read_picture``, except for damage further on.
        MissingExtraError: As ``read_picture``.
    """
    height, width, _, _ = read_shape(source)
    return height, width


def with_pixels(picture: Picture, pixels: Samples) -> Picture:
    """The same picture with other pixels.

    Args:
        picture: Lends alpha, metadata and format.
        pixels: Of the shape and type of ``picture.pixels``.

    Raises:
        ValueError: If shape or type differ.
    """
    old = picture.pixels
    if (pixels.shape, pixels.dtype) != (old.shape, old.dtype):
        raise ValueError(
            f"pixels are {pixels.shape} {pixels.dtype}, the picture's {old.shape} {old.dtype}"
        )
    return replace(picture, pixels=pixels)


def at_quality(picture: Picture, quality: int | None) -> Picture:
    """The same picture, to be compressed as `Metadata.at_quality` has it."""
    return replace(picture, info=picture.info.at_quality(quality))


def encode_picture(picture: Picture, format: str | None = None) -> bytes:  # noqa: A002
    """Encode a picture with all that its source file held and the format can hold.

    A JPEG that was one keeps its quantisation tables and chroma subsampling, a WebP without loss
    stays so, and an AVIF keeps depth and subsampling. Otherwise JPEG and WebP are written at
    quality 95 and AVIF at 90, JPEG and AVIF without chroma subsampling. Where a format has no 16
    bits, samples are rounded to 8; where it has no alpha, the picture is laid on white. A thumbnail
    in the EXIF is made anew.

    Args:
        picture: What to write.
        format: A key of ``FORMATS``; by default that of `default_format`.

    Raises:
        PictureError: If the format cannot be written or cannot hold the picture.
    """
    name = format or default_format(picture.format)
    if name not in FORMATS:
        raise PictureError(f"cannot write {name}; use one of {' '.join(FORMATS)}")
    pixels = fitted(picture, FORMATS[name])
    if name == "ppm":
        return plain.write_map(pixels)
    if name == "pfm":
        return plain.write_float_map(pixels.astype(np.float32, copy=False))
    if name == "bmp":
        return plain.write_bmp(pixels.astype(np.uint8, copy=False), picture.info.resolution)
    info = with_new_thumbnail(picture)
    if name == "jpeg":
        encoded = plain.write_jpeg(np.ascontiguousarray(pixels.astype(np.uint8, copy=False)), info)
    else:
        encoded = vips.save(vips.dressed(pixels, name, info), name, info)
    return embed(encoded, name, info)


def with_new_thumbnail(picture: Picture) -> Metadata:
    """The metadata of a picture, with a thumbnail that shows it if they had one."""
    info = picture.info
    if info.thumbnail is None or info.exif is None:
        return info
    step = max(1, min(picture.pixels.shape[:2]) // (4 * plain.THUMBNAIL_SIDE))
    small = picture.pixels[::step, ::step]
    if (profile := profile_of(info.icc, small.shape[2])) is not None:
        small = profile.to_srgb(np.clip(small, 0, 1) if small.dtype.kind == "f" else small)
    jpeg = plain.thumbnail(fitted(Picture(small), FORMATS["jpeg"]), info.thumbnail.room)
    if jpeg is None:
        return info
    return replace(info, exif=kept.with_thumbnail(info.exif, info.thumbnail, jpeg))


def write_picture(picture: Picture, path: Path, *, overwrite: bool = False) -> None:
    """Write a picture whole or not at all, in the format that the suffix names.

    Args:
        picture: What to write.
        path: Where; missing folders are created.
        overwrite: Whether an existing file may be replaced.

    Raises:
        PictureError: If the file exists, cannot be written, or its suffix or format is unfit.
    """
    format_name = format_for(path).name
    with new_file(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(encode_picture(picture, format_name))


def _check_size(name: str, height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise PictureError(
            f"{name}: {width} x {height} pixels are more than the {MAX_PIXELS // 10**6} megapixels "
            "that are read at once; cut it into parts"
        )
    if min(height, width) < 1:
        raise PictureError(f"{name}: has no pixels")


def is_for_pillow(kind: str, directory: Directory) -> bool:
    """Whether libvips cannot read a file: BMP, the rare formats, and TIFF with 8-bit Lab."""
    lab = directory.get(0x0106) == (3, b"\x08\0")
    return kind in ("bmp", "other") or (lab and directory.get(0x0102) == (3, b"\x08\0" * 3))


def _is_grey(samples: Samples) -> bool:
    return samples.shape[2] >= 3 and all(
        np.array_equal(samples[:, :, 0], samples[:, :, channel]) for channel in (1, 2)
    )


def separate(samples: Samples, info: Metadata, kind: str) -> Picture:
    """Samples (H, W, 1 to 4) as a picture, alpha apart."""
    channels = samples.shape[2]
    if channels > 4:
        raise ValueError(f"{channels} channels are neither grey nor RGB")
    if channels in (1, 3):
        return Picture(samples, None, info, kind)
    colours = np.ascontiguousarray(samples[:, :, :-1])
    return Picture(colours, np.ascontiguousarray(samples[:, :, -1]), info, kind)


def fitted(picture: Picture, target: Format) -> NDArray[Any]:
    """Colours and alpha as one array (H, W, 1 to 4) of a kind that the format can hold."""
    pixels: NDArray[Any] = picture.pixels
    if picture.alpha is not None:
        alpha = picture.alpha[:, :, np.newaxis]
        if target.alpha:
            pixels = np.concatenate([pixels, alpha], axis=2)
        else:
            white = peak(pixels.dtype)
            cover = alpha.astype(np.float32) / white
            mixed = white - (white - pixels) * cover
            pixels = (mixed if white == 1 else np.rint(mixed)).astype(pixels.dtype)
    wanted = target.sample_type(pixels.dtype)
    if wanted != pixels.dtype:
        if wanted.kind == "f":
            pixels = pixels / np.float32(peak(pixels.dtype))
        elif pixels.dtype.kind == "f":
            pixels = np.rint(np.clip(pixels, 0, 1) * np.float32(peak(wanted)))
        else:  # 65535 / 255 = 257, so this is the nearest of 8 bits
            pixels = (pixels.astype(np.uint32) + 128) // 257
    return pixels.astype(wanted, copy=False)
