"""Before and after in one file: a page with a slider, or a picture of the two side by side."""

from __future__ import annotations

import io
import os
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from dpenet.atomic import atomic_path
from dpenet.errors import PictureError
from dpenet.evaluation.pictures import jpeg_address
from dpenet.media.bands import read_header
from dpenet.media.files import refusing_damage
from dpenet.media.formats import FORMATS
from dpenet.media.images import fitted, read_picture
from dpenet.media.pages import find_pages
from dpenet.media.profiles import profile_of

LONGEST = 3840
"""Pixels of the longer side that are shown: those of a large screen. The rest is made smaller."""

_JPEG = {"quality": 92, "subsampling": 0}


def write_comparison(
    before: Path | bytes, after: Path, target: Path, *, overwrite: bool = False
) -> None:
    """Show a picture and its result together, as sRGB of 8 bits, transparency laid on white.

    Of several pages or frames, the first is shown.

    Args:
        before: The rainy picture, a file or the content of one.
        after: The file of the result.
        target: Where to write, whole or not at all: ``.html`` is a page that needs no other file,
            with a slider for mouse, touch and keyboard; ``.png`` has the two side by side.
        overwrite: Whether an existing file may be replaced.

    Raises:
        PictureError: If a picture cannot be read, they do not belong together, or the target
            exists or cannot be written.
    """
    if target.exists() and not overwrite:
        raise PictureError(f"{target}: exists already; allow overwriting or choose another name")
    left, size = _shown(before)
    right, size_after = _shown(after)
    if size != size_after:
        raise PictureError(f"{after}: is of another size than its input, so it is no result of it")
    page = target.suffix.lower() == ".html"
    content = _page(after.name, size, left, right) if page else _side_by_side(left, right)
    try:
        with atomic_path(target) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise PictureError(f"{target}: cannot be written: {error.strerror or error}") from error


def _shown(source: Path | bytes) -> tuple[Image.Image, tuple[int, int]]:
    """A picture as it is to look, at most ``LONGEST`` pixels a side, and its own size."""
    if isinstance(source, Path) and (header := read_header(source)):
        size = header.width, header.height
        if max(size) > LONGEST:
            with refusing_damage(str(source), header.format):
                return _reduced(source), size
    pages = find_pages(source)
    picture = read_picture(source) if pages is None else next(iter(pages))
    samples = fitted(picture, FORMATS["jpeg"])
    if profile := profile_of(picture.info.icc, samples.shape[2]):
        samples = np.rint(profile.to_srgb(samples) / 257).astype(np.uint8)
    image = Image.fromarray(samples[:, :, 0] if samples.shape[2] == 1 else samples)
    size = image.size
    image.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    return image.convert("RGB"), size


def _reduced(path: Path) -> Image.Image:
    """The same of a large file, which libvips makes smaller while it reads."""
    import pyvips

    image = pyvips.Image.thumbnail(os.fsencode(path), LONGEST, size="down", output_profile="srgb")
    if image.hasalpha():
        image = image.flatten(background=[255 if image.format == "uchar" else 65535])
    return Image.fromarray(image.colourspace("srgb").numpy())


def _page(name: str, size: tuple[int, int], left: Image.Image, right: Image.Image) -> bytes:
    template = files("dpenet.evaluation").joinpath("compare.html").read_text(encoding="utf-8")
    page = Template(template).substitute(
        title=escape(name),
        note=f"{size[0]} x {size[1]}" + (", made smaller here" if left.size != size else ""),
        width=left.width,
        height=left.height,
        before=jpeg_address(left, **_JPEG),
        after=jpeg_address(right, **_JPEG),
    )
    # A name that is no valid Unicode must not make the page one of no encoding.
    return page.encode("utf-8", "replace")


def _side_by_side(left: Image.Image, right: Image.Image) -> bytes:
    both = Image.new("RGB", (left.width + right.width, left.height))
    both.paste(left)
    both.paste(right, (left.width, 0))
    buffer = io.BytesIO()
    both.save(buffer, "PNG")
    return buffer.getvalue()
