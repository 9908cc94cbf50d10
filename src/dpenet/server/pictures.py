"""What is done with a file of pictures: weighed by its headers, and derained if that fits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

from dpenet.errors import PictureError, UsageError
from dpenet.inference.derainer import Derainer
from dpenet.inference.memory import COPIES
from dpenet.inference.pipeline import check_stop
from dpenet.media.formats import FORMATS, sniff
from dpenet.media.images import Shape, encode_picture, read_picture, read_shape
from dpenet.media.pages import Pages, encoding_pages, find_pages
from dpenet.server.catalogue import Key, Models
from dpenet.server.failures import RefusedError, too_many_pixels
from dpenet.server.jobs import Derained
from dpenet.server.metrics import Stages

# Of the memory allowed, what pictures take together unless one alone takes more.
_SHARE = 4


@dataclass(frozen=True)
class Weight:
    """What a file holds, by its headers.

    Attributes:
        largest: The shape of its largest picture.
        pixels: Of all its pictures.
        held: Bytes that they take at once while the file is worked on.
    """

    largest: Shape
    pixels: int
    held: int


def picture_kind(content: bytes, *, heic: bool) -> str:
    """The format of a picture that came, by its first bytes.

    Args:
        content: The file.
        heic: Whether HEIC photos are taken.

    Raises:
        RefusedError: If it is none of those taken.
    """
    kind = sniff(content)
    if kind is None:
        raise RefusedError(
            415,
            "unknown_kind",
            "this is no picture of a kind that is known, such as PNG, JPEG, TIFF or WebP",
        )
    if kind == "heic" and not heic:
        raise RefusedError(
            415, "heic_not_served", "this service takes no HEIC photos; save it as JPEG"
        )
    return kind


def weigh(content: bytes, pages: Pages | None, most: int) -> Weight:
    """What a file holds, before anything of it is decoded.

    Args:
        content: The file.
        pages: What is known of its pictures, if there are several.
        most: Pixels that are taken.

    Raises:
        RefusedError: If it has more.
        PictureError: If it cannot be read.
    """
    shapes: list[Shape] = []
    pixels = 0
    for shape in _shapes(content, pages):
        shapes.append(shape)
        pixels += shape.height * shape.width
        if pixels > most:
            what = f"{shape.width} x {shape.height}"
            if pages is not None:
                what = f"{len(shapes)} of its {pages.count} pictures of {what}"
            raise too_many_pixels(what, pixels, most)
        check_stop()
    largest = max(shapes, key=lambda shape: shape.nbytes)
    held = COPIES * largest.nbytes
    if pages is not None:
        # The pages of a result are kept encoded; frames as they are, to be encoded together.
        held += (2 if pages.delays else 1) * sum(shape.nbytes for shape in shapes)
    return Weight(largest, pixels, held)


def _shapes(content: bytes, pages: Pages | None) -> Iterator[Shape]:
    if pages is None:
        yield read_shape(content)
    elif pages.delays:
        frame = read_shape(content)  # they are of one size
        for _ in range(pages.count):
            yield frame
    else:
        for page in range(pages.count):
            yield read_shape(content, page)


def derain_picture(
    content: bytes,
    models: Models,
    key: Key,
    strength: float,
    answer: tuple[str, str],
    most_pixels: int,
    stages: Stages,
) -> Derained:
    """Derain the content of a file of one picture or several; on a thread.

    Args:
        content: The file.
        models: To compute with.
        key: Which of them.
        strength: As `Options` has it.
        answer: Format and media type of the result.
        most_pixels: That are taken.
        stages: Measured here: decode, network, encode; of several pictures, network is all of it.

    Raises:
        RefusedError: If the file is too large.
        PictureError: If it cannot be read, or not be written in this format.
        ModelError: If the model is damaged.
    """
    pages = find_pages(content)
    weight = weigh(content, pages, most_pixels)
    with models.lease(key) as derainer:
        if strength < 1:
            derainer = derainer.at_strength(strength)
        _check_memory(derainer, weight)
        with models.room.take(weight.held, derainer.working_memory // _SHARE):
            check_stop()
            if pages is None:
                result = _derain_one(derainer, content, weight.pixels, answer[0], stages)
            else:
                with stages.time("network"):
                    result = _derain_pages(derainer, pages, answer[0])
        return Derained(result, answer[1], derainer.precision, weight.pixels)


def _check_memory(derainer: Derainer, weight: Weight) -> None:
    """Refuse what cannot be computed in the memory allowed, whoever else is served meanwhile."""
    height, width, channels, dtype = weight.largest
    memory = derainer.working_memory
    fits = weight.held <= memory
    try:
        derainer.plan(height, width, dtype, held=max(weight.held, memory // _SHARE))
    except UsageError:
        fits = False
    if not fits:
        bits = 8 * channels * dtype.itemsize
        raise RefusedError(
            422,
            "too_much_memory",
            f"{width} x {height} pixels of {bits} bits need more memory than "
            "this service has for them; send a smaller picture, or one of fewer bits",
        )


def _derain_one(
    derainer: Derainer, content: bytes, pixels: int, answer: str, stages: Stages
) -> bytes:
    with stages.time("decode"):
        rainy = read_picture(content)
    if math.prod(rainy.pixels.shape[:2]) != pixels:
        raise PictureError("the picture: its header names another size than it has")
    with stages.time("network"):
        clean = derainer.derain_picture(rainy)
    with stages.time("encode"):
        return encode_picture(clean, answer)


def _derain_pages(derainer: Derainer, pages: Pages, answer: str) -> bytes:
    file = BytesIO()
    with encoding_pages(file, FORMATS[answer], pages) as add:
        for rainy in pages:
            check_stop()
            add(derainer.derain_picture(rainy))
    return file.getvalue()
