"""The table of models: where each comes from, what it may be used for, what we measured."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files

from dpenet.errors import ModelError
from dpenet.zoo.architecture import Architecture

AUTHORS = "https://github.com/chdwyb/DPENet"
AUTHORS_RAW = "https://raw.githubusercontent.com/chdwyb/DPENet"


@dataclass(frozen=True)
class Score:
    """What we measured; never a number from a paper.

    Attributes:
        dataset: Name of the test set.
        protocol: Name in `dpenet.metrics.PROTOCOLS`; figures of two protocols do not compare.
        psnr: Mean over the pairs, in dB.
        ssim: Mean over the pairs.
        pairs: How many pairs.
        precision: Of the inference, such as ``fp32``.
    """

    dataset: str
    protocol: str
    psnr: float
    ssim: float
    pairs: int
    precision: str


@dataclass(frozen=True)
class ModelCard:
    """What is known of a model.

    Attributes:
        name: What commands and functions call it.
        title: One line for people.
        source: Who made it.
        commit: The commit of the source that has the file; None if embedded.
        url: Where to fetch it; None if embedded.
        sha256: Digest of the file to fetch; None if embedded (the package vouches for it).
        licence: Of the weights.
        trained_on: The training data.
        architecture: Width and depth.
        embedded: Whether it comes with the package.
        scores: What we measured.
        note: What to know before trusting it or its scores.
        halo_8bit: By precision, how far pixels act on a result rounded to 8 bits, as measured by
            ``benchmarks/halo.py``: at most the receptive field. None leaves it to the file's
            metadata.
    """

    name: str
    title: str
    source: str
    commit: str | None
    url: str | None
    sha256: str | None
    licence: str
    trained_on: str
    note: str
    architecture: Architecture = field(default_factory=Architecture)
    embedded: bool = False
    scores: tuple[Score, ...] = ()
    halo_8bit: Mapping[str, int] | None = None


def _read_scores() -> dict[str, tuple[Score, ...]]:
    """Read the scores that ``benchmarks/quality.py`` wrote, by model."""
    try:
        rows = json.loads(files("dpenet.zoo").joinpath("scores.json").read_bytes())["rows"]
    except FileNotFoundError:  # a table without scores is still a table
        return {}
    scores: dict[str, tuple[Score, ...]] = {}
    for row in rows:
        score = Score(**{key: row[key] for key in Score.__dataclass_fields__})
        scores[row["model"]] = (*scores.get(row["model"], ()), score)
    return scores


_SCORES = _read_scores()


def _published(
    file: str,
    commit: str,
    sha256: str,
    trained_on: str,
    halo_8bit: Mapping[str, int],
    note: str = "",
) -> ModelCard:
    caveat = (
        "The authors' training sample shares its background with image 1 of the Rain100 test "
        "sets, and their checkpoints look fine-tuned from one another: its scores may not be "
        "those of a strictly separate training set."
    )
    name = file.lower()
    return ModelCard(
        name=name,
        title=f"The authors' checkpoint {file}",
        source=AUTHORS,
        commit=commit,
        url=f"{AUTHORS_RAW}/{commit}/logs/{file}.pth",
        sha256=sha256,
        licence="none stated by the authors: fetch for your own use, do not redistribute",
        trained_on=trained_on,
        note=f"{note}{caveat}",
        scores=_SCORES.get(name, ()),
        halo_8bit=halo_8bit,
    )


def _own(name: str, title: str, architecture: Architecture, note: str) -> ModelCard:
    return ModelCard(
        name=name,
        title=title,
        source="this project",
        commit=None,
        url=None,
        sha256=None,
        licence="Apache-2.0",
        trained_on="own rain",
        architecture=architecture,
        note=f"{note} Trained from nothing on free photos (scripts/photos.toml) in the rain that "
        "dpenet.rain draws; it has seen no pair of any public data set. See docs/universal.md.",
        embedded=True,
        scores=_SCORES.get(name, ()),
    )


_CARDS = (
    _own(
        "universal",
        "The embedded default, for any rainy photo",
        Architecture(),
        "Provisional: its training goes on (recipes/universal.yaml).",
    ),
    _own(
        "universal-light",
        "LightDPENet: half of the default's cost",
        Architecture(n_ddrb=5),
        "At present it gives nearly the same as universal (recipes/universal-light.yaml).",
    ),
    _own(
        "universal-nano",
        "A fast small network, for video",
        Architecture(width=16, n_ddrb=5, n_erpab=2),
        "An eighth of the default's cost, and within a decibel of it at present; it takes fine "
        "bright things for rain more often (recipes/universal-nano.yaml).",
    ),
    _published(
        "Rain100H",
        "06473a2",
        "f3f929075f481bef2385e279e68954b70ec187086b6833e8e8e2a35ebf468726",
        "Rain100H",
        halo_8bit={"fp32": 96, "int8": 181},
    ),
    _published(
        "Rain100L",
        "4ef5c0c",
        "6921eb9d70bb4080b97f5f555366d2bbed29ba59403597a63043bf1c4f5f182c",
        "Rain100L",
        halo_8bit={"fp32": 96, "int8": 176},
    ),
    _published(
        "Rain800",
        "4ef5c0c",
        "28eec1d3a73d40f436e23c3ee9d3925c650f98630cf2161c5d146746211227d1",
        "Rain800",
        halo_8bit={"fp32": 112},
    ),
    _published(
        "Rain1400",
        "4ef5c0c",
        "e1516e13781a5cc0501826714ef23688c51ce37d65711d3e15dac46c9b497fc9",
        "Rain1400",
        halo_8bit={"fp32": 112},
    ),
    _published(
        "HeavyRain",
        "3096a6cfdcca74e98489331744801895e9c176f6",
        "e94ca708e1ad6ae247a785709bac7d2910eed24edd81c679450f4a7146b67210",
        "heavy rain",
        halo_8bit={"fp32": 128},
        note="The authors do not say which heavy rain it was trained on. ",
    ),
)

MODELS = {card.name: card for card in _CARDS}


def list_models() -> list[str]:
    """The names of the models in the table; the first is the embedded default."""
    return list(MODELS)


def get_card(name: str) -> ModelCard:
    """What is known of a model in the table.

    Raises:
        ModelError: If there is none of that name; it suggests the nearest.
    """
    if name not in MODELS:
        raise unknown_model(name, MODELS)
    return MODELS[name]


def unknown_model(name: str, known: Iterable[str]) -> ModelError:
    """The error for a name that is not known."""
    names = list(known)
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    advice = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names)}"
    return ModelError(f"no model is called {name!r}; {advice}")
