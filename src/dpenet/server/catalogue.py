"""Which models the service offers, in which precisions, and the few that are loaded."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from dpenet.errors import DpenetError, ModelError, UsageError
from dpenet.inference.core import openvino_core
from dpenet.inference.derainer import Derainer
from dpenet.inference.devices import torch_device
from dpenet.inference.options import PRECISIONS
from dpenet.inference.pipeline import Room, stoppable, wait_stoppably
from dpenet.inference.precision import plan
from dpenet.server.settings import Settings
from dpenet.zoo import Weights, load_weights
from dpenet.zoo.store import imported, locate
from dpenet.zoo.table import MODELS, Score, unknown_model

_HINTED = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
# Small pictures until a `Derainer` has opened all that it needs for many.
_WARMING, _WARMING_SIDE = 9, 16


class ModelFacts(BaseModel):
    """A model that may be asked for."""

    name: str
    title: str
    state: str
    licence: str | None
    trained_on: str
    note: str
    parameters: int
    scores: tuple[Score, ...]
    precisions: tuple[str, ...]
    default_precision: str
    default: bool


class Offer(BaseModel):
    """The models that may be asked for, the default first, and what is taken."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "models": [
                    {
                        "name": "universal",
                        "title": "All kinds of rain",
                        "state": "embedded",
                        "licence": "Apache-2.0",
                        "trained_on": "synthetic rain",
                        "note": "",
                        "parameters": 123456,
                        "scores": [],
                        "precisions": ["fp32", "int8"],
                        "default_precision": "int8",
                        "default": True,
                    }
                ],
                "clips": True,
                "heic": False,
                "max_bytes": 32000000,
                "max_pixels": 50000000,
                "max_clip_bytes": 64000000,
            }
        }
    )

    models: tuple[ModelFacts, ...]
    clips: bool
    heic: bool
    max_bytes: int
    max_pixels: int
    max_clip_bytes: int


class Key(NamedTuple):
    """What needs a network of its own in memory."""

    model: str
    precision: str
    stage: int


def survey(settings: Settings) -> Offer:
    """The models that are on this machine and may be asked for, and what is taken.

    Raises:
        ModelError: If the default, or one that is to be offered, is not here or damaged.
        UsageError: If there is no such device, or the default lacks the precision.
    """
    capabilities = _capabilities(settings.device)
    names = settings.offered or _here()
    facts = []
    for name in dict.fromkeys((settings.model, *names)):
        try:
            facts.append(_facts(name, settings, capabilities))
        except ModelError:
            if name == settings.model or name in settings.offered:
                raise
    first = facts[0]
    if settings.precision not in ("auto", *first.precisions):
        raise UsageError(f"{first.name} cannot be computed in {settings.precision} here")
    return Offer(
        models=tuple(facts),
        clips=settings.serves_clips,
        heic=find_spec("pillow_heif") is not None,
        max_bytes=settings.max_bytes,
        max_pixels=settings.max_pixels,
        max_clip_bytes=settings.max_clip_bytes,
    )


def _here() -> list[str]:
    names = []
    for name in (*MODELS, *imported()):
        with suppress(ModelError):
            locate(name)
            names.append(name)
    return names


def _facts(name: str, settings: Settings, capabilities: Sequence[str] | None) -> ModelFacts:
    if name not in MODELS and name not in imported():
        raise unknown_model(name, _here())
    weights = load_weights(name)
    card = MODELS.get(name)
    usable = _usable(weights, settings.device, capabilities)
    default = usable.pop("auto")
    return ModelFacts(
        name=name,
        title=card.title if card else "Imported on this machine",
        state="imported" if card is None else "embedded" if card.embedded else "fetched",
        licence=card.licence if card else None,
        trained_on=card.trained_on if card else "",
        note=card.note if card else "",
        parameters=weights.architecture.parameters,
        scores=card.scores if card else (),
        precisions=tuple(usable),
        default_precision=default,
        default=name == settings.model,
    )


def _capabilities(device: str) -> Sequence[str] | None:
    """What OpenVINO's device can; None if PyTorch computes."""
    if torch_device(device, "auto") is not None:
        return None
    core = openvino_core()
    name = "CPU" if device == "auto" else device.upper()
    try:
        found: Sequence[str] = core.get_property(name, "OPTIMIZATION_CAPABILITIES")
    except RuntimeError:
        raise UsageError(f"there is no device {device!r} here") from None
    return found


def _usable(weights: Weights, device: str, capabilities: Sequence[str] | None) -> dict[str, str]:
    """The precisions that a device computes a model in, and which one ``auto`` is."""
    if capabilities is None:
        return {name: name for name in PRECISIONS if name != "int8"}
    name = "CPU" if device == "auto" else device.upper()
    usable = {}
    for precision in PRECISIONS:
        with suppress(DpenetError):
            chosen = plan(precision, name, capabilities, weights)
            found = "int8" if chosen.int8 is not None else _HINTED.get(chosen.hint or "")
            usable[precision] = found or precision
    return usable


class _Loaded:
    """A network in memory, and how many use it."""

    def __init__(self) -> None:
        self.users = 0
        self.derainer: Future[Derainer] = Future()


class Models:
    """The networks in memory: loaded when asked for, the least recently used given up.

    Safe to call from several threads.

    Args:
        settings: How many at once, and how they compute.

    Attributes:
        room: Bytes that the pictures of all of them take.
    """

    def __init__(self, settings: Settings) -> None:
        self.room = Room()
        self._settings = settings
        self._loaded: dict[Key, _Loaded] = {}
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._loaded)

    @contextmanager
    def lease(self, key: Key) -> Iterator[Derainer]:
        """Use a network; it stays in memory meanwhile. Waits if as many as may be are in use.

        Raises:
            ModelError: If the model is damaged.
            UsageError: If it cannot be computed so.
            Stopped: If nobody waits for the calling worker any more.
        """
        with self._changed:
            wait_stoppably(self._changed, lambda: key in self._loaded or self._make_room())
            is_new = key not in self._loaded
            one = self._loaded.pop(key, None) or _Loaded()
            self._loaded[key] = one  # the most recently used is the last
            one.users += 1
        try:
            if is_new:
                self._load(key, one)
            yield one.derainer.result()
        finally:
            with self._changed:
                one.users -= 1
                self._changed.notify_all()

    def _make_room(self) -> bool:
        if len(self._loaded) >= self._settings.loaded_models:
            idle = next((key for key, one in self._loaded.items() if not one.users), None)
            if idle is None:
                return False
            del self._loaded[idle]
        return True

    def _load(self, key: Key, one: _Loaded) -> None:
        try:
            one.derainer.set_result(self._open(key))
        except BaseException as error:
            with self._changed:
                self._loaded.pop(key, None)
            one.derainer.set_exception(error)
            raise

    def _open(self, key: Key) -> Derainer:
        import numpy as np

        settings = self._settings
        derainer = Derainer(
            key.model,
            precision=key.precision,
            stage=key.stage,
            device=settings.device,
            threads=settings.threads,
            memory=settings.memory,
        )
        derainer.room = self.room
        blank = np.zeros((_WARMING_SIDE, _WARMING_SIDE, 3), np.uint8)
        with stoppable(threading.Event()):
            for _ in range(_WARMING):
                derainer.derain_pixels(blank)
        return derainer
