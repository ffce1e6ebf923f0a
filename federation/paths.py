"""Paths made of something from outside: the one place where a name becomes a path, and where what lies there is removed.

Such a path lies strictly below its folder, and no link below that folder is followed. The folder itself may be one: it is its
owner's.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path

from federation.errors import InputError, Refused

MOST_BYTES = 255
"""What file systems take as a name."""


def at_home(path: Path) -> Path:
    """Replace a ``~`` at the beginning of a user's path.

    Raises
    ------
    InputError
        If the user has no home folder.
    """
    try:
        return path.expanduser()
    except RuntimeError:
        raise InputError(f"{path}: there is no home folder; set HOME, or write the path without ~") from None


def inside(folder: Path, *parts: str) -> Path:
    """Return a path below a folder; nothing need be there.

    Parameters
    ----------
    folder
        A path of ours.
    *parts
        One name each, which may come from anybody.

    Raises
    ------
    Refused
        If a part is no name, or a link stands where the path leads.
    """
    _check(parts)
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise Refused(f"{path} is a link, which is not followed; put the file or folder itself there")
    return path


def remove(folder: Path, *parts: str, missing_ok: bool = False) -> None:
    """Remove a file, or a folder with all that it holds; of a link only the link itself, wherever it lies.

    What somebody exchanges for a link meanwhile is not followed either.

    Parameters
    ----------
    folder, *parts
        As in `inside`.
    missing_ok
        Say nothing if there is nothing.

    Raises
    ------
    Refused
        If a part is no name, or a link stands on the way.
    OSError
        If it cannot be removed; as FileNotFoundError if it is not there.
    """
    _check(parts)
    try:
        _remove(folder, parts)
    except FileNotFoundError:
        if not missing_ok:
            raise


def _remove(folder: Path, parts: tuple[str, ...]) -> None:
    *on_the_way, last = parts
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in on_the_way:
            below = _opened(part, at)
            os.close(at)
            at = below
        if stat.S_ISDIR(os.stat(last, dir_fd=at, follow_symlinks=False).st_mode):
            shutil.rmtree(last, dir_fd=at)
        else:
            os.unlink(last, dir_fd=at)
    finally:
        os.close(at)


def _opened(part: str, at: int) -> int:
    try:
        return os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise Refused(
                f"{part} is a link or a file, in the place of a folder; it is not followed"
            ) from None
        raise


def _check(parts: tuple[str, ...]) -> None:
    if not parts:
        raise Refused("a path below a folder has a name at least")
    for part in parts:
        if part in ("", ".", "..") or "/" in part or "\0" in part or len(os.fsencode(part)) > MOST_BYTES:
            raise Refused(f"{part[:80]!r} is no name of a file or folder")
