"""The state folder: the journal, and beside it the blobs that it names."""

from __future__ import annotations

from pathlib import Path

from director.blobs import BlobStore
from director.journal import Journal
from director.uploads import Uploads
from federation.errors import InputError


def open_state(folder: Path) -> tuple[Journal, BlobStore, Uploads]:
    """Open what a director keeps on disk: journal, blobs, results on their way. All are made in a folder that holds neither.

    Raises
    ------
    InputError
        If the journal is missing where there are blobs, is damaged, or is one of a later version.
    """
    blobs = BlobStore(folder / "blobs")
    path = folder / "journal.sqlite"
    there = path.exists() and path.stat().st_size > 0
    if not there and (names := blobs.names()):
        raise InputError(
            f"state: {path} is missing, but {folder / 'blobs'} holds {len(names)} blobs that a journal names; put the journal "
            "back from a backup, or move the folder blobs away (it holds the models) to begin anew"
        )
    return Journal(path), blobs, Uploads(folder / "uploads", blobs)
