"""Who may remove blobs, and who keeps that from happening: a lock of their folder that the director and its upkeep share.

What a copy of the journal names must still be there when it is copied (`fed director backup`) or looked at (`check`). So a
director that wants to remove something while such a command runs puts it off.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def no_removal(blobs: Path) -> Iterator[None]:
    """Let no blob of a folder be removed while the context lasts, by any process."""
    folder = os.open(blobs, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_SH)
        yield
    finally:
        os.close(folder)


class Removal:
    """The director's side: what may be removed, now or later.

    Parameters
    ----------
    blobs
        The folder.
    """

    def __init__(self, blobs: Path) -> None:
        self._folder = os.open(blobs, os.O_RDONLY)
        weakref.finalize(self, os.close, self._folder)
        self._put_off: dict[str, None] = {}

    @contextmanager
    def allowed(self) -> Iterator[bool]:
        """Say whether anything may be removed within the context. To be used by one thread at a time."""
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.flock(self._folder, fcntl.LOCK_UN)

    @contextmanager
    def of(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Give what may be removed within the context: these and what was put off before, or nothing yet."""
        self._put_off |= dict.fromkeys(names)
        with self.allowed() as allowed:
            yield list(self._put_off) if allowed else []
            if allowed:
                self._put_off.clear()
