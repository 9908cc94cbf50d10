"""A service in a process of its own, and pictures to send to it."""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

MODEL = "universal-nano"
SOURCE = Path(__file__).resolve().parents[2] / "src"
STARTING = 120.0

MakeClient = Callable[..., AbstractContextManager[TestClient]]
MakeLive = Callable[..., AbstractContextManager["Live"]]


def encoded(pixels: NDArray[Any], kind: str = "PNG", **options: Any) -> bytes:
    """An image file, made by Pillow."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


@dataclass
class Live:
    """A service in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    log: Path

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

    def is_ready(self) -> bool:
        try:
            return self.request("GET", "/readyz")[0] == 200
        except OSError:
            return False

    @property
    def peak_memory(self) -> int:
        """Bytes that it held at most, as the system has it."""
        return self._of_memory("VmHWM")

    @property
    def memory(self) -> int:
        """Bytes that it holds now."""
        return self._of_memory("VmRSS")

    def _of_memory(self, field: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) * 1024


@contextlib.contextmanager
def start(log: Path, **settings: Any) -> Iterator[Live]:
    """Run ``dpenet serve`` with these settings until it is ready, and end it afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(SOURCE),
        "DPENET_SERVER_MODEL": MODEL,
        **{f"DPENET_SERVER_{name.upper()}": str(value) for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "dpenet", "serve", "--port", str(port)]
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, stderr=file, text=True)
    live = Live(process, port, log)
    try:
        end = time.monotonic() + STARTING
        while not live.is_ready():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield live
    finally:
        process.terminate()
        process.wait(60)
