"""Tensors as bytes: the safetensors layout, written in chunks, read through a memory map, checked on arrival.

The layout is that of https://github.com/huggingface/safetensors (8 bytes of header length, a JSON header, the data without
gaps), with the tensors in the order in which that library writes them, so that equal tensors give equal bytes and one SHA-256
names them everywhere. The library itself cannot write in chunks nor map a file as numpy arrays, which is why this is ours.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from federation.errors import InputError, Refused

Array = npt.NDArray[Any]
Tensors = Mapping[str, Array]

CHUNK_BYTES = 1 << 20
MAX_HEADER_BYTES = 4 << 20
MAX_NAME = 1_000
MAX_DIMENSIONS = 32
MAX_NUMBER = 1 << 50
_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_LIBRARY_ORDER = ["BOOL", "U8", "I8", "I16", "F16", "I32", "F32", "F64", "I64"]
_CODES = {dtype: code for code, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class TensorSpec:
    """What a tensor must be: its dtype (numpy name) and shape."""

    dtype: str
    shape: tuple[int, ...]


def specs_of(tensors: Tensors) -> dict[str, TensorSpec]:
    """Describe tensors by dtype and shape."""
    return {name: TensorSpec(value.dtype.name, tuple(value.shape)) for name, value in tensors.items()}


def most_bytes(specs: Mapping[str, TensorSpec]) -> int:
    """Return how many bytes tensors of these specs take at most, whoever has laid them out."""
    header = sum(len(json.dumps(name)) + 24 * len(spec.shape) + 128 for name, spec in specs.items())
    data = (math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in specs.values())
    return 1024 + header + sum(data)


def chunks(tensors: Tensors, size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """Lay tensors out as safetensors, in pieces of at most ``size`` bytes.

    Raises
    ------
    InputError
        If a tensor has a dtype that the layout does not know.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-_rank(item[0], item[1]), item[0]))
    header: dict[str, Any] = {}
    offset = 0
    for name, value in ordered:
        header[name] = {
            "dtype": _CODES[_little_endian(value.dtype)],
            "shape": list(value.shape),
            "data_offsets": [offset, offset + value.nbytes],
        }
        offset += value.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    for start in range(0, len(head), size):
        yield head[start : start + size]
    for _, value in ordered:
        # `ascontiguousarray` would turn a scalar into a vector of one.
        data = np.asarray(value, dtype=_little_endian(value.dtype), order="C").reshape(-1).view(np.uint8).data
        for start in range(0, len(data), size):
            yield bytes(data[start : start + size])


def digest(tensors: Tensors) -> str:
    """Return the SHA-256 (hexadecimal) of the tensors' bytes."""
    return measure(tensors)[0]


def measure(tensors: Tensors) -> tuple[str, int]:
    """Return the SHA-256 (hexadecimal) and the number of the tensors' bytes."""
    sha, size = hashlib.sha256(), 0
    for piece in chunks(tensors):
        sha.update(piece)
        size += len(piece)
    return sha.hexdigest(), size


def pack(tensors: Tensors) -> bytes:
    """Return the tensors' bytes in one piece."""
    return b"".join(chunks(tensors))


def unpack(data: bytes | mmap.mmap) -> dict[str, Array]:
    """Read tensors from bytes or a file in memory, as read-only views of them; raises as `open_mapped` does."""
    return _parse(np.frombuffer(data, np.uint8), "received tensors")


def open_mapped(path: Path) -> dict[str, Array]:
    """Map a file of tensors into memory, read-only.

    Raises
    ------
    InputError
        If the file is not in the safetensors layout, has gaps, overlaps or a dtype that numpy lacks.
    """
    if path.stat().st_size < 8:
        raise InputError(f"{path.name}: not a safetensors file (shorter than its header)")
    return _parse(np.memmap(path, np.uint8, mode="r"), path.name)


def check_update(update: Tensors, expected: Mapping[str, TensorSpec]) -> None:
    """Refuse an update that is not exactly what the model exchanges.

    Raises
    ------
    Refused
        If a tensor is unknown, missing, of another shape or dtype, or holds NaN or infinity.
    """
    if unknown := sorted(update.keys() - expected.keys()):
        raise Refused(f"unknown tensor {_first(unknown)}")
    if missing := sorted(expected.keys() - update.keys()):
        raise Refused(f"missing tensor {_first(missing)}")
    for name, spec in expected.items():
        value = update[name]
        if tuple(value.shape) != spec.shape:
            raise Refused(f"tensor {name!r} has shape {list(value.shape)}, expected {list(spec.shape)}")
        if value.dtype.name != spec.dtype:
            raise Refused(f"tensor {name!r} has dtype {value.dtype.name}, expected {spec.dtype}")
        if not all_finite(value):
            raise Refused(f"tensor {name!r} holds NaN or infinity")


def all_finite(value: Array) -> bool:
    """Tell whether an array holds neither NaN nor infinity, without a temporary of its size."""
    if value.dtype.kind != "f":
        return True
    flat = value.reshape(-1)
    return all(bool(np.isfinite(flat[i : i + (1 << 18)]).all()) for i in range(0, flat.size, 1 << 18))


def _first(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0][:200]!r}{more}"


def _little_endian(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("<") if dtype.byteorder == ">" else dtype


def _rank(name: str, value: Array) -> int:
    """Rank a dtype as the safetensors library orders them, so that our bytes equal its bytes."""
    code = _CODES.get(_little_endian(value.dtype))
    if code is None:
        raise InputError(
            f"tensor {name!r}: dtype {value.dtype} cannot travel; use one of {', '.join(_DTYPES)}"
        )
    return _LIBRARY_ORDER.index(code)


def _parse(buffer: Array, what: str) -> dict[str, Array]:
    def bad(reason: str) -> InputError:
        return InputError(f"{what}: not a valid safetensors layout ({reason})")

    if buffer.size < 8:
        raise bad("shorter than its header")
    length = int.from_bytes(buffer[:8].tobytes(), "little")
    if length > min(MAX_HEADER_BYTES, buffer.size - 8):
        raise bad("the header is longer than the file or than 4 MiB")
    try:
        header = json.loads(buffer[8 : 8 + length].tobytes(), object_pairs_hook=_without_duplicates)
        entries = [_entry(name, told) for name, told in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise bad(f"unreadable header: {type(error).__name__}") from error
    data = buffer[8 + length :]
    tensors: dict[str, Array] = {}
    end_of_last = 0
    for name, dtype, shape, offsets in sorted(entries, key=lambda entry: entry[3]):
        start, end = offsets
        if start != end_of_last or end - start != math.prod(shape) * dtype.itemsize or end > data.size:
            raise bad(f"tensor {name[:200]!r} leaves a gap, overlaps or does not fit its shape")
        # A header of odd length (another writer's) may leave the data unaligned for a view.
        piece = data[start:end]
        aligned = piece.ctypes.data % dtype.itemsize == 0 if piece.size else True
        flat = piece.view(dtype) if aligned else np.frombuffer(piece.tobytes(), dtype)
        try:
            tensors[name] = flat.reshape(shape)
        except ValueError as error:  # without an element, but of more than an array can be told to have
            raise bad(f"tensor {name[:200]!r} has a shape that no array can have") from error
        end_of_last = end
    if end_of_last != data.size:
        raise bad("bytes are left over after the last tensor")
    return {name: tensors[name] for name in sorted(tensors)}


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) != len({name for name, _ in pairs}):
        raise ValueError("a name stands twice")
    return dict(pairs)


def _entry(name: str, told: Mapping[str, Any]) -> tuple[str, np.dtype[Any], list[int], list[int]]:
    """Read what a header says of a tensor: its dtype, shape, and where its data begin and end."""
    shape, offsets = told["shape"], told["data_offsets"]
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or len(offsets) != 2:
        raise TypeError("no list of as many numbers as a shape may have")
    if not all(type(number) is int and 0 <= number <= MAX_NUMBER for number in [*shape, *offsets]):
        raise TypeError("a number of elements or bytes is none")
    if len(name.encode()) > MAX_NAME:  # surrogates, which JSON can hold, cannot be encoded
        raise ValueError("a name is too long")
    return name, _DTYPES[told["dtype"]], shape, offsets
