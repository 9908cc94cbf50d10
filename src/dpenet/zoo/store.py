"""Where weights are kept: the embedded ones, those fetched and verified, those imported.

Fetched and imported files live in ``models/`` under `home`. A file of the table is verified by its
sha256 when it is fetched and every time it is loaded.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

from dpenet.atomic import atomic_path
from dpenet.errors import DownloadError, ModelError, UsageError
from dpenet.zoo.table import AUTHORS_RAW, MODELS, ModelCard, get_card, unknown_model
from dpenet.zoo.weights import Weights, read_weights, write_weights

_EMBEDDED = Path(__file__).with_name("weights")
_SUFFIXES = (".safetensors", ".pth", ".pt")
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
# Far above any checkpoint: a server that never stops sending must not fill the disk.
_MOST_BYTES = 1 << 26


def home() -> Path:
    """The folder for fetched and imported models: ``DPENET_HOME``, else the user's cache."""
    if folder := os.environ.get("DPENET_HOME"):
        return Path(folder).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("dpenet", appauthor=False)


def sha256_of(path: Path) -> str:
    """The SHA-256 digest of a file, in hexadecimal."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error


def imported() -> dict[str, Path]:
    """Models that the user imported under names of their own."""
    files = sorted((home() / "models").glob("[!.]*.safetensors"))
    return {file.stem: file for file in files if file.stem not in MODELS}


def embedded_path(name: str) -> Path:
    """Where the package has a file of this name, if it has it."""
    return _EMBEDDED / f"{name}.safetensors"


def stored_path(name: str) -> Path:
    """Where the file of a model in the table is, or would be after fetching."""
    card = get_card(name)
    if card.embedded:
        return embedded_path(name)
    return home() / "models" / f"{name}.pth"


def locate(name_or_path: str | Path) -> Path:
    """Find the file of a model that is here already: embedded, fetched, imported, or a path.

    Args:
        name_or_path: A name; or a path, which is what has a folder or the suffix of weights.

    Raises:
        ModelError: If there is no such model or file, or the model must be fetched first.
    """
    name = str(name_or_path)
    path = Path(name_or_path)
    if isinstance(name_or_path, Path) or path.suffix in _SUFFIXES or path.name != name:
        if not path.is_file():
            raise ModelError(f"{path}: there is no such file of weights")
        return path
    own = imported()
    if name in own:
        return own[name]
    if name not in MODELS:
        raise unknown_model(name, [*MODELS, *own])
    path = stored_path(name)
    if not path.is_file():
        raise ModelError(
            f"the embedded weights {path} are missing; install dpenet again"
            if MODELS[name].embedded
            else f"{name} is not on this machine yet; run: dpenet models fetch {name}"
        )
    return path


def load_weights(name_or_path: str | Path) -> Weights:
    """Load the weights of a model by name, or from a ``.safetensors`` or ``.pth`` file.

    Nothing is downloaded: a published model must have been fetched or imported before.

    Raises:
        ModelError: If it is not here, damaged, or not a DPENet; the message says what to do.
    """
    path = locate(name_or_path)
    card = MODELS.get(name_or_path) if isinstance(name_or_path, str) else None
    if card is None:
        return read_weights(path)
    if card.sha256 not in (None, sha256_of(path)):
        raise ModelError(f"{path} is damaged; run: dpenet models fetch {card.name}")
    weights = read_weights(path)
    measured = {} if card.halo_8bit is None else {"halo_8bit": card.halo_8bit}
    return replace(weights, name=card.name, metadata={**weights.metadata, **measured})


def fetch(name: str) -> Path:
    """Download a published model, unless it is here already, and verify its sha256.

    Proxies are those of the environment (``HTTPS_PROXY``, ``NO_PROXY``). ``DPENET_MODEL_URL``
    names a mirror of the authors' repository, with files at ``<commit>/logs/<Name>.pth``; the
    sha256 makes any mirror as good as the source.

    Returns:
        The file.

    Raises:
        DownloadError: If it could not be fetched whole and right; nothing is left behind.
        ModelError: If there is no model of that name.
    """
    card = get_card(name)
    if card.url is None:
        return locate(name)
    target = stored_path(name)
    if not target.is_file() or sha256_of(target) != card.sha256:
        mirror = os.environ.get("DPENET_MODEL_URL", AUTHORS_RAW).rstrip("/")
        _download(card, card.url.replace(AUTHORS_RAW, mirror), target)
    return target


def _download(card: ModelCard, url: str, target: Path) -> None:
    import requests

    digest, size = hashlib.sha256(), 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            atomic_path(target) as temporary,
            requests.get(url, stream=True, timeout=(_CONNECT_SECONDS, _READ_SECONDS)) as response,
        ):
            response.raise_for_status()
            with temporary.open("wb") as file:
                for chunk in response.iter_content(1 << 16):
                    digest.update(chunk)
                    size += len(chunk)
                    if size > _MOST_BYTES:
                        break
                    file.write(chunk)
            if digest.hexdigest() != card.sha256:
                raise DownloadError(
                    f"what {url} sent ({size} bytes) is not {card.name}: its sha256 is "
                    f"{digest.hexdigest()} instead of {card.sha256}. A proxy or login page may "
                    "have answered instead; nothing was kept"
                )
    except requests.RequestException as error:
        raise DownloadError(
            f"cannot fetch {card.name}: {_reason(error, size)}. Or download {url} on another "
            "machine and run: dpenet models import FILE"
        ) from error
    except OSError as error:
        raise _cannot_write(target, error) from error


def _reason(error: Exception, received: int) -> str:
    """Say in plain words why a request failed."""
    from requests import exceptions as http

    match error:
        case http.HTTPError(response=response) if response is not None:
            advice = "is the mirror right?" if response.status_code == 404 else "try again later"
            return f"the server answered {response.status_code} {response.reason}; {advice}"
        case http.ProxyError():
            return "the proxy cannot be reached or refuses; check HTTPS_PROXY and HTTP_PROXY"
        case http.SSLError():
            return "the server's certificate cannot be verified; check the clock and the proxy"
        case http.ConnectTimeout():
            return f"no connection within {_CONNECT_SECONDS} s; check the network and the proxy"
        case _ if received or isinstance(error, http.ChunkedEncodingError):
            return f"the connection broke after {received} bytes; try again"
        case http.ReadTimeout():
            return f"the server sent nothing for {_READ_SECONDS} s; try again later"
        case http.ConnectionError():
            return "no connection to the server; check the network, or set HTTPS_PROXY"
    return str(error)


def import_file(path: Path, name: str | None = None) -> str:
    """Check a file of weights and keep it under a name, for use without the file.

    Args:
        path: A ``.safetensors`` or ``.pth`` file. One of the published checkpoints is recognised
            by its sha256 and gets its published name.
        name: What to call any other.

    Returns:
        The name.

    Raises:
        UsageError: If a name is needed, not possible, or taken.
        ModelError: If the file is not the complete weights of a DPENet, or cannot be kept.
    """
    weights = read_weights(path)
    digest = sha256_of(path)
    published = next((card.name for card in MODELS.values() if card.sha256 == digest), None)
    if published is not None:
        if name not in (None, published):
            raise UsageError(f"{path} is the published {published}; import it without a name")
        _copy(path, stored_path(published))
        return published
    if name is None:
        raise UsageError(
            f"{path} is none of the published checkpoints; give it a name: --name NAME"
        )
    _check_name(name)
    target = home() / "models" / f"{name}.safetensors"
    origin = {"imported_from": path.name, "imported_sha256": digest}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(target, error) from error
    write_weights(target, weights.state, {**weights.metadata, **origin})
    return name


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise UsageError(f"{name!r} is no name: use small letters, digits, '-' and '_'")
    if name in MODELS:
        raise UsageError(
            f"{name} is a model of the table, and the file is not it; use another name"
        )
    if name in imported():
        raise UsageError(f"{name} is taken; use another name, or delete {imported()[name]}")


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise _cannot_write(target, error) from error


def _cannot_write(target: Path, error: OSError) -> ModelError:
    return ModelError(
        f"cannot write {target}: {error.strerror or error}; "
        "set DPENET_HOME to a folder that you can write to"
    )
