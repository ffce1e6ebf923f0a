"""Where log lines go: a service's to standard error, a command's to a file that its errors point at."""

from __future__ import annotations

import logging
import os
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from federation.printing import printable, printable_lines

MAX_BYTES = 5 << 20
BACKUPS = 3
# So that no line of anybody's can drive the others out of the log.
MAX_MESSAGE = 8_000
MAX_TRACEBACK = 64 << 10
FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
# Libraries that tell at level INFO what concerns nobody here.
NOISY = ("openfl", "grpc", "httpx", "urllib3", "filelock", "matplotlib", "datasets")


class _OneLine(logging.Formatter):
    """Keeps a message on one line, whatever a peer has put into it; the lines of a traceback are set in, to look like none."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = printable(record.message, MAX_MESSAGE)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return printable_lines(super().formatException(ei)[-MAX_TRACEBACK:], indent="    ")

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return printable_lines(super().formatStack(stack_info), indent="    ")


def state_folder() -> Path:
    """Return where this user's state lies: ``$FED_STATE``, by default ``~/.local/state/fed``."""
    return Path(os.environ.get("FED_STATE") or "~/.local/state/fed").expanduser()


def log_file() -> Path:
    """Return the log of ``fed`` commands."""
    return state_folder() / "fed.log"


def configure(level: str = "info", file: Path | None = None, quiet: bool = False) -> None:
    """Log to standard error and, if given, to a file that rotates; replaces what was configured before.

    Parameters
    ----------
    level : str
        ``debug``, ``info``, ``warning`` or ``error``.
    file : Path, optional
        Made with its folder when the first line is written.
    quiet : bool
        Nothing to standard error.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [] if quiet else [logging.StreamHandler(sys.stderr)]
    if file is not None:
        handlers.append(_LazyFile(file))
    for handler in handlers or [logging.NullHandler()]:
        handler.setFormatter(_OneLine(FORMAT))
        root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.DEBUG if level == "debug" else logging.WARNING)


class _LazyFile(RotatingFileHandler):
    """A rotating file, made with its folder when the first line comes, and readable by its owner only."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8", delay=True)

    def _open(self):  # type: ignore[no-untyped-def]
        Path(self.baseFilename).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.baseFilename, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
        return super()._open()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Leave out a line that cannot be written: what went wrong is said elsewhere, and must not be buried."""
