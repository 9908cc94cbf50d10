"""libvips images: opened lazily, brought to the samples that are read, dressed to be written."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from dpenet.errors import PictureError
from dpenet.media import metadata as kept
from dpenet.media.coding import FULL_CHROMA, QUALITY, coding_of
from dpenet.media.directories import Content, Directory
from dpenet.media.embedding import PLACEHOLDER
from dpenet.media.metadata import Metadata

LOGGER = logging.getLogger(__name__)

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "jpeg": {"Q": QUALITY["jpeg"], "subsample_mode": "off", "optimize_coding": True},
    # Paeth's filter alone, level 3: 2 % larger than the best filter for each row at level 6, in two
    # thirds of the time.
    "png": {"filter": 0x80, "compression": 3},
    "tiff": {"compression": "deflate", "predictor": "horizontal", "resunit": "inch"},
    "webp": {"Q": QUALITY["webp"], "smart_subsample": True, "exact": True},
    # A sixth of the time of libvips's usual effort of 4, at the same size, for 0.4 dB.
    "avif": {
        "Q": QUALITY["avif"],
        "compression": "av1",
        "subsample_mode": "off",
        "bitdepth": 12,
        "effort": 3,
    },
    # Two frames that are equal stay two: each has its time.
    "gif": {"keep_duplicate_frames": True},
}
# VipsForeignKeep: XMP, IPTC, ICC, other. EXIF goes around libvips.
_KEEP = 0x02 | 0x04 | 0x08 | 0x10
_KEEP_EXIF = 0x01
# libvips's own names of formats.
_LOADERS = {"avif": "heif", "heic": "heif"}
_SAVERS = {"avif": "heif"}
_MAPPED = ("jpeg", "gif", "webp")


def open_image(kind: str, source: bytes | Path, **which: int) -> Any:
    """The lazy image: only the header has been read. Any damage will be an error.

    Args:
        kind: Its format.
        source: The file, or its content.
        **which: ``page``, or ``n=-1`` for all frames, one below the other.
    """
    import pyvips

    options = {"access": "sequential", "fail_on": "error", **which}
    loader = f"{_LOADERS.get(kind, kind)}load"
    if isinstance(source, Path) and kind in _MAPPED:
        return pyvips.Image.new_from_source(_unmapped(source), "", **options)
    if isinstance(source, Path):
        # libvips remembers files by name, which need not be Unicode: it must look again.
        return getattr(pyvips.Image, loader)(os.fsencode(source), revalidate=True, **options)
    return getattr(pyvips.Image, f"{loader}_buffer")(source, **options)


def _unmapped(path: Path) -> Any:
    """A file that libvips reads piece by piece.

    It would map some into memory, and a file that somebody cuts short meanwhile would end the
    process.
    """
    import pyvips

    file = path.open("rb", buffering=1 << 16)
    source = pyvips.SourceCustom()
    source.on_read(file.read)
    source.on_seek(file.seek)
    return source


def orientation(image: Any) -> int:
    """How the picture lies, as EXIF has it: 1 is upright, above 4 on its side."""
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


def count_pages(kind: str, image: Any, data: Content) -> int:
    """How many pages or frames a file holds; of kinds of which only one is read, 1 or 2."""
    if kind == "png":
        return 2 if data.find(b"acTL", 0, data.find(b"IDAT")) >= 0 else 1
    if kind in ("avif", "heic"):
        return 2 if data[8:12] in (b"avis", b"hevc") else 1
    return int(image.get("n-pages")) if image.get_typeof("n-pages") else 1


def converted(name: str, kind: str, image: Any) -> Any:
    """The image with grey or RGB samples of 8 or 16 bits or floats, still lazy.

    Args:
        name: Of the file, for errors.
        kind: Its format.
        image: From `open_image`.

    Raises:
        PictureError: If it holds samples of another kind.
    """
    if image.interpretation == "cmyk":
        depth = 16 if image.format == "ushort" else 8
        image = image.icc_transform(
            "srgb", embedded=True, input_profile="cmyk", depth=depth, black_point_compensation=True
        )
        LOGGER.warning("%s: its printing inks (CMYK) become sRGB colours", name)
    elif image.interpretation == "labs":
        image = image.colourspace("rgb16").copy()
        image.remove("icc-profile-data")
    if kind == "avif" and image.format == "ushort":
        # The bits are at the upper end; the lower ones repeat them, so that white is all ones.
        image = (image | (image >> image.get("bits-per-sample"))).cast("ushort")
    if image.format not in ("uchar", "ushort", "float"):
        raise PictureError(
            f"{name}: its samples are of type {image.format}, and only those of 8 or 16 bits and "
            "floats of 32 bits are read; convert it to a 16-bit TIFF or PNG"
        )
    return image


def metadata(
    image: Any, kind: str, data: Content, directory: Directory, size: tuple[int, ...]
) -> Metadata:
    """What the file holds beside its pixels, for an output of ``size`` (height, width)."""

    def blob(key: str) -> bytes | None:
        return bytes(image.get(key)) if image.get_typeof(key) else None

    photoshop = blob("iptc-data") if kind == "jpeg" else kept.photoshop_of_tiff(directory)
    exif = blob("exif-data") or kept.exif_of_tiff(directory)
    # libvips says 1 pixel per millimetre where the file says nothing.
    resolution = (image.xres, image.yres) if image.xres != 1 or image.yres != 1 else None
    comments = [key for key in image.get_fields() if key.startswith("png-comment-")]
    exif, thumbnail = kept.upright(exif, size[0], size[1]) if exif else (None, None)
    photoshop = kept.without_thumbnails(
        photoshop.removeprefix(b"Photoshop 3.0\0") if photoshop else b""
    )
    return Metadata(
        icc=blob("icc-profile-data"),
        exif=exif,
        xmp=kept.upright_xmp(xmp) if (xmp := blob("xmp-data")) else None,
        photoshop=photoshop or None,
        resolution=resolution or Metadata.resolution,
        comments=tuple((key, image.get(key)) for key in comments),
        thumbnail=thumbnail,
        coding=coding_of(kind, data, turned=orientation(image) > 4),
    )


def dressed(pixels: Any, format_name: str, info: Metadata) -> Any:
    """Bare samples, (H, W, 1 to 4), as an image with the metadata that libvips writes.

    Args:
        pixels: An array, or an image.
        format_name: What will be written.
        info: The metadata.
    """
    import pyvips

    image = pixels
    if isinstance(pixels, np.ndarray):
        image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels))
    depth = {"uchar": ("b-w", "srgb"), "ushort": ("grey16", "rgb16"), "float": ("b-w", "scrgb")}
    image = image.copy(
        interpretation=depth[image.format][image.bands > 2],
        xres=info.resolution[0],
        yres=info.resolution[1],
    )
    photoshop = b"Photoshop 3.0\0" + info.photoshop if info.photoshop else None
    blobs = {"icc-profile-data": info.icc, "xmp-data": info.xmp, "iptc-data": photoshop}
    if format_name != "jpeg":
        del blobs["iptc-data"]
    if format_name == "avif" and info.exif:
        blobs["exif-data"] = PLACEHOLDER
    for key, blob in blobs.items():
        if blob:
            image.set_type(pyvips.GValue.blob_type, key, blob)
    for key, text in info.comments:
        image.set_type(pyvips.GValue.gstr_type, key, text)
    return image


def save_options(format_name: str, image: Any, info: Metadata) -> dict[str, Any]:
    """How libvips is to write an image: as its source was compressed, as far as it can."""
    options = dict(_SAVE_OPTIONS[format_name])
    options["keep"] = _KEEP | (_KEEP_EXIF if format_name == "avif" and info.exif else 0)
    if info.coding is not None and info.coding.asked is not None and "Q" in options:
        options["Q"] = info.coding.asked
        if "subsample_mode" in options:
            options["subsample_mode"] = "off" if info.coding.asked >= FULL_CHROMA else "on"
    coding = info.coding if info.coding and info.coding.format == format_name else None
    if coding is not None and coding.subsampling == "4:2:0":
        options["subsample_mode"] = "on"
    if coding is not None and coding.tables:
        options |= {"Q": coding.quality}
    if coding is not None and coding.lossless:
        options |= {"lossless": True}
    if format_name == "avif" and image.format == "uchar":
        options["bitdepth"] = 8
    elif format_name == "avif" and coding is not None and coding.depth > 8:
        options["bitdepth"] = coding.depth
    if format_name == "tiff" and image.format == "float":
        options["predictor"] = "none"  # the one for floats is not widely read
    return options


def save(image: Any, format_name: str, info: Metadata) -> bytes:
    """Encode a dressed image.

    Raises:
        PictureError: If the format cannot hold it.
    """
    import pyvips

    encode = getattr(image, f"{_SAVERS.get(format_name, format_name)}save_buffer")
    try:
        return bytes(encode(**save_options(format_name, image, info)))
    except pyvips.Error as error:
        raise PictureError(
            f"cannot be written as {format_name.upper()} ({reason(error)})"
        ) from error


def reason(error: Exception) -> str:
    """The last line of what libvips says, which is the most telling."""
    return str(error).strip().splitlines()[-1].strip() if str(error) else repr(error)
