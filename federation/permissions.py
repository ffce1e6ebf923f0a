"""Who else on a machine may read what is there: keys and a service's state nobody, what commands write whom the umask lets."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

from federation.errors import InputError

logger = logging.getLogger(__name__)

_PRIVATE = 0o700
_OTHERS = stat.S_IRWXO
_GROUP = stat.S_IRWXG


def require_secret(file: Path) -> None:
    """Refuse a private key that others can read; its group may where root owns it, as it does of secrets that are mounted.

    Raises
    ------
    InputError
        If others can read it.
    """
    found = file.stat()
    allowed = _GROUP if found.st_uid == 0 else 0
    if found.st_mode & (_GROUP | _OTHERS) & ~allowed:
        raise InputError(f"{file}: a private key that others can read or write; run: chmod 600 {file}")


def keep_private() -> None:
    """Let all that this process and those that it starts will write be its owner's only."""
    os.umask(_GROUP | _OTHERS)


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter; one that is there becomes so, as those of earlier versions were not."""
    folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    if not stat.S_IMODE(folder.stat().st_mode) & (_GROUP | _OTHERS):
        return
    try:
        folder.chmod(_PRIVATE)
    except OSError as error:
        logger.warning("%s can be entered by others (%s); chmod 700 it", folder, error.strerror)


def follow_umask(folder: Path) -> None:
    """Give all files in a folder the permissions that a new file gets: libraries keep some of theirs to their owner."""
    umask = os.umask(_GROUP | _OTHERS)
    os.umask(umask)
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            file.chmod(0o666 & ~umask)
