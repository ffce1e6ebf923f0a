"""Tensors as bytes: the safetensors layout, and what is refused of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from federation.errors import InputError
from federation.tensors import chunks, digest, open_mapped, pack, unpack


def several() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    dtypes = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    made: dict[str, Any] = {f"{name}.weight": rng.normal(size=(3, 5)).astype(name) for name in dtypes}
    made["scalar"] = np.asarray(2.5, np.float32)
    made["empty"] = np.zeros((0, 4), np.float32)
    made["strided"] = np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    return made


def test_the_bytes_are_those_of_the_safetensors_library() -> None:
    contiguous = {name: np.array(value) for name, value in several().items()}
    assert pack(several()) == safetensors.numpy.save(contiguous)


def test_what_is_packed_is_unpacked_by_us_and_by_the_library(tmp_path: Path) -> None:
    (tmp_path / "tensors").write_bytes(pack(several()))
    for read in (
        unpack(pack(several())),
        open_mapped(tmp_path / "tensors"),
        safetensors.numpy.load(pack(several())),
    ):
        assert read.keys() == several().keys()
        for name, value in several().items():
            assert read[name].dtype == value.dtype
            np.testing.assert_array_equal(read[name], value)


def test_equal_tensors_have_one_name_whatever_their_order() -> None:
    backwards = dict(reversed(several().items()))
    assert digest(several()) == digest(backwards)
    changed = several() | {"scalar": np.asarray(2.5000002, np.float32)}
    assert digest(changed) != digest(several())


def test_chunks_are_no_larger_than_asked() -> None:
    pieces = list(chunks({"big": np.zeros(10_000, np.float32)}, size=4096))
    assert max(len(piece) for piece in pieces) <= 4096
    assert unpack(b"".join(pieces))["big"].shape == (10_000,)


def layout(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


FOUR = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
BAD_LAYOUTS = {
    "too short": b"123",
    "a header longer than the file": (1 << 40).to_bytes(8, "little") + b"{}",
    "no JSON": layout(b"{nonsense"),
    "no object": layout([1, 2]),
    "deep JSON": layout(b"[" * 100_000),
    "an unknown dtype": layout({"a": FOUR | {"dtype": "F8"}}, b"\0" * 4),
    "a shape that does not fit": layout({"a": FOUR | {"shape": [2]}}, b"\0" * 4),
    "a negative shape": layout({"a": FOUR | {"shape": [-1, -1]}}, b"\0" * 4),
    "offsets outside": layout({"a": FOUR | {"data_offsets": [4, 8]}}, b"\0" * 4),
    "overlapping tensors": layout({"a": FOUR, "b": FOUR}, b"\0" * 4),
    "a gap": layout({"a": FOUR, "b": FOUR | {"data_offsets": [8, 12]}}, b"\0" * 12),
    "bytes left over": layout({"a": FOUR}, b"\0" * 5),
}


@pytest.mark.parametrize("what", BAD_LAYOUTS)
def test_a_bad_layout_is_an_error_in_one_line(tmp_path: Path, what: str) -> None:
    file = tmp_path / "bad"
    file.write_bytes(BAD_LAYOUTS[what])
    for read in (lambda: unpack(BAD_LAYOUTS[what]), lambda: open_mapped(file)):
        with pytest.raises(InputError) as error:
            read()
        assert "\n" not in str(error.value)


def test_a_dtype_that_numpy_lacks_cannot_travel() -> None:
    with pytest.raises(InputError, match="complex128 cannot travel"):
        pack({"a": np.zeros(1, np.complex128)})
