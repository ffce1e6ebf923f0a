"""What a checkpoint's folder may hold: it was made elsewhere, and is looked at before any library reads it."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from federation.document import shown
from federation.errors import InputError
from federation.files import open_regular, read_regular

CONFIG_BYTES = 4 << 20
"""Of a JSON file but a tokenizer's."""
TOKENIZER_BYTES = 128 << 20
"""Of a tokenizer's file, and of any other that is no weights."""
LARGEST_NUMBER = 1 << 31
MOST_LAYERS = 1000
"""In `config.json`."""
_TOKENIZERS = {"tokenizer.json", "vocab.json", "added_tokens.json"}
_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".ot"}
_READ_FIRST = ("model.safetensors", "model.safetensors.index.json")  # where one is, no pickle is read
_NO_WEIGHTS = "training_args.bin"  # which a trainer leaves beside them
_NO_NAME = re.compile(r"label_\d+")
_ZIP = b"PK\x03\x04"


def read_config(file: Path) -> dict[str, Any]:
    """Read a small JSON file that holds a mapping.

    Raises
    ------
    InputError
        If it does not, or is too large.
    OSError
        If it cannot be read.
    """
    try:
        config = json.loads(read_regular(file, CONFIG_BYTES).decode())
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{file}: is no JSON mapping ({type(error).__name__}: {str(error)[:100]})"
        ) from error
    if not isinstance(config, dict):
        raise InputError(f"{file}: is no JSON mapping")
    return config


def check_files(folder: Path) -> None:
    """Look at a folder's files.

    Raises
    ------
    InputError
        With the file, if one is no file or larger than it can be, would bring code, claims sizes that no model has, or holds
        weights in a form that is not read.
    """
    for file in sorted(folder.iterdir()):
        if file.is_dir():
            continue
        try:
            with open_regular(file) as opened:
                size = opened.seek(0, 2)
        except OSError as error:
            raise InputError(f"{file}: cannot be read: {error.strerror}") from error
        is_config = file.suffix == ".json" and file.name not in _TOKENIZERS
        most = CONFIG_BYTES if is_config and not file.name.endswith(".index.json") else TOKENIZER_BYTES
        if file.suffix not in _WEIGHTS and size > most:
            raise InputError(f"{file}: is larger than {most >> 20} MiB, which no such file is")
        if is_config and file.name.endswith("config.json"):
            _check_config(file)
    if not any((folder / name).exists() for name in _READ_FIRST):
        for file in sorted(folder.glob("*.bin")):
            if file.name != _NO_WEIGHTS:
                _check_pickled(file)


def _check_config(file: Path) -> None:
    config = read_config(file)
    if "auto_map" in config:
        raise InputError(
            f"{file}: brings code of its own (auto_map), which is not run here; use a checkpoint of a model that is part of "
            "transformers"
        )
    if file.name != "config.json":
        return
    labels_of(file, config)
    try:
        for key, value in _numbers(config):
            if value > (MOST_LAYERS if key.endswith(("layers", "depths")) else LARGEST_NUMBER):
                raise InputError(f"{file}: {key[:80]!r} is {str(value)[:20]}, which no model has")
    except RecursionError:
        raise InputError(f"{file}: is nested too deeply") from None


def labels_of(file: Path, config: Mapping[str, Any]) -> list[str]:
    """Return the names of a model's outputs as its ``config.json`` has them, in their order; none where it names none.

    Raises
    ------
    InputError
        If ``id2label`` is no mapping of numbers to names.
    """
    named = config.get("id2label") or {}
    rule = 'must map the number of each output to its name, as in {"0": "no", "1": "yes"}'
    if not isinstance(named, dict):
        raise InputError(f"{file}: id2label is {shown(named)}; it {rule}")
    for number, name in named.items():
        if not number.isdecimal() or not isinstance(name, str | int | float):
            raise InputError(f"{file}: id2label has {shown(name)} under {shown(number)}; it {rule}")
    return [str(named[number]) for number in sorted(named, key=int)]


def are_a_librarys(labels: Sequence[str]) -> bool:
    """Say whether labels are those that a library writes where nobody has named any (LABEL_0), or none."""
    return all(_NO_NAME.fullmatch(label.lower()) for label in labels)


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _numbers(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, key)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield key, value


def _check_pickled(file: Path) -> None:
    """Take of pickled weights only those whose tensors lie beside the pickle, each as large as it is said to be."""
    try:
        with open_regular(file) as opened:
            if opened.read(len(_ZIP)) != _ZIP:
                raise InputError(
                    f"{file}: holds weights in PyTorch's old format, which is not read; save the model again with "
                    "`save_pretrained`, as safetensors"
                )
            packed = [entry for entry in zipfile.ZipFile(opened).infolist() if entry.compress_type]
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InputError(f"{file}: is damaged ({error})") from error
    if packed:
        raise InputError(f"{file}: holds packed weights, which no PyTorch writes")
