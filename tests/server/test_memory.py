"""Small files that hold much: what is refused by its header, and what the rest takes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.server.services import Live, MakeLive

BOUND = 400_000_000
"""Bytes that the service may take."""


def tiff(*pages: tuple[int, int, int, str]) -> bytes:
    """A TIFF of black pages, each of a height, width, number of channels and type; a few kB."""
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for *shape, kind in pages:
            black = np.broadcast_to(np.zeros((), kind), shape)
            extra = ["unassalpha"] if shape[2] == 4 else None
            writer.write(black, photometric="rgb", compression="zlib", extrasamples=extra)
    return file.getvalue()


def gif(frames: int, height: int, width: int) -> bytes:
    """An animated GIF whose frames change one pixel each."""
    images = []
    for number in range(frames):
        pixels = np.zeros((height, width), np.uint8)
        pixels[0, number] = 255
        images.append(Image.fromarray(pixels))
    file = BytesIO()
    images[0].save(file, "GIF", save_all=True, append_images=images[1:])
    return file.getvalue()


@pytest.fixture(scope="module")
def live(make_live: MakeLive) -> Iterator[Live]:
    with make_live(memory=BOUND) as service:
        yield service


BOMBS = {
    "floats with alpha": lambda: tiff((3000, 4000, 4, "float32")),
    "many floats with alpha": lambda: tiff((5000, 5000, 4, "float32")),
    "floats": lambda: tiff((3000, 4000, 3, "float32")),
    "16 bits": lambda: tiff((5000, 8000, 3, "uint16")),
    "16 bits with alpha": lambda: tiff((3000, 4000, 4, "uint16")),
    "8 bits with alpha": lambda: tiff((6000, 8000, 4, "uint8")),
    "8 bits": lambda: tiff((6000, 8000, 3, "uint8")),
    "a large page after a small one": lambda: tiff((9, 9, 3, "uint8"), (3000, 4000, 3, "uint16")),
    "frames": lambda: gif(20, 1500, 1500),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_not_fit_is_refused_before_it_is_decoded(live: Live, name: str) -> None:
    status, _, body = live.request("POST", "/v1/derain", BOMBS[name]())
    assert (status, json.loads(body)["error"]["code"]) == (422, "too_much_memory")
    assert live.peak_memory < BOUND / 2


@pytest.mark.parametrize(
    "content",
    [
        lambda: tiff((9, 9, 3, "uint8"), (8000, 8000, 3, "uint8")),
        lambda: gif(30, 1500, 1500),
    ],
    ids=["pages", "frames"],
)
def test_pixels_of_all_pictures_count(live: Live, content: object) -> None:
    assert callable(content)
    status, _, body = live.request("POST", "/v1/derain", content())
    assert (status, json.loads(body)["error"]["code"]) == (422, "too_many_pixels")


@pytest.mark.slow
def test_what_is_taken_stays_within_the_memory(live: Live) -> None:
    """Must be the last."""
    shapes = [
        *((1700, 2200, 3, "uint8"), (1500, 1500, 4, "uint16"), (1200, 1200, 4, "float32")),
        *((1700, 2200, 4, "uint8"), (1500, 1500, 3, "uint16"), (1200, 1200, 3, "float32")),
    ]
    with ThreadPoolExecutor(3) as pool:
        answers = [
            pool.submit(live.request, "POST", "/v1/derain?stage=1", tiff(shape)) for shape in shapes
        ]
    assert [answer.result()[0] for answer in answers] == [200] * len(shapes)
    assert live.peak_memory < BOUND
