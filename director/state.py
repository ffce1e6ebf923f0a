"""The state folder: the journal, and beside it the blobs that it names."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from director.blobs import BlobStore
from director.journal import Journal
from director.uploads import Uploads
from federation.errors import InputError

# What the journal is called in a backup that is not finished.
UNFINISHED = "journal.sqlite.unfinished"


def open_state(folder: Path) -> tuple[Journal, BlobStore, Uploads]:
    """Open what a director keeps on disk: journal, blobs, results on their way. All are made in a folder that holds neither.

    Raises
    ------
    InputError
        If it is an unfinished backup, or the journal is missing where there are blobs, is damaged, or of a later version.
    """
    if (folder / UNFINISHED).exists():
        raise InputError(f"state: {folder} is a backup that was broken off; use another one")
    blobs = BlobStore(folder / "blobs")
    path = folder / "journal.sqlite"
    there = path.exists() and path.stat().st_size > 0
    if not there and (names := blobs.names()):
        raise InputError(
            f"state: {path} is missing, but {folder / 'blobs'} holds {len(names)} blobs that a journal names; put the journal "
            "back from a backup, or move the folder blobs away (it holds the models) to begin anew"
        )
    return Journal(path), blobs, Uploads(folder / "uploads", blobs)


def lock(folder: Path) -> IO[str]:
    """Take a state folder for this process alone, until the file that is returned is closed.

    Raises
    ------
    InputError
        If another process has it.
    """
    file = (folder / "lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise InputError(
            f"state: another director is using {folder}; stop it or choose another folder"
        ) from error
    return file
