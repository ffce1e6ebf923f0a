"""What one member may use of a director at once: the section ``limits`` of its config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True)
class Limits:
    """For each member by itself; ``docs/security.md`` says what each default is measured by.

    Parameters
    ----------
    streams
        Calls that are open at once: connections, watches, questions for tasks, transfers.
    uploads
        Uploads that hold a thread at once; at most a quarter of ``threads`` whatever is said here.
    calls
        Calls a second; a second's worth may come at once.
    changes
        Submissions, stops, resumptions and the like a minute; a minute's worth may come at once.
    queued
        Experiments that wait to be started.
    disk_gib
        What lies on the disk until it is part of a run: uploads, partial files, models of queued experiments.
    log_lines
        Lines a minute in the director's log, and refusals a minute in the audit log; more are counted.
    upload_rate
        Bytes a second that an upload must bring while the director is ready to read.
    upload_patience
        Seconds for which it may bring less than that.
    idle
        Seconds for which a connection may do nothing: have no call open, or leave its handshake unfinished.
    """

    streams: Annotated[int, Field(ge=4, le=100_000)] = 64
    uploads: Annotated[int, Field(ge=1, le=10_000)] = 16
    calls: Annotated[float, Field(ge=1, le=1_000_000)] = 1000.0
    changes: Annotated[float, Field(ge=1, le=1_000_000)] = 120.0
    queued: Annotated[int, Field(ge=1, le=100_000)] = 64
    disk_gib: Annotated[float, Field(gt=0, le=1_000_000)] = 32.0
    log_lines: Annotated[int, Field(ge=1, le=100_000)] = 120
    upload_rate: Annotated[float, Field(ge=1, le=1e9)] = 128 * 1024.0
    upload_patience: Annotated[float, Field(gt=0, le=3600)] = 30.0
    idle: Annotated[float, Field(ge=0.1, le=86_400)] = 120.0

    @property
    def disk_bytes(self) -> int:
        """What `disk_gib` is in bytes."""
        return int(self.disk_gib * (1 << 30))
