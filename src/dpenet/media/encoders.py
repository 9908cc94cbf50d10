"""Which encoder writes a clip, and how good."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import import_module

from av.codec import Codec, codecs_available

from dpenet.errors import UsageError

# Else SVT-AV1 tells its settings on stderr, whatever FFmpeg is told.
os.environ.setdefault("SVT_LOG", "1")


def _has_avx512() -> bool:
    try:
        features = import_module("numpy._core._multiarray_umath").__cpu_features__
    except (ImportError, AttributeError):  # numpy promises no name for it
        return False
    return bool(features.get("AVX512F"))


_ENCODERS = {
    "av1": "libsvtav1",
    "h264": "libx264",
    "hevc": "libx265",
    "prores": "prores_ks",
    "vp8": "libvpx",
    "vp9": "libvpx-vp9",
}
_FALLBACK = "libx264"
# With AVX512, the look-ahead of x264 reads memory that nobody has written, at most widths, and each
# run of the same frames gives other bytes. Resumed clips are to equal those that ran through.
_REPRODUCIBLE = {"x264-params": "asm=avx2"} if _has_avx512() else {}
# Options, with {} for the quality, and the quality if none is asked for.
_QUALITIES = {
    "libsvtav1": ({"crf": "{}"}, 24),
    "libvpx": ({"crf": "{}", "b": "50M"}, 10),
    "libvpx-vp9": ({"crf": "{}", "b": "0", "row-mt": "1", "cpu-used": "2"}, 24),
    "libx264": ({"crf": "{}", **_REPRODUCIBLE}, 18),
    "libx265": ({"crf": "{}", "x265-params": "log-level=error"}, 20),
}
# From the fastest to the one that makes the smallest files.
_X26X = "ultrafast superfast veryfast faster fast medium slow slower veryslow placebo"
_PRESETS = {
    "libx264": _X26X,
    "libx265": _X26X,
    "libsvtav1": "13 12 11 10 9 8 7 6 5 4 3 2 1 0",
}
# The others that have a quality have a quantiser.
_QUANTISED = {"mjpeg": 3, "mpeg1video": 3, "mpeg2video": 3, "mpeg4": 3}


@dataclass(frozen=True)
class Encoder:
    """An encoder and its settings.

    Attributes:
        name: As FFmpeg calls it.
        options: For it.
        formats: Pixel formats that it takes; empty if any.
    """

    name: str
    options: tuple[tuple[str, str], ...]
    formats: tuple[str, ...]


def find_encoder(
    family: str,
    codec: str | None = None,
    quality: float | None = None,
    preset: str | None = None,
) -> Encoder:
    """The encoder for a clip.

    Args:
        family: Codec of the source. Its own kind of encoder is taken, or H.264 if there is none.
        codec: An encoder or codec to take instead, such as ``libx265`` or ``av1``.
        quality: Of the encoder's own scale (CRF, or the quantiser of older codecs): less is better.
        preset: The encoder's own name for how fast it is, at the cost of size.

    Raises:
        UsageError: If there is no such encoder, or it has no such quality or preset.
    """
    name = _ENCODERS.get(codec or family, codec or family)
    try:
        found = Codec(name, "w")
    except ValueError:
        if codec is not None:
            offered = sorted({*_ENCODERS.values(), "mpeg4", "ffv1"} & codecs_available)
            raise UsageError(
                f"there is no encoder {codec!r}; use one of {' '.join(offered)}"
            ) from None
        found = Codec(_FALLBACK, "w")
    if found.type != "video":
        raise UsageError(f"{codec} does not encode pictures")
    name = found.name
    options: dict[str, str] = {}
    if name in _QUALITIES:
        template, usual = _QUALITIES[name]
        number = f"{usual if quality is None else quality:g}"
        options = {key: value.format(number) for key, value in template.items()}
    elif name in _QUANTISED:
        scale = round((_QUANTISED[name] if quality is None else quality) * 118)  # FF_QP2LAMBDA
        options = {"flags": "+qscale", "global_quality": str(scale)}
        if name == "mjpeg":  # the limited range, which is noted in the file, but no JPEG has
            options["strict"] = "unofficial"
    elif quality is not None:
        raise UsageError(f"{name} has no quality to choose; leave out --crf")
    if preset is not None:
        presets = _PRESETS.get(name, "")
        if preset not in presets.split():
            if not presets:
                raise UsageError(f"--preset is for {', '.join(_PRESETS)}, not for {name}")
            raise UsageError(f"{name} has the presets {presets}, not {preset!r}")
        options["preset"] = preset
    formats = tuple(format_.name for format_ in found.video_formats or ())
    return Encoder(name, tuple(sorted(options.items())), formats)
