"""A service in a process of its own, and pictures to send to it."""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.service import Service, running
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

MODEL = "universal-nano"

MakeClient = Callable[..., AbstractContextManager[TestClient]]
MakeLive = Callable[..., AbstractContextManager["Live"]]


def encoded(pixels: NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """An image file, made by Pillow."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


class Live(Service):
    """A service in a process of its own, and ways to ask it."""

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        timeout: float = 60,
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def raw(self, sent: bytes, timeout: float = 30) -> bytes:
        """Send bytes, and return all that comes until the other side closes or is silent."""
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
            with contextlib.suppress(ConnectionError, TimeoutError):
                while piece := connection.recv(1 << 16):
                    received += piece
        return received


@contextlib.contextmanager
def start(log: Path, **settings: Any) -> Iterator[Live]:
    """Run ``dpenet serve`` with these settings until it is ready, and end it afterwards."""
    with running(log, **{"model": MODEL, **settings}) as service:
        yield Live(service.process, service.port, service.log)
