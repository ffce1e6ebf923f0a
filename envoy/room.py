"""Whether a disk takes what is written: what a full or failing one keeps from being done is no failure, and done later."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import TemporaryFile

from federation.faults import path_fault
from federation.permissions import make_private

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
PROBE_BYTES = 1 << 20


def what_is_full(error: BaseException | None) -> OSError | None:
    """Return what says that a disk takes nothing now, of an error and of those that it came from; None if none does."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def words_of(full: OSError) -> str:
    """Put into words what `what_is_full` has found."""
    return f"its disk {'fails' if full.errno == errno.EIO else 'is full'} ({full.strerror})"


def require_writable(folder: Path) -> None:
    """Refuse a state folder in which nothing can be written for any other reason than that a disk is full, which passes.

    Raises
    ------
    InputError
        If it cannot be made, or is not this user's.
    """
    try:
        make_private(folder)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if what_is_full(error) is None:
            raise path_fault(folder, error) from error


def has_room(folder: Path) -> bool:
    """Say whether a folder takes a little more; it is made if it is not there."""
    try:
        make_private(folder)
        with TemporaryFile(dir=folder) as probe:
            probe.write(bytes(PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        # Any other fault is for the one who meets it in earnest to tell.
        return what_is_full(error) is None
    return True
