"""Runs the service until it is told to stop; then it finishes what it took."""

from __future__ import annotations

import math

import uvicorn

from dpenet.server.app import create_app
from dpenet.server.connection import Connection
from dpenet.server.logs import LOGGER, configure
from dpenet.server.settings import Settings


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: Of the service.

    Raises:
        ModelError: If the default model is not here or damaged.
        UsageError: If the device or the precision is not there.
    """
    configure(settings.log_level)
    app = create_app(settings)
    if not settings.is_local and settings.token is None:
        LOGGER.warning("reachable from other machines, and no token is set")
    longest = max(settings.seconds, settings.clip_seconds)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Connection.limited(settings),
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
