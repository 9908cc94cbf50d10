"""Training recipes: YAML in, a checked and frozen `Recipe` out.

``extends: FILE``, beside the keys of `Recipe`, takes from another recipe whatever this one does not
state, section by section; FILE is relative to the folder of the recipe that names it. All other
paths in a recipe are relative to the current folder. ``--set a.b=c`` on the command line overrides
one key; its value is read as YAML.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    Discriminator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Tag,
    ValidationError,
    model_validator,
)

from dpenet.errors import RecipeError
from dpenet.loss import EDGE_WEIGHT, SSIM_WINDOW
from dpenet.rain import RainKind
from dpenet.training.schedule import MultiStep, Schedule
from dpenet.training.section import Section

Share = Annotated[float, Field(ge=0, le=1)]


class Model(Section):
    """Which network, and where its first weights come from.

    Attributes:
        width, n_ddrb, n_erpab: See `dpenet.network.DPENet`.
        init: A model of the zoo or a weights file to start from, or a recipe (.yaml) that is
            trained first; of several, the mean of their weights (`dpenet.training.merging`);
            random weights if None. A wider or deeper network than that is grown from it
            (`dpenet.training.growth`), a shallower one leaves out those of its blocks that matter
            least (`dpenet.training.pruning`).
        revive: Whether hidden channels of the first weights that have died get new weights
            (`dpenet.training.revival`).
        output_scale: Factor on the random weights of both output layers. The default starts as
            PyTorch does; 0.1 starts near the identity, which saves the first few hundred steps.
    """

    width: PositiveInt = 32
    n_ddrb: PositiveInt = 10
    n_erpab: PositiveInt = 3
    init: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    revive: bool = False
    output_scale: NonNegativeFloat = 1.0

    @property
    def inits(self) -> tuple[str, ...]:
        """All that the first weights come from; none if they are random."""
        return (self.init,) if isinstance(self.init, str) else self.init or ()


class _Crops(Section):
    """How batches are cut from pictures, whatever these are.

    Attributes:
        patch: Side of the square crops, in pixels.
        batch: Crops per step and process.
        repeat: Crops that an epoch takes from every picture.
        flips: Whether half of the crops are mirrored left to right.
        workers: Processes that prepare batches; 0 prepares them between the steps.
        cache_gb: Decoded pictures kept in memory, over all workers of a process.
    """

    patch: int = Field(default=128, ge=SSIM_WINDOW)
    batch: PositiveInt = 18
    repeat: PositiveInt = 1
    flips: bool = False
    workers: NonNegativeInt = 1
    cache_gb: NonNegativeFloat = 2.0


class PairData(_Crops):
    """Rainy pictures with their clean ones.

    Attributes:
        pairs: The folder.
        layout: Name of its layout (`dpenet.data.layouts`), or auto.
    """

    pairs: Path
    layout: str = "auto"

    @property
    def folder(self) -> Path:
        return self.pairs


class Rain(Section):
    """Rain made on the fly.

    Attributes:
        kind: See `dpenet.rain.sample_rain`.
        clean_share: Share of the crops left without rain, which teaches to leave clean pictures be.
    """

    kind: RainKind = "mixed"
    clean_share: Share = 0.0


class PhotoData(_Crops):
    """Clean photos, made rainy on the fly.

    Attributes:
        photos: A folder of photos; its subfolders are searched too.
        rain: What falls on them.
        scale: Least and greatest factor of the random downscaling before the rain falls.
        turned: Turn the crops by random quarters before the rain falls: from few scenes, more
            kinds of fine texture that is not rain.
        toned_share: Share of the crops whose gamma, contrast, brightness, colourfulness and
            sharpness are varied before the rain falls: pale scenes are not scenes behind rain.
        grained_share: Share of the crops that are given film grain, and half of them the marks of
            JPEG, before the rain falls: such things are the scene's and stay.
        busy_share: Share of the crops that are the one with the most fine detail of four.
    """

    photos: Path
    rain: Rain = Rain()
    scale: tuple[Annotated[float, Field(ge=1)], Annotated[float, Field(ge=1)]] = (1.0, 1.0)
    turned: bool = False
    toned_share: Share = 0.0
    grained_share: Share = 0.0
    busy_share: Share = 0.0

    @property
    def folder(self) -> Path:
        return self.photos

    @model_validator(mode="after")
    def _ordered(self) -> PhotoData:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale: the least factor comes first")
        return self


def _kind_of_data(value: Any) -> str:
    has_photos = "photos" in value if isinstance(value, dict) else isinstance(value, PhotoData)
    return "(photos)" if has_photos else "(pairs)"


Data = Annotated[
    Annotated[PairData, Tag("(pairs)")] | Annotated[PhotoData, Tag("(photos)")],
    Discriminator(_kind_of_data),
]


class Validation(Section):
    """What tells the best weights; never the test set.

    Attributes:
        share: Share of the pictures held out. All pictures of one clean scene stay together.
        folder: A separate folder of the same kind, instead of a share.
        crop: Centre crop of the validation pictures, in pixels; smaller pictures stay whole.
        limit: At most so many pictures.
        every: Steps between validations; there is one at the end anyway.
    """

    share: float = Field(default=0.05, gt=0, lt=1)
    folder: Path | None = None
    crop: int = Field(default=256, ge=SSIM_WINDOW)
    limit: PositiveInt = 32
    every: PositiveInt = 1000


class Optimiser(Section):
    """Adam, AdamW or Muon, with PyTorch's meaning of each number.

    Attributes:
        name: muon learnt twice as much from as many pictures as adamw (docs/training.md).
        clip: Greatest norm of the whole gradient; None does not clip.
    """

    name: Literal["adam", "adamw", "muon"] = "adam"
    lr: float = Field(default=1e-3, gt=0)
    betas: tuple[Share, Share] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0
    clip: float | None = Field(default=None, gt=0)


class Loss(Section):
    """Weights of the terms of `dpenet.loss.comprehensive_loss`; the defaults are the paper's.

    Attributes:
        evenness: How little rain, as a mean difference in 0..1, halves the weight of a crop: the
            large errors of heavy rain drown those of light rain and of dry scenes otherwise. None
            gives all crops one weight.
    """

    ssim: NonNegativeFloat = 1.0
    edge: NonNegativeFloat = EDGE_WEIGHT
    l1: NonNegativeFloat = 0.0
    psnr: NonNegativeFloat = 0.0
    evenness: float | None = Field(default=None, gt=0)


class Distillation(Section):
    """Learning from a larger network besides the truth.

    Attributes:
        teacher: A model of the zoo or a weights file, or a recipe (.yaml) that is trained first.
        weight: Share of the loss that compares with the teacher's result; the rest compares with
            the clean picture.
    """

    teacher: str
    weight: Share = 0.5


class Recipe(Section):
    """Everything that determines a training, apart from the pictures.

    Attributes:
        output: The folder of this training: checkpoint, weights, logs.
        epochs, steps: How long; exactly one of the two.
        ema: Decay of the average of the weights that is validated and exported; None exports the
            weights themselves.
        precision: auto is bf16 where the hardware multiplies bfloat16, fp32 elsewhere.
        seed: Of the first weights and, with epoch and index, of every crop, flip and rain.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between lines in the logs.
    """

    output: Path
    data: Data
    model: Model = Model()
    validation: Validation = Validation()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = MultiStep()
    loss: Loss = Loss()
    distillation: Distillation | None = None
    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    ema: float | None = Field(default=None, gt=0, lt=1)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    channels_last: bool = True
    seed: NonNegativeInt = 0
    checkpoint_every: PositiveInt = 500
    log_every: PositiveInt = 50

    @model_validator(mode="after")
    def _one_length(self) -> Recipe:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        return self


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: A YAML file.
        overrides: ``a.b=c`` each; later ones win.

    Raises:
        RecipeError: If the file or one that it extends cannot be read, or a key or value is not
            valid. The message names the file, the key and, for a misspelt key, the nearest valid
            one.
    """
    values = _read(path)
    for override in overrides:
        _override(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors())
        raise RecipeError(f"{path}: {problems}") from error


def _read(path: Path, extending: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The keys of a recipe and of those that it extends, which ``extending`` asked for."""
    if path.resolve() in extending:
        raise RecipeError(f"{path} extends itself, by way of others: take one 'extends' out")
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"cannot read the recipe {path}: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path} is not a recipe: it should be keys and values, in YAML")
    if "extends" not in values:
        return values
    extended = values.pop("extends")
    if not isinstance(extended, str):
        raise RecipeError(f"{path}: extends: name one other recipe, a file")
    return _merged(_read(path.parent / extended, (*extending, path.resolve())), values)


def _merged(values: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Both; where both have a key that is no section, ``over`` wins."""
    merged = {**values, **over}
    for key in values.keys() & over.keys():
        if isinstance(values[key], dict) and isinstance(over[key], dict):
            merged[key] = _merged(values[key], over[key])
    return merged


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    *sections, last = key.split(".")
    if not equals or not all([*sections, last]):
        raise RecipeError(f"cannot understand --set {override}; write --set section.key=value")
    for section in sections:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        values = values[section]
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set {override}: the value is not YAML: {error}") from error


def _describe(problem: Any) -> str:
    """One validation problem as ``section.key: what is wrong``."""
    # pydantic puts the chosen kind of a union into the path; people wrote no such key.
    kinds = {"(pairs)", "(photos)", "multistep", "cosine", "wsd"}
    where = ".".join(str(part) for part in problem["loc"] if part not in kinds)
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
