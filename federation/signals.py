"""SIGTERM and Ctrl-C, waited for so that none is missed."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from types import FrameType

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_WAKE = 0


class StopSignals:
    """Keeps SIGTERM and SIGINT, from entering the context, until the main thread asks for them.

    Python runs a signal's handler in the main thread alone, and does not wake it from a lock where the system has let another
    thread take the signal: a service that waited for an event slept on, now and then, until the next signal. What the
    interpreter writes to a socket wakes whoever reads it, and no handler has to take a lock.
    """

    def __enter__(self) -> StopSignals:
        self._reading, self._writing = socket.socketpair()
        self._writing.setblocking(False)
        self._before = {number: signal.signal(number, _nothing) for number in SIGNALS}
        self._descriptor_before = signal.set_wakeup_fd(self._writing.fileno(), warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._descriptor_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._reading.close()
        self._writing.close()

    def wait(self) -> None:
        """Return when one of the signals has come, which the log says, or `wake` was called."""
        while (number := self._reading.recv(1)[0]) != _WAKE:
            # The interpreter tells of other signals, too, which somebody may have given a handler.
            if number in SIGNALS:
                logger.info("%s: stops", signal.Signals(number).name)
                return

    def wake(self) -> None:
        """Let `wait` return; from any thread."""
        # Who waited may have gone on already.
        with contextlib.suppress(OSError):
            self._writing.send(bytes([_WAKE]))


def _nothing(number: int, frame: FrameType | None) -> None:
    """Stand in for a handler: the interpreter tells the socket of signals that have one."""
