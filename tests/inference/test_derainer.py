from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import dpenet
from dpenet.errors import PictureError, UsageError
from dpenet.inference import derainer as module
from dpenet.inference import memory
from dpenet.inference.derainer import Derainer
from dpenet.inference.engines import Engine, open_engine
from dpenet.inference.options import Options
from dpenet.media import images
from dpenet.media.images import read_picture
from dpenet.zoo import Weights

KINDS = [np.uint8, np.uint16, np.float16, np.float32, np.float64]
SHAPES = [(21, 33), (21, 33, 1), (21, 33, 2), (21, 33, 3), (21, 33, 4), (1, 1), (1, 1, 3)]


@pytest.fixture(scope="session")
def derainer(make_weights: Callable[..., Weights]) -> Derainer:
    return Derainer(make_weights(), precision="fp32", threads=1)


@pytest.fixture(scope="session")
def identity(identity_weights: Weights) -> Derainer:
    return Derainer(identity_weights, precision="fp32", threads=1)


def random_picture(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    picture = np.random.default_rng(1).random(shape)
    peak = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    return (picture * peak).astype(dtype)


def encoded(picture: NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_array_comes_back_as_its_own_kind(
    derainer: Derainer, identity: Derainer, shape: tuple[int, ...], dtype: Any
) -> None:
    picture = random_picture(shape, dtype)
    before = picture.copy()
    clean = derainer(picture)
    assert (clean.shape, clean.dtype) == (picture.shape, picture.dtype)
    assert not np.array_equal(clean, picture)
    assert np.array_equal(picture, before)
    if shape[2:] in ((2,), (4,)):
        assert np.array_equal(clean[..., -1], picture[..., -1])
    same = identity(picture)
    if np.dtype(dtype).kind == "u":
        assert np.array_equal(same, picture)
    else:
        np.testing.assert_allclose(
            same, picture, rtol=0, atol=1e-3 if dtype == np.float16 else 1e-6
        )


def test_arrays_may_lie_anyhow_in_memory(derainer: Derainer) -> None:
    picture = random_picture((40, 60, 3), np.uint8)
    turned = picture[::-2, ::3].swapaxes(0, 1)
    assert np.array_equal(derainer(turned), derainer(np.ascontiguousarray(turned)))
    picture.setflags(write=False)
    derainer(picture)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "CMYK", "YCbCr", "I;16", "F"])
def test_a_pil_image_comes_back_in_its_mode(
    derainer: Derainer, photo: NDArray[np.uint8], mode: str
) -> None:
    image = Image.fromarray(photo)
    if mode == "I;16":
        image = Image.fromarray(photo[:, :, 0].astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(photo[:, :, 0] / np.float32(255))
    elif mode != "RGB":
        image = image.convert(mode)
    clean = derainer(image)
    assert isinstance(clean, Image.Image)
    assert (clean.mode, clean.size) == (image.mode, image.size)
    assert clean.tobytes() != image.tobytes()


def test_alpha_of_a_pil_image_is_untouched(derainer: Derainer) -> None:
    image = Image.fromarray(random_picture((20, 30, 4), np.uint8))
    clean = derainer(image)
    assert clean.getchannel("A").tobytes() == image.getchannel("A").tobytes()


def test_bytes_come_back_in_their_format(derainer: Derainer, photo: NDArray[np.uint8]) -> None:
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        content = encoded(photo, kind)
        clean = derainer(content)
        assert Image.open(io.BytesIO(clean)).format == kind
    png = encoded(photo, "PNG")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(derainer(png)))), derainer(photo))


def test_a_file_goes_to_a_file_with_its_metadata(
    derainer: Derainer, photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    source, target = tmp_path / "rainy.png", tmp_path / "clean.png"
    source.write_bytes(encoded(photo, "PNG", icc_profile=_srgb()))
    assert derainer(source, out=str(target)) == target
    picture = read_picture(target)
    assert np.array_equal(picture.pixels, derainer(photo))
    assert picture.info.icc == _srgb()


def _srgb() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_files_are_not_overwritten_unless_told(
    derainer: Derainer, photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    source, target = tmp_path / "rainy.png", tmp_path / "clean.png"
    source.write_bytes(encoded(photo, "PNG"))
    target.write_bytes(b"mine")
    with pytest.raises(PictureError, match=r"clean\.png: exists"):
        derainer(source, out=target)
    assert target.read_bytes() == b"mine"
    derainer(source, out=target, overwrite=True)
    assert target.read_bytes() != b"mine"


def test_a_target_that_cannot_be_is_refused_before_the_work(
    derainer: Derainer, tmp_path: Path
) -> None:
    with pytest.raises(PictureError, match="clean"):
        derainer(tmp_path / "absent.png", out=tmp_path / "clean.xyz")


def test_out_is_needed_for_a_path_and_refused_otherwise(
    derainer: Derainer, photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="out="):
        derainer(tmp_path / "rainy.png")  # type: ignore[call-overload]
    for picture in (photo, Image.fromarray(photo), encoded(photo, "PNG")):
        with pytest.raises(UsageError, match="out="):
            derainer(picture, out=tmp_path / "clean.png")  # type: ignore[call-overload]


@pytest.mark.parametrize("thing", [None, 3, [[1, 2]], io.BytesIO()])
def test_what_is_no_picture_is_refused(derainer: Derainer, thing: Any) -> None:
    with pytest.raises(UsageError, match=type(thing).__name__):
        derainer(thing)


def test_floats_of_another_range_are_refused(derainer: Derainer) -> None:
    with pytest.raises(UsageError, match="0 to 1"):
        derainer(np.full((4, 4, 3), 200.0))


def test_floats_are_clipped(make_weights: Callable[..., Weights]) -> None:
    weights = make_weights()
    loud = {
        key: array * 50 if key.startswith("outconv") else array
        for key, array in weights.state.items()
    }
    clean = Derainer(Weights(loud, weights.architecture))(random_picture((20, 30, 3), np.float32))
    assert (clean.min(), clean.max()) == (0, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strength_0_is_the_input(make_weights: Callable[..., Weights], dtype: Any) -> None:
    for shape in SHAPES:
        picture = random_picture(shape, dtype)
        assert np.array_equal(Derainer(make_weights(), strength=0)(picture), picture)


def test_strength_mixes_input_and_result(make_weights: Callable[..., Weights]) -> None:
    picture = random_picture((20, 30, 3), np.float32)
    full = Derainer(make_weights(), precision="fp32")(picture)
    part = Derainer(make_weights(), precision="fp32", strength=0.25)(picture)
    np.testing.assert_allclose(part, 0.75 * picture + 0.25 * full, rtol=0, atol=1e-6)


def test_one_network_serves_several_strengths(derainer: Derainer) -> None:
    picture = random_picture((20, 30, 3), np.uint8)
    half = derainer.at_strength(0.5)
    other = Derainer(derainer.weights, precision="fp32", threads=1, strength=0.5)
    assert np.array_equal(half(picture), other(picture))
    assert half._engine is derainer._engine
    assert derainer.options.strength == 1
    with pytest.raises(UsageError, match="strength"):
        derainer.at_strength(1.5)


@pytest.fixture(scope="session")
def tilers(make_weights: Callable[..., Weights]) -> dict[int, Derainer]:
    return {
        tile: Derainer(make_weights(), precision="fp32", threads=1, tile=tile) for tile in (17, 40)
    }


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 60), width=st.integers(1, 60), tile=st.sampled_from([17, 40]))
def test_tiles_do_not_change_the_result(
    tilers: dict[int, Derainer], derainer: Derainer, height: int, width: int, tile: int
) -> None:
    picture = random_picture((height, width, 3), np.float32)
    tiled = tilers[tile](picture)
    np.testing.assert_allclose(tiled, derainer(picture), rtol=0, atol=1e-5)


def windows_of(derainer: Derainer, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """A list that grows by the height and width of each window that the network gets."""
    windows: list[tuple[int, ...]] = []
    run = derainer._engine.run

    def watched(x: NDArray[np.float32]) -> NDArray[np.float32]:
        windows.append(x.shape[2:])
        return run(x)

    monkeypatch.setattr(derainer._engine, "run", watched)
    return windows


def test_little_memory_means_tiles_and_the_same_result(
    make_weights: Callable[..., Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    derainer = Derainer(make_weights(), precision="fp32")
    picture = random_picture((150, 280, 3), np.float32)
    windows = windows_of(derainer, monkeypatch)
    whole = derainer(picture)
    monkeypatch.setattr(memory, "free_lately", lambda: 0)
    np.testing.assert_allclose(derainer(picture), whole, rtol=0, atol=1e-5)
    assert windows[0] == (150, 280)
    assert len(windows) == 1 + 2 * 3


def test_a_budget_of_memory_is_kept_or_refused(
    make_weights: Callable[..., Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = make_weights()
    per_pixel = memory.bytes_per_pixel(weights.architecture, "fp32")
    picture = random_picture((150, 280, 3), np.uint8)
    enough = memory.OWN_MEMORY + 2 * picture.nbytes + picture[..., 0].size * per_pixel
    for budget, count in ((enough, 1), (enough - 1, 2)):
        derainer = Derainer(weights, precision="fp32", memory=budget)
        windows = windows_of(derainer, monkeypatch)
        derainer(picture)
        assert len(windows) == count
    for method in ("derain_pixels", "estimate_seconds"):
        derainer = Derainer(weights, precision="fp32", memory=memory.OWN_MEMORY)
        with pytest.raises(UsageError, match=r"need --memory (\d+MB)") as caught:
            getattr(derainer, method)(*((picture,) if method == "derain_pixels" else (150, 280)))
    least = str(caught.value).split()[-3]
    assert Derainer(weights, precision="fp32", memory=least).estimate_seconds(150, 280) > 0


def test_8_bits_need_the_halo_that_the_model_names(
    make_weights: Callable[..., Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = make_weights()
    assert plain.architecture.receptive_field == 23
    weights = Weights(plain.state, plain.architecture, {"halo_8bit": {"fp32": 9, "int8": 12}})
    for known, stage, dtype, halo in (
        (weights, 2, np.uint8, 9),
        (weights, 1, np.uint8, 9),
        (weights, 2, np.uint16, 23),
        (weights, 2, np.float32, 23),
        (plain, 2, np.uint8, 23),
        (plain, 1, np.uint8, 16),
        (Weights(plain.state, plain.architecture, {"halo_8bit": {"fp32": 99}}), 1, np.uint8, 16),
        (Weights(plain.state, plain.architecture, {"halo_8bit": {"int8": 12}}), 2, np.uint8, 23),
        (Weights(plain.state, plain.architecture, {"halo_8bit": {"fp32": "9"}}), 2, np.uint8, 23),
        (Weights(plain.state, plain.architecture, {"halo_8bit": 9}), 2, np.uint8, 23),
    ):
        derainer = Derainer(known, precision="fp32", tile=40, stage=stage)
        windows = windows_of(derainer, monkeypatch)
        derainer(random_picture((40, 80, 3), dtype))
        assert windows == [(40, 40 + halo)] * 2


def test_a_file_too_large_for_the_memory_goes_through_in_bands(
    make_weights: Callable[..., Weights], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    derainer = Derainer(make_weights(), precision="fp32")
    source, big = tmp_path / "rainy.png", tmp_path / "big.tif"
    Image.fromarray(random_picture((300, 200, 3), np.uint8)).save(source)
    whole = read_picture(derainer(source, out=tmp_path / "clean.png")).pixels
    for module_, name in ((memory, "free_lately"), (images, "MAX_PIXELS")):
        with monkeypatch.context() as patch:
            patch.setattr(module_, name, (lambda: 1000) if name == "free_lately" else 299 * 200)
            windows = windows_of(derainer, patch)
            derainer(source, out=big, overwrite=True)
            assert len(windows) == (3 * 2 if name == "free_lately" else 1)
        assert np.array_equal(read_picture(big).pixels, whole)


def test_stage_1_is_another_result(make_weights: Callable[..., Weights]) -> None:
    picture = random_picture((20, 30, 3), np.uint8)
    first, second = (Derainer(make_weights(), stage=stage)(picture) for stage in (1, 2))
    assert not np.array_equal(first, second)


def test_a_batch_takes_any_kinds_in_order(
    derainer: Derainer, photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    pictures = [photo, photo[:9, :30], photo[:, :, 0]]
    for clean, picture in zip(derainer.batch(pictures), pictures, strict=True):
        assert np.array_equal(clean, derainer(picture))
    assert derainer.batch([]) == []
    sources = [tmp_path / "a.png", tmp_path / "b.png"]
    for source in sources:
        source.write_bytes(encoded(photo, "PNG"))
    targets = [tmp_path / "c.png", tmp_path / "d.png"]
    assert derainer.batch(sources, out=targets) == targets
    with pytest.raises(UsageError, match="2 pictures"):
        derainer.batch(sources, out=targets[:1])


def test_small_pictures_of_a_batch_share_the_cores_and_large_ones_do_not(
    make_weights: Callable[..., Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def spied(weights: Weights, options: Options, *, streams: int = 1) -> Engine:
        opened.append(streams)
        return open_engine(weights, options, streams=streams)

    monkeypatch.setattr(module, "open_engine", spied)
    monkeypatch.setattr(module, "SMALL_PIXELS", 600)
    derainer = Derainer(make_weights(8, 2, 1), precision="fp32", threads=2)
    sizes = [(20, 30), (30, 20), (20, 31), (25, 24), (40, 40)] * 4
    pictures = [random_picture((*size, 3), np.uint8) for size in sizes]
    small = [picture for picture in pictures if picture.shape[0] * picture.shape[1] <= 600]
    alone = [derainer(picture) for picture in pictures]
    assert opened == [1]
    derainer.batch(small[:7])
    assert opened == [1]  # so few do not pay for another engine
    for clean, expected in zip(derainer.batch(pictures), alone, strict=True):
        assert np.array_equal(clean, expected)
    assert opened == [1, 2]
    runs: list[int] = []
    run = derainer._engine.run

    def counted(x: NDArray[np.float32]) -> NDArray[np.float32]:
        runs.append(x.shape[2])
        return run(x)

    monkeypatch.setattr(derainer._engine, "run", counted)
    derainer.batch(pictures)
    assert sorted(runs) == [20] * 4 + [40] * 4
    derainer(small[0])
    assert len(runs) == 9  # alone, it gets all cores


def test_what_is_wrong_with_one_picture_of_a_batch_is_raised(
    derainer: Derainer, photo: NDArray[np.uint8], tmp_path: Path
) -> None:
    sources = [tmp_path / f"{index}.png" for index in range(9)]
    for source in sources:
        source.write_bytes(encoded(photo, "PNG"))
    sources[4].write_bytes(b"no picture")
    targets = [tmp_path / "out" / source.name for source in sources]
    with pytest.raises(PictureError, match=r"4\.png"):
        derainer.batch(sources, out=targets)
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {f"{i}.png" for i in range(4)}
    assert not targets[4].exists()


def test_threads_get_what_one_thread_gets(make_weights: Callable[..., Weights]) -> None:
    derainer = Derainer(make_weights(8, 2, 1), precision="fp32", threads=1, tile=40)
    pictures = [random_picture((20 + 7 * i, 90 - 5 * i, 3), np.uint8) for i in range(6)]
    serial = [derainer(picture) for picture in pictures]
    with ThreadPoolExecutor(5) as pool:
        concurrent = list(pool.map(lambda picture: derainer(picture), pictures))
    for ours, expected in zip(concurrent, serial, strict=True):
        assert np.array_equal(ours, expected)


def test_estimates_grow_with_the_picture_and_count_the_halo(
    make_weights: Callable[..., Weights],
) -> None:
    derainer = Derainer(make_weights(), tile=0)
    assert 0 < derainer.estimate_seconds(10, 10) < derainer.estimate_seconds(1000, 10)
    small = derainer.estimate_seconds(100, 100)
    assert derainer.estimate_seconds(200, 200) == pytest.approx(4 * small)
    tiled = Derainer(make_weights(), tile=10)
    ratio = tiled.estimate_seconds(500, 500) / tiled.estimate_seconds(10, 10)
    assert ratio > 2 * 50 * 50


def test_a_derainer_knows_what_it_runs(derainer: Derainer) -> None:
    assert derainer.options.model == derainer.weights.name == "random-0"
    assert (derainer.precision, derainer.device) == ("fp32", "cpu")


def test_options_make_a_derainer(model_file: Path) -> None:
    options = dpenet.Options(model=str(model_file), tile=64, strength=0.5)
    assert Derainer(**asdict(options)).options == options
