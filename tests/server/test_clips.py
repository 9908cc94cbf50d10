"""Clips that are not what they say, or would fill the memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from starlette.testclient import TestClient
from tests.clipmaking import make_clip
from tests.server.services import MakeClient

from dpenet.server import clips
from dpenet.server.folders import PREFIX, clip_folder, remove_left

SMALL, LARGE, MOST = 64, 400, 100_000
REPEATED = "repeat-headers=1:bframes=0:threads=1:rc-lookahead=0:annexb=1"
CODECS: dict[str, tuple[str, dict[str, str]]] = {
    "libx264": (".mp4", {"preset": "ultrafast", "x264-params": REPEATED}),
    "libvpx-vp9": (".webm", {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}),
    "libsvtav1": (".mkv", {"preset": "11", "svtav1-params": "lp=1"}),
    "mpeg4": (".avi", {}),
    "mjpeg": (".avi", {}),
}


def packets(codec: str, side: int) -> list[Any]:
    """Three frames of this size, encoded."""
    encoder: Any = av.CodecContext.create(codec, "w")
    encoder.width = encoder.height = side
    encoder.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, 25), Fraction(25)
    encoder.options = CODECS[codec][1]
    encoded = []
    for number in range(3):
        grey = np.full((side, side, 3), 60 * number, np.uint8)
        frame = av.VideoFrame.from_ndarray(grey).reformat(format=encoder.pix_fmt)
        frame.pts = number
        encoded += encoder.encode(frame)
    return [*encoded, *encoder.encode(None)]


def growing(path: Path, codec: str) -> bytes:
    """A clip whose frames are larger from the fourth on, of which its head says nothing."""
    with av.open(path, "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width = stream.height = SMALL
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.time_base, stream.options = Fraction(1, 25), CODECS[codec][1]
        container.start_encoding()
        every = [*packets(codec, SMALL), *packets(codec, LARGE)]
        for number, packet in enumerate(every):
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base = Fraction(1, 25)
            container.mux(packet)
    return path.read_bytes()


@pytest.fixture(scope="module")
def bounded(make_client: MakeClient) -> Iterator[TestClient]:
    with make_client(max_frame_pixels=MOST) as client:
        yield client


@pytest.mark.parametrize("codec", CODECS)
def test_a_frame_that_is_too_large_is_not_decoded(
    bounded: TestClient, tmp_path: Path, codec: str
) -> None:
    if codec not in av.codecs_available:
        pytest.skip("this FFmpeg lacks the encoder")
    content = growing(tmp_path / f"a{CODECS[codec][0]}", codec)
    answer = bounded.post("/v1/derain", content=content)
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "too_many_pixels", answer.text


def test_a_result_that_grows_beyond_its_share_is_stopped(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = make_clip(tmp_path / "a.mp4", frames=5).read_bytes()
    assert clips.held(len(content)) >= 2 * len(content) + 2 * clips.most_written(len(content))
    monkeypatch.setattr(clips, "_LEAST_WRITTEN", 1)
    monkeypatch.setattr(clips, "_GROWTH", 0)
    answer = client.post("/v1/derain", content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "result_too_large")


def test_what_a_killed_service_left_goes_and_nothing_else(tmp_path: Path) -> None:
    left, other = tmp_path / f"{PREFIX}left", tmp_path / "dpenet-other"
    for folder in (left, other):
        folder.mkdir()
        (folder / "rainy.mp4").write_bytes(b"rain")
    early = time.time() - 60
    with clip_folder(tmp_path) as used:
        for folder in (left, other, used):
            os.utime(folder, (early, early))
        young = tmp_path / f"{PREFIX}young"
        young.mkdir()
        remove_left(tmp_path)
        assert set(tmp_path.iterdir()) == {used, other, young}
    assert not used.exists()


def test_a_service_that_starts_clears_up(make_client: MakeClient, tmp_path: Path) -> None:
    left = tmp_path / f"{PREFIX}left"
    left.mkdir()
    os.utime(left, (0, 0))
    with make_client(clip_folder=tmp_path):
        assert not left.exists()
