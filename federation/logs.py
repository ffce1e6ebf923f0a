"""Where log lines go: a service's to standard error, a command's to a file that its errors point at."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from federation.paths import at_home
from federation.printing import printable, printable_lines

MAX_BYTES = 5 << 20
BACKUPS = 3
# So that no line of anybody's can drive the others out of the log.
MAX_MESSAGE = 8_000
MAX_TRACEBACK = 64 << 10
FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
# Libraries that tell at level INFO what concerns nobody here.
NOISY = ("openfl", "grpc", "httpx", "urllib3", "filelock", "matplotlib", "datasets")


# What a record carries that is for the file alone: another process's traceback, or the whole record.
_TOLD, _FILE_ONLY = "told_traceback", "file_only"
_in_use: list[Path] = []


class _OneLine(logging.Formatter):
    """Keeps a message on one line, whatever a peer has put into it; the lines of a traceback are set in, to look like none."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = printable(record.message, MAX_MESSAGE)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return printable_lines(super().formatException(ei)[-MAX_TRACEBACK:], indent="    ")

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        return printable_lines(super().formatStack(stack_info), indent="    ")

    def format(self, record: logging.LogRecord) -> str:
        told = getattr(record, _TOLD, "")
        return super().format(record) + (
            "\n" + printable_lines(told[-MAX_TRACEBACK:], indent="    ") if told else ""
        )


class _ForTerminal(_OneLine):
    """Says what an error is, and which file has its traceback."""

    def __init__(self, file: Path | None) -> None:
        super().__init__(FORMAT)
        self._where = f"; the traceback is in {file}" if file is not None else ""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[1] if record.exc_info else None
        record.message, record.asctime = record.getMessage(), self.formatTime(record)
        what = "" if error is None else f": {printable(f'{type(error).__name__}: {error}', MAX_MESSAGE)}"
        return self.formatMessage(record) + what + (self._where if what or hasattr(record, _TOLD) else "")


def state_folder() -> Path:
    """Return where this user's state lies: ``$FED_STATE``, by default ``~/.local/state/fed``.

    A user without a home folder, as a container's may be, has it among the temporary files.
    """
    if named := os.environ.get("FED_STATE"):
        return at_home(Path(named))
    try:
        return Path("~/.local/state/fed").expanduser()
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"fed-{os.getuid()}"


def log_file() -> Path:
    """Return the log of ``fed`` commands."""
    return state_folder() / "fed.log"


def file_in_use() -> Path:
    """Return the file into which this process logs."""
    return _in_use[0] if _in_use else log_file()


def with_traceback(text: str) -> dict[str, Any]:
    """Return what ``extra`` must be for a log line to have the traceback that another process has told, in the file alone."""
    return {_TOLD: text} if text else {}


def in_file_only() -> dict[str, Any]:
    """Return what ``extra`` must be for a log line that is not for the terminal."""
    return {_FILE_ONLY: True}


def configure(level: str = "info", file: Path | None = None, quiet: bool = False) -> None:
    """Log to standard error and, if given, to a file that rotates; replaces what was configured before.

    Tracebacks are in the file alone.

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
    handlers: list[logging.Handler] = []
    if not quiet:
        terminal = logging.StreamHandler(sys.stderr)
        terminal.setFormatter(_ForTerminal(file))
        terminal.addFilter(lambda record: not hasattr(record, _FILE_ONLY))
        handlers.append(terminal)
    _in_use[:] = [] if file is None else [file]
    if file is not None:
        handlers.append(_LazyFile(file))
        handlers[-1].setFormatter(_OneLine(FORMAT))
    for handler in handlers or [logging.NullHandler()]:
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
