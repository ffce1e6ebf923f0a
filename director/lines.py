"""How many lines of the log one member may cause: so many a minute, and the rest is counted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar

WINDOW = 60.0
MOST_CAUSES = 10_000
# Whose call is being answered, or, before that is known, the address that it comes from.
cause: ContextVar[str] = ContextVar("cause", default="")


class _Window:
    def __init__(self, began: float) -> None:
        self.began = began
        self.lines = self.left_out = 0


class BoundedLines(logging.Filter):
    """Lets the lines pass that nobody has caused, and so many of each member.

    Parameters
    ----------
    most
        Lines a minute.
    clock
        Returns seconds, from any beginning.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._most, self._clock = most, clock
        self._lock = threading.Lock()
        self._windows: dict[str, _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a line passes; the last one of a minute says that others were left out, and so does the next one."""
        if not (who := cause.get()):
            return True
        # There are several handlers, which ask one after the other.
        if (known := getattr(record, "passes", None)) is None:
            record.passes = known = self._passes(who, record)
        return bool(known)

    def _passes(self, who: str, record: logging.LogRecord) -> bool:
        now = self._clock()
        with self._lock:
            window = self._windows.get(who)
            left_out = 0
            if window is None or now - window.began >= WINDOW:
                left_out = window.left_out if window else 0
                if len(self._windows) >= MOST_CAUSES:
                    self._windows.clear()
                window = self._windows[who] = _Window(now)
            if window.lines >= self._most:
                window.left_out += 1
                return False
            window.lines += 1
            last = window.lines == self._most
        if left_out:
            _add(record, f"({left_out} lines that {who} has caused were left out before)")
        if last:
            _add(
                record,
                f"({who} has caused {self._most} lines in a minute: what follows in it is only counted)",
            )
        return True


def _add(record: logging.LogRecord, words: str) -> None:
    record.msg, record.args = f"{record.getMessage()} {words}", ()
