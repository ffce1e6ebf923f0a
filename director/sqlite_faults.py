"""SQLite's words for what the machine does, as the `OSError` that they stand for."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from director.disk import NO_ROOM, end_at_once, probe

# The low byte of an extended code is the kind.
_KIND = 0xFF
_LOST = frozenset({sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC})


def connect(path: Path) -> sqlite3.Connection:
    """Open a database whose connection raises `OSError` for faults of the machine."""
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, factory=_Connection)
    assert isinstance(connection, _Connection)
    connection.folder = path.parent
    return connection


class _Connection(sqlite3.Connection):
    folder: Path

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        with _translated(self.folder, writes=sql == "COMMIT"):
            return self.cursor(_Cursor).execute(sql, parameters)


class _Cursor(sqlite3.Cursor):
    """Reads rows as they are asked for, and so may meet a fault then."""

    def fetchone(self) -> Any:
        with _translated(_folder(self)):
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        with _translated(_folder(self)):
            return super().fetchall()


def _folder(cursor: sqlite3.Cursor) -> Path:
    assert isinstance(cursor.connection, _Connection)
    return cursor.connection.folder


@contextmanager
def _translated(folder: Path, writes: bool = False) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        code = error.sqlite_errorcode
        if code in _LOST:
            end_at_once(error)
        if (number := _number(code, folder)) is None:
            raise
        if writes and number == errno.EIO:
            end_at_once(error)
        raise OSError(number, f"{os.strerror(number)} (journal: {error})") from error


def _number(code: int, folder: Path) -> int | None:
    """Return the error number that a code stands for; None if it is no fault of the machine."""
    if code & _KIND == sqlite3.SQLITE_FULL:
        return errno.ENOSPC
    if code & _KIND == sqlite3.SQLITE_READONLY:
        return errno.EROFS
    if code & _KIND not in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return None
    # SQLite says the same of a quota, or of no room for its shared memory: another write tells what it is.
    try:
        probe(folder)
    except OSError as error:
        if error.errno in NO_ROOM:
            return error.errno
    return errno.EIO if code & _KIND == sqlite3.SQLITE_IOERR else None
