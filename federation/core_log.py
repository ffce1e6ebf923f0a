"""Put into words what gRPC's core has to say of connections that were refused.

A caller whose certificate another authority has signed fails in the TLS handshake, inside gRPC's core, which
tells nobody but file descriptor 2. The director reads that descriptor while it serves: handshake lines become
warnings in its log, everything else passes through.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from federation.printing import printable

logger = logging.getLogger(__name__)

QUIET = 60.0
OnRefused = Callable[[str, int], None]
_NOISE = "All log messages before absl::InitializeLog()"
_HANDSHAKE = re.compile(r"Handshake failed with .*?(?:SSL routines:[^:]*:(\w+)|$)")
_REASONS = {
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not signed by this federation's authority, or expired",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it has no certificate",
    "WRONG_VERSION_NUMBER": "it does not speak TLS (was it started with --insecure?)",
    "HTTP_REQUEST": "it does not speak TLS (was it started with --insecure?)",
    "TLSV1_ALERT_UNKNOWN_CA": "it does not trust this director's authority",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not trust this director's certificate",
}

_DISTRUST = ("is not in peer certificate", "CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER")
_HUNG_UP = "it hung up; if it wants a certificate, leave --insecure out; if it refuses our certificate, its log says why"
_HINTS = {
    "is not in peer certificate": "its certificate does not name this host; `fed certify director --host` adds it",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not signed by our authority, or expired",
    "WRONG_VERSION_NUMBER": "it does not speak TLS (was it started with --insecure?)",
    "Connection refused": "nothing listens there",
    "DNS resolution failed": "there is no such host",
    "Socket closed": _HUNG_UP,
    "Connection reset": _HUNG_UP,
}


# Which verbosity gRPC's core has; it reads it when its first channel or server is made.
_VERBOSITY = "GRPC_VERBOSITY"


def keep_quiet() -> None:
    """Let gRPC's core write nothing to the terminal, unless the user wants it: what it says is in a call's error."""
    os.environ.setdefault(_VERBOSITY, "NONE")


def keep_refusals() -> None:
    """Let gRPC's core write what `refusals_in_words` reads."""
    if os.environ.get(_VERBOSITY, "NONE") == "NONE":
        os.environ[_VERBOSITY] = "ERROR"


def explain(details: str) -> str:
    """Put into words why a call did not reach the director.

    Parameters
    ----------
    details : str
        What gRPC says of a call that ended as unavailable.

    Returns
    -------
    str
        A clause to append to a message; empty if the cause is not known.
    """
    return next((hint for mark, hint in _HINTS.items() if mark in details), "")


def is_distrust(details: str) -> bool:
    """Tell whether a call did not reach the director because of whom the other end is: that does not pass by itself."""
    return any(mark in details for mark in _DISTRUST)


class _Refusals:
    """Logs each reason, at most once in `QUIET` seconds: whoever is refused tries again."""

    def __init__(self, on_refused: OnRefused) -> None:
        self._on_refused = on_refused
        self._last: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def report(self, code: str) -> None:
        reason = _REASONS.get(
            code, f"the TLS handshake failed ({code.lower().replace('_', ' ') or 'no reason given'})"
        )
        now = time.monotonic()
        if now - self._last.get(reason, -QUIET) < QUIET:
            self._unsaid[reason] = self._unsaid.get(reason, 0) + 1
            return
        self._last[reason] = now
        unsaid = self._unsaid.pop(reason, 0)
        logger.warning("refused a connection: %s%s", reason, f" ({unsaid} more such since)" if unsaid else "")
        self._on_refused(reason, unsaid)


@contextmanager
def refusals_in_words(on_refused: OnRefused = lambda reason, unsaid: None) -> Iterator[None]:
    """Read what the process writes to file descriptor 2 while the context lasts.

    Python's own ``sys.stderr``, and the handlers of the root logger that write to it, go to where descriptor
    2 led before: a reader that logs must not wait for itself.

    Parameters
    ----------
    on_refused
        Called, in a thread of its own, with each line's reason, and how many more such there were since its last.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    before = sys.stderr
    direct = os.fdopen(os.dup(saved), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    _redirect(before, direct)
    reader = threading.Thread(
        target=_read, args=(reading, saved, _Refusals(on_refused)), name="core-log", daemon=True
    )
    reader.start()
    try:
        yield
    finally:
        os.dup2(saved, 2)  # closes the pipe's last writing end, which ends the reader
        reader.join(timeout=2)
        _redirect(direct, before)


def _redirect(old: TextIO, new: TextIO) -> None:
    if sys.stderr is old:
        sys.stderr = new
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)


def _read(reading: int, passed_on: int, refusals: _Refusals) -> None:
    with os.fdopen(reading, "r", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            found = _HANDSHAKE.search(line)
            if found:
                refusals.report(found[1] or "")
            elif _NOISE not in line:
                with suppress(OSError):
                    os.write(passed_on, f"{printable(line.rstrip())}\n".encode())
    os.close(passed_on)
