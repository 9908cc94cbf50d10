from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from dpenet.errors import PictureError, UsageError
from dpenet.inference import memory
from dpenet.inference.bands import derain_bands, needs_bands
from dpenet.inference.derainer import Derainer
from dpenet.media import images
from dpenet.media.images import Picture, read_picture, with_pixels, write_picture
from dpenet.zoo import Architecture, Weights
from dpenet.zoo.weights import write_weights

MakeWeights = Callable[..., Weights]


@pytest.fixture(scope="module")
def whole(make_weights: MakeWeights) -> Derainer:
    return Derainer(make_weights(), precision="fp32", threads=1, tile=0)


@pytest.fixture(scope="module")
def tilers(make_weights: MakeWeights) -> dict[int, Derainer]:
    return {
        side: Derainer(make_weights(), precision="fp32", threads=1, tile=side) for side in (17, 50)
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bands")


def save(path: Path, shape: tuple[int, ...], dtype: Any = np.uint8, **options: Any) -> Path:
    rng = np.random.default_rng(shape)
    samples = rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    alpha = samples[..., -1] if shape[2] in (2, 4) else None
    colour = samples[..., : shape[2] - (alpha is not None)].copy()
    write_picture(Picture(colour, alpha, **options), path, overwrite=True)
    return path


def levels(one: NDArray[Any], other: NDArray[Any]) -> int:
    return int(np.abs(one.astype(int) - other).max())


@settings(max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 120), st.integers(1, 120), st.integers(1, 4)),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    side=st.sampled_from([17, 50]),
    suffixes=st.tuples(st.sampled_from(["png", "tif"]), st.sampled_from(["png", "tif"])),
)
def test_bands_give_what_the_whole_picture_gives(
    whole: Derainer,
    tilers: dict[int, Derainer],
    folder: Path,
    shape: tuple[int, int, int],
    dtype: Any,
    side: int,
    suffixes: tuple[str, str],
) -> None:
    source = save(folder / f"in.{suffixes[0]}", shape, dtype)
    target, rain = folder / f"out.{suffixes[1]}", folder / "rain.png"
    size = derain_bands(tilers[side], source, target, rain=rain, overwrite=True)
    assert size == shape[:2]
    rainy, clean = read_picture(source), read_picture(target)
    expected = with_pixels(rainy, whole.derain_pixels(rainy.pixels))
    # In 16 bits the order of the sums shows: 1e-5 of full scale, as of tiles in memory.
    assert levels(clean.pixels, expected.pixels) <= (0 if dtype == np.uint8 else 1)
    assert (clean.alpha is None) == (rainy.alpha is None)
    if rainy.alpha is not None:
        np.testing.assert_array_equal(clean.alpha, rainy.alpha)
    removed = Derainer.rain_layer(rainy.pixels, clean.pixels)
    np.testing.assert_array_equal(read_picture(rain).pixels, removed)


def test_a_turned_jpeg_comes_out_upright(
    whole: Derainer, tilers: dict[int, Derainer], tmp_path: Path, photo: NDArray[np.uint8]
) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    Image.fromarray(photo).save(tmp_path / "in.jpg", exif=exif, quality=95)
    derain_bands(tilers[17], tmp_path / "in.jpg", tmp_path / "out.png")
    upright = read_picture(tmp_path / "in.jpg").pixels
    assert upright.shape == (83, 61, 3)
    result = read_picture(tmp_path / "out.png")
    np.testing.assert_array_equal(result.pixels, whole.derain_pixels(upright))
    assert Image.open(tmp_path / "out.png").getexif()[0x010F] == "Maker"


@pytest.mark.parametrize(
    ("name", "targets", "free", "most", "expected"),
    [
        ("a.png", ["b.png"], 10**9, 2**28, False),
        ("a.png", ["b.png"], 100_000, 2**28, True),
        ("a.tif", ["b.jpg", "c.png", None], 100_000, 2**28, True),
        ("a.webp", ["b.png"], 100_000, 2**28, False),
        ("a.png", ["b.webp"], 100_000, 2**28, False),  # so it is held, as best it can
        ("a.png", ["b.png", "c.bmp"], 100_000, 2**28, False),
        ("a.png", ["b.webp"], 10**9, 999, True),  # and is refused with a reason
    ],
)
def test_what_goes_through_in_bands(
    whole: Derainer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    targets: list[str | None],
    free: int,
    most: int,
    expected: bool,
) -> None:
    source = save(tmp_path / name, (100, 120, 3))
    monkeypatch.setattr(memory, "free_lately", lambda: free)
    monkeypatch.setattr(images, "MAX_PIXELS", most)
    outputs = [None if target is None else tmp_path / target for target in targets]
    assert needs_bands(whole, source, outputs) == expected


def test_what_cannot_be_done_leaves_nothing(
    whole: Derainer, make_weights: MakeWeights, tmp_path: Path
) -> None:
    source = save(tmp_path / "in.png", (300, 200, 3))
    poor = Derainer(make_weights(), memory=memory.OWN_MEMORY + 1000)
    with pytest.raises(UsageError, match="need --memory"):
        derain_bands(poor, source, tmp_path / "out.png")
    with pytest.raises(PictureError, match="PNG, JPEG or TIFF only"):
        derain_bands(whole, source, tmp_path / "out.webp")
    source.write_bytes(source.read_bytes()[:-40_000])
    with pytest.raises(PictureError, match=r"in\.png.*damaged"):
        derain_bands(whole, source, tmp_path / "out.png", rain=tmp_path / "rain.tif")
    assert list(tmp_path.iterdir()) == [source]


# Derains a file in a process of its own, and tells the most memory that it took.
PEAK = """
import sys
from pathlib import Path
from dpenet.inference.derainer import Derainer

model, source, target, memory = sys.argv[1:]
Derainer(Path(model), precision="fp32", memory=memory)(source, out=target)
lines = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_large_picture_stays_within_its_memory(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    architecture = Architecture(width=2, n_ddrb=1, n_erpab=1)
    rng = np.random.default_rng(0)
    state = {
        key: rng.normal(0, 0.2, shape).astype(np.float32)
        for key, shape in architecture.shapes().items()
    }
    write_weights(tmp_path / "tiny.safetensors", state, {})
    source, target = tmp_path / "in.jpg", tmp_path / "out.png"
    write_picture(Picture(np.tile(photo, (59, 72, 1))), source)  # 3599 x 5976
    files = map(str, (tmp_path / "tiny.safetensors", source, target))
    command = [sys.executable, "-c", PEAK, *files, "400MB"]
    result = subprocess.run(command, capture_output=True, check=True)
    # Held whole, the picture alone would be 65 MB, its copies 260, its tensors 1,900.
    assert int(result.stdout) < 400_000_000
    weights = Weights(state, architecture)
    middle = np.s_[1000:1300, 1000:1300]
    window = read_picture(source).pixels[960:1340, 960:1340]
    expected = Derainer(weights, precision="fp32").derain_pixels(window)[40:340, 40:340]
    np.testing.assert_array_equal(read_picture(target).pixels[middle], expected)
