"""Files as bytes: of others' only regular ones are opened, and no more is read than they may hold; ours are written whole."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from federation.errors import InputError


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read its bytes. A link to one will do: a hub's cache is made of them.

    Raises
    ------
    InputError
        If it is none: a FIFO waits for whoever may write to it, and a device may never end.
    OSError
        If it is not there, or cannot be opened.
    """
    # Without waiting for a FIFO's other end.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(file).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, "Is a directory", os.fspath(path))
        if not stat.S_ISREG(mode):
            raise InputError(
                f"{os.fspath(path)}: is a pipe or a device, not a file; save what it holds as one"
            )
        return os.fdopen(file, "rb")
    except BaseException:
        os.close(file)
        raise


def read_regular(path: str | os.PathLike[str], most: int) -> bytes:
    """Read a file of at most so many bytes.

    Raises
    ------
    InputError
        If it is larger, or no regular file.
    OSError
        If it is not there, or cannot be read.
    """
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise InputError(f"{os.fspath(path)}: is larger than {_in_units(most)}")
    return content


def write_whole(file: Path, content: bytes | Iterable[bytes], mode: int = 0o666) -> None:
    """Write a file, given whole or in pieces, at once or not at all, with a mode that the umask narrows; it is on disk then.

    Raises
    ------
    OSError
        If it cannot be written; what was there stays.
    """
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
            out.writelines([content] if isinstance(content, bytes) else content)
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    settle(file.parent)


def settle(path: Path) -> None:
    """See to it that no failing machine undoes what has changed in a folder, or in a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _in_units(size: int) -> str:
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << shift:
            return f"{size >> shift} {unit}"
    return f"{size} bytes"
