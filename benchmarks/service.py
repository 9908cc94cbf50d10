"""``dpenet serve`` in a process of its own, for what looks at it from outside."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from benchmarks.machine import REPOSITORY

STARTING_SECONDS = 120.0


@dataclass
class Service:
    """A running service: its process, its port on 127.0.0.1 and the file of its log."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def address(self) -> str:
        """The URL of its page."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def memory(self) -> int:
        """Bytes that it holds now, as the system has it."""
        return self._of_memory("VmRSS")

    @property
    def peak_memory(self) -> int:
        """Bytes that it held at most."""
        return self._of_memory("VmHWM")

    @property
    def processor_seconds(self) -> float:
        """What it took of all processors so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _of_memory(self, field: str) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition(f"{field}:")[2].split()[0]) * 1024

    def _is_ready(self) -> bool:
        try:
            with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
        except OSError:
            return False


@contextmanager
def running(log: Path | None = None, **settings: Any) -> Iterator[Service]:
    """Run ``dpenet serve`` until it is ready; end it afterwards.

    Args:
        log: File for what it writes; None for one that is dropped.
        settings: Of `dpenet.server.settings.Settings`; what is left out has its default.

    Yields:
        The service, which takes pictures.

    Raises:
        RuntimeError: If it ends or is not ready in time; with its log.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY / "src"),
        **{f"DPENET_SERVER_{name.upper()}": str(value) for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "dpenet", "serve", "--port", str(port)]
    with log.open("w") if log else tempfile.NamedTemporaryFile("w") as file:
        process = subprocess.Popen(command, env=environment, stderr=file)
        service = Service(process, port, Path(file.name))
        try:
            end = time.monotonic() + STARTING_SECONDS
            while not service._is_ready():
                if process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"dpenet serve does not start: {service.log.read_text()}")
                time.sleep(0.05)
            yield service
        finally:
            process.terminate()
            process.wait(60)
