"""The list of free photos, and the parts of scripts/gather_photos.py that need no network."""

from __future__ import annotations

import importlib.util
import io
import struct
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[1] / "scripts" / "gather_photos.py"


@pytest.fixture(scope="module")
def gather() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gather_photos", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["gather_photos"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_no_scene_is_in_two_folders(gather: ModuleType) -> None:
    photos = [photo for source in gather.read_sources() for photo in source.photos]
    folders = defaultdict(set)
    for photo in photos:
        folders[photo.scene or photo.name].add(gather.split_of(photo))
        assert photo.author
        assert len(photo.sha256) == 64
    assert all(len(splits) == 1 for splits in folders.values())
    assert len({photo.sha256 for photo in photos}) == len(photos)
    scenes = {split: sum(f == {split} for f in folders.values()) for split in gather.SPLITS}
    assert scenes["train"] > 10 * scenes["valid"] > 100
    assert scenes["examples"] in (3, 4)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("licence", "CC-BY-NC-2.0", "licence"),
        ("split", "exam", "split"),
        ("name", "twice", "two photos"),
    ],
)
def test_a_bad_list_is_refused(
    gather: ModuleType, tmp_path: Path, field: str, value: str, message: str
) -> None:
    photo = {"name": "a", "file": "a.png", "licence": "CC0-1.0", "author": "A", "sha256": "0"}
    rows = [photo | {"name": "twice"}, photo | {field: value}]
    inline = [", ".join(f"{key} = '{text}'" for key, text in row.items()) for row in rows]
    listing = tmp_path / "photos.toml"
    listing.write_text(
        "[[source]]\nkind = 'deb'\npackage = 'p'\nversion = '1'\n"
        f"photos = [{', '.join(f'{{{row}}}' for row in inline)}]\n"
    )
    with pytest.raises(gather.GatherError, match=message):
        gather.read_sources(listing)


def test_a_changed_photo_is_refused(gather: ModuleType, tmp_path: Path) -> None:
    archive = tmp_path / "p-1.whl"
    with zipfile.ZipFile(archive, "w") as wheel:
        wheel.writestr("p/a.png", b"other")
    photo = gather.Photo("a", "p/a.png", "CC0-1.0", "A", "0" * 64)
    with pytest.raises(gather.GatherError, match="sha256"):
        gather.originals(gather.Source("wheel", "p", "1", (photo,)), archive)
    photo = gather.Photo("b", "p/b.png", "CC0-1.0", "A", "0" * 64)
    with pytest.raises(gather.GatherError, match=r"has no p/b\.png"):
        gather.originals(gather.Source("wheel", "p", "1", (photo,)), archive)


def test_a_damaged_package_is_named(gather: ModuleType, tmp_path: Path) -> None:
    archive = tmp_path / "p-1.whl"
    archive.write_bytes(b"half a wheel")
    with pytest.raises(gather.GatherError, match="damaged"):
        gather.originals(gather.Source("wheel", "p", "1", ()), archive)


def test_a_package_in_the_cache_is_not_fetched_again(gather: ModuleType, tmp_path: Path) -> None:
    archive = tmp_path / "some_package-1-py3-none-any.whl"
    archive.touch()
    assert gather.fetch(gather.Source("wheel", "some-package", "1", ()), tmp_path) == archive


def test_files_of_a_qt_resource_file(gather: ModuleType) -> None:
    def name(text: str) -> bytes:
        return struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")

    names = name("folder") + name("é.png")
    tree = struct.pack(">IHIIQ", 0, 2, 1, 1, 0)  # the root: one child, node 1
    tree += struct.pack(">IHIIQ", 0, 2, 1, 2, 0)  # folder: one child, node 2
    tree += struct.pack(">IHIIQ", len(name("folder")), 0, 0, 0, 0)
    contents = struct.pack(">I", 5) + b"photo"
    at = 20
    header = struct.pack(">IIII", 2, at, at + len(tree), at + len(tree) + len(contents))
    data = b"qres" + header + tree + contents + names
    assert gather.read_resources(data) == {"folder/é.png": b"photo"}


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1000, 500), [(1000, 500)]),
        ((1600, 1280), [(800, 640)]),
        ((4200, 2100), [(1280, 640), (960, 720)]),
    ],
)
def test_sizes(gather: ModuleType, size: tuple[int, int], expected: list[tuple[int, int]]) -> None:
    data = io.BytesIO()
    Image.new("L", size, 128).save(data, "PNG")
    photo = gather.Photo("a", "a.png", "CC0-1.0", "A", "", split="train")
    made = dict(gather.pictures(photo, data.getvalue()))
    assert list(made) == ["train/a.png", "train/a.crop1.png"][: len(expected)]
    assert [image.size for image in made.values()] == expected
    assert all(image.mode == "RGB" for image in made.values())
