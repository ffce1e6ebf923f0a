"""A disk that has no room for one write: a transaction of the journal, or a blob."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from director.blobs import BlobStore
from director.journal import Journal


class Disk:
    """Has no room for the last of so many writes; then it has again."""

    def __init__(self) -> None:
        self.left, self.fired, self.crash = 0, 0, False

    def write(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.fired += 1
            raise OSError(errno.ENOSPC, "no space left on device")


@contextmanager
def filling_disk() -> Iterator[Disk]:
    """Let transactions and blobs find no room when it is told."""
    found, transaction, write = Disk(), Journal.transaction, BlobStore._write

    @contextmanager
    def commit(journal: Journal) -> Iterator[None]:
        with transaction(journal):
            before = journal._connection.total_changes
            yield
            if journal._depth == 1 and journal._connection.total_changes > before:
                found.write()

    def fill(blobs: BlobStore, *args: Any, **kwargs: Any) -> Any:
        found.write()
        return write(blobs, *args, **kwargs)

    with mock.patch.object(Journal, "transaction", commit), mock.patch.object(BlobStore, "_write", fill):
        yield found
