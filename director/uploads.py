"""Results on their way in: one partial file for each, which outlives a broken connection and a restart of the director.

A partial file is bound to what was announced by its name, ``ENVOY.ROUND.TASK.SIZE.SHA256.partial`` in the experiment's folder,
and holds the first bytes of the result and nothing else. An upload that breaks off changes nothing but this file; the next one
of the same result goes on behind it, and what was announced otherwise begins anew.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from director.blobs import BlobStore
from director.disk import OF_THE_MACHINE, fsync
from federation.errors import InputError, Refused, Unreachable
from federation.names import is_experiment_name, is_sha256
from federation.paths import inside, remove
from federation.permissions import make_private

logger = logging.getLogger(__name__)

_PART = re.compile(r"[a-z][a-z0-9_-]{0,62}")
READ_BYTES = 1 << 20


class BrokenOff(Unreachable):
    """An upload that did not arrive whole: nobody's misbehaviour, and it goes on where it broke."""


class SendAgain(Exception):  # noqa: N818
    """A result that was gone on with came out otherwise than announced: it is asked for once, from its first byte."""


@dataclass(frozen=True)
class Announced:
    """A result that is to come: whose it is, and the SHA-256 and size of its tensors.

    Raises
    ------
    Refused
        If a name could not be part of a path, or the SHA-256 is none.
    """

    experiment: str
    envoy: str
    round: int
    task: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        sound = is_experiment_name(self.experiment) and is_sha256(self.sha256)
        if not sound or not all(_PART.fullmatch(part) for part in (self.envoy, self.task)):
            raise Refused("a result is announced by experiment, envoy, task and 64 hexadecimal digits")

    @property
    def slot(self) -> str:
        """What there is one partial file for."""
        return f"{self.envoy}.{self.round}.{self.task}."

    @property
    def file(self) -> str:
        """The name of the partial file."""
        return f"{self.slot}{self.size}.{self.sha256}.partial"


class _Owner:
    """The one upload that may write to a partial file."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = False

    def end(self) -> None:
        """Let nothing more be written; what is being written is, before this returns."""
        with self._lock:
            self._over = True

    def write(self, file: int, piece: bytes) -> None:
        with self._lock:
            if self._over:
                raise BrokenOff("another upload of the same result has taken over, or it is no longer wanted")
            left = memoryview(piece)
            while left:
                left = left[os.write(file, left) :]


class Uploads:
    """The partial files of a director, in one folder for each experiment.

    Parameters
    ----------
    folder
        On the file system of the blobs, which a whole result is moved to; made if it is not there.
    blobs
        Where whole results go.
    """

    def __init__(self, folder: Path, blobs: BlobStore) -> None:
        self._folder = folder
        self._blobs = blobs
        self._lock = threading.Lock()
        self._owners: dict[Path, _Owner] = {}
        make_private(folder)

    def have(self, announced: Announced) -> int:
        """Return how many bytes of a result are here; the upload that brings it next takes over."""
        path = self._path(announced)
        self._end(path)
        return min(path.stat().st_size, announced.size) if path.is_file() else 0

    def receive(self, announced: Announced, offset: int, pieces: Iterable[bytes]) -> str:
        """Write what arrives behind what is here, and move it to the blobs when it is whole.

        Parameters
        ----------
        announced
            What the whole will be.
        offset
            Where the pieces begin: what `have` has said, or 0.
        pieces
            As they arrive. A later call for the same result takes over and ends this one.

        Returns
        -------
        str
            The blob's name.

        Raises
        ------
        BrokenOff
            If fewer bytes arrive than were announced, another upload took over, or less is here than ``offset``.
        Refused
            If more bytes arrive than were announced, or all of them, from the first, and other ones.
        SendAgain
            If all of them arrive, in parts, and other ones; the partial file is gone then.
        OSError
            If the machine cannot take it; the partial file is gone then, and the room that it took.
        """
        path = self._path(announced)
        make_private(path.parent)
        with self._owned(path, announced) as owner, self._dropped_on_faults(path):
            with path.open("r+b" if path.is_file() else "x+b", buffering=0) as file:
                sha = hashlib.sha256()
                if _hash_prefix(file.fileno(), offset, sha) < offset:
                    raise BrokenOff(f"{offset} bytes are said to be here, and are not")
                file.truncate(offset)
                file.seek(offset)
                length = offset
                for piece in pieces:
                    length += len(piece)
                    if length > announced.size:
                        self._remove(path)
                        raise Refused(f"more than the {announced.size} bytes that were announced arrive")
                    owner.write(file.fileno(), piece)
                    sha.update(piece)
                if length < announced.size:
                    raise BrokenOff(f"{length} of {announced.size} bytes arrived")
                fsync(file.fileno())
            if (found := sha.hexdigest()) != announced.sha256:
                self._remove(path)
                if offset:
                    raise SendAgain
                raise Refused(
                    f"{length} bytes with SHA-256 {found[:12]} arrived, {announced.sha256[:12]} was announced"
                )
            return self._blobs.adopt(path, announced.sha256)

    def announced_by(self, envoy: str) -> dict[str, int]:
        """Return the partial files of an envoy, by path below the folder, and how large each will be when it is whole."""
        found = self._folder.glob(f"*/{envoy}.*.partial")
        return {f"{path.parent.name}/{path.name}": int(path.name.split(".")[3]) for path in found}

    def drop(self, experiment: str, envoy: str | None = None) -> None:
        """Forget what is on its way to an experiment (from one envoy): its round has closed, or it has ended."""
        if not is_experiment_name(experiment):
            raise InputError(f"{experiment[:80]!r} names no experiment")
        folder = inside(self._folder, experiment)
        for path in folder.glob("*.partial" if envoy is None else f"{envoy}.*.partial"):
            self._end(path)
            self._remove(path)
        if envoy is None:
            self._remove_all(experiment)

    def keep(self, running: Iterable[str]) -> None:
        """Forget, when the director starts, what was on its way to experiments that do not run."""
        kept = set(running)
        for folder in self._folder.iterdir():
            if folder.name not in kept:
                self._remove_all(folder.name)

    @contextmanager
    def _owned(self, path: Path, announced: Announced) -> Iterator[_Owner]:
        self._end(path)
        for other in path.parent.glob(f"{announced.slot}*.partial"):
            if other != path:  # another announcement replaces it
                self._end(other)
                self._remove(other)
        owner = _Owner()
        with self._lock:
            self._owners[path] = owner
        try:
            yield owner
        finally:
            with self._lock:
                if self._owners.get(path) is owner:
                    del self._owners[path]

    def _end(self, path: Path) -> None:
        """End the upload that writes to a file, if there is one."""
        with self._lock:
            owner = self._owners.pop(path, None)
        if owner is not None:
            owner.end()

    def _path(self, announced: Announced) -> Path:
        return inside(self._folder, announced.experiment, announced.file)

    def _remove(self, path: Path) -> None:
        remove(self._folder, path.parent.name, path.name, missing_ok=True)

    def _remove_all(self, experiment: str) -> None:
        with suppress(OSError):  # what stays takes room, and harms nobody
            remove(self._folder, experiment)

    @contextmanager
    def _dropped_on_faults(self, path: Path) -> Iterator[None]:
        """Drop a partial file that the machine could not write."""
        try:
            yield
        except OSError as error:
            if error.errno in OF_THE_MACHINE:
                self._remove(path)
            raise


def _hash_prefix(file: int, length: int, sha: hashlib._Hash) -> int:
    """Hash the first bytes of a file; return how many there were."""
    done = 0
    while done < length and (piece := os.pread(file, min(READ_BYTES, length - done), done)):
        sha.update(piece)
        done += len(piece)
    return done
