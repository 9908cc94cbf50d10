"""Small real clips for tests, and what there is to compare in them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, RATE = 96, 64, 25
SAMPLES = 48000 // RATE


def picture(number: int) -> NDArray[np.uint8]:
    """A smooth pattern that moves, (HEIGHT, WIDTH, 3)."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [np.sin(x / 9 + number / 5), np.sin(y / 7 - number / 8), np.cos((x + y) / 13)]
    return (128 + 90 * np.stack(waves, 2)).astype(np.uint8)


def make_clip(
    path: Path,
    codec: str = "libx264",
    *,
    frames: int = 40,
    pixel_format: str = "yuv420p",
    audio: str | None = None,
    options: dict[str, str] | None = None,
    stamps: list[int] | None = None,
    time_base: Fraction = Fraction(1, RATE),
    colour: dict[str, int] | None = None,
    container: dict[str, str] | None = None,
) -> Path:
    """Encode a clip; ``stamps`` in ``time_base`` make its frame rate vary."""
    kind = "yuv4mpegpipe" if path.suffix == ".y4m" else None
    with av.open(str(path), "w", format=kind, container_options=container) as out:
        video: Any = out.add_stream(codec, rate=RATE, options=options or {})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, pixel_format
        video.codec_context.time_base = time_base
        for name, value in (colour or {}).items():
            setattr(video.codec_context, name, value)
        sound: Any = out.add_stream(audio, rate=48000) if audio else None
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts = stamps[number] if stamps else number
            frame.time_base = time_base
            out.mux(video.encode(frame))
            if sound:
                out.mux(sound.encode(_tone(sound, number)))
        out.mux(video.encode())
        if sound:
            out.mux(sound.encode())
    return path


def _tone(stream: Any, number: int) -> av.AudioFrame:
    wave = np.sin((np.arange(SAMPLES) + number * SAMPLES) / 20)
    frame = av.AudioFrame.from_ndarray(
        np.stack([wave, wave]).astype(np.float32), format="fltp", layout="stereo"
    )
    frame.sample_rate, frame.pts = 48000, number * SAMPLES
    frame.time_base = Fraction(1, 48000)
    return av.AudioResampler(stream.format.name, "stereo", 48000).resample(frame)[0]


class Contents(NamedTuple):
    """What is in a clip: packets of all but its picture by stream, frames with their times."""

    packets: dict[int, list[tuple[Fraction | None, bytes]]]
    times: list[Fraction]
    frames: list[list[bytes]]
    colour: tuple[int, ...]


def contents(path: Path) -> Contents:
    packets: dict[int, list[tuple[Fraction | None, bytes]]] = {}
    with av.open(str(path)) as file:
        for packet in file.demux():
            if packet.size and packet.stream != file.streams.video[0]:
                time = None if packet.pts is None else packet.pts * packet.time_base
                packets.setdefault(packet.stream.index, []).append((time, bytes(packet)))
    times, frames = [], []
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        for frame in file.decode(video):
            if frame.pts is not None and frame.time_base:
                times.append(frame.pts * frame.time_base)
            frames.append(planes(frame))
        context = video.codec_context
        colour = (
            *(context.color_range, context.color_primaries),
            *(context.color_trc, context.colorspace),
        )
    return Contents(packets, times, frames, colour)


def planes(frame: av.VideoFrame) -> list[bytes]:
    """The samples of a frame, without the padding between its rows."""
    out = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)
        sample = 2 if max(part.bits for part in frame.format.components) > 8 else 1
        packed = 3 if len(frame.planes) == 1 and frame.format.is_rgb else 1
        out.append(rows[:, : plane.width * sample * packed].tobytes())
    return out


def copy_clip(source: Path, target: Path, change: Callable[[av.Packet[Any]], None]) -> Path:
    """Copy a clip packet by packet, each changed."""
    with av.open(str(source)) as given, av.open(str(target), "w") as out:
        streams: dict[int, Any] = {
            stream.index: out.add_stream_from_template(stream, opaque=True)
            for stream in given.streams
        }
        for packet in given.demux():
            if packet.size:
                change(packet)
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return target


def without_stamps(source: Path, numbers: set[int]) -> Path:
    """A transport stream whose frames of these numbers, as they are decoded, lack timestamps."""
    data = bytearray(source.read_bytes())
    number = 0
    for at in range(0, len(data), 188):
        begins, adapted = data[at + 1] & 0x40, data[at + 3] & 0x20
        head = at + 4 + (1 + data[at + 4] if adapted else 0)
        if begins and data[head : head + 3] == b"\0\0\1" and 0xE0 <= data[head + 3] <= 0xEF:
            if number in numbers:
                data[head + 7] = 0  # neither PTS nor DTS
                stuffed = range(head + 9, head + 9 + data[head + 8])
                data[stuffed.start : stuffed.stop] = b"\xff" * len(stuffed)
            number += 1
    target = source.with_stem("unstamped")
    target.write_bytes(data)
    return target
