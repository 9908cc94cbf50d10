"""What the service may be told, by options of ``dpenet serve`` and by environment variables."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from pydantic import ByteSize, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "DPENET_SERVER_"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_IN_MEMORY = Path("/dev/shm")

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[ByteSize, Field(ge=1)]


class Settings(BaseSettings):
    """Where to listen, what to offer, and how much of everything a request may take.

    Each field is also an environment variable: ``max_pixels`` is ``DPENET_SERVER_MAX_PIXELS``.
    Sizes take units (``32MB``, ``1GiB``), lists are JSON (``["https://example.org"]``).
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        use_attribute_docstrings=True,
        env_parse_none_str="null",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is all of them."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    token: SecretStr | None = Field(default=None, min_length=16)
    """If set, /v1 and /metrics want it: `Authorization: Bearer TOKEN`."""
    allowed_hosts: tuple[str, ...] = ()
    """Names in the Host header that are answered. Default: those of this machine if it listens on
    loopback only, else any.
    """
    cors_origins: tuple[str, ...] = ()
    """Other sites whose pages may call the service from a browser."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses of proxies whose X-Forwarded-For and -Proto are believed."""

    model: str = "universal"
    """The model that is used unless one is named."""
    precision: str = "auto"
    """The precision that is used unless one is named."""
    offered: tuple[str, ...] = ()
    """Models that may be named. Default: all that are on this machine."""
    device: str = "auto"
    """Device that computes, as for `dpenet derain`."""
    threads: Count | None = None
    """Processor threads. Default: all cores."""
    memory: Bytes | None = None
    """What each model and the pictures that it computes may take at most. Default: half of what is
    free.
    """
    loaded_models: Count = 2
    """Networks in memory at once."""

    max_bytes: Bytes = ByteSize(32_000_000)
    """Largest upload of a picture."""
    max_pixels: Count = 50_000_000
    """Largest picture, in pixels."""
    max_clip_bytes: Bytes = ByteSize(64_000_000)
    """Largest upload of a clip."""
    max_frame_pixels: Count = 9_000_000
    """Largest frame of a clip, in pixels."""
    max_clip_pixels: Count = 2_000_000_000
    """Longest clip: pixels of all its frames together."""
    clip_folder: Path | None = _IN_MEMORY if _IN_MEMORY.is_dir() else None
    """Folder for clips while they are worked on. The default is in memory (`/dev/shm`); null turns
    clips off.
    """
    max_held: Bytes = ByteSize(512_000_000)
    """Uploads and results of all requests together, in bytes."""
    workers: Count | None = None
    """Pictures in work at once. Default: one more than threads."""
    clip_workers: Count = 1
    """Clips in work at once."""
    places: Count = 128
    """Requests with a picture at once, waiting or in work."""
    places_per_client: Count = 16
    """The same, of one client address."""
    connections: Count = 512
    """Open connections."""

    header_seconds: Seconds = 10
    """For the head of a request to arrive."""
    upload_seconds: Seconds = 60
    """For the body of a request to arrive."""
    seconds: Seconds = 120
    """For a picture to wait and be computed."""
    clip_seconds: Seconds = 600
    """For a clip to wait and be computed."""
    send_seconds: Seconds = 60
    """For a result to be taken by the client."""
    log_level: str = "info"
    """debug, info, warning or error."""

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value not in ("debug", "info", "warning", "error"):
            raise ValueError("must be debug, info, warning or error")
        return value

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the service."""
        return self.host in _LOOPBACK

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names in the Host header that are answered; empty for any.

        A page of another site whose name was pointed at this machine would carry that name.
        """
        return self.allowed_hosts or (_LOOPBACK if self.is_local else ())

    @property
    def serves_clips(self) -> bool:
        """Whether clips are taken: there is a folder for them, and PyAV is installed."""
        return self.clip_folder is not None and find_spec("av") is not None

    @property
    def cores(self) -> int:
        """Threads that compute."""
        if self.threads is None and hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return self.threads or os.cpu_count() or 1

    @property
    def slots(self) -> int:
        """Pictures in work at once: while some compute, another is decoded or encoded."""
        return self.workers or self.cores + 1
