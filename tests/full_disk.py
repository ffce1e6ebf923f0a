"""A disk that is filled to its last byte."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def fill(disk: Path) -> Path:
    """Leave no byte of a disk free; return what takes the room."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1024)):
                pass
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return ballast


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Leave no byte of a disk free for as long as the context lasts."""
    ballast = fill(disk)
    yield
    ballast.unlink()
