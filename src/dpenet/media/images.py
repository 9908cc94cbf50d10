"""Pictures in and out: every pixel where it was, and everything that the file says beside them.

libvips decodes and encodes; what its wheel lacks is in :mod:`dpenet.media.plain`, what it would
not carry over faithfully in :mod:`dpenet.media.metadata`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dpenet.atomic import atomic_path
from dpenet.errors import PictureError
from dpenet.media import metadata as kept
from dpenet.media import plain
from dpenet.media.formats import FORMATS, Format, format_for, sniff
from dpenet.media.metadata import Metadata
from dpenet.media.plain import Samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image

MAX_PIXELS = 2**28
"""Larger pictures (268 megapixels) are refused before they are decoded: a file of a few kilobytes
can claim a picture that fills the memory. No camera's single shot is as large."""

JPEG_QUALITY = WEBP_QUALITY = 95

# EXIF orientation: how to turn the stored picture upright (CIPA DC-008, tag 274).
_UPRIGHT: dict[int, Callable[[Samples], Samples]] = {
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
        pixels: (H, W, 3) RGB or (H, W, 1) grey, uint8 or uint16 over their full range, in the
            colour space of the file's ICC profile (sRGB if it has none), upright.
        alpha: (H, W) of the same type, 0 transparent, or None. Colours are not multiplied by it.
        info: What else the file holds.
        format: What the file was: a key of ``FORMATS``, ``"heif"``, or ``"other"``.
    """

    pixels: Samples
    alpha: Samples | None = None
    info: Metadata = field(default_factory=Metadata)
    format: str = "png"


def read_picture(source: Path | bytes) -> Picture:
    """Decode a picture, told apart by its content, not its name.

    Palettes are expanded, CMYK and Lab become sRGB, the EXIF orientation is applied.

    Args:
        source: A file, or the content of one.

    Returns:
        The picture with all that its file says.

    Raises:
        PictureError: If there is no such file, or it is not a whole still picture of 8 or 16
            bits and at most ``MAX_PIXELS``.
    """
    name, data = _load(source)
    kind = sniff(data) or "other"
    with _refusing_damage(name, kind):
        if kind == "ppm":
            _check_size(name, *plain.read_map_size(data))
            return Picture(plain.read_map(data), format=kind)
        directory = kept.tiff_directory(data) if kind == "tiff" else {}
        if _is_for_pillow(kind, directory):
            image = plain.open_with_pillow(data)
            _check_size(name, image.height, image.width)
            samples, info = plain.decode_with_pillow(image)
            return _separate(samples, info, kind)
        return _decode(name, kind, data, directory)


def read_size(source: Path | bytes) -> tuple[int, int]:
    """Height and width of a picture as ``read_picture`` would give it, from its header alone.

    Raises:
        PictureError: As ``read_picture``, except for damage further on.
    """
    name, data = _load(source)
    kind = sniff(data) or "other"
    with _refusing_damage(name, kind):
        if kind == "ppm":
            height, width = plain.read_map_size(data)
        elif _is_for_pillow(kind, kept.tiff_directory(data)):
            image: Image | Any = plain.open_with_pillow(data)
            height, width = image.height, image.width
        else:
            image = _open(kind, data)
            height, width = image.height, image.width
            if _orientation(image) > 4:
                height, width = width, height
    _check_size(name, height, width)
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


def encode_picture(picture: Picture, format: str | None = None) -> bytes:  # noqa: A002
    """Encode a picture with all that its source file held and the format can hold.

    JPEG and WebP are written at quality 95, JPEG without chroma subsampling. Where a format has
    no 16 bits, samples are rounded to 8; where it has no alpha, the picture is laid on white.

    Args:
        picture: What to write.
        format: A key of ``FORMATS``; by default the picture's own, or PNG if that is only read.

    Raises:
        PictureError: If the format cannot be written or cannot hold the picture.
    """
    name = format or (picture.format if picture.format in FORMATS else "png")
    if name not in FORMATS:
        raise PictureError(f"cannot write {name}; use one of {' '.join(FORMATS)}")
    target = FORMATS[name]
    pixels = _fitted(picture, target)
    if name == "ppm":
        return plain.write_map(pixels)
    if name == "bmp":
        return plain.write_bmp(pixels.astype(np.uint8, copy=False), picture.info.resolution)
    return kept.embed(_encode(pixels, name, picture.info), name, picture.info)


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
    if path.exists() and not overwrite:
        raise PictureError(f"{path}: exists already; allow overwriting or choose another name")
    try:
        encoded = encode_picture(picture, format_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(encoded)
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from error
    except OSError as error:
        raise PictureError(f"{path}: cannot be written: {error.strerror or error}") from error


def _load(source: Path | bytes) -> tuple[str, bytes]:
    if isinstance(source, bytes):
        name, data = "the picture", source
    else:
        name = str(source)
        try:
            data = source.read_bytes()
        except IsADirectoryError:
            raise PictureError(f"{name}: is a folder, not a picture") from None
        except OSError as error:
            raise PictureError(f"{name}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise PictureError(f"{name}: is empty (zero bytes)")
    return name, data


@contextmanager
def _refusing_damage(name: str, kind: str) -> Iterator[None]:
    """Turn what decoders raise into one sentence about the file."""
    try:
        yield
    except PictureError:
        raise
    except Exception as error:  # pyvips.Error, and Pillow's readers raise whatever comes
        if kind == "other":
            raise PictureError(f"{name}: is not a picture that dpenet can read") from error
        reason = str(error).strip().splitlines()[-1].strip() if str(error) else repr(error)
        raise PictureError(
            f"{name}: this {kind.upper()} is damaged, cut short or of a kind that cannot be read "
            f"({reason}); get a whole copy, or convert it to PNG"
        ) from error


def _check_size(name: str, height: int, width: int) -> None:
    if height * width > MAX_PIXELS:
        raise PictureError(
            f"{name}: {width} x {height} pixels are more than the {MAX_PIXELS // 10**6} megapixels "
            "that are read at once; cut it into parts"
        )
    if min(height, width) < 1:
        raise PictureError(f"{name}: has no pixels")


def _is_for_pillow(kind: str, directory: kept.Directory) -> bool:
    """Whether libvips cannot read a file: BMP, the rare formats, and TIFF with 8-bit Lab."""
    lab = directory.get(0x0106) == (3, b"\x08\0")
    return kind in ("bmp", "other") or (lab and directory.get(0x0102) == (3, b"\x08\0" * 3))


def _open(kind: str, data: bytes) -> Any:
    """The lazy libvips image: only the header has been read. Any damage will be an error."""
    import pyvips

    loader = getattr(pyvips.Image, f"{kind}load_buffer")
    return loader(data, access="sequential", fail_on="error")


def _orientation(image: Any) -> int:
    return int(image.get("orientation")) if image.get_typeof("orientation") else 1


def _decode(name: str, kind: str, data: bytes, directory: kept.Directory) -> Picture:
    image = _open(kind, data)
    _check_size(name, image.height, image.width)
    frames = image.get("n-pages") if image.get_typeof("n-pages") and kind != "heif" else 1
    if frames > 1 or (kind == "png" and b"acTL" in data[: data.find(b"IDAT")]):
        raise PictureError(
            f"{name}: holds several pages or frames, and only still pictures are read; "
            "save each as a file of its own"
        )
    if image.interpretation == "cmyk":
        depth = 16 if image.format == "ushort" else 8
        image = image.icc_transform(
            "srgb", embedded=True, input_profile="cmyk", depth=depth, black_point_compensation=True
        )
    elif image.interpretation == "labs":
        image = image.colourspace("rgb16").copy()
        image.remove("icc-profile-data")
    if image.format not in ("uchar", "ushort"):
        raise PictureError(
            f"{name}: its samples are of type {image.format}, and only those of 8 or 16 bits are "
            "read; convert it to a 16-bit TIFF or PNG"
        )
    orientation = _orientation(image)
    samples = image.numpy().reshape(image.height, image.width, -1)
    if image.get_typeof("palette") and _is_grey(samples):
        samples = samples[:, :, [0, *range(3, samples.shape[2])]]
    if orientation in _UPRIGHT:
        samples = np.ascontiguousarray(_UPRIGHT[orientation](samples))
    return _separate(samples, _metadata(image, kind, directory, samples.shape[:2]), kind)


def _is_grey(samples: Samples) -> bool:
    return samples.shape[2] >= 3 and all(
        np.array_equal(samples[:, :, 0], samples[:, :, channel]) for channel in (1, 2)
    )


def _metadata(image: Any, kind: str, directory: kept.Directory, size: tuple[int, ...]) -> Metadata:
    def blob(key: str) -> bytes | None:
        return bytes(image.get(key)) if image.get_typeof(key) else None

    photoshop = blob("iptc-data") if kind == "jpeg" else kept.photoshop_of_tiff(directory)
    exif = blob("exif-data") or kept.exif_of_tiff(directory)
    # libvips says 1 pixel per millimetre where the file says nothing.
    resolution = (image.xres, image.yres) if image.xres != 1 or image.yres != 1 else None
    comments = [key for key in image.get_fields() if key.startswith("png-comment-")]
    return Metadata(
        icc=blob("icc-profile-data"),
        exif=kept.upright(exif, size[0], size[1]) if exif else None,
        xmp=blob("xmp-data"),
        photoshop=photoshop.removeprefix(b"Photoshop 3.0\0") if photoshop else None,
        resolution=resolution or Metadata.resolution,
        comments=tuple((key, image.get(key)) for key in comments),
    )


def _separate(samples: Samples, info: Metadata, kind: str) -> Picture:
    channels = samples.shape[2]
    if channels > 4:
        raise ValueError(f"{channels} channels are neither grey nor RGB")
    if channels in (1, 3):
        return Picture(samples, None, info, kind)
    colours = np.ascontiguousarray(samples[:, :, :-1])
    return Picture(colours, np.ascontiguousarray(samples[:, :, -1]), info, kind)


def _fitted(picture: Picture, target: Format) -> Samples:
    """Colours and alpha as one array (H, W, 1 to 4) of a kind that the format can hold."""
    pixels: NDArray[Any] = picture.pixels
    if picture.alpha is not None:
        alpha = picture.alpha[:, :, np.newaxis]
        if target.alpha:
            pixels = np.concatenate([pixels, alpha], axis=2)
        else:
            white = np.iinfo(pixels.dtype).max
            cover = alpha.astype(np.float32) / white
            pixels = np.rint(white - (white - pixels) * cover).astype(pixels.dtype)
    if pixels.dtype == np.uint16 and not target.sixteen_bit:
        # 65535 / 255 = 257, so this is the nearest of 8 bits.
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return pixels


def _encode(pixels: Samples, format_name: str, info: Metadata) -> bytes:
    import pyvips

    grey = pixels.shape[2] < 3
    interpretation = {True: "b-w", False: "srgb"}[grey]
    if pixels.dtype == np.uint16:
        interpretation = {True: "grey16", False: "rgb16"}[grey]
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).copy(
        interpretation=interpretation, xres=info.resolution[0], yres=info.resolution[1]
    )
    photoshop = b"Photoshop 3.0\0" + info.photoshop if info.photoshop else None
    blobs = {"icc-profile-data": info.icc, "xmp-data": info.xmp, "iptc-data": photoshop}
    if format_name != "jpeg":
        del blobs["iptc-data"]
    for key, blob in blobs.items():
        if blob:
            image.set_type(pyvips.GValue.blob_type, key, blob)
    for key, text in info.comments:
        image.set_type(pyvips.GValue.gstr_type, key, text)
    options: dict[str, dict[str, Any]] = {
        "jpeg": {"Q": JPEG_QUALITY, "subsample_mode": "off", "optimize_coding": True},
        "png": {"filter": 0xF8},  # all of PNG's filters, the best one for each row
        "tiff": {"compression": "deflate", "predictor": "horizontal", "resunit": "inch"},
        "webp": {"Q": WEBP_QUALITY, "smart_subsample": True, "exact": True},
        "gif": {},
    }
    everything_but_exif = 0x02 | 0x04 | 0x08 | 0x10  # VipsForeignKeep: XMP, IPTC, ICC, other
    save = getattr(image, f"{format_name}save_buffer")
    try:
        return bytes(save(keep=everything_but_exif, **options[format_name]))
    except pyvips.Error as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise PictureError(f"cannot be written as {format_name.upper()} ({reason})") from error
