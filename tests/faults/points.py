"""Points at which a process of a test ends or fails: its n-th commit, rename, fsync, chunk, ...

Installed in a child of the zygote only, around the calls of the system and of gRPC that the code makes anyway: nothing of it is
in the code itself. Calls are counted over all threads.
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
import shutil
import signal
import sqlite3
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from grpc._channel import Channel

BEFORE, AFTER = "before", "after"
# What can be counted; "message" is one that is sent or has come over gRPC, "write" a chunk on its way to a file.
KINDS = ("commit", "rename", "fsync", "unlink", "create", "write", "message", "spawn")


@dataclass(frozen=True)
class Point:
    """Where a process is disturbed.

    Parameters
    ----------
    kind
        One of `KINDS`.
    number
        The how manieth call of that kind, from 1.
    when
        Before the call or after it has returned.
    what
        A signal that the process sends itself, such as ``SIGKILL``, or an error that the call ends with, such as ``ENOSPC``.
    """

    kind: str
    number: int
    when: str = BEFORE
    what: str = "SIGKILL"

    def __str__(self) -> str:
        return f"{self.what} {self.when} {self.kind} {self.number}"


def install(point: Point, reached: Path) -> None:
    """Disturb this process at a point; a file then says which process it was."""
    wrap = functools.partial(_wrapped, point, itertools.count(1), reached)
    if point.kind == "commit":
        _at_commits(wrap)
    elif point.kind == "message":
        _at_messages(wrap)
    elif point.kind == "spawn":
        from tests.faults import processes

        processes.fork = wrap(processes.fork)
    else:
        places: dict[str, list[tuple[Any, str]]] = {
            "rename": [(os, "replace"), (os, "rename")],
            "fsync": [(os, "fsync")],
            "unlink": [(os, "unlink"), (os, "rmdir"), (shutil, "rmtree")],
            "create": [(tempfile, "mkstemp"), (os, "mkdir")],
            "write": [(os, "write")],
        }
        for owner, name in places[point.kind]:
            setattr(owner, name, wrap(getattr(owner, name)))


def _wrapped(
    point: Point, numbers: itertools.count[int], reached: Path, function: Callable[..., Any]
) -> Callable[..., Any]:
    open_file, write = os.open, os.write

    def disturb() -> None:
        write(open_file(reached, os.O_CREAT | os.O_WRONLY), str(os.getpid()).encode())
        if not point.what.startswith("SIG"):
            raise _error(point)
        os.kill(os.getpid(), signal.Signals[point.what])

    @functools.wraps(function)
    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        number = next(numbers)
        if number == point.number and point.when == BEFORE:
            disturb()
        result = function(*arguments, **keywords)
        if number == point.number and point.when == AFTER:
            disturb()
        return result

    return wrapped


def _error(point: Point) -> Exception:
    if point.kind == "commit":
        full = point.what == "ENOSPC"
        error = sqlite3.OperationalError("database or disk is full" if full else "disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL if full else sqlite3.SQLITE_IOERR_FSYNC
        return error
    number = getattr(errno, point.what)
    return OSError(number, os.strerror(number))


def _at_commits(wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    commit = wrap(lambda do: do())

    def counting(kind: Any) -> Any:
        class Cursor(kind):  # type: ignore[misc]
            def execute(self, sql: str, *arguments: Any) -> Any:
                if sql.strip().upper() != "COMMIT":
                    return super().execute(sql, *arguments)
                return commit(lambda: kind.execute(self, sql))

        return Cursor

    connect = sqlite3.connect

    def connected(*arguments: Any, factory: Any = _ByCursor, **keywords: Any) -> Any:
        class Connection(factory):  # type: ignore[misc]
            def cursor(self, kind: Any = sqlite3.Cursor) -> Any:
                return super().cursor(counting(kind))

        return connect(*arguments, factory=Connection, **keywords)

    sqlite3.connect = connected


class _ByCursor(sqlite3.Connection):
    """Executes by a cursor of its own, as one may that says nothing else."""

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:  # type: ignore[override]
        return self.cursor().execute(sql, *arguments)


def _at_messages(wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    message = wrap(lambda do, data: do(data))

    def counted(function: Callable[[Any], Any] | None) -> Callable[[Any], Any] | None:
        return None if function is None else lambda data: message(function, data)

    for calls in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
        name = f"{calls}_rpc_method_handler"
        setattr(grpc, name, _with_counted(getattr(grpc, name), 1, counted))
        setattr(Channel, calls, _with_counted(getattr(Channel, calls), 2, counted))


def _with_counted(
    function: Callable[..., Any], first: int, counted: Callable[..., Any]
) -> Callable[..., Any]:
    """Count what passes both codecs of a call, which follow so many other arguments."""

    @functools.wraps(function)
    def wrapped(*arguments: Any, **keywords: Any) -> Any:
        head, codecs, rest = arguments[:first], arguments[first : first + 2], arguments[first + 2 :]
        codecs = tuple(counted(codec) for codec in codecs)
        for name in (
            "request_serializer",
            "request_deserializer",
            "response_serializer",
            "response_deserializer",
        ):
            if name in keywords:
                keywords[name] = counted(keywords[name])
        return function(*head, *codecs, *rest, **keywords)

    return wrapped
