"""What all requests share: the models, the line of those who wait, the counters."""

from __future__ import annotations

import asyncio

from dpenet.errors import DpenetError
from dpenet.server import catalogue
from dpenet.server.catalogue import Key, Models
from dpenet.server.failures import RefusedError
from dpenet.server.folders import remove_left
from dpenet.server.jobs import Workshop
from dpenet.server.line import Line
from dpenet.server.logs import LOGGER
from dpenet.server.metrics import Metrics
from dpenet.server.settings import Settings


class Service:
    """What all requests share.

    Args:
        settings: Of the service.

    Raises:
        ModelError: If the default model is not here or damaged.
        UsageError: If the device or the precision is not there.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.offer = catalogue.survey(settings)
        self.models = Models(settings)
        self.line = Line(
            settings.slots, settings.places, settings.places_per_client, settings.max_held
        )
        # Clips wait for one another, and not before pictures.
        clip_line = Line(settings.clip_workers)
        self.metrics = Metrics(self.line, clip_line)
        self.workshop = Workshop(self.line)
        self.clip_workshop = Workshop(clip_line)
        self.ready = False
        if settings.clip_folder is not None:
            remove_left(settings.clip_folder)

    def key(self, model: str | None, precision: str | None, stage: int) -> Key:
        """The network that a request asks for.

        Raises:
            RefusedError: If the model or the precision is not offered.
        """
        name = model or self.settings.model
        facts = next((one for one in self.offer.models if one.name == name), None)
        if facts is None:
            names = ", ".join(one.name for one in self.offer.models)
            raise RefusedError(
                422, "unknown_model", f"there is no such model here; there are: {names}"
            )
        wanted = precision or (self.settings.precision if facts.default else "auto")
        actual = facts.default_precision if wanted == "auto" else wanted
        if actual not in (*facts.precisions, facts.default_precision):
            raise RefusedError(
                422,
                "unavailable_precision",
                f"{name} is computed here in: {', '.join(facts.precisions)}",
            )
        return Key(name, actual, stage)

    async def prepare(self) -> None:
        """Load the default model. If it cannot be, the log says why, and nothing is ready."""
        key = self.key(None, None, 2)

        def load() -> None:
            with self.models.lease(key):
                pass

        try:
            await asyncio.to_thread(load)
        except DpenetError as error:
            LOGGER.error("%s cannot be loaded: %s", key.model, error)
        else:
            self.ready = True

    def close(self) -> None:
        """Wait until nothing is computed any more."""
        self.ready = False
        for workshop in (self.workshop, self.clip_workshop):
            workshop.close()
