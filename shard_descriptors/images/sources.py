"""Where images come from: a folder per class, or Hugging Face datasets."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from federation.errors import InputError
from shard_descriptors.descriptor import SplitName
from shard_descriptors.folders import class_folders, nothing_found, sample_files, text_name
from shard_descriptors.images.pixels import SUFFIXES, ImageFile
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
    unusable : list of str
        What should be a picture and is none, such as a row without a label: where it is, and why.
    left_out : Counter of str
        What is not taken for part of the dataset, in words, and how many.
    """

    name: str
    classes: tuple[str, ...]
    pictures: list[Picture]
    unusable: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def album_in(root: Path, settings: ImageFolderSettings) -> Album:
    """List the images of a folder; pixels are not read yet.

    Raises
    ------
    InputError
        There is no such folder, no image in it, or two that are one.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set root to the folder that holds one folder per class")
    try:
        return _listed(root, settings)
    except OSError as error:
        raise InputError(f"{error.filename or root}: cannot be read: {error.strerror}") from error


def _listed(root: Path, settings: ImageFolderSettings) -> Album:
    parts, left_out = _parts(root, settings)
    folders: list[Path] = []
    classes: set[str] = set()
    pictures: list[Picture] = []
    for part, split in parts.items():
        within, others = class_folders(part, suffixes=SUFFIXES)
        left_out += others
        known = _distinct(part, within)
        for folder, word in known.items():
            files, beside = sample_files(folder, SUFFIXES)
            left_out += beside
            pictures += [picture(_id(root, file), word, file, split, settings) for file in files]
        folders += within
        classes |= set(known.values())
    if not pictures:
        raise nothing_found(root, folders, +left_out, SUFFIXES, "<class>/*.jpg or *.png")
    pictures.sort(key=lambda one: one.id.split("/"))
    return Album(str(root), tuple(sorted(classes)), pictures, left_out=+left_out)


def _parts(root: Path, settings: ImageFolderSettings) -> tuple[dict[Path, SplitName], Counter[str]]:
    """Find the folders above those of the classes, and which split each is."""
    if settings.split != "published":
        return {root: "train"}, Counter()
    folders, left_out = class_folders(root, suffixes=SUFFIXES)
    parts = {folder: NAMES[folder.name.lower()] for folder in folders if folder.name.lower() in NAMES}
    if "train" not in parts.values():
        raise InputError(f"{root}: no folder 'train' below it, which split: published needs")
    left_out["folders that are no split"] += len(folders) - len(parts)
    return parts, left_out


def _distinct(folder: Path, entries: list[Path]) -> dict[Path, str]:
    """Name what lies in a folder in one form of Unicode, in which no two may be the same."""
    names = {entry: text_name(folder, entry.name) for entry in entries}
    if twice := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise InputError(f"{folder}: {twice[0]} is there in both forms of Unicode (NFC and NFD); remove one")
    return names


def _id(root: Path, file: Path) -> str:
    return unicodedata.normalize("NFC", file.relative_to(root).as_posix())


def picture(
    name: str, word: str, file: ImageFile, split: SplitName, settings: ImageFolderSettings
) -> Picture:
    """Make a picture, whose group its name says; raises an `InputError` if it says none."""
    if settings.group_pattern is None:
        return Picture(name, word, name, file, split)
    match = re.match(settings.group_pattern, Path(name).name)
    if match is None or not match[0]:
        raise InputError(f"{file}: its name does not match group_pattern {settings.group_pattern!r}")
    return Picture(name, word, match[0], file, split)
