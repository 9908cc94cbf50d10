"""Reads PyTorch checkpoints (``.pth``) without PyTorch and without executing anything in them.

A checkpoint is a zip of raw numbers (``<top>/data/<key>``, one "storage" each) and of a pickle
program (``<top>/data.pkl``) that says which tensors they make. Unpickling would call whatever
function the file names, so nothing is unpickled here: the program is read as data, one opcode at a
time, and only the few opcodes and names that a state dict needs have a meaning.

Format: ``torch/serialization.py`` and ``torch/_utils.py`` of PyTorch; opcodes: ``pickletools`` of
the Python standard library.
"""

from __future__ import annotations

import math
import pickletools
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpenet.errors import ModelError

# Names of element types, as numpy and `as_float32` call them (always little-endian).
_STORAGES = {
    "torch.FloatStorage": "<f4",
    "torch.DoubleStorage": "<f8",
    "torch.HalfStorage": "<f2",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "<i8",
    "torch.IntStorage": "<i4",
    "torch.ShortStorage": "<i2",
    "torch.CharStorage": "<i1",
    "torch.ByteStorage": "<u1",
    "torch.BoolStorage": "<u1",
}
_ORDERED_DICT = "collections.OrderedDict"
_REBUILD_TENSOR = "torch._utils._rebuild_tensor_v2"
_REBUILD_PARAMETER = "torch._utils._rebuild_parameter"
_ALLOWED = {*_STORAGES, _ORDERED_DICT, _REBUILD_TENSOR, _REBUILD_PARAMETER}

# The program of a published checkpoint takes 18 kB, one with its optimiser four times that.
_LONGEST_PROGRAM = 1 << 20
_MOST_DIMENSIONS = 8


class _Global(NamedTuple):
    """A name that the program refers to. It is never looked up."""

    name: str


class _Storage(NamedTuple):
    """A run of numbers in the archive, not yet read."""

    key: str
    dtype: str
    size: int


class _Tensor(NamedTuple):
    """A tensor that the program describes, not yet made."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_pth(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the state dict of a checkpoint in PyTorch's zip format (PyTorch 1.6 and later).

    The state dict may be the whole file or its entry ``state_dict``, on any device, in any usual
    element type, with or without the prefix ``module.`` that DataParallel adds.

    Memory stays within a few times the size of the file, whatever the file claims.

    Args:
        path: The checkpoint.

    Returns:
        Key to float32 array, in the order of the file.

    Raises:
        ModelError: If the file cannot be read, is of another format, is damaged, or asks for
            anything but tensors.
    """
    try:
        with path.open("rb") as file:
            start = file.read(512)
        if not start.startswith(b"PK\x03\x04"):
            raise ModelError(f"{path}: {_what_else(start)}")
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, path)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    # What zipfile, pickletools and the reader below raise on bytes that make no sense.
    except (
        zipfile.BadZipFile,
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise ModelError(
            f"{path}: damaged or cut short; download or copy it again ({error})"
        ) from error


def as_float32(raw: bytes, dtype: str) -> NDArray[np.float32]:
    """Convert raw little-endian numbers.

    Args:
        raw: The bytes.
        dtype: A numpy dtype such as ``<f2``, or ``bfloat16``.

    Returns:
        One-dimensional; values beyond float32 become infinite.
    """
    if dtype == "bfloat16":  # the upper half of a float32
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
    with np.errstate(over="ignore"):
        return np.frombuffer(raw, dtype).astype(np.float32, copy=False)


def _what_else(start: bytes) -> str:
    """Say what a file that is no zip seems to be, from its first bytes."""
    if not start:
        return "the file is empty; download or copy it again"
    if start[:1] == b"\x80" or start[257:262] == b"ustar":  # a bare pickle, or a tar of some
        return (
            "not a zip: this looks like the format of PyTorch before 1.6, which is not read here. "
            "If you trust it, save it anew with PyTorch: "
            "torch.save(torch.load(OLD, map_location='cpu', weights_only=True), NEW)"
        )
    return "neither a PyTorch checkpoint (.pth) nor safetensors"


def _read_archive(archive: zipfile.ZipFile, path: Path) -> dict[str, NDArray[np.float32]]:
    entries = {info.filename: info for info in archive.infolist()}
    # PyTorch never compresses. With that, and no more content than file, no zip bomb works.
    if any(info.compress_type != zipfile.ZIP_STORED for info in entries.values()):
        raise ModelError(f"{path}: a compressed zip, which PyTorch does not write")
    if sum(info.file_size for info in archive.infolist()) > path.stat().st_size:
        raise ModelError(f"{path}: the zip claims more content than the file has; do not trust it")

    programs = [name for name in entries if name.endswith("/data.pkl")]
    if len(programs) != 1:
        raise ModelError(f"{path}: a zip, but not a PyTorch checkpoint (it has no data.pkl)")
    top = programs[0].removesuffix("data.pkl")
    if entries[programs[0]].file_size > _LONGEST_PROGRAM:
        raise ModelError(f"{path}: describes far more than the weights of a DPENet")
    if f"{top}byteorder" in entries and archive.read(f"{top}byteorder") != b"little":
        raise ModelError(f"{path}: saved on a big-endian machine; save it anew on another")

    state = _state_dict(_run(archive.read(programs[0]), path), path)
    numbers: dict[_Storage, NDArray[np.float32]] = {}
    for storage in {tensor.storage for tensor in state.values()}:
        numbers[storage] = as_float32(archive.read(f"{top}data/{storage.key}"), storage.dtype)
        if numbers[storage].size != storage.size:
            raise ValueError(f"storage {storage.key[:40]!r} has not the size that it should")
    # Else a few bytes could describe a tensor, or many tensors, of any size.
    if sum(math.prod(t.shape) for t in state.values()) > sum(n.size for n in numbers.values()):
        raise ModelError(f"{path}: its tensors overlap in memory, which weights do not")
    return {key: _array(tensor, numbers[tensor.storage]) for key, tensor in state.items()}


def _array(tensor: _Tensor, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
    """View a storage as a tensor, after checking that it lies inside."""
    # The stride of a dimension of size 1 means nothing, and may be anything.
    sizes = zip(tensor.shape, tensor.strides, strict=True)
    strides = [stride if size > 1 else 0 for size, stride in sizes]
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, strides, strict=True))
    if tensor.offset + last >= numbers.size:
        raise ValueError(f"a tensor reaches outside of storage {tensor.storage.key[:40]!r}")
    view = np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :],
        tensor.shape,
        [stride * numbers.itemsize for stride in strides],
        writeable=False,
    )
    return np.ascontiguousarray(view)


def _state_dict(content: object, path: Path) -> dict[str, _Tensor]:
    """Find the state dict in what a checkpoint holds."""
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise ModelError(f"{path}: holds no state dict; save one: {_SAVE}")
    odd = [key for key, value in content.items() if not isinstance(value, _Tensor)]
    if odd:
        raise ModelError(
            f"{path}: {str(odd[0])[:40]!r} is not a tensor; save weights only: {_SAVE}"
        )
    state = {str(key): value for key, value in content.items()}
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    return state


_SAVE = "torch.save(model.state_dict(), PATH)"


def _run(program: bytes, path: Path) -> object:
    """Follow a pickle program that builds dicts, lists, tuples, numbers, strings and tensors."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    argument: Any

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, argument, _ in pickletools.genops(program):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "STOP":
                return stack.pop()
            case "MARK":
                marks.append(len(stack))
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(opcode.name == "NEWTRUE")
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT":
                stack.append(argument)
            case "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "EMPTY_TUPLE":
                stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                size = int(opcode.name[-1])
                stack[-size:] = [tuple(stack[-size:])]
            case "TUPLE":
                stack.append(tuple(since_mark()))
            case "EMPTY_LIST":
                stack.append([])
            case "APPEND":
                _extend(stack, [stack.pop()])
            case "APPENDS":
                _extend(stack, since_mark())
            case "EMPTY_DICT":
                stack.append({})
            case "SETITEM":
                _update(stack, [stack.pop(-2), stack.pop()])
            case "SETITEMS":
                _update(stack, since_mark())
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "GLOBAL":
                stack.append(_allowed(argument.replace(" ", ".", 1), path))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_allowed(f"{module:s}.{name:s}", path))
            case "BINPERSID":
                stack.append(_storage(stack.pop()))
            case "REDUCE":
                arguments = stack.pop()
                stack.append(_call(stack.pop(), arguments))
            case "BUILD":  # attributes, such as the version numbers of a state dict's modules
                stack.pop()
            case other:
                raise ModelError(f"{path}: uses the pickle opcode {other}, which no weights need")
    raise ValueError("the pickle program has no end")


def _allowed(name: str, path: Path) -> _Global:
    if name not in _ALLOWED:
        raise ModelError(
            f"{path}: refused, for it asks for {name[:100]!r}, which plain weights do not need and "
            f"which may be malicious. Nothing was run. If you trust it, save weights only: {_SAVE}"
        )
    return _Global(name)


def _extend(stack: list[Any], items: list[Any]) -> None:
    if not isinstance(stack[-1], list):
        raise TypeError("items for what is not a list")
    stack[-1].extend(items)


def _update(stack: list[Any], items: list[Any]) -> None:
    # Only plain keys: nested tuples could be made to take forever to hash.
    if not isinstance(stack[-1], dict) or not all(isinstance(k, str | int) for k in items[::2]):
        raise TypeError("entries that fit no dict")
    stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _storage(persistent_id: Any) -> _Storage:
    kind, dtype, key, _device, size = persistent_id
    if kind != "storage" or not isinstance(key, str) or not isinstance(size, int):
        raise TypeError("a reference to what is not a storage")
    return _Storage(key, _STORAGES[dtype.name], size)


def _call(function: Any, arguments: Any) -> object:
    """Give the calls that occur in a state dict their meaning."""
    if function == _Global(_ORDERED_DICT) and arguments == ():
        return {}
    if function == _Global(_REBUILD_PARAMETER) and isinstance(arguments[0], _Tensor):
        return arguments[0]
    if function == _Global(_REBUILD_TENSOR) and isinstance(arguments[0], _Storage):
        storage, offset, shape, strides = arguments[:4]
        numbers = (offset, *shape, *strides)
        if (
            not all(isinstance(n, int) and n >= 0 for n in numbers)
            or len(shape) != len(strides)
            or len(shape) > _MOST_DIMENSIONS
            or 0 in shape
        ):
            raise ValueError("a tensor of an impossible shape")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))
    raise TypeError("a call that makes no tensor")
