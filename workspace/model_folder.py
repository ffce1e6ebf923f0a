"""A model folder, written whole or not at all: beside a ``config.json`` there is all of one model, and nothing of another.

A folder that is not there is renamed in. In one that is, the earlier model's ``config.json`` goes first and the new one's comes
last: without it no library takes the folder for a model. What belongs to no model stays.
"""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

from federation.errors import InputError
from federation.files import settle
from federation.paths import remove
from federation.permissions import follow_umask

CONFIG = "config.json"
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin", "adapter_model.*", "tf_model.h5", "flax_model.msgpack")
FILES = (
    *(CONFIG, *WEIGHTS, "*.safetensors.index.json", "pytorch_model.bin.index.json", "adapter_config.json"),
    *("*_config.json", "tokenizer.json", "special_tokens_map.json", "added_tokens.json", "chat_template.*"),
    *("vocab.json", "vocab.txt", "merges.txt", "*.model", "source_vocabulary.txt", "target_vocabulary.txt"),
)
"""What libraries and this project's experiments write into a model folder, as patterns of names."""


def write_model_folder(folder: Path, export: Callable[[Path], None], force: bool = False) -> None:
    """Let a model be written, and put it in its place when it is whole.

    Parameters
    ----------
    folder
        Made if it is not there. If it holds this very model, nothing changes.
    export
        Writes the model's files into the folder that it is given.
    force
        Replace another model, and remove what only that one had.

    Raises
    ------
    InputError
        If the folder holds another model, or files that this one would replace, and ``force`` is not given; if it is no folder.
    """
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder to write the model to")
    beside = folder if folder.exists() else folder.parent
    beside.mkdir(parents=True, exist_ok=True)
    unfinished = beside / f".{folder.name}.unfinished"
    remove(beside, unfinished.name, missing_ok=True)
    unfinished.mkdir()
    try:
        export(unfinished)
        follow_umask(unfinished)
        for path in (*unfinished.rglob("*"), unfinished):
            settle(path)
        if beside is not folder:
            unfinished.rename(folder)
        else:
            _replace(folder, unfinished, force)
        settle(beside)
    finally:
        remove(beside, unfinished.name, missing_ok=True)


def model_files(folder: Path) -> list[str]:
    """Return the names of a model's files in a folder, ``config.json`` first; none if it holds no model."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if not any(fnmatch(name, pattern) for name in names for pattern in (CONFIG, *WEIGHTS)):
        return []
    found = [name for name in names if any(fnmatch(name, pattern) for pattern in FILES)]
    return sorted(found, key=lambda name: name != CONFIG)


def remove_model(folder: Path) -> None:
    """Remove a model's files from a folder, and the folder if nothing else is in it."""
    for name in model_files(folder):
        remove(folder, name)
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()


def _replace(folder: Path, new: Path, force: bool) -> None:
    names = sorted((path.name for path in new.iterdir()), key=lambda name: name == CONFIG)
    there = dict.fromkeys([*model_files(folder), *(name for name in names if (folder / name).exists())])
    if there.keys() == set(names) and _are_equal(folder, new):
        return
    if there and not force:
        raise InputError(
            f"{folder}: holds another model ({next(iter(there))}); name another folder, or --force to replace it"
        )
    for name in there:
        remove(folder, name)
    for name in names:
        (new / name).rename(folder / name)


def _are_equal(folder: Path, new: Path) -> bool:
    def differs(one: Path, other: Path) -> Iterator[bool]:
        for path in one.iterdir():
            beside = other / path.name
            if path.is_dir():
                yield not beside.is_dir()
                yield from differs(path, beside)
            else:
                yield not (beside.is_file() and filecmp.cmp(path, beside, shallow=False))

    return not any(differs(new, folder))
