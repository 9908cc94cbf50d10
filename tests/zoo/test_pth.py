"""The reader must agree with PyTorch on honest files, and run nothing of any other."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dpenet.errors import ModelError
from dpenet.zoo.pth import read_pth

PUBLISHED = ["HeavyRain", "Rain100H", "Rain100L", "Rain1400", "Rain800"]

# --- forging checkpoints by hand: pickle opcodes, in a zip like that of PyTorch ---


def text(value: str) -> bytes:
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def number(value: int) -> bytes:
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def group(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def mapping(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def tensor(
    shape: tuple[int, ...] = (2, 3),
    strides: tuple[int, ...] = (3, 1),
    offset: int = 0,
    *,
    size: int = 6,
    kind: str = "FloatStorage",
    key: str = "0",
) -> bytes:
    storage = group(
        text("storage"), b"ctorch\n" + kind.encode() + b"\n", text(key), text("cpu"), number(size)
    )
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n"
        + group(
            storage + b"Q",
            number(offset),
            group(*map(number, shape)),
            group(*map(number, strides)),
            b"\x89",
            b"ccollections\nOrderedDict\n)R",
        )
        + b"R"
    )


SIX = np.arange(6, dtype="<f4").tobytes()


@pytest.fixture
def forge(tmp_path: Path) -> Callable[..., Path]:
    def write(program: bytes, *, compression: int = zipfile.ZIP_STORED, **storages: bytes) -> Path:
        path = tmp_path / "forged.pth"
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02" + program + b".")
            for key, raw in {"0": SIX, **storages}.items():
                archive.writestr(f"archive/data/{key}", raw)
        return path

    return write


# --- honest files ---


@pytest.mark.parametrize("name", PUBLISHED)
def test_it_agrees_with_torch_on_the_published_checkpoints(name: str, shared: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    path = shared / "reference" / "weights" / f"{name}.pth"
    theirs = torch.load(path, weights_only=True, map_location="cpu")
    ours = read_pth(path)
    assert list(ours) == list(theirs)
    for key, array in ours.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, theirs[key].numpy())


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool"]
)
def test_it_agrees_with_torch_on_every_layout(dtype: str, protocol: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    base = (torch.randn(4, 6) * 3).to(getattr(torch, dtype))
    state = {
        "plain": base.clone(),
        "transposed": base.clone().T,
        "slice": base.clone()[1:3, ::2],
        "scalar": torch.tensor(1).to(base.dtype),
        "column": base.clone()[:, 1:2],
    }
    path = tmp_path / "a.pth"
    torch.save(state, path, pickle_protocol=protocol)
    ours = read_pth(path)
    assert list(ours) == list(state)
    for key, expected in state.items():
        np.testing.assert_array_equal(ours[key], expected.to(torch.float32).numpy())
        assert ours[key].flags.c_contiguous


def test_wrappers_are_taken_off(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    module = torch.nn.DataParallel(torch.nn.Conv2d(2, 3, 1))
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2, 4, 4)).sum().backward()
    optimiser.step()
    expected = {key: value.numpy() for key, value in module.module.state_dict().items()}
    parameters = OrderedDict(module.module.named_parameters())
    path = tmp_path / "a.pth"
    for content in (
        module.state_dict(),
        parameters,
        {"state_dict": module.state_dict(), "epoch": 3, "optimizer": optimiser.state_dict()},
    ):
        torch.save(content, path)
        ours = read_pth(path)
        assert list(ours) == list(expected)
        for key, array in expected.items():
            np.testing.assert_array_equal(ours[key], array)


def test_a_forged_honest_file_is_read(forge: Callable[..., Path]) -> None:
    state = read_pth(forge(mapping(a=tensor())))
    np.testing.assert_array_equal(state["a"], [[0, 1, 2], [3, 4, 5]])


def test_float64_beyond_float32_becomes_infinite_without_a_warning(
    forge: Callable[..., Path],
) -> None:
    raw = np.full(6, 1e300, "<f8").tobytes()
    state = read_pth(forge(mapping(a=tensor(kind="DoubleStorage", key="big")), big=raw))
    assert np.isinf(state["a"]).all()


# --- malicious files ---


class Malice:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def _witness(path: str) -> None:
    Path(path).touch()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    ("function", "forbidden"),
    [
        (os.system, r"(posix|nt)\.system"),
        (eval, r"(builtins|__builtin__)\.eval"),
        (exec, r"(builtins|__builtin__)\.exec"),
        (getattr, r"(builtins|__builtin__)\.getattr"),
        (pickle.loads, r"_?pickle\.loads"),
    ],
)
def test_what_would_run_is_refused_by_name(
    function: Callable[..., Any], forbidden: str, protocol: int, forge: Callable[..., Path]
) -> None:
    malice = Malice(function, "0")
    for content in (malice, {"a": malice}, {"state_dict": {"a": [(malice,)]}}):
        program = pickle.dumps(content, protocol=protocol)
        with pytest.raises(ModelError, match=f"refused, for it asks for '{forbidden}'"):
            read_pth(forge(program[:-1]))


@pytest.mark.parametrize("opcode", [b"i", b"o", b"\x81", b"\x92"], ids=["INST", "OBJ", "NEW", "EX"])
def test_other_ways_to_call_run_nothing(
    opcode: bytes, forge: Callable[..., Path], tmp_path: Path
) -> None:
    witness = tmp_path / "witness"
    touch = b"cpathlib\nPath\n" + text(str(witness))
    if opcode == b"i":
        program = b"(" + text(f"touch {witness}") + b"ios\nsystem\n"
    else:
        program = b"(" + touch + opcode
    with pytest.raises(ModelError):
        read_pth(forge(program))
    assert not witness.exists()


def test_a_function_within_reach_is_not_reached(forge: Callable[..., Path], tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    program = b"c" + __name__.encode() + b"\n_witness\n" + group(text(str(witness))) + b"R"
    with pytest.raises(ModelError, match="_witness"):
        read_pth(forge(program))
    assert not witness.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"ccollections\nOrderedDict\n" + group(group()) + b"R",
        b"ctorch\nFloatStorage\n" + group(number(1 << 40)) + b"R",
        b"ctorch._utils\n_rebuild_parameter\n" + group(number(1)) + b"R",
        text("os.system") + group(text("true")) + b"R",
    ],
)
def test_allowed_names_cannot_be_called_otherwise(
    program: bytes, forge: Callable[..., Path]
) -> None:
    with pytest.raises(ModelError, match="a call that makes no tensor"):
        read_pth(forge(mapping(a=program)))


def test_a_key_that_takes_forever_to_hash_is_refused(forge: Callable[..., Path]) -> None:
    nested = b"Nq\x00" + b"".join(b"h\x00h\x00\x86q\x00" for _ in range(100))
    with pytest.raises(ModelError, match="fit no dict"):
        read_pth(forge(b"}" + nested + b"Ns"))


# --- impossible tensors ---


@pytest.mark.parametrize(
    "bad",
    [
        tensor((2, 4), (4, 1)),
        tensor((2, 3), (3, 1), offset=1),
        tensor((2, 3), (6, 1)),
        tensor((2, 3), (-3, 1), offset=3),
        tensor((2, 3), (3, 1), offset=-1),
        tensor((-2, -3), (3, 1)),
        tensor((0, 3), (3, 1)),
        tensor((6,), (3, 1)),
        tensor((1 << 62, 1 << 62), (0, 0)),
        tensor((6,), (1 << 70,)),
        tensor((1,) * 40, (1,) * 40),
        tensor(size=7),
        tensor(size=5),
        tensor(kind="DoubleStorage"),
        tensor(key="missing"),
        tensor(key="../data.pkl"),
    ],
)
def test_tensors_outside_of_their_storage_are_refused(
    bad: bytes, forge: Callable[..., Path]
) -> None:
    with pytest.raises(ModelError):
        read_pth(forge(mapping(a=bad)))


@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, 1 << 20), (7,)])
def test_one_number_cannot_be_stretched(shape: tuple[int, ...], forge: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match="overlap"):
        read_pth(forge(mapping(a=tensor(shape, (0,) * len(shape)))))


def test_one_storage_cannot_be_multiplied(forge: Callable[..., Path]) -> None:
    numbers = 250_000
    big = tensor((500, 500), (1, 500), size=numbers, key="big")
    many = {f"k{i}": big for i in range(1000)}  # would take 1 GB
    path = forge(mapping(**many), big=bytes(4 * numbers))
    tracemalloc.start()
    with pytest.raises(ModelError, match="overlap"):
        read_pth(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_a_stride_of_a_single_row_may_be_anything(forge: Callable[..., Path]) -> None:
    state = read_pth(forge(mapping(a=tensor((1, 6), (1 << 70, 1)))))
    np.testing.assert_array_equal(state["a"], [range(6)])


# --- impossible zips ---


def test_a_compressed_zip_is_refused(forge: Callable[..., Path]) -> None:
    path = forge(mapping(a=tensor()), compression=zipfile.ZIP_DEFLATED, bomb=bytes(1 << 20))
    with pytest.raises(ModelError, match="compressed zip"):
        read_pth(path)


def test_overlapping_entries_are_refused(forge: Callable[..., Path]) -> None:
    path = forge(mapping(a=tensor()), big=bytes(10_000))
    with zipfile.ZipFile(path, "a") as archive:
        original = archive.getinfo("archive/data/big")
        for i in range(100):
            copy = zipfile.ZipInfo(f"archive/data/copy{i}")
            copy.file_size = copy.compress_size = original.file_size
            copy.CRC, copy.header_offset = original.CRC, original.header_offset
            archive.filelist.append(copy)
        archive._didModify = True  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="claims more content than the file has"):
        read_pth(path)


def test_a_program_too_long_is_not_read(forge: Callable[..., Path]) -> None:
    with pytest.raises(ModelError, match="far more than the weights"):
        read_pth(forge(b"N" * (1 << 21)))


# --- files of another kind ---


def test_the_format_before_torch_1_6_is_recognised(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    path = tmp_path / "old.pth"
    torch.save({"a": torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ModelError, match=r"before 1\.6.*torch\.save\(torch\.load\("):
        read_pth(path)
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    with pytest.raises(ModelError, match=r"before 1\.6"):
        read_pth(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n", "neither a PyTorch checkpoint"),
        (b"hello, world", "neither a PyTorch checkpoint"),
        (b"PK\x03\x04", "damaged or cut short"),
    ],
)
def test_other_files(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=rf"a\.pth: .*{reason}"):
        read_pth(path)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        read_pth(tmp_path / "none.pth")
    with pytest.raises(ModelError, match=str(tmp_path)):
        read_pth(tmp_path)


def test_another_zip(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    with pytest.raises(ModelError, match=r"no data\.pkl"):
        read_pth(path)


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (mapping(), "holds no state dict"),
        (b"N", "holds no state dict"),
        (b"]" + tensor() + b"a", "holds no state dict"),
        (mapping(epoch=number(3), model=mapping(a=tensor())), "'epoch' is not a tensor"),
        (b"", "damaged"),
        (b"(((", "damaged"),
        (mapping(a=tensor())[:40], "damaged"),
    ],
)
def test_programs_that_make_no_state_dict(
    program: bytes, reason: str, forge: Callable[..., Path]
) -> None:
    with pytest.raises(ModelError, match=reason):
        read_pth(forge(program))


def test_big_endian_files_are_refused(forge: Callable[..., Path]) -> None:
    path = forge(mapping(a=tensor()))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", "big")
    with pytest.raises(ModelError, match="big-endian"):
        read_pth(path)


# --- damage of every sort: ModelError or a good read, and nothing else ---

FUZZ = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def real_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    torch = pytest.importorskip("torch", reason="needs torch")
    content = io.BytesIO()
    layers = {f"layer{i}.weight": torch.randn(2, 2, 3, 3) for i in range(6)}
    torch.save(OrderedDict(layers), content)
    return content.getvalue()


@FUZZ
@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_damaged_wherever_it_ends(
    cut: float, real_file: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "cut.pth"
    path.write_bytes(real_file[: int(cut * len(real_file))])
    with pytest.raises(ModelError, match=r"damaged or cut short|empty|neither"):
        read_pth(path)


@FUZZ
@given(
    edits=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=8)
)
def test_a_mutated_file_raises_nothing_but_model_errors(
    edits: list[tuple[int, int]], real_file: bytes, tmp_path: Path
) -> None:
    content = bytearray(real_file)
    for place, value in edits:
        content[place % len(content)] = value
    _read_or_refuse(bytes(content), tmp_path / "mutated.pth")


@FUZZ
@given(
    edits=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.integers(0, 50),
)
def test_a_mutated_program_raises_nothing_but_model_errors(
    edits: list[tuple[int, int]], cut: int, real_file: bytes, tmp_path: Path
) -> None:
    """As above, with right checksums, so that the damage reaches the program."""
    with zipfile.ZipFile(io.BytesIO(real_file)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in entries if name.endswith("data.pkl"))
    program = bytearray(entries[name])
    for place, value in edits:
        program[place % len(program)] = value
    entries[name] = bytes(program[: len(program) - cut])
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for entry, raw in entries.items():
            archive.writestr(entry, raw)
    _read_or_refuse(content.getvalue(), tmp_path / "mutated.pth")


@FUZZ
@given(program=st.binary(max_size=200))
def test_a_random_program_raises_nothing_but_model_errors(program: bytes, tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("a/data.pkl", program)
    _read_or_refuse(content.getvalue(), tmp_path / "random.pth")


def _read_or_refuse(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    try:
        state = read_pth(path)
    except ModelError as error:
        assert str(path) in str(error)
    else:
        assert all(array.dtype == np.float32 for array in state.values())
