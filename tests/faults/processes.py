"""Processes that a zygote forks: started in milliseconds, signalled, and waited for with a deadline."""

from __future__ import annotations

import io
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any


def ask(zygote: Path, request: dict[str, Any], *descriptors: int) -> Any:
    """Send a request to a zygote, with open files of this process, and return its answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(zygote))
        socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], list(descriptors))
        with connection.makefile() as answer:
            return json.loads(answer.readline())


def fork(zygote: Path, request: dict[str, Any], *descriptors: int) -> int:
    """Let a zygote fork a process; return its number."""
    return int(ask(zygote, request, *descriptors))


class Forked:
    """A process that a zygote has forked for us; has what `subprocess.Popen` has.

    Parameters
    ----------
    zygote
        Its socket.
    request
        As `tests.faults.zygote` reads it.
    piped
        Give it a standard input that we write to, and a standard output that we read.
    """

    def __init__(self, zygote: Path, request: dict[str, Any], piped: bool = False) -> None:
        self._zygote = zygote
        self._lock = threading.Lock()
        self.returncode: int | None = None
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
        if piped:
            theirs_in, ours_in = os.pipe()
            ours_out, theirs_out = os.pipe()
            try:
                self.pid = fork(zygote, request, theirs_in, theirs_out)
            finally:
                os.close(theirs_in)
                os.close(theirs_out)
            self.stdin = io.TextIOWrapper(io.FileIO(ours_in, "wb"), write_through=True)
            self.stdout = io.TextIOWrapper(io.BufferedReader(io.FileIO(ours_out)), errors="replace")
        else:
            self.pid = fork(zygote, request)
        self._descriptor = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        """Return its exit code, negative for a signal, if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code when it has ended."""
        waiting = select.poll()
        waiting.register(self._descriptor, select.POLLIN)
        if not waiting.poll(None if timeout is None else timeout * 1000):
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        with self._lock:
            if self.returncode is None:
                self.returncode = int(ask(self._zygote, {"reap": self.pid}))
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Signal it, if it has not ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._descriptor, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def state_of(pid: int) -> str:
    """Return the letter by which the system tells the state of a process, such as T for one that is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def until(condition: Any, deadline: float) -> bool:
    """Look at something of the system's that tells nobody when it changes, until it holds; False if it never does."""
    pause = threading.Event()
    end = time.monotonic() + deadline
    while not (held := condition()) and time.monotonic() < end:
        pause.wait(0.01)
    return bool(held)
