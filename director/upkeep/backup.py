"""A consistent copy of a director's state, beside a director that runs or without one.

SQLite copies the journal as it stands at one moment; then the audit log is copied, and the blobs that the copied journal names,
of which none is removed meanwhile. The journal gets its name last: a folder without ``journal.sqlite`` is a backup that was
broken off, and no director starts from it. Results on their way are left out: their envoys send them again.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from director.audit import FILE as AUDIT
from director.removal import no_removal
from director.upkeep.check import RECOVER, named_in, read_only, require_state
from federation.errors import InputError, MachineFault, Refused
from federation.faults import path_fault
from federation.files import settle
from federation.paths import inside

UNFINISHED = "the backup is unfinished, remove it"
_PIECE = 1 << 20


@dataclass
class Copied:
    """What a backup holds, and which blobs it lacks because they are not whole where they come from."""

    blobs: int = 0
    size: int = 0
    lacking: list[str] = field(default_factory=list)


def back_up(state: Path, target: Path) -> Copied:
    """Copy a state folder into a folder that is empty, or not there.

    Raises
    ------
    InputError
        If it is not empty, there is no state, or something cannot be read or written.
    MachineFault
        If the disk is full or fails.
    """
    journal, blobs = state / "journal.sqlite", state / "blobs"
    require_state(state)
    if not journal.exists():
        raise InputError(f"state: {journal} is missing; {RECOVER}")
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise InputError(f"{target} is not empty; a backup wants a folder of its own")
        with no_removal(blobs):
            return _copy(journal, blobs, target)
    except OSError as error:
        fault = path_fault(target, error)
        raise type(fault)(f"{fault}; {UNFINISHED}") from error
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise MachineFault(f"{target}: the disk is full ({error}); {UNFINISHED}") from error
        raise InputError(f"state: {journal} cannot be copied ({error}); {RECOVER}") from error


def _copy(journal: Path, blobs: Path, target: Path) -> Copied:
    copied = Copied()
    unfinished = target / "journal.sqlite.unfinished"
    with closing(read_only(journal)) as source, closing(sqlite3.connect(unfinished)) as copy:
        source.backup(copy)
        # One file by itself, whatever its name.
        copy.execute("PRAGMA journal_mode=DELETE")
        named = named_in(copy)
    _copy_audit(journal.with_name(AUDIT), target / AUDIT)
    (target / "blobs").mkdir(mode=0o700)
    for name, experiment in sorted(named.items()):
        fault, size = _copy_blob(blobs, target / "blobs", name)
        if fault:
            copied.lacking.append(f"the blob {name} of experiment {experiment} {fault}")
        else:
            copied.blobs += 1
            copied.size += size
    for path in (unfinished, target / "blobs"):
        settle(path)
    unfinished.rename(target / "journal.sqlite")
    settle(target)
    return copied


def _copy_audit(source: Path, target: Path) -> None:
    """Copy the audit log, if there is one, as long as it is now: a line that is just being written may be cut off."""
    try:
        read = source.open("rb")
    except FileNotFoundError:
        return
    left = source.stat().st_size
    with read, target.open("xb") as file:
        while left and (piece := read.read(min(_PIECE, left))):
            file.write(piece)
            left -= len(piece)
        file.flush()
        os.fsync(file.fileno())


def _copy_blob(blobs: Path, folder: Path, name: str) -> tuple[str, int]:
    """Copy a blob into a folder; say what is wrong with it, and how large it is."""
    sha, size = hashlib.sha256(), 0
    try:
        target = inside(folder, name)
        read = inside(blobs, name).open("rb")
    except FileNotFoundError:
        return "is missing", 0
    except Refused as error:
        return f"is not copied: {error}", 0
    with read, target.open("xb") as file:
        while piece := read.read(_PIECE):
            file.write(piece)
            sha.update(piece)
            size += len(piece)
        file.flush()
        os.fsync(file.fileno())
    if sha.hexdigest() != name:
        target.unlink()
        return "is damaged", 0
    return "", size
