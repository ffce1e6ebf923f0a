"""What experiments have frozen by value: files named by their SHA-256, each fetched once and shared by those that name it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from federation.errors import Refused
from federation.names import is_sha256
from federation.paths import inside, remove
from federation.tensors import Tensors, open_mapped

logger = logging.getLogger(__name__)


def frozen_part(folder: Path, sha256: str, fetch: Callable[[Path], Tensors]) -> Tensors:
    """Return tensors that are here, or fetch them; what is here is compared with its name.

    Parameters
    ----------
    folder
        Of all of them; made if it is not there.
    sha256
        Of their bytes.
    fetch
        Brings them to a path, checked, and returns them.

    Raises
    ------
    Refused
        If the name is no SHA-256, or as ``fetch`` does.
    """
    path = path_of(folder, sha256)
    if path.is_file():
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return open_mapped(path)
        logger.warning("%s is damaged, and is fetched again", path)
    folder.mkdir(parents=True, exist_ok=True)
    return fetch(path)


def path_of(folder: Path, sha256: str) -> Path:
    """Return the file of a frozen part, which need not be there.

    Raises
    ------
    Refused
        If that is no SHA-256, or a link stands there.
    """
    if not is_sha256(sha256):
        raise Refused("a frozen part is named by 64 hexadecimal digits")
    return inside(folder, sha256)


def drop_all_but(folder: Path, named: set[str]) -> None:
    """Remove those that nothing names any more; what cannot be removed now is tried again the next time."""
    for name in _files(folder):
        if name not in named and is_sha256(name):
            try:
                remove(folder, name, missing_ok=True)
            except OSError as error:
                logger.warning("%s cannot be removed: %s", folder / name, error)
            else:
                logger.info("the frozen part %s is needed no more", name[:12])


def remove_unfinished(folder: Path) -> None:
    """Remove what processes that were killed have left half fetched; to be called where none fetches."""
    for name in _files(folder):
        if not is_sha256(name):
            with suppress(OSError):
                remove(folder, name)


def _files(folder: Path) -> list[str]:
    try:
        return sorted(file.name for file in folder.iterdir())
    except FileNotFoundError:
        return []
