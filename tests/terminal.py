"""Commands on a terminal of a given width, in this process: what they print is read from the other end of a pty."""

from __future__ import annotations

import os
import pty
import re
import sys
import threading
from collections.abc import Callable

import pytest

_SEQUENCES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A pty in the place of standard output and standard error, or of one of them.

    Parameters
    ----------
    columns
        How wide it is.
    streams
        Which of ``stdout`` and ``stderr`` go to it.
    kind, encoding
        ``TERM``, and what the terminal understands.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        columns: int,
        streams: tuple[str, ...] = ("stdout", "stderr"),
        kind: str = "xterm",
        encoding: str = "utf-8",
    ) -> None:
        self._monkeypatch, self._streams, self._encoding = monkeypatch, streams, encoding
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", "50")
        monkeypatch.setenv("TERM", kind)

    def shown(self, command: Callable[[], object]) -> str:
        """Run a command, and return what the terminal was sent, without the sequences of colours and cursors."""
        return _SEQUENCES.sub("", self.sent(command))

    def sent(self, command: Callable[[], object]) -> str:
        """Run a command, and return all that the terminal was sent."""
        pieces: list[bytes] = []
        master, slave = pty.openpty()
        reader = threading.Thread(target=_read, args=(master, pieces))
        reader.start()
        with (
            os.fdopen(slave, "w", encoding=self._encoding, errors="backslashreplace") as file,
            self._monkeypatch.context() as patched,
        ):
            for name in self._streams:
                patched.setattr(sys, name, file)
            command()
        reader.join()
        os.close(master)
        return b"".join(pieces).decode(self._encoding).replace("\r\n", "\n")


def _read(master: int, pieces: list[bytes]) -> None:
    try:
        while piece := os.read(master, 65536):
            pieces.append(piece)
    except OSError:
        # Linux says so of a pty whose other end is closed.
        return
