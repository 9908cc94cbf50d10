from __future__ import annotations

import hashlib
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from dpenet.errors import ModelError
from dpenet.zoo import Architecture, get_card, list_models
from dpenet.zoo.table import MODELS

OWN = ["universal", "universal-light", "universal-nano"]
PUBLISHED = {
    "rain100h": "Rain100H",
    "rain100l": "Rain100L",
    "rain800": "Rain800",
    "rain1400": "Rain1400",
    "heavyrain": "HeavyRain",
}


def test_the_embedded_default_comes_first() -> None:
    assert list_models() == [*OWN, *PUBLISHED]
    assert [name for name in list_models() if get_card(name).embedded] == OWN
    assert {get_card(name).licence for name in OWN} == {"Apache-2.0"}


@pytest.mark.parametrize("name", list_models())
def test_a_card_is_complete(name: str) -> None:
    card = get_card(name)
    assert card.name == name
    assert all((card.title, card.source, card.licence, card.trained_on, card.note))
    assert card.embedded == (card.url is None) == (card.commit is None) == (card.sha256 is None)


@pytest.mark.parametrize(("name", "file"), PUBLISHED.items())
def test_published_models_are_pinned(name: str, file: str) -> None:
    card = get_card(name)
    assert card.source == "https://github.com/chdwyb/DPENet"
    assert card.url == (
        f"https://raw.githubusercontent.com/chdwyb/DPENet/{card.commit}/logs/{file}.pth"
    )
    assert re.fullmatch("[0-9a-f]{7,40}", card.commit or "")
    assert "do not redistribute" in card.licence
    assert "shares its background" in card.note
    assert card.architecture == Architecture()


@pytest.mark.parametrize(("name", "file"), PUBLISHED.items())
def test_the_sha256_are_those_of_the_published_files(name: str, file: str, shared: Path) -> None:
    content = (shared / "reference" / "weights" / f"{file}.pth").read_bytes()
    assert hashlib.sha256(content).hexdigest() == get_card(name).sha256


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Rain100H", "did you mean rain100h"),
        ("universl", "did you mean universal"),
        ("rain100", "rain100l"),
        ("xyz", "there are: universal, universal-light, universal-nano"),
    ],
)
def test_an_unknown_name_gets_a_suggestion(name: str, advice: str) -> None:
    with pytest.raises(ModelError, match=rf"no model is called '{name}'; .*{advice}"):
        get_card(name)


def test_scores_are_of_known_models_and_reach_the_cards() -> None:
    content = json.loads(files("dpenet.zoo").joinpath("scores.json").read_text())
    assert content["schema"] == 1
    rows = content["rows"]
    measured = [row["model"] for row in rows if row["model"] != "input"]  # rain left as it is
    assert set(measured) <= MODELS.keys()
    assert sum(len(card.scores) for card in MODELS.values()) == len(measured)
    for card in MODELS.values():
        for score in card.scores:
            assert 0 < score.ssim <= 1
            assert 5 < score.psnr < 60
            assert score.pairs > 0
