from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dpenet.errors import MissingExtraError, PictureError, UsageError
from dpenet.inference import devices, torch_engine
from dpenet.inference.derainer import Derainer
from dpenet.inference.devices import torch_device
from dpenet.inference.engines import OpenVINOEngine, open_engine
from dpenet.inference.options import Options
from dpenet.inference.torch_engine import TorchEngine
from dpenet.network import DPENet
from dpenet.zoo import Weights, load_weights

MakeWeights = Callable[..., Weights]


def on_cpu(weights: Weights, precision: str = "auto", stage: int = 2) -> TorchEngine:
    return TorchEngine(weights, Options(precision=precision, stage=stage), "torch-cpu")


def levels(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.rint(255 * np.clip(x, 0, 1))


@pytest.fixture(scope="module")
def x() -> NDArray[np.float32]:
    return np.random.default_rng(1).random((1, 3, 37, 51), np.float32)


@pytest.mark.parametrize("stage", [1, 2])
def test_fp32_equals_the_network_and_openvino(x: NDArray[np.float32], stage: int) -> None:
    weights = load_weights("universal")
    shape = weights.architecture
    network = DPENet(shape.width, shape.n_ddrb, shape.n_erpab)
    network.load_state_dict({key: torch.tensor(value) for key, value in weights.state.items()})
    with torch.no_grad():
        expected = network(torch.from_numpy(x))[stage - 1].numpy()
    ours = on_cpu(weights, "fp32", stage).run(x)
    openvino = OpenVINOEngine(weights, Options(precision="fp32", stage=stage)).run(x)
    assert ours.shape == x.shape
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours, openvino, rtol=0, atol=1e-4)
    assert np.mean(levels(ours) != levels(openvino)) < 1e-3


@pytest.mark.parametrize(("precision", "decibels"), [("fp16", 55), ("bf16", 38)])
def test_sixteen_bits_are_near_but_not_equal(
    x: NDArray[np.float32], precision: str, decibels: float
) -> None:
    weights = load_weights("universal")
    engine = on_cpu(weights, precision)
    assert engine.precision == precision
    error = engine.run(x) - on_cpu(weights, "fp32").run(x)
    assert decibels < -10 * np.log10(np.mean(error**2)) < decibels + 40


def test_auto_is_fp32_on_the_processor(make_weights: MakeWeights) -> None:
    engine = on_cpu(make_weights())
    assert (engine.precision, engine.device, engine.streams) == ("fp32", "torch-cpu", 1)


def test_the_sum_with_the_picture_is_fp32(identity_weights: Weights) -> None:
    x = np.full((1, 3, 8, 8), 0.123456789, np.float32)
    assert np.array_equal(on_cpu(identity_weights, "bf16").run(x), x)


def test_int8_is_refused(make_weights: MakeWeights) -> None:
    options = Options()
    object.__setattr__(options, "precision", "int8")
    with pytest.raises(UsageError, match="no int8 arithmetic; use precision fp16"):
        TorchEngine(make_weights(), options, "torch-cpu")


@pytest.mark.parametrize("device", ["cuda:99", "cuda:x", "mps:1"])
def test_an_absent_device_is_refused(make_weights: MakeWeights, device: str) -> None:
    with pytest.raises(UsageError, match=f"no device '{device}' here: .* or use device cpu"):
        open_engine(make_weights(), Options(device=device))


def test_the_engine_is_opened_by_its_name(
    make_weights: MakeWeights, x: NDArray[np.float32]
) -> None:
    weights = make_weights()
    engine = open_engine(weights, Options(device="torch-cpu", precision="fp32"))
    assert isinstance(engine, TorchEngine)
    other = open_engine(weights, Options(device="auto", precision="fp32"))
    np.testing.assert_allclose(engine.run(x), other.run(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "message",
    ["CUDA out of memory. Tried to allocate 9 GiB", "DefaultCPUAllocator: can't allocate"],
)
def test_too_little_memory_says_what_to_do(
    make_weights: MakeWeights, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(message)

    engine = on_cpu(make_weights())
    monkeypatch.setattr(engine._network, "r2net", fail)
    with pytest.raises(PictureError, match=r"20 x 10 pixels .*torch-cpu.*--tile .*--memory"):
        engine.run(np.zeros((1, 3, 10, 20), np.float32))


def test_memory_that_is_really_too_little(make_weights: MakeWeights) -> None:
    # A view of one number; a copy would take more than any address space has.
    shape = (1, 3, 100_000_000, 100_000_000)
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), shape, (0, 0, 0, 0))
    with pytest.raises(PictureError, match="--tile"):
        on_cpu(make_weights(width=1)).run(huge)


def test_a_picture_is_tiled_to_the_memory_of_the_device(
    make_weights: MakeWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    derainer = Derainer(make_weights(), device="torch-cpu", precision="fp32")
    picture = np.random.default_rng(0).random((210, 190, 3), np.float32)
    assert derainer.plan(210, 190).pixels == 210 * 190
    whole = derainer.derain_pixels(picture)
    monkeypatch.setattr(TorchEngine, "most_pixels", lambda _: 20_000)
    height, width = derainer.plan(210, 190).window
    assert height * width <= 20_000
    np.testing.assert_allclose(derainer.derain_pixels(picture), whole, rtol=0, atol=1e-5)


def test_pixels_follow_from_free_memory(
    make_weights: MakeWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = on_cpu(make_weights(width=5), "fp32")
    assert engine.most_pixels() is None
    engine._device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10**9, 9 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 3 * 10**8)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 10**8)
    expected = 0.8 * 1.2e9 / (torch_engine._LIVE_TENSORS * 5 * 4)
    assert engine.most_pixels() == int(expected)
    engine.precision = "fp16"
    assert engine.most_pixels() == int(2 * expected)
    engine._device = torch.device("mps")
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 13 * 10**8)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 10**8)
    assert engine.most_pixels() == int(2 * expected)


def test_other_errors_stay_what_they_are(
    make_weights: MakeWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("device-side assert")

    engine = on_cpu(make_weights())
    monkeypatch.setattr(engine._network, "r2net", fail)
    with pytest.raises(RuntimeError, match="device-side assert"):
        engine.run(np.zeros((1, 3, 4, 4), np.float32))


def test_a_device_that_computes_something_else_is_refused(make_weights: MakeWeights) -> None:
    weights = make_weights(4)
    right = on_cpu(weights, "fp32")
    torch_engine._compare(on_cpu(weights, "bf16"), right)
    for wrong in (on_cpu(make_weights(4, seed=1), "fp32"), on_cpu(weights, "fp32", stage=1)):
        with pytest.raises(UsageError, match="torch-cpu computes a wrong result in fp32"):
            torch_engine._compare(wrong, right)


def test_openvino_has_the_other_devices() -> None:
    assert [torch_device(name, "auto") for name in ("cpu", "gpu", "GPU.1", "npu")] == [None] * 4


def test_pytorch_has_its_own_in_any_case() -> None:
    assert torch_device("CUDA:1", "auto") == "cuda:1"
    assert torch_device("mps", "fp32") == "mps"


def test_a_named_device_needs_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"device cuda needs .*dpenet\[torch\]"):
        torch_device("cuda", "auto")
    assert torch_device("auto", "auto") is None


@pytest.mark.parametrize(
    ("cuda", "mps", "there", "chosen"),
    [
        (True, False, ["cuda"], "cuda"),
        (True, True, ["cuda", "mps"], "cuda"),
        (False, True, ["mps"], "mps"),
        (True, False, [], None),  # a driver without a card
        (False, False, ["cuda", "mps"], None),
    ],
)
def test_auto_takes_what_is_there(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, there: list[str], chosen: str | None
) -> None:
    monkeypatch.setattr(devices, "_may_have_cuda", lambda: cuda)
    monkeypatch.setattr(devices, "_may_have_mps", lambda: mps)
    monkeypatch.setattr(torch_engine, "is_there", there.__contains__)
    assert torch_device("auto", "auto") == chosen
    assert torch_device("auto", "int8") is None
    assert torch_device("cpu", "auto") is None


def test_cuda_needs_a_driver_and_a_build_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Spec:
        submodule_search_locations = (str(tmp_path),)

    monkeypatch.setattr(devices, "find_spec", lambda _: Spec)
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    library, driver = tmp_path / "lib" / "libtorch_cuda.so", tmp_path / "System32" / "nvcuda.dll"
    for path in (library, driver):
        path.parent.mkdir()
    assert not devices._may_have_cuda()
    driver.touch()
    assert not devices._may_have_cuda()
    library.touch()
    assert devices._may_have_cuda()
    driver.unlink()
    assert not devices._may_have_cuda() or Path("/dev/nvidia0").exists()


def test_looking_for_a_device_imports_no_torch() -> None:
    code = (
        "import sys; from dpenet.inference.devices import torch_device;"
        "print(torch_device('auto', 'auto'), 'torch' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if not devices._may_have_cuda() and not devices._may_have_mps():
        assert run.stdout == "None False\n"
