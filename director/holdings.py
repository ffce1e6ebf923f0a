"""What each member has on the director's disk that is part of no run yet: its queue, and what is on its way."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from director.blobs import BlobStore
from director.journal import Journal
from director.limits import Limits
from director.uploads import Announced, Uploads
from federation.errors import InputError, Refused
from federation.protocol import federation_pb2 as pb
from federation.rpc import Busy


class Holdings:
    """Lets nobody hold more than its limit; what is announced counts from its first byte.

    Parameters
    ----------
    journal, blobs, uploads
        The durable state.
    limits
        For each member.
    """

    def __init__(self, journal: Journal, blobs: BlobStore, uploads: Uploads, limits: Limits) -> None:
        self._journal, self._blobs, self._uploads, self._limits = journal, blobs, uploads, limits
        self._lock = threading.Lock()
        self._submitting: dict[str, dict[object, int]] = defaultdict(dict)
        self._sending: dict[str, list[tuple[str, int]]] = defaultdict(list)

    @contextmanager
    def submission(self, member: str, submission: pb.Submission) -> Iterator[None]:
        """Let a submission be taken in within the context.

        Raises
        ------
        Refused
            If the member's queue or its room on the disk is full.
        InputError
            If it is larger than all of that room.
        """
        if self._journal.experiment_of_submission(submission.id) is not None:
            yield  # sent once more, it gets the answer that got lost
            return
        size, most, key = submission.blob.size + submission.frozen.size, self._limits.disk_bytes, object()
        if size > most:
            raise InputError(f"a model of {size} bytes is above the director's limit disk_gib, {most} bytes")
        with self._lock:
            queue = [row for row in self._journal.experiments("queued") if row.submitted_by == member]
            if len(queue) + len(self._submitting[member]) >= self._limits.queued:
                raise Refused(
                    f"the limit queued of the director, {self._limits.queued} experiments that wait, is reached by {member}: "
                    "wait until some have started, or stop them"
                )
            if (held := self._held(member, {blob for row in queue for blob in row.blobs})) + size > most:
                raise Refused(
                    f"the limit disk_gib of the director, {self._limits.disk_gib:g}, would be passed by {member}: "
                    f"{held} bytes are queued or on their way, {size} are to come; wait until some have started, or stop them"
                )
            self._submitting[member][key] = size
        try:
            yield
        finally:
            with self._lock:
                del self._submitting[member][key]

    @contextmanager
    def result(self, announced: Announced) -> Iterator[None]:
        """Let a result be received within the context.

        Raises
        ------
        Busy
            If the envoy's room is full: the result comes again when a round has closed, and no run ends for it.
        """
        member, key = announced.envoy, f"{announced.experiment}/{announced.file}"
        with self._lock:
            others = self._held(member, set(), but=key)
            if others and others + announced.size > self._limits.disk_bytes:
                raise Busy(
                    f"the limit disk_gib of the director, {self._limits.disk_gib:g}, would be passed by {member}; "
                    "try again later"
                )
            self._sending[member].append((key, announced.size))
        try:
            yield
        finally:
            with self._lock:
                # One for each upload of the same result: one takes over while the other ends.
                self._sending[member].remove((key, announced.size))

    def _held(self, member: str, models: set[str], but: str = "") -> int:
        partial = self._uploads.announced_by(member) | dict(self._sending[member])
        partial.pop(but, None)
        held = sum(partial.values()) + sum(self._submitting[member].values())
        for model in models:
            with suppress(FileNotFoundError):
                held += self._blobs.path(model).stat().st_size
        return held
