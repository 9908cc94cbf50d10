"""Clips and pictures are told apart by what is in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.clipmaking import make_clip

from dpenet.errors import MissingExtraError
from dpenet.media import containers
from dpenet.media.containers import is_clip, need_video
from dpenet.media.video import survey

CLIPS = [
    ("a.mp4", "libx264"),
    ("a.mov", "libx264"),
    ("a.mkv", "libx264"),
    ("a.webm", "libvpx-vp9"),
    ("a.avi", "mpeg4"),
    ("a.ts", "libx264"),
    ("a.mpg", "mpeg2video"),
    ("a.flv", "libx264"),
    ("a.wmv", "wmv2"),
    ("a.nut", "mpeg4"),
    ("a.mxf", "mpeg2video"),
    ("a.ivf", "libvpx-vp9"),
    ("a.h264", "libx264"),
    ("a.hevc", "libx265"),
    ("a.m4v", "mpeg4"),
]


@pytest.mark.parametrize(("name", "codec"), CLIPS)
def test_a_clip_is_one_whatever_its_name(tmp_path: Path, name: str, codec: str) -> None:
    clip = make_clip(tmp_path / name, codec, frames=12)
    renamed = clip.rename(tmp_path / "unnamed")
    assert is_clip(renamed)
    assert is_clip(renamed.read_bytes())


@pytest.mark.parametrize(("name", "form"), [("a.ts", {}), ("a.m2ts", {"mpegts_m2ts_mode": "1"})])
@pytest.mark.parametrize("lost", [1, 100, 187])
def test_a_transport_stream_may_begin_within_a_packet(
    tmp_path: Path, name: str, form: dict[str, str], lost: int
) -> None:
    clip = make_clip(tmp_path / name, frames=30, container=form)
    clip.write_bytes(clip.read_bytes()[lost:])
    assert is_clip(clip)
    assert survey(clip).frames > 20


@pytest.mark.parametrize("value", [0x10, 0x47])
def test_a_plain_grey_picture_is_none(value: int) -> None:
    assert not is_clip(b"P5 40 40 255\n" + bytes([value]) * 1600)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tif", "avif", "ppm"])
def test_a_picture_is_none(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    assert not is_clip(path)


@pytest.mark.parametrize("head", [b"", b"GGGG", b"plain text " * 50, b"\0\0\0\x18ftypheic"])
def test_nor_is_anything_else(head: bytes) -> None:
    assert not is_clip(head)


def test_nor_what_cannot_be_read(tmp_path: Path) -> None:
    assert not is_clip(tmp_path / "absent.mp4")
    assert not is_clip(tmp_path)


def test_without_pyav_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    need_video()
    monkeypatch.setattr(containers, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"dpenet\[video\]"):
        need_video()
