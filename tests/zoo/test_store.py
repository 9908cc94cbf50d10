"""Fetching is tested against a server in this process; no test needs the network."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dpenet.errors import DownloadError, ModelError, UsageError
from dpenet.zoo import Architecture, load_weights, store
from dpenet.zoo.table import MODELS
from dpenet.zoo.weights import write_weights

State = dict[str, NDArray[np.float32]]
Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers every request as told, and counts them."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.answer: Answer = lambda request: request.send_error(500)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.paths.append(self.path)
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/mirror"

    def sends(self, content: bytes, length: int | None = None) -> None:
        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.send_header("Content-Length", str(length or len(content)))
            request.end_headers()
            request.wfile.write(content)

        self.answer = answer


@pytest.fixture
def server(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server()
    monkeypatch.setenv("DPENET_MODEL_URL", server.url)
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


@pytest.fixture
def checkpoint(small_state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Small weights that the table takes for those of rain100h."""
    path = tmp_path / "checkpoint"
    write_weights(path, small_state, {})
    content = path.read_bytes()
    card = replace(MODELS["rain100h"], sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setitem(MODELS, "rain100h", card)
    return content


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def leftovers(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]


# --- fetching ---


def test_fetch_verifies_and_keeps(server: Server, checkpoint: bytes, home: Path) -> None:
    server.sends(checkpoint)
    path = store.fetch("rain100h")
    assert path == home / "models" / "rain100h.pth"
    assert path.read_bytes() == checkpoint
    assert leftovers(home) == [path]
    assert server.paths == ["/mirror/06473a2/logs/Rain100H.pth"]
    assert load_weights("rain100h").name == "rain100h"


def test_it_is_offline_once_cached(
    server: Server, checkpoint: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.sends(checkpoint)
    path = store.fetch("rain100h")

    def no_network(*_: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    assert store.fetch("rain100h") == store.locate("rain100h") == path
    assert load_weights("rain100h").architecture == Architecture(2, 1, 1)


def test_a_damaged_cached_file_is_noticed_and_replaced(server: Server, checkpoint: bytes) -> None:
    server.sends(checkpoint)
    path = store.fetch("rain100h")
    path.write_bytes(checkpoint[:-1] + b"x")
    with pytest.raises(ModelError, match="is damaged; run: dpenet models fetch rain100h"):
        load_weights("rain100h")
    store.fetch("rain100h")
    assert path.read_bytes() == checkpoint


def test_concurrent_fetches_all_succeed(server: Server, checkpoint: bytes, home: Path) -> None:
    server.sends(checkpoint)
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(store.fetch, ["rain100h"] * 16))
    assert len(paths) == 1
    assert leftovers(home) == list(paths)
    assert paths.pop().read_bytes() == checkpoint


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "404 .*is the mirror right"), (500, "500 .*try again later")]
)
def test_refusals_of_the_server(
    status: int, reason: str, server: Server, checkpoint: bytes, home: Path
) -> None:
    server.answer = lambda request: request.send_error(status)
    with pytest.raises(DownloadError, match=f"cannot fetch rain100h: the server answered {reason}"):
        store.fetch("rain100h")
    assert leftovers(home) == []


def test_a_connection_that_breaks_half_way(server: Server, checkpoint: bytes, home: Path) -> None:
    half = checkpoint[: len(checkpoint) // 2]
    server.sends(half, length=len(checkpoint))
    with pytest.raises(DownloadError, match=r"the connection broke after \d+ bytes; try again"):
        store.fetch("rain100h")
    assert leftovers(home) == []


def test_a_connection_that_breaks_at_once(server: Server, checkpoint: bytes, home: Path) -> None:
    server.sends(b"", length=1000)
    with pytest.raises(DownloadError, match="the connection broke after 0 bytes"):
        store.fetch("rain100h")
    server.answer = lambda request: request.connection.close()
    with pytest.raises(DownloadError, match="cannot fetch rain100h"):
        store.fetch("rain100h")
    assert leftovers(home) == []


def test_a_server_that_falls_silent(
    server: Server, checkpoint: bytes, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_READ_SECONDS", 0.2)
    release = threading.Event()

    def silent(_request: BaseHTTPRequestHandler) -> None:
        release.wait(10)

    server.answer = silent
    with pytest.raises(DownloadError, match=r"the server sent nothing for 0\.2 s"):
        store.fetch("rain100h")
    release.set()
    assert leftovers(home) == []


@pytest.mark.parametrize("content", [b"<html>please log in</html>", b""])
def test_what_is_not_the_checkpoint_is_not_kept(
    content: bytes, server: Server, checkpoint: bytes, home: Path
) -> None:
    server.sends(content)
    with pytest.raises(DownloadError, match=rf"\({len(content)} bytes\) is not rain100h: its sha"):
        store.fetch("rain100h")
    assert leftovers(home) == []


def test_a_wrong_answer_leaves_the_old_file_alone(server: Server, checkpoint: bytes) -> None:
    path = store.stored_path("rain100h")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"old")
    server.sends(b"wrong")
    with pytest.raises(DownloadError):
        store.fetch("rain100h")
    assert path.read_bytes() == b"old"


def test_an_endless_answer_is_cut_off(
    server: Server, checkpoint: bytes, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_MOST_BYTES", 1 << 18)
    sent = 0

    def endless(request: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        request.send_response(200)
        request.end_headers()
        try:
            for _ in range(1 << 12):  # 256 MB, if nobody minds
                request.wfile.write(bytes(1 << 16))
                sent += 1 << 16
        except OSError:
            pass

    server.answer = endless
    with pytest.raises(DownloadError, match="is not rain100h"):
        store.fetch("rain100h")
    assert leftovers(home) == []
    assert sent < 1 << 27


def test_a_refused_proxy_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.setenv("DPENET_MODEL_URL", "http://mirror.invalid")
    with pytest.raises(DownloadError, match=r"the proxy cannot be reached .* check HTTPS_PROXY"):
        store.fetch("rain100h")
    assert leftovers(home) == []


def test_a_proxy_is_used(
    server: Server, checkpoint: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url.removesuffix("/mirror"))
    monkeypatch.setenv("DPENET_MODEL_URL", "http://mirror.invalid")
    server.sends(checkpoint)
    store.fetch("rain100h")
    assert server.paths == ["http://mirror.invalid/06473a2/logs/Rain100H.pth"]


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "mirror.invalid"], ids=["closed", "no DNS"])
def test_no_network(host: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPENET_MODEL_URL", "http://" + host.format(port=closed_port()))
    with pytest.raises(
        DownloadError, match=r"no connection to the server.*Or download http.*models import FILE"
    ):
        store.fetch("rain100h")
    assert leftovers(home) == []


def test_an_interrupted_download_leaves_nothing(
    server: Server, checkpoint: bytes, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    def interrupted(*_: object) -> Iterator[bytes]:
        yield b"first"
        raise KeyboardInterrupt

    monkeypatch.setattr(requests.Response, "iter_content", interrupted)
    server.sends(checkpoint)
    with pytest.raises(KeyboardInterrupt):
        store.fetch("rain100h")
    assert leftovers(home) == []


def test_a_home_that_cannot_be_written(
    server: Server, checkpoint: bytes, home: Path, small_state: State, tmp_path: Path
) -> None:
    home.write_text("a file, not a folder")
    server.sends(checkpoint)
    with pytest.raises(ModelError, match=r"cannot write .*rain100h.*set DPENET_HOME"):
        store.fetch("rain100h")
    mine = tmp_path / "mine.safetensors"
    write_weights(mine, small_state, {"a": 1})
    with pytest.raises(ModelError, match=r"cannot write .*mine.*set DPENET_HOME"):
        store.import_file(mine, "mine")


def test_fetching_what_needs_none(home: Path) -> None:
    with pytest.raises(ModelError, match="no model is called 'nosuch'"):
        store.fetch("nosuch")


# --- importing ---


def test_a_published_file_is_recognised(shared: Path, home: Path) -> None:
    source = shared / "reference" / "weights" / "Rain100L.pth"
    assert store.import_file(source) == "rain100l"
    assert store.import_file(source, "rain100l") == "rain100l"
    kept = store.locate("rain100l")
    assert kept.read_bytes() == source.read_bytes()
    assert os.access(kept, os.W_OK)
    assert load_weights("rain100l").architecture == Architecture()
    with pytest.raises(UsageError, match="is the published rain100l"):
        store.import_file(source, "mine")


def test_other_files_need_a_name(small_state: State, home: Path, tmp_path: Path) -> None:
    source = tmp_path / "best.safetensors"
    write_weights(source, small_state, {"recipe": "mine"})
    with pytest.raises(UsageError, match="give it a name: --name NAME"):
        store.import_file(source)
    assert store.import_file(source, "mine") == "mine"
    weights = load_weights("mine")
    assert weights.name == "mine"
    assert weights.metadata == {
        "recipe": "mine",
        "imported_from": "best.safetensors",
        "imported_sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
    }
    assert store.imported() == {"mine": home / "models" / "mine.safetensors"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("universal", "is a model of the table"),
        ("rain100h", "is a model of the table"),
        ("mine", "mine is taken.*delete .*mine.safetensors"),
        ("../escape", "is no name"),
        ("a/b", "is no name"),
        ("", "is no name"),
        ("Rain", "is no name"),
        ("a\n", "is no name"),
        ("x.safetensors", "is no name"),
    ],
)
def test_names_that_cannot_be(
    name: str, reason: str, small_state: State, home: Path, tmp_path: Path
) -> None:
    source = tmp_path / "a.safetensors"
    write_weights(source, small_state, {"a": 1})
    store.import_file(source, "mine")
    with pytest.raises(UsageError, match=reason):
        store.import_file(source, name)
    assert list(store.imported()) == ["mine"]


def test_bad_files_are_not_imported(home: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(ModelError, match=r"bad\.pth: damaged or cut short"):
        store.import_file(bad, "bad")
    assert leftovers(home) == []


# --- finding ---


def test_the_embedded_default_is_whole(home: Path) -> None:
    weights = load_weights("universal")
    assert weights.name == "universal"
    assert weights.architecture == MODELS["universal"].architecture
    assert weights.metadata["licence"] == MODELS["universal"].licence
    assert store.fetch("universal") == store.locate("universal")


def test_missing_embedded_weights_say_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_EMBEDDED", home)
    with pytest.raises(ModelError, match="are missing; install dpenet again"):
        load_weights("universal")


def test_what_was_not_fetched_says_how_to(home: Path) -> None:
    for name in [name for name in MODELS if not MODELS[name].embedded]:
        with pytest.raises(ModelError, match=f"run: dpenet models fetch {name}$"):
            load_weights(name)


def test_paths_are_told_from_names(
    small_state: State, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.safetensors"
    write_weights(path, small_state, {})
    assert store.locate(path) == store.locate(str(path)) == path
    assert load_weights(str(path)).name == "mine"
    for missing in (tmp_path / "universal", "./universal", "none.pth"):
        with pytest.raises(ModelError, match="there is no such file of weights"):
            store.locate(missing)
    odd = tmp_path / "rain100h"  # a path, though it is named like a model
    odd.write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert load_weights(Path("rain100h")).architecture == Architecture(2, 1, 1)
    with pytest.raises(ModelError, match="no model is called 'universl'; did you mean universal"):
        load_weights("universl")


def test_suggestions_know_imported_names(small_state: State, home: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.safetensors"
    write_weights(source, small_state, {"a": 1})
    store.import_file(source, "dashcam")
    with pytest.raises(ModelError, match="did you mean dashcam"):
        load_weights("dashcm")


def test_home_is_the_users_cache_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from platformdirs import user_cache_dir

    monkeypatch.setenv("DPENET_HOME", "~/elsewhere")
    assert store.home() == Path.home() / "elsewhere"
    monkeypatch.setenv("DPENET_HOME", "")
    assert store.home() == Path(user_cache_dir("dpenet", appauthor=False))
