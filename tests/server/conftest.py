"""A service in this process, and real ones in others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
from benchmarks.service import STARTING_SECONDS
from numpy.typing import NDArray
from starlette.testclient import TestClient
from tests.server.services import MODEL, Live, MakeClient, MakeLive, encoded, start

from dpenet.server.app import create_app
from dpenet.server.settings import Settings


@pytest.fixture(scope="session")
def make_client() -> MakeClient:
    """Start a service in this process, with these settings."""

    @contextlib.contextmanager
    def make(**settings: Any) -> Iterator[TestClient]:
        app = create_app(Settings(**{"model": MODEL, "workers": 2, **settings}))
        with TestClient(app, base_url="http://localhost", raise_server_exceptions=False) as client:
            end = time.monotonic() + STARTING_SECONDS
            while client.get("/readyz").status_code != 200:
                assert time.monotonic() < end, "the model is not loaded"
                time.sleep(0.02)
            yield client

    return make


@pytest.fixture(scope="session")
def client(make_client: MakeClient) -> Iterator[TestClient]:
    """A service with the defaults, and the small model."""
    with make_client() as made:
        yield made


@pytest.fixture(scope="session")
def make_live(tmp_path_factory: pytest.TempPathFactory) -> MakeLive:
    """Start ``dpenet serve`` in a process of its own, with these settings."""

    def make(**settings: Any) -> AbstractContextManager[Live]:
        return start(tmp_path_factory.mktemp("live") / "log", **settings)

    return make


@pytest.fixture
def rainy(photo: NDArray[np.uint8]) -> bytes:
    """A small PNG."""
    return encoded(photo)
