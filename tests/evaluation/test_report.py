from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.errors import PictureError
from dpenet.evaluation.evaluate import Evaluation, Method, evaluate
from dpenet.evaluation.pictures import ERROR_FULL, as_rgb8, error_map
from dpenet.evaluation.report import evaluation_page, gallery_page

EVIL = "a<b>&\"q'"


class Page(HTMLParser):
    """Checks that tags nest, and collects what a test asks about."""

    VOID = frozenset({"meta", "img", "br", "line"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.count: dict[str, int] = {}
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """<line/> closes itself."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def assert_self_contained(html: str) -> str:
    """Return the page without its pictures."""
    without_data = re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"https?:|<script|<link|url\(|@import", without_data)
    assert len(without_data) < 60_000
    return without_data


@pytest.fixture
def dataset(tmp_path: Path, photo: NDArray[np.uint8], rng: np.random.Generator) -> Path:
    for i in range(5):
        rainy = np.clip(photo + rng.normal(0, 3 + 5 * i, photo.shape), 0, 255).astype(np.uint8)
        for side, picture in (("input", rainy), ("target", photo)):
            path = tmp_path / "a&b" / side / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    return tmp_path / "a&b"


def average(name: str, rainy: NDArray[np.uint8]) -> NDArray[np.uint8]:
    smooth = rainy.astype(float)
    smooth[1:-1] = (smooth[:-2] + smooth[1:-1] + smooth[2:]) / 3
    return smooth.astype(np.uint8)


def measure(dataset: Path) -> tuple[Evaluation, list[Method]]:
    methods = [Method("average", average, "fp32"), Method(EVIL, lambda _, rainy: rainy)]
    return evaluate(dataset, methods), methods


def test_the_page_shows_what_was_measured(dataset: Path) -> None:
    found, methods = measure(dataset)
    html = evaluation_page(found, methods)
    page = Page(html)
    assert_self_contained(html)
    assert page.count["svg"] == 2
    assert page.count["details"] == 2
    assert html.count("<details open><summary>average ") == html.count(" open>") == 1  # the best
    # For each method the most, median and least gain: before, after, target and error.
    assert len(page.images) == 2 * 3 * 4
    assert all((image["src"] or "").startswith("data:image/jpeg;base64,") for image in page.images)
    assert all(image["alt"] for image in page.images)
    for method in found.methods:
        assert f"<td>{found.mean(method).psnr:.3f}</td>" in html
    assert "a&amp;b" in html
    assert EVIL not in html
    gains = list(found.gains("average"))
    for name, what in ((gains[-1], "most"), (gains[2], "median"), (gains[0], "least")):
        assert f"{name}: {what} gain, {found.gains('average')[name]:+.2f} dB" in html


def test_losses_and_failures_are_said(dataset: Path) -> None:
    (dataset / "input" / "0.png").write_bytes(b"")
    spoil = Method("spoil", lambda _, rainy: (rainy // 2).astype(np.uint8))
    found = evaluate(dataset, [spoil])
    html = evaluation_page(found, [spoil])
    Page(html)
    assert "1 not scored" in html
    assert "4 made worse" in html
    assert 'class="bar loss"' in html
    assert "<td class=down>-" in html


def test_perfect_results_have_a_page_too(dataset: Path, photo: NDArray[np.uint8]) -> None:
    perfect = Method("perfect", lambda _, rainy: photo)
    html = evaluation_page(evaluate(dataset, [perfect]), [perfect])
    Page(html)
    assert "∞" in html
    assert "5 results equal their targets" in html


def test_an_evaluation_without_methods_is_a_table(dataset: Path) -> None:
    html = evaluation_page(evaluate(dataset, []), [])
    assert Page(html).images == []
    assert "<svg" not in html


def test_the_gallery_says_that_no_score_exists(dataset: Path) -> None:
    bad = dataset / "input" / "3.png"
    bad.write_bytes(b"")
    sources = [(f.stem, f) for f in sorted((dataset / "input").glob("*.png"))]
    grey = dataset / "grey.png"
    Image.fromarray(np.full((20, 30), 700, np.uint16)).save(grey)
    told: dict[str, str | None] = {}

    def refuse(name: str, rainy: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if name == "1":
            raise PictureError("no")
        return average(name, rainy)

    html = gallery_page(
        dataset,
        [*sources, ("grey", grey)],
        [Method("average", refuse)],
        lambda name, error: told.update({name: error}),
    )
    page = Page(html)
    text = assert_self_contained(html)
    assert "no score exists" in text
    assert "dB" not in text
    assert len(page.images) == 2 * 4
    assert [name for name, error in told.items() if error] == ["1", "3"]


def test_error_map_grows_with_the_error() -> None:
    target = np.zeros((1, 4, 3), np.uint8)
    result = target + np.array([0, ERROR_FULL // 3, ERROR_FULL, 255], np.uint8)[None, :, None]
    light = error_map(result, target).astype(int).sum(axis=2)[0]
    assert light[0] < 10
    assert light[0] < light[1] < light[2]
    assert light[2] == light[3] == 252 + 255 + 164


def test_any_depth_becomes_rgb() -> None:
    assert np.array_equal(as_rgb8(np.full((2, 2, 1), 65535, np.uint16)), np.full((2, 2, 3), 255))
    assert as_rgb8(np.zeros((2, 2, 3), np.uint8)).shape == (2, 2, 3)
