"""Where images come from: a folder per class, or Hugging Face datasets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from federation.errors import InputError
from shard_descriptors.descriptor import SPLITS, SplitName
from shard_descriptors.images.pixels import SUFFIXES, EmbeddedImage, ImageFile
from shard_descriptors.images.settings import ImageFolderSettings

NAMES: dict[str, SplitName] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class Picture:
    """One image file of the dataset.

    Attributes
    ----------
    id : str
        Its name inside the dataset, the same wherever that lies.
    word : str
        Its class.
    group : str
        What it belongs to, or itself.
    file : ImageFile
        Where the image is.
    published : {"train", "validation", "test"}
        The split in which the dataset's authors put it.
    """

    id: str
    word: str
    group: str
    file: ImageFile
    published: SplitName


@dataclass(frozen=True)
class Album:
    """A whole dataset, before classes, splits and shards; pictures are sorted by id.

    Attributes
    ----------
    name : str
        Where it comes from, for messages.
    classes : tuple of str
        All there are, sorted or as the dataset orders them, also those without pictures.
    """

    name: str
    classes: tuple[str, ...]
    pictures: list[Picture]


def open_album(settings: ImageFolderSettings) -> Album:
    """List the images of the source that the settings name; pixels are not read yet."""
    if settings.source == "huggingface":
        return _from_hugging_face(settings)
    assert settings.root is not None, "checked with the settings"
    return _from_folder(settings.root, settings)


def _from_folder(root: Path, settings: ImageFolderSettings) -> Album:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set root to the folder that holds one folder per class")
    if settings.split == "published":
        parts = {folder: NAMES[folder.name] for folder in _folders(root) if folder.name in NAMES}
        if "train" not in parts.values():
            raise InputError(f"{root}: no folder 'train' below it, which split: published needs")
    else:
        parts = {root: "train"}
    folders = [(folder, split) for part, split in parts.items() for folder in _folders(part)]
    pictures = [
        _picture(file.relative_to(root).as_posix(), folder.name, file, split, settings)
        for folder, split in folders
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    ]
    if not pictures:
        raise InputError(
            f"{root}: no <class>/*.jpg or *.png below it; set root to the folder that holds one folder per class"
        )
    return Album(str(root), tuple(sorted({folder.name for folder, _ in folders})), pictures)


def _folders(root: Path) -> list[Path]:
    return sorted(folder for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith("."))


def _picture(
    name: str, word: str, file: ImageFile, split: SplitName, settings: ImageFolderSettings
) -> Picture:
    if settings.group_pattern is None:
        return Picture(name, word, name, file, split)
    match = re.match(settings.group_pattern, Path(name).name)
    if match is None or not match[0]:
        raise InputError(f"{file}: its name does not match group_pattern {settings.group_pattern!r}")
    return Picture(name, word, match[0], file, split)


def _from_hugging_face(settings: ImageFolderSettings) -> Album:
    import datasets

    name = str(settings.root or settings.hub)
    classes: tuple[str, ...] = ()
    pictures = []
    for split, table in _tables(name, settings).items():
        for column in (settings.image_column, settings.label_column):
            if column not in table.column_names:
                known = ", ".join(table.column_names)
                raise InputError(f"{name}: split {split} has no column {column!r}; it has {known}")
        table = table.cast_column(settings.image_column, datasets.Image(decode=False))
        labels = _labels(name, table, settings.label_column)
        classes = classes or tuple(getattr(table.features[settings.label_column], "names", ()))
        for row, (word, path) in enumerate(zip(labels, _paths(table, settings.image_column), strict=True)):
            base = Path(path).name if path else f"{row:06d}"
            file = EmbeddedImage(table, row, settings.image_column, f"{name}[{split}][{row}] {base}")
            pictures.append(_picture(f"{split}/{row:06d}/{base}", word, file, split, settings))
    if not pictures:
        raise InputError(f"{name}: holds no images")
    return Album(name, classes or tuple(sorted({picture.word for picture in pictures})), pictures)


def _tables(name: str, settings: ImageFolderSettings) -> dict[SplitName, Any]:
    import datasets

    try:
        if settings.root is not None:
            opened = datasets.load_from_disk(str(settings.root))
        else:
            opened = datasets.load_dataset(settings.hub)
    except Exception as error:  # the Hub's clients raise many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if settings.root is not None:
            raise InputError(
                f"{name}: not a dataset saved by save_to_disk; set root to one ({reason})"
            ) from error
        raise InputError(
            f"{name}: cannot be had from the Hugging Face Hub; where the network allows, "
            f"load it and save_to_disk, then set root to that folder ({reason})"
        ) from error
    tables = dict(opened) if isinstance(opened, datasets.DatasetDict) else {"train": opened}
    if unknown := sorted(tables.keys() - NAMES.keys()):
        raise InputError(f"{name}: unknown split {unknown[0]!r}; known are {', '.join(NAMES)}")
    found = {NAMES[split]: table for split, table in tables.items()}
    return {split: found[split] for split in SPLITS if split in found}


def _labels(name: str, table: Any, column: str) -> list[str]:
    names = getattr(table.features[column], "names", None)
    labels = list(table[column])
    for row, label in enumerate(labels):
        known = isinstance(label, str) if names is None else label is not None and 0 <= label < len(names)
        if not known:
            kind = "numbers without names; save it as a ClassLabel" if names is None else f"no class: {label}"
            raise InputError(f"{name}: the column {column!r} holds {kind} (row {row})")
    return labels if names is None else [names[label] for label in labels]


def _paths(table: Any, column: str) -> list[str | None]:
    """Read the files' names without reading the images."""
    import pyarrow.compute as compute

    paths: list[str | None] = []
    for chunk in table.with_format("arrow")[:][column].chunks if len(table) else ():
        paths += compute.struct_field(chunk, "path").to_pylist()
    return paths
