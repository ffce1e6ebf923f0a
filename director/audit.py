"""Who did what, from which address, when, and what came of it: JSON lines in a file that is only ever appended to.

What changes something is on disk before it is answered. Refusals are bounded for each member: so many a minute are written one
by one, the rest as a number. A disk without room, or one that loses a write, is what it is for all else (`director.disk`).
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from director.disk import fsync, sync_folder

logger = logging.getLogger(__name__)

FILE = "audit.jsonl"
WINDOW = 60.0
MOST_LAST = 100_000
MOST_REFUSED = 10_000
MOST_TEXT = 500


@dataclass(frozen=True)
class Entry:
    """One line; the fields are those of ``AuditEntry`` in the protocol."""

    what: str
    member: str = ""
    role: str = ""
    address: str = ""
    experiment: str = ""
    outcome: str = "done"
    time: float = 0.0
    count: int = 0


class _Refused:
    """What one member was refused in a minute."""

    def __init__(self, began: float) -> None:
        self.began = began
        self.written = self.counted = 0
        self.last: Entry | None = None


class AuditLog:
    """The audit log of a director.

    Parameters
    ----------
    folder
        The director's state, in which the file is; it is readable by its owner only.
    refusals
        Which are written one by one, a minute and member.
    on_fault
        Told of a fault of the machine that kept something from being written that need not be.
    clock
        Returns Unix time.
    """

    def __init__(
        self,
        folder: Path,
        refusals: int = 120,
        on_fault: Callable[[OSError], object] = lambda error: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = folder / FILE
        self._most, self._on_fault, self._clock = refusals, on_fault, clock
        self._lock = threading.Lock()
        self._refused: dict[str, _Refused] = {}
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        sync_folder(folder)
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            self._append(b"\n")  # a line that a crash has cut off ends there

    def close(self) -> None:
        """Write what was only counted so far, and close the file."""
        with self._lock:
            self._write_counted()
            os.close(self._file)
            # The number may be another file's by now, and a thread may have something left to say.
            self._file = -1

    def did(self, entry: Entry) -> None:
        """Write what somebody has done; it is on disk when this returns.

        Raises
        ------
        OSError
            If it cannot be written now.
        """
        with self._lock:
            self._append(_line(replace(entry, time=self._clock())))
            fsync(self._file)

    def noted(self, entry: Entry) -> None:
        """Write what somebody has done, if it can be written: what only reads must not wait for room."""
        with self._lock:
            self._try_append(replace(entry, time=self._clock()))

    def refused(self, entry: Entry) -> None:
        """Write that somebody was refused, or count it."""
        entry = replace(entry, time=self._clock())
        with self._lock:
            who = entry.member or entry.address.rpartition(":")[0] or entry.outcome
            window = self._refused.get(who)
            if window is None or not 0 <= entry.time - window.began < WINDOW:
                if len(self._refused) >= MOST_REFUSED:
                    self._write_counted()
                    self._refused.clear()
                if window is not None:
                    self._write_count_of(window)
                window = self._refused[who] = _Refused(entry.time)
            if window.written < self._most:
                window.written += 1
                self._try_append(entry)
            else:
                window.counted += 1
                window.last = entry

    def handshake_failed(self, reason: str, more: int = 0) -> None:
        """Write that connections were refused before anybody knew of whom; whoever calls has bounded how often."""
        self.noted(Entry("handshake", outcome=reason, count=more + 1 if more else 0))

    def read(self, since: float = 0.0, member: str = "", what: str = "", last: int = 0) -> Iterator[Entry]:
        """Yield what was written up to now, oldest first.

        Parameters
        ----------
        since
            Unix time.
        member, what
            Only those; all if empty.
        last
            So many at most, the newest; 0: all.
        """
        with self._lock:
            self._write_counted()
            size = os.fstat(self._file).st_size
        found = (
            entry
            for entry in self._entries(size)
            if entry.time >= since and member in ("", entry.member) and what in ("", entry.what)
        )
        yield from deque(found, min(last, MOST_LAST)) if last else found

    def _entries(self, size: int) -> Iterator[Entry]:
        with self._path.open("rb") as file:
            while file.tell() < size and (line := file.readline()):
                try:
                    yield Entry(**json.loads(line))
                except (ValueError, TypeError):
                    continue  # a crash has cut it off

    def _write_counted(self) -> None:
        for window in self._refused.values():
            self._write_count_of(window)

    def _write_count_of(self, window: _Refused) -> None:
        if window.last is not None:
            self._try_append(replace(window.last, count=window.counted))
            window.counted, window.last = 0, None

    def _try_append(self, entry: Entry) -> None:
        try:
            self._append(_line(entry))
        except OSError as error:
            self._on_fault(error)

    def _append(self, line: bytes) -> None:
        size = os.fstat(self._file).st_size
        left = memoryview(line)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError:
            os.ftruncate(self._file, size)
            raise


def _line(entry: Entry) -> bytes:
    said = asdict(entry) | {
        "experiment": entry.experiment[:MOST_TEXT],
        "outcome": entry.outcome[:MOST_TEXT],
    }
    return json.dumps(said).encode() + b"\n"
