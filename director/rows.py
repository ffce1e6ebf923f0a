"""What the journal holds, as plain data: experiments, their envoys and open rounds, events, results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from director.needs import Needs
from federation.engine.members import ACTIVE, TAKE_PART
from federation.protocol import federation_pb2 as pb


@dataclass(frozen=True)
class ExperimentRow(Needs):
    """An experiment as it stands on disk, without its plan.

    ``cohort`` are its envoys but for those that have failed or were excluded; ``model`` and ``best_model`` are blobs,
    ``best_round`` is -1 without one. ``frozen_model`` is the blob, of ``frozen_bytes``, of what is frozen by value, if anything
    is. ``signed`` says that there is a signed submission, by ``submitted_by``.
    """

    submission: str
    submitted_by: str
    code_hash: str
    frozen_fingerprint: str
    state: str
    reason: str
    created: float
    ended: float
    cohort: tuple[str, ...]
    round: int
    model: str
    best_round: int
    best_score: float
    best_model: str
    frozen_model: str = ""
    frozen_bytes: int = 0
    plan_name: str = ""
    signed: bool = False

    @property
    def frozen(self) -> pb.Blob | None:
        """What is frozen by value, as it is announced; None if nothing is."""
        return pb.Blob(sha256=self.frozen_model, size=self.frozen_bytes) if self.frozen_model else None

    @property
    def blobs(self) -> list[str]:
        """The blobs that it names."""
        return [blob for blob in (self.model, self.best_model, self.frozen_model) if blob]

    @property
    def signer(self) -> str:
        """Who has signed its submission; empty if nobody has."""
        return self.submitted_by if self.signed else ""


@dataclass(frozen=True)
class MemberRow:
    """An envoy of an experiment: how it stands (`federation.engine.members`), and what it announced when it was taken in.

    ``counted`` is the last round in which it counted; ``samples`` is JSON, by split. An experiment of an earlier version does
    not know what was announced: these are empty then.
    """

    name: str
    standing: str = ACTIVE
    reason: str = ""
    counted: int | None = None
    samples: str = ""
    code_hash: str = ""
    fingerprint: str = ""

    @property
    def announced(self) -> dict[str, int] | None:
        """How many samples it has announced, by split; None if that is not known."""
        return json.loads(self.samples) if self.samples else None

    @property
    def takes_part(self) -> bool:
        """Whether rounds are run with it, now or when it is back."""
        return self.standing in TAKE_PART


@dataclass(frozen=True)
class OpenRow:
    """The open round of an experiment: which attempt it is, who runs it, and who of them counts for nothing in it."""

    attempt: int
    cohort: tuple[str, ...]
    out: tuple[str, ...] = ()


@dataclass(frozen=True)
class EventRow:
    """Something that happened in an experiment; ``id`` counts from 1 without gaps."""

    id: int
    time: float
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class ResultRow:
    """A result of the open round; ``norm`` is its update's, None of a task that does not train or of an earlier version."""

    round: int
    task: str
    envoy: str
    data_size: int
    blob: str
    statistics: bytes
    norm: float | None = None
