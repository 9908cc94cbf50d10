"""Make `docs/images/examples.jpg`: each example with its rainy left and its derained right half.

python scripts/make_gallery.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

import dpenet

REPOSITORY = Path(__file__).resolve().parents[1]
CELL = (600, 400)  # width, height
LINE = 2


def halves(rainy: Image.Image, clean: Image.Image) -> Image.Image:
    """The left of one and the right of the other, with a white line between, cropped to a cell."""
    picture = np.asarray(rainy).copy()
    middle = picture.shape[1] // 2
    picture[:, middle:] = np.asarray(clean)[:, middle:]
    picture[:, middle - LINE // 2 : middle + LINE // 2] = 255
    left, top = (picture.shape[1] - CELL[0]) // 2, (picture.shape[0] - CELL[1]) // 2
    return Image.fromarray(picture[top : top + CELL[1], left : left + CELL[0]])


def main() -> None:
    """Derain the examples with the embedded model and lay them out two by two."""
    derainer = dpenet.Derainer()
    sheet = Image.new("RGB", (2 * CELL[0], 2 * CELL[1]))
    for index, path in enumerate(sorted((REPOSITORY / "examples").glob("*.jpg"))):
        rainy = Image.open(path)
        place = (index % 2 * CELL[0], index // 2 * CELL[1])
        sheet.paste(halves(rainy, derainer(rainy)), place)
    out = REPOSITORY / "docs" / "images" / "examples.jpg"
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out, quality=88)


if __name__ == "__main__":
    main()
