"""What the disk does to the director: full, it pauses and goes on by itself; where it has lost a write, the process ends.

A disk without room (or one that is read-only for now) is nobody's failure: what was half written is dropped, whatever asks for
a write is told to try again, and nothing is given up. After a write that the system took and could not bring to the disk
(``EIO`` from fsync) nothing that this process has in mind can be trusted, so it ends, and starts from what is on disk.
"""

from __future__ import annotations

import errno
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from federation.errors import Unreachable

logger = logging.getLogger(__name__)

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
# These may pass, too, and are nobody's mistake.
OF_THE_MACHINE = NO_ROOM | {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
LOST_WRITE_EXIT = 1
PROBE_BYTES = 64 << 10
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 60.0


class DiskFull(Unreachable):
    """The director answers that it takes nothing in for now."""


def reason_of(error: OSError) -> str:
    """Say in words why nothing can be written."""
    words = {errno.EDQUOT: "disk quota used up", errno.EROFS: "disk read-only"}
    return words.get(error.errno or 0, "disk full")


def probe(folder: Path) -> None:
    """Write a little, and remove it; raises the `OSError` that keeps it from being written."""
    handle, name = tempfile.mkstemp(dir=folder, prefix="room.", suffix=".probe")
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            file.write(bytes(PROBE_BYTES))
            os.fsync(file.fileno())
    finally:
        Path(name).unlink(missing_ok=True)


def wait_for_room(folder: Path) -> None:
    """Return when something can be written: a director that starts writes before it serves."""
    said = False
    while True:
        try:
            return probe(folder)
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            if not said:
                logger.error(
                    "%s: %s; the director starts by itself when there is room", reason_of(error), folder
                )
                said = True
        # The system tells nobody when there is room again.
        time.sleep(FIRST_PAUSE)


def fsync(file: int) -> None:
    """Bring a file's bytes to the disk; where they are lost, the process ends."""
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        end_at_once(error)


def sync_folder(path: Path) -> None:
    """Bring what a file or folder holds to the disk, names included; as `fsync`."""
    opened = os.open(path, os.O_RDONLY)
    try:
        fsync(opened)
    finally:
        os.close(opened)


def end_at_once(error: BaseException) -> NoReturn:
    """End the process: the disk has lost what was written, and nothing that is in memory can be trusted to be on it."""
    logger.critical(
        "the disk has lost a write (%s): the director ends at once; started again, it goes on from what is on disk",
        error,
    )
    os._exit(LOST_WRITE_EXIT)


class Disk:
    """Whether the director takes anything in.

    Parameters
    ----------
    folder
        Where it must be able to write.
    on_room
        Called, in a thread of its own, when there is room again.
    """

    def __init__(self, folder: Path, on_room: Callable[[], None] = lambda: None) -> None:
        self._folder = folder
        self._on_room = on_room
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._paused = ""
        self._pause = FIRST_PAUSE
        self._went_on = -LONGEST_PAUSE

    @property
    def paused(self) -> str:
        """Why nothing is taken in for now; empty while all is well."""
        return self._paused

    def note(self, error: OSError) -> bool:
        """Pause if an error means that there is no room; say whether it does."""
        if error.errno not in NO_ROOM:
            return False
        with self._lock:
            if self._paused or self._closed.is_set():
                return True
            self._paused = reason_of(error)
            # Room for the probe may be too little for a model: it is not tried every other second then.
            again = time.monotonic() - self._went_on < LONGEST_PAUSE
            self._pause = min(2 * self._pause, LONGEST_PAUSE) if again else FIRST_PAUSE
            threading.Thread(target=self._wait, daemon=True).start()
        logger.error(
            "%s: nothing is taken in until there is room in %s (%s)", self._paused, self._folder, error
        )
        return True

    def require_room(self) -> None:
        """Let nobody pass who wants something written while there is no room for it.

        Raises
        ------
        DiskFull
            Then.
        """
        if reason := self._paused:
            raise DiskFull(told(reason))

    def close(self) -> None:
        """Look for room no more."""
        self._closed.set()

    def _wait(self) -> None:
        # The system tells nobody when there is room again.
        while not self._closed.wait(self._pause):
            try:
                probe(self._folder)
            except OSError:
                continue
            break
        else:
            return
        with self._lock:
            self._paused = ""
            self._went_on = time.monotonic()
        logger.warning("there is room in %s again: the director goes on", self._folder)
        self._on_room()


def told(reason: str) -> str:
    """What a caller is told."""
    return f"the director takes nothing in ({reason}); it goes on by itself when there is room"
