"""Runs the service until it is told to stop; then it finishes what it took."""

from __future__ import annotations

import ctypes
import math
from contextlib import suppress

import uvicorn

from dpenet.server.app import create_app
from dpenet.server.connection import Connection
from dpenet.server.logs import LOGGER, configure
from dpenet.server.settings import Settings

# Of glibc's mallopt, and bytes.
_M_MMAP_THRESHOLD, _LARGE = -3, 1 << 20


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: Of the service.

    Raises:
        ModelError: If the default model is not here or damaged.
        UsageError: If the device or the precision is not there.
    """
    configure(settings.log_level)
    _return_large_blocks()
    app = create_app(settings)
    if not settings.is_local and settings.token is None:
        LOGGER.warning("reachable from other machines, and no token is set")
    longest = max(settings.seconds, settings.clip_seconds)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Connection.limited(settings, app.state.service.metrics),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_graceful_shutdown=math.ceil(
            settings.upload_seconds + longest + settings.send_seconds
        ),
    )
    uvicorn.Server(config).run()


def _return_large_blocks() -> None:
    """Let glibc give large blocks back as soon as they are freed; others are left alone.

    It would learn from the first that such blocks are better kept, by each thread for itself:
    measured, half as much again as pictures and network take.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)
