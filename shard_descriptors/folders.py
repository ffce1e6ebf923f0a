"""What lies in a folder of samples: the files that are some, and what is left out, counted. One rule for sounds and images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from federation.errors import InputError
from shard_descriptors.labels import same_name
from shard_descriptors.remarks import counted

BESIDE = "files beside the folders"


def sample_files(folder: Path, suffixes: Collection[str]) -> tuple[list[Path], Counter[str]]:
    """List a folder's files whose endings, in capitals or not, are of a kind; sorted by name.

    Parameters
    ----------
    folder : Path
        Is there.
    suffixes : collection of str
        With their dots, in small letters.

    Returns
    -------
    list of Path
        Nothing is known of them but their names: some may be links that lead nowhere.
    Counter of str
        What else is there, in words, and how many.

    Raises
    ------
    InputError
        Two files that differ in their endings alone, of which one may be made from the other; or a name that is no text.
    """
    files: dict[str, Path] = {}
    left_out: Counter[str] = Counter()
    for name, is_folder in sorted((entry.name, entry.is_dir()) for entry in os.scandir(folder)):
        suffix = Path(name).suffix.lower()
        if name.startswith("."):
            left_out["hidden files"] += 1
        elif is_folder:
            left_out["folders inside those of the classes"] += 1
        elif suffix not in suffixes:
            left_out[f"files ending in {suffix}" if suffix else "files without an ending"] += 1
        else:
            stem = Path(text_name(folder, name)).stem
            if stem in files:
                raise InputError(
                    f"{folder}: {files[stem].name} and {name} differ in their endings alone, or only in how Unicode "
                    "writes them; remove or rename one"
                )
            files[stem] = folder / name
    return list(files.values()), left_out


def class_folders(
    root: Path, hidden: tuple[str, ...] = (".", "__MACOSX"), suffixes: Collection[str] = ()
) -> tuple[list[Path], Counter[str]]:
    """List the folders below one by name, without those whose names begin so; count these, and samples beside the folders."""
    folders: list[Path] = []
    left_out: Counter[str] = Counter()
    for name, is_folder in sorted((entry.name, entry.is_dir()) for entry in os.scandir(root)):
        if is_folder and name.startswith(hidden):
            left_out["folders that are no class"] += 1
        elif is_folder:
            text_name(root, name)
            folders.append(root / name)
        elif Path(name).suffix.lower() in suffixes and not name.startswith("."):
            left_out[BESIDE] += 1
    return folders, left_out


def text_name(folder: Path, name: str) -> str:
    """Return the name of a file or folder in the form in which names are compared.

    Raises
    ------
    InputError
        If its bytes are no UTF-8: it cannot be told to others, nor hashed.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{folder}: the name {os.fsencode(name)!r} is not UTF-8; rename it (convmv does many at once)"
        ) from None
    return same_name(name)


def nothing_found(
    root: Path, folders: Iterable[Path], left_out: Counter[str], suffixes: Collection[str], pattern: str
) -> InputError:
    """Return what to say of a root without a single sample: that it is the wrong one, or what the right one holds instead.

    Parameters
    ----------
    pattern : str
        What was looked for, such as ``<class>/*.png``.
    """
    count, inside = len(list(folders)), Counter(left_out)
    beside = inside.pop(BESIDE, 0)
    kind = pattern.partition("/")[0].strip("<>")
    if not count and beside:
        return InputError(
            f"{root}: its {beside} files lie in no folder of a {kind}; put each into one that is named so, or set root "
            f"to a folder that holds one per {kind}"
        )
    if not count:
        return InputError(
            f"{root}: no {pattern} below it; set root to the folder that holds one folder per {kind}"
        )
    if not inside:
        return InputError(f"{root}: its {count} folders are empty; fill them, or set root to another folder")
    endings = ", ".join(sorted(suffixes))
    deeper = (
        f", or set root to the folder that holds one folder per {kind}"
        if any("inside" in what for what in inside)
        else ""
    )
    return InputError(
        f"{root}: its {count} folders hold no file ending in {endings}, but {counted(inside)}; "
        f"convert these{deeper}"
    )
