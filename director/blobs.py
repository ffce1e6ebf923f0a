"""The director's one store of tensors: immutable files named by the SHA-256 of their bytes.

A file is compared with its name once in a process's life, when it is first opened; what this process wrote itself has its
name from the bytes that it wrote.
"""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from director.disk import fsync, sync_folder
from director.removal import Removal
from federation.errors import InputError, Refused, Unreachable
from federation.names import is_sha256
from federation.paths import inside, remove
from federation.permissions import make_private
from federation.tensors import CHUNK_BYTES, Tensors, chunks, open_mapped

ASIDE_SECONDS = 7 * 24 * 3600


class DamagedBlob(InputError):  # noqa: N818
    """A blob is not there, or its bytes are not those that its name stands for."""


class BlobStore:
    """Content-addressed files in one folder; what is in it under a name is complete and on disk.

    Parameters
    ----------
    folder
        Made if it is not there. Left-overs of writes that a crash cut off are removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        make_private(folder)
        for leftover in folder.glob("*.part"):
            remove(folder, leftover.name)
        self._lock = threading.Lock()
        self.removal = Removal(folder)
        self._held: Counter[str] = Counter()
        self._sound: set[str] = set()

    def path(self, sha256: str) -> Path:
        """Return the file of a blob.

        Raises
        ------
        Refused
            If the name is not a SHA-256 (names may come from outside), or a link stands there.
        """
        if not is_sha256(sha256):
            raise Refused("a blob is named by 64 hexadecimal digits")
        return inside(self._folder, sha256)

    def put(self, tensors: Tensors) -> str:
        """Store tensors; return their SHA-256."""
        with self.stored(tensors) as name:
            return name

    @contextmanager
    def stored(self, tensors: Tensors) -> Iterator[str]:
        """Store tensors, and keep them from being removed until the journal names them, as `held` does."""
        name = self._write(chunks(tensors), hold=True)[0]
        try:
            yield name
        finally:
            self._release(name)

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
        with self._lock:
            path.replace(self.path(sha256))
            self._sound.add(sha256)
        sync_folder(self._folder)
        return sha256

    def open(self, sha256: str) -> Tensors:
        """Map a blob's tensors into memory.

        Raises
        ------
        DamagedBlob
            If it is not there, or is not what its name says.
        """
        self.check(sha256)
        return open_mapped(self.path(sha256))

    def size(self, sha256: str) -> int:
        """Return a blob's size in bytes; raises as `open` does."""
        self.check(sha256)
        return self.path(sha256).stat().st_size

    def stream(self, sha256: str, size: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Open a blob, and yield its bytes in pieces, even if it is removed meanwhile; raises as `open` does."""
        self.check(sha256)
        return _pieces(self.path(sha256).open("rb"), size)

    def check(self, sha256: str) -> None:
        """Compare a blob with its name, unless this process has done so before; raises as `open` does."""
        path = self.path(sha256)
        if sha256 in self._sound:
            return
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise DamagedBlob(f"the blob {sha256} is missing; restore it from a backup") from error
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            raise DamagedBlob(f"the disk cannot read the blob {sha256}; restore it from a backup") from error
        if found != sha256:
            raise DamagedBlob(
                f"the blob {sha256} is damaged: {path.stat().st_size} bytes that its name does not stand for; "
                "restore it from a backup"
            )
        self._sound.add(sha256)

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
            self._release(sha256)

    def remove(self, sha256: str) -> None:
        """Remove a blob that nobody holds; mappings of it stay readable."""
        with self._lock:
            if sha256 not in self._held:
                self.path(sha256)
                remove(self._folder, sha256, missing_ok=True)
                self._sound.discard(sha256)

    def sort_out(self, named: Collection[str]) -> list[str]:
        """Set aside what nothing names, take back what is named again, and remove what has lain aside for a week.

        Only for a start, when nobody writes: a journal that was lost or is an older one may still be brought back, and needs
        its blobs then. While a backup runs, nothing is set aside or removed; the next start does it.

        Returns
        -------
        list of str
            What has been set aside.
        """
        with self.removal.allowed() as allowed:
            return self._sort_out(named, allowed)

    def _sort_out(self, named: Collection[str], allowed: bool) -> list[str]:
        aside = self._folder / "aside"
        unnamed = [name for name in self.names() if name not in named] if allowed else []
        lying = blobs_in(aside) if aside.is_dir() else []
        wanted = [name for name in lying if name in named and not self.path(name).exists()]
        for name in wanted:
            (aside / name).rename(self.path(name))
        if unnamed:
            make_private(aside)
        for name in unnamed:
            # Its week begins now; a crash between the two leaves it where it was, for the next start.
            os.utime(self.path(name))
            sync_folder(self.path(name))
            self.path(name).rename(aside / name)
        for name in {*lying} - {*unnamed, *wanted}:
            if allowed and time.time() - (aside / name).stat().st_mtime > ASIDE_SECONDS:
                remove(self._folder, "aside", name)
        if aside.is_dir():
            sync_folder(aside)
            sync_folder(self._folder)
        return unnamed

    def names(self) -> list[str]:
        """Return the blobs that are there."""
        return blobs_in(self._folder)

    def _write(
        self, pieces: Iterable[bytes], expected: str | None = None, hold: bool = False
    ) -> tuple[str, int]:
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
                fsync(file.fileno())
            found = sha.hexdigest()
            if expected in (None, found):
                with self._lock:
                    Path(name).replace(self.path(found))
                    self._sound.add(found)
                    if hold:
                        self._held[found] += 1
                try:
                    sync_folder(self._folder)
                except OSError:
                    if hold:
                        self._release(found)
                    raise
            return found, length
        finally:
            Path(name).unlink(missing_ok=True)

    def _release(self, sha256: str) -> None:
        with self._lock:
            self._held[sha256] -= 1
            if self._held[sha256] <= 0:
                del self._held[sha256]


def blobs_in(folder: Path) -> list[str]:
    """Return the names of the blobs in a folder."""
    return sorted(path.name for path in folder.iterdir() if is_sha256(path.name))


def _pieces(file: BinaryIO, size: int) -> Iterator[bytes]:
    with file:
        while piece := file.read(size):
            yield piece


def _limited(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    left = size
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise Refused(f"more than the {size} bytes that were announced arrive")
        yield piece
