"""Files of every kind through the network: wide colours, floats, pages and frames."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms
from skimage.color import deltaE_ciede2000, rgb2lab

from dpenet.inference.derainer import Derainer
from dpenet.inference.files import derain_content, derain_file
from dpenet.media.formats import FORMATS
from dpenet.media.images import Picture, encode_picture, read_picture, write_picture
from dpenet.media.metadata import Metadata
from dpenet.zoo import Weights

Array = NDArray[Any]

# Display P3: primaries as columns of XYZ, adapted to D50; its curve is that of sRGB.
P3 = np.array(
    [[0.51512, 0.29198, 0.1571], [0.2412, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)
SRGB = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.7141]]
)


def p3_profile() -> bytes:
    """That of sRGB with other primaries."""
    icc = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for name, column in zip("rgb", P3.T, strict=True):
        entry = icc.index(f"{name}XYZ".encode())
        at = int.from_bytes(icc[entry + 4 : entry + 8], "big")
        values = b"".join(round(v * 65536).to_bytes(4, "big", signed=True) for v in column)
        icc[at + 8 : at + 20] = values
    icc[84:100] = bytes(16)  # its fingerprint
    return bytes(icc)


P3_ICC = p3_profile()


def p3_in_srgb(colour: Array) -> Array:
    light = np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    light = np.clip(light @ (np.linalg.inv(SRGB) @ P3).T, 0, 1)
    shown: Array = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return shown


class Spy:
    """A network that fades pictures, and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[Array] = []

    def run(self, x: Array) -> Array:
        self.seen.append(x.copy())
        faded: Array = 0.8 * x + np.float32(0.1)
        return faded


@pytest.fixture
def identity(identity_weights: Weights) -> Derainer:
    return Derainer(identity_weights, precision="fp32", threads=1)


@pytest.fixture
def spy(identity: Derainer, monkeypatch: pytest.MonkeyPatch) -> Spy:
    spy = Spy()
    monkeypatch.setattr(identity, "_engine_for", lambda _: spy)
    return spy


def wide() -> Array:
    """Colours of which most are beyond sRGB or near its edge."""
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def test_the_network_sees_srgb_and_the_result_looks_like_it(identity: Derainer, spy: Spy) -> None:
    icc = P3_ICC
    colour = wide() // 2 + 64  # all within sRGB
    clean = identity.derain_picture(Picture(colour, info=Metadata(icc=icc)))
    (seen,) = spy.seen
    wanted = p3_in_srgb(colour / 255)
    np.testing.assert_allclose(np.moveaxis(seen[0], 0, 2), wanted, atol=0.008)
    assert clean.info.icc == icc
    shown = rgb2lab(p3_in_srgb(clean.pixels / 255))
    assert deltaE_ciede2000(shown, rgb2lab(0.8 * wanted + 0.1)).max() < 1
    assert deltaE_ciede2000(rgb2lab(clean.pixels / 255), shown).mean() > 1  # in sRGB it would not


@pytest.mark.parametrize("tile", [None, 16])
@pytest.mark.parametrize("name", ["png", "tiff"])
def test_wide_colours_stay_to_the_bit(
    identity_weights: Weights, tmp_path: Path, name: str, tile: int | None
) -> None:
    derainer = Derainer(identity_weights, precision="fp32", threads=1, tile=tile)
    source, target = tmp_path / f"a.{name}", tmp_path / f"b.{name}"
    write_picture(Picture(wide(), info=Metadata(icc=P3_ICC)), source)
    derainer(source, out=target)
    result = read_picture(target)
    np.testing.assert_array_equal(result.pixels, wide())
    assert result.info.icc == P3_ICC


def test_bands_see_the_same_colours(
    make_weights: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    derainer = Derainer(make_weights(), precision="fp32", threads=1)
    write_picture(Picture(wide(), info=Metadata(icc=P3_ICC)), tmp_path / "a.png")
    derain_file(derainer, tmp_path / "a.png", tmp_path / "whole.png")
    monkeypatch.setattr("dpenet.inference.files._is_light", lambda *_: False)
    monkeypatch.setattr("dpenet.inference.files.needs_bands", lambda *_: True)
    derain_file(derainer, tmp_path / "a.png", tmp_path / "bands.png")
    whole, bands = (read_picture(tmp_path / f"{n}.png").pixels for n in ("whole", "bands"))
    assert np.abs(whole.astype(int) - bands).max() <= 1


def test_a_pil_image_with_a_profile(identity: Derainer, spy: Spy) -> None:
    image = Image.fromarray(wide())
    image.info["icc_profile"] = P3_ICC
    identity(image)
    np.testing.assert_allclose(
        np.moveaxis(spy.seen[0][0], 0, 2), p3_in_srgb(wide() / 255), atol=0.008
    )


def test_floats_keep_what_lies_beyond(identity: Derainer, spy: Spy) -> None:
    colour = np.linspace(-0.5, 2, 30 * 40 * 3).reshape(30, 40, 3).astype(np.float32)
    clean = identity.derain_picture(Picture(colour))
    (seen,) = spy.seen
    np.testing.assert_array_equal(np.moveaxis(seen[0], 0, 2), np.clip(colour, 0, 1))
    wanted = 0.8 * np.clip(colour, 0, 1) + 0.1 + colour - np.clip(colour, 0, 1)
    np.testing.assert_allclose(clean.pixels, wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["tif", "pfm"])
def test_float_files(identity: Derainer, tmp_path: Path, name: str) -> None:
    colour = (wide() / 128).astype(np.float32)
    write_picture(Picture(colour), tmp_path / f"a.{name}")
    identity(tmp_path / f"a.{name}", out=tmp_path / f"b.{name}")
    np.testing.assert_array_equal(read_picture(tmp_path / f"b.{name}").pixels, colour)


def test_every_page_and_its_rain(identity: Derainer, spy: Spy, tmp_path: Path) -> None:
    contents = [wide(), wide()[:20, :, 0], (wide() * np.uint16(257))]
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for content in contents:
            writer.write(content, photometric="rgb" if content.ndim == 3 else "minisblack")
    size = derain_file(identity, tmp_path / "a.tif", tmp_path / "b.tif", rain=tmp_path / "r.tif")
    assert size == (30, 40)
    with (
        tifffile.TiffFile(tmp_path / "b.tif") as clean,
        tifffile.TiffFile(tmp_path / "r.tif") as rain,
    ):
        for before, after, layer in zip(contents, clean.pages, rain.pages, strict=True):
            top = np.iinfo(before.dtype).max
            faded = np.rint(before * 0.8 + top * 0.1)
            assert np.abs(after.asarray().astype(int) - faded).max() <= 1
            taken = np.maximum(before.astype(int) - after.asarray(), 0)
            np.testing.assert_array_equal(layer.asarray(), taken)


@pytest.mark.parametrize("name", ["gif", "webp"])
def test_every_frame_of_bytes_and_of_a_file(
    identity: Derainer, spy: Spy, tmp_path: Path, name: str
) -> None:
    slope = np.tile(np.arange(40, dtype=np.uint8)[None, :, None] * 5, (30, 1, 3))
    frames = [Image.fromarray(np.roll(slope, 10 * step, axis=1)) for step in range(3)]
    buffer = io.BytesIO()
    lossless: dict[str, Any] = {"lossless": True} if name == "webp" else {}
    frames[0].save(
        buffer, name, save_all=True, append_images=frames[1:], duration=[70, 80, 90], **lossless
    )
    (tmp_path / "a").write_bytes(buffer.getvalue())
    identity(tmp_path / "a", out=tmp_path / f"b.{name}")
    assert (tmp_path / f"b.{name}").read_bytes() == identity(buffer.getvalue())
    result: Any = Image.open(tmp_path / f"b.{name}")
    for index, frame in enumerate(frames):
        result.seek(index)
        result.load()
        assert result.info["duration"] == 70 + 10 * index
        shown = np.asarray(result.convert("RGB")).astype(int)
        assert np.abs(shown - (np.asarray(frame) * 0.8 + 25.5)).mean() < 3


@pytest.mark.parametrize(("quality", "sampling"), [(40, (2, 2)), (92, (1, 1))])
@pytest.mark.parametrize("in_bands", [False, True])
def test_a_quality_may_be_asked_for(
    identity: Derainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    in_bands: bool,
    quality: int,
    sampling: tuple[int, int],
) -> None:
    Image.fromarray(wide()).save(tmp_path / "a.jpg", quality=75)
    if in_bands:
        monkeypatch.setattr("dpenet.inference.files._is_light", lambda *_: False)
        monkeypatch.setattr("dpenet.inference.files.needs_bands", lambda *_: True)
    derain_file(identity, tmp_path / "a.jpg", tmp_path / "own.jpg")
    derain_file(identity, tmp_path / "a.jpg", tmp_path / "asked.jpg", quality=quality)
    Image.fromarray(wide()).save(tmp_path / "wanted.jpg", quality=quality)
    source, own, asked, wanted = (
        Image.open(tmp_path / f"{name}.jpg") for name in ("a", "own", "asked", "wanted")
    )
    assert own.quantization == source.quantization  # type: ignore[attr-defined]
    assert asked.quantization == wanted.quantization  # type: ignore[attr-defined]
    assert asked.layer[0][1:3] == sampling  # type: ignore[attr-defined]


def test_a_quality_counts_for_webp_and_avif_too(identity: Derainer) -> None:
    for name in ("webp", "avif"):
        content = encode_picture(Picture(wide()), name)
        small = derain_content(identity, content, quality=20)
        assert read_picture(small).format == name
        assert len(small) < len(content) / 2


def test_bytes_keep_their_format(identity: Derainer) -> None:
    for name in FORMATS:
        content = encode_picture(Picture(wide()), name)
        assert read_picture(identity(content)).format == name
    tga = io.BytesIO()
    Image.fromarray(wide()).save(tga, "tga")
    assert read_picture(identity(tga.getvalue())).format == "png"
    heic = replace(read_picture(content), format="heic")
    assert read_picture(encode_picture(heic)).format == "jpeg"
