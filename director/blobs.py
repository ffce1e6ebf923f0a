"""The director's one store of tensors: immutable files named by the SHA-256 of their bytes."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from federation.errors import Refused, Unreachable
from federation.tensors import CHUNK_BYTES, Tensors, chunks, open_mapped

_SHA256 = re.compile(r"[0-9a-f]{64}")


class BlobStore:
    """Content-addressed files in one folder; what is in it under a name is complete and on disk.

    Parameters
    ----------
    folder
        Made if it is not there. Left-overs of writes that a crash cut off are removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob("*.part"):
            leftover.unlink()
        self._lock = threading.Lock()
        self._held: Counter[str] = Counter()

    def path(self, sha256: str) -> Path:
        """Return the file of a blob.

        Raises
        ------
        Refused
            If the name is not a SHA-256 (names may come from outside).
        """
        if not _SHA256.fullmatch(sha256):
            raise Refused("a blob is named by 64 hexadecimal digits")
        return self._folder / sha256

    def put(self, tensors: Tensors) -> str:
        """Store tensors; return their SHA-256."""
        return self._write(chunks(tensors))[0]

    def receive(self, pieces: Iterable[bytes], sha256: str, size: int) -> str:
        """Store what arrives, if it is exactly what was announced.

        Raises
        ------
        Refused
            If more bytes arrive than announced, or others.
        Unreachable
            If fewer arrive: what broke off is nobody's misbehaviour.
        """
        self.path(sha256)
        found, length = self._write(_limited(pieces, size), expected=sha256)
        if length < size:
            raise Unreachable(f"{length} of {size} bytes arrived; send them again")
        if length != size or found != sha256:
            raise Refused(
                f"{length} bytes with SHA-256 {found[:12]} arrived, {size} with {sha256[:12]} were announced"
            )
        return found

    def adopt(self, path: Path, sha256: str) -> str:
        """Take over a file of the same file system, which is whole and on disk, and whose SHA-256 was computed."""
        path.replace(self.path(sha256))
        self._sync_folder()
        return sha256

    def open(self, sha256: str) -> Tensors:
        """Map a blob's tensors into memory."""
        return open_mapped(self.path(sha256))

    def size(self, sha256: str) -> int:
        """Return a blob's size in bytes."""
        return self.path(sha256).stat().st_size

    def stream(self, sha256: str, size: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Yield a blob's bytes in pieces."""
        with self.path(sha256).open("rb") as file:
            while piece := file.read(size):
                yield piece

    @contextmanager
    def held(self, sha256: str) -> Iterator[None]:
        """Keep a blob from being removed while it is received and until the journal names it.

        Equal bytes are one blob: another experiment may be done with it in this very moment.
        """
        with self._lock:
            self._held[sha256] += 1
        try:
            yield
        finally:
            with self._lock:
                self._held[sha256] -= 1
                if not self._held[sha256]:
                    del self._held[sha256]

    def remove(self, sha256: str) -> None:
        """Remove a blob that nobody holds; mappings of it stay readable."""
        with self._lock:
            if sha256 not in self._held:
                self.path(sha256).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Return the blobs that are there."""
        return sorted(path.name for path in self._folder.iterdir() if _SHA256.fullmatch(path.name))

    def _write(self, pieces: Iterable[bytes], expected: str | None = None) -> tuple[str, int]:
        sha = hashlib.sha256()
        length = 0
        handle, name = tempfile.mkstemp(dir=self._folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                for piece in pieces:
                    file.write(piece)
                    sha.update(piece)
                    length += len(piece)
                file.flush()
                os.fsync(file.fileno())
            found = sha.hexdigest()
            if expected in (None, found):
                Path(name).replace(self.path(found))
                self._sync_folder()
            return found, length
        finally:
            Path(name).unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _limited(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    left = size
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise Refused(f"more than the {size} bytes that were announced arrive")
        yield piece
