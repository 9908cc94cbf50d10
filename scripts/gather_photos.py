"""Gather the free photos that the project's own weights are trained on.

`photos.toml`, beside this script, lists every photo: the Debian package or Python wheel it is
in, its author, its licence and the sha256 of the original file. The script fetches those packages,
checks every photo against its sha256, scales it down, and writes

    OUT/train  OUT/valid  OUT/examples  OUT/manifest.json

No scene is in two of the three folders. Run it on Debian 12 (elsewhere the packages may hold other
versions of the photos, which the sha256 tells):

    python scripts/gather_photos.py OUT [--cache DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import struct
import subprocess
import sys
import tarfile
import tomllib
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

SOURCES = Path(__file__).with_name("photos.toml")
SPLITS = ("train", "valid", "test", "examples")
LICENCES = frozenset(
    {"LicenseRef-Public-Domain", "CC0-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0"}
    | {"CC-BY-SA-2.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0"}
    | {"GPL-2.0-or-later", "GPL-3.0-or-later", "LGPL-2.1-or-later"}
)
SHORT_SIDE = 640
"""A picture's short side in pixels after scaling; smaller originals stay as they are."""
CROP_FROM = 2000
"""Originals with a longer short side also give a crop at half their scale."""
CROP_SIZE = (960, 720)
VALID_PERCENT = 8
RESOURCE_MARK = "::"
"""Parts a Qt resource file's path from that of a file inside it."""


class GatherError(Exception):
    """A photo could not be had, or is not the one that was listed."""


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo; `photos.toml` says what each field is. `split` is empty for hash-chosen ones."""

    name: str
    file: str
    licence: str
    author: str
    sha256: str
    origin: str = ""
    scene: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """A package with photos: `kind` is `deb` (Debian) or `wheel` (Python)."""

    kind: str
    package: str
    version: str
    photos: tuple[Photo, ...]


def read_sources(path: Path = SOURCES) -> list[Source]:
    """Read and check the list of photos.

    Raises:
        GatherError: A licence is not one of `LICENCES`, a name occurs twice, or a kind or split
            is unknown.
    """
    with path.open("rb") as file:
        tables: list[dict[str, Any]] = tomllib.load(file)["source"]
    sources = [
        Source(**(table | {"photos": tuple(Photo(**photo) for photo in table["photos"])}))
        for table in tables
    ]
    for source in sources:
        if source.kind not in ("deb", "wheel"):
            raise GatherError(f"{path}: {source.package} is of unknown kind {source.kind!r}")
    names: set[str] = set()
    for photo in (photo for source in sources for photo in source.photos):
        if photo.name in names:
            raise GatherError(f"{path}: two photos are named {photo.name}")
        if photo.licence not in LICENCES:
            raise GatherError(f"{path}: {photo.name} has licence {photo.licence!r}")
        if photo.split not in ("", *SPLITS):
            raise GatherError(f"{path}: {photo.name} has unknown split {photo.split!r}")
        names.add(photo.name)
    return sources


def split_of(photo: Photo) -> str:
    """The folder of a photo: the one it asks for, or else by a hash of its scene.

    A photo's folder does not depend on which others are listed, so adding some moves none.
    """
    if photo.split:
        return photo.split
    digest = hashlib.sha256((photo.scene or photo.name).encode()).hexdigest()
    return "valid" if int(digest[:8], 16) % 100 < VALID_PERCENT else "train"


def fetch(source: Source, cache: Path) -> Path:
    """Download a source's package into `cache`, unless one is there, and return its path.

    A Debian package is asked for in the listed version, then in the one that apt would install.

    Raises:
        GatherError: The package cannot be downloaded.
    """
    if source.kind == "deb":
        pattern = f"{source.package}_*.deb"
        wanted = [f"{source.package}={source.version}", source.package]
        commands = [["apt-get", "download", package] for package in wanted]
    else:
        pattern = f"{source.package.replace('-', '_')}-*.whl"
        package = f"{source.package}=={source.version}"
        commands = [[sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", package]]
    if found := sorted(cache.glob(pattern)):
        return found[-1]
    if source.kind == "deb" and not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise GatherError("apt-get and dpkg-deb are needed: run this on Debian 12 (bookworm)")
    for command in commands:
        done = subprocess.run(command, cwd=cache, capture_output=True, text=True, check=False)
        if done.returncode == 0 and (found := sorted(cache.glob(pattern))):
            return found[-1]
    hint = "; has `apt-get update` been run?" if source.kind == "deb" else ""
    raise GatherError(f"{' '.join(commands[-1])} failed{hint}\n{done.stderr.strip()}")


def read_members(archive: Path, wanted: set[str]) -> dict[str, bytes]:
    """The files of a .deb or a .whl whose paths are in `wanted`, as far as it has them."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {path: wheel.read(path) for path in wanted & set(wheel.namelist())}
    members = {}
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as process,
        tarfile.open(fileobj=process.stdout, mode="r|") as tar,
    ):
        for member in tar:
            path = member.name.removeprefix("./")
            if path in wanted and member.isfile() and (file := tar.extractfile(member)):
                members[path] = file.read()
    return members


def read_resources(data: bytes) -> dict[str, bytes]:
    """The files inside a Qt binary resource file (.rcc), by path.

    Such a file holds three tables: a tree of fixed-size nodes, the files' contents, and the names.
    All numbers are big-endian. Files packed with zstd are left out.
    """
    if data[:4] != b"qres":
        raise GatherError("not a Qt resource file")
    version, tree, contents, names = struct.unpack_from(">IIII", data, 4)
    node_size = 14 if version < 2 else 22  # version 2 added the time of the last change

    def walk(index: int, folder: str) -> Iterator[tuple[str, bytes]]:
        node = tree + index * node_size
        name_at, flags = struct.unpack_from(">IH", data, node)
        path = ""
        if index:  # the root has no name
            (length,) = struct.unpack_from(">H", data, names + name_at)
            start = names + name_at + 6  # past the length and a hash
            path = folder + data[start : start + 2 * length].decode("utf-16-be")
        if flags & 2:  # a folder
            count, first = struct.unpack_from(">II", data, node + 6)
            for child in range(first, first + count):
                yield from walk(child, f"{path}/" if path else "")
        elif not flags & 4:  # not zstd
            (offset,) = struct.unpack_from(">I", data, node + 10)
            (size,) = struct.unpack_from(">I", data, contents + offset)
            start = contents + offset + 4
            content = data[start : start + size]
            yield path, zlib.decompress(content[4:]) if flags & 1 else content

    return dict(walk(0, ""))


def originals(source: Source, archive: Path) -> dict[str, bytes]:
    """The source's photos as they are in its package, by name, each checked against its sha256.

    Raises:
        GatherError: A photo is not in the package, or is not the listed one.
    """
    try:
        members = read_members(archive, {p.file.split(RESOURCE_MARK)[0] for p in source.photos})
    except (tarfile.TarError, zipfile.BadZipFile) as error:
        raise GatherError(f"{archive} is damaged: delete it and try again") from error
    for path in [path for path in members if path.endswith(".rcc")]:
        for inner, data in read_resources(members.pop(path)).items():
            members[f"{path}{RESOURCE_MARK}{inner}"] = data
    photos = {}
    listed = f"{source.package} {source.version}"
    for photo in source.photos:
        if photo.file not in members:
            raise GatherError(f"{archive} has no {photo.file}; {listed} has")
        data = members[photo.file]
        digest = hashlib.sha256(data).hexdigest()
        if digest != photo.sha256:
            raise GatherError(
                f"{photo.file} in {archive} has sha256 {digest}, not {photo.sha256}, "
                f"which it has in {listed}"
            )
        photos[photo.name] = data
    return photos


def scaled(image: Image.Image, short_side: int = SHORT_SIDE) -> Image.Image:
    """The picture with its short side shrunk to `short_side` pixels, or as it is if smaller."""
    scale = short_side / min(image.size)
    if scale >= 1:
        return image
    size = (round(image.width * scale), round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS)


def half_scale_crop(image: Image.Image) -> Image.Image:
    """The middle of a picture at half its scale, at most `CROP_SIZE`."""
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    width, height = min(half.width, CROP_SIZE[0]), min(half.height, CROP_SIZE[1])
    left, top = (half.width - width) // 2, (half.height - height) // 2
    return half.crop((left, top, left + width, top + height))


def pictures(photo: Photo, data: bytes) -> Iterator[tuple[str, Image.Image]]:
    """The pictures to write for a photo: paths below the output folder, and pixels."""
    with Image.open(io.BytesIO(data)) as file:
        image = ImageOps.exif_transpose(file).convert("RGB")
    yield f"{split_of(photo)}/{photo.name}.png", scaled(image)
    if min(image.size) > CROP_FROM:
        yield f"{split_of(photo)}/{photo.name}.crop1.png", half_scale_crop(image)


def gather(sources: list[Source], out: Path, cache: Path) -> list[dict[str, Any]]:
    """Fetch, check and scale all photos; write them and `manifest.json` below `out`.

    Pictures of an earlier manifest are removed first, lest a photo be left in two folders.

    Returns:
        The manifest: a record for each picture.
    """
    cache.mkdir(parents=True, exist_ok=True)
    photos = [(source, originals(source, fetch(source, cache))) for source in sources]
    manifest_file = out / "manifest.json"
    if manifest_file.exists():
        for record in json.loads(manifest_file.read_text(encoding="utf-8")):
            split, name = record["split"], Path(record["picture"]).name
            if split in SPLITS:
                (out / split / name).unlink(missing_ok=True)
        manifest_file.unlink()
    for split in SPLITS:
        (out / split).mkdir(parents=True, exist_ok=True)
    manifest = []
    for source, data in photos:
        for photo in source.photos:
            for path, image in pictures(photo, data[photo.name]):
                image.save(out / path)
                record = asdict(photo) | {"picture": path, "size": list(image.size)}
                record |= {"split": split_of(photo), "scene": photo.scene or photo.name}
                record |= {"package": f"{source.kind}:{source.package}", "version": source.version}
                manifest.append(record)
    text = json.dumps(manifest, indent=1, ensure_ascii=False)
    manifest_file.write_text(text + "\n", encoding="utf-8")
    return manifest


def main() -> int:
    """Run the script; returns the exit code."""
    parser = argparse.ArgumentParser(description="Gather the free photos listed in photos.toml.")
    parser.add_argument("out", type=Path, help="folder to write train, valid, test and examples to")
    parser.add_argument("--cache", type=Path, help="folder for the packages (default: OUT/.cache)")
    arguments = parser.parse_args()
    out: Path = arguments.out
    try:
        manifest = gather(read_sources(), out, arguments.cache or out / ".cache")
    except GatherError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for split in SPLITS:
        chosen = [record for record in manifest if record["split"] == split]
        scenes = len({record["scene"] for record in chosen})
        print(f"{split}: {scenes} scenes, {len(chosen)} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
