"""Taking an experiment in: its plan and its initial model are checked before anything of them is kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from director.blobs import BlobStore
from director.journal import Journal
from director.needs import needs_of
from director.protocol_versions import incompatibility
from director.record import discard_unreferenced
from director.rows import ExperimentRow
from director.signatures import Signatures
from federation.document import Problems
from federation.errors import InputError, Refused
from federation.names import is_experiment_name
from federation.plan import CheckedPlan, plan_from_json
from federation.protocol import federation_pb2 as pb
from federation.tensors import Tensors, all_finite

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Submissions:
    """Takes experiments in.

    Parameters
    ----------
    journal, blobs
        The durable state.
    max_model_bytes
        The largest initial model that is accepted.
    signatures
        Checks and keeps what is signed.
    """

    journal: Journal
    blobs: BlobStore
    max_model_bytes: int
    signatures: Signatures

    def take_in(self, submission: pb.Submission, pieces: Iterable[bytes], submitted_by: str) -> str:
        """Check a submission and write it down; return the experiment's name. The same one twice is one experiment.

        Raises
        ------
        InputError, Refused
            If it is not what it must be; nothing of it is kept then.
        """
        if (row := self.journal.experiment_of_submission(submission.id)) is not None:
            if row.submitted_by != submitted_by:
                raise Refused("another member has handed in a submission of this id: choose a new one")
            return row.name
        plan = self._checked(submission)
        is_signed = self.signatures.is_signed(submission, submitted_by)
        try:
            name = self._write(submission, plan, pieces, submitted_by, is_signed)
        finally:
            discard_unreferenced(self.journal, self.blobs, [submission.blob.sha256, submission.frozen.sha256])
        logger.info("experiment %s: submitted by %s", name, submitted_by)
        return name

    def _checked(self, submission: pb.Submission) -> CheckedPlan:
        if not is_experiment_name(submission.name) or not 8 <= len(submission.id) <= 64:
            raise InputError(
                f"{submission.name[:80]!r} cannot name an experiment: use a-z, 0-9, '_', '-', '.'"
            )
        if (reason := incompatibility("the workspace", submission.protocol)) is not None:
            raise Refused(reason)
        try:
            plan = plan_from_json(submission.plan, submission.name, "checked_if_known")
        except Problems as error:
            raise InputError(
                "\n".join(f"the director refuses {line}" for line in str(error).splitlines())
            ) from error
        for blob in (submission.blob, submission.frozen)[: 1 + submission.HasField("frozen")]:
            if not 0 < blob.size <= self.max_model_bytes:
                raise InputError(
                    f"a model of {blob.size} bytes; this director takes up to {self.max_model_bytes} (max_model_gib)"
                )
        return plan

    def _write(
        self,
        submission: pb.Submission,
        plan: CheckedPlan,
        pieces: Iterable[bytes],
        submitted_by: str,
        is_signed: bool,
    ) -> str:
        with self.blobs.held(submission.blob.sha256), self.blobs.held(submission.frozen.sha256):
            first, rest = divided(pieces, submission.blob.size, submission.HasField("frozen"))
            tensors = dict(self._received(first, submission.blob, "the initial model"))
            if submission.HasField("frozen"):
                tensors |= self._received(rest, submission.frozen, "what is frozen")
            parameters = sum(value.size for value in tensors.values())
            with self.journal.transaction():
                # It may have come a second time while the first was received.
                if (row := self.journal.experiment_of_submission(submission.id)) is not None:
                    return row.name
                row = ExperimentRow(
                    **vars(needs_of(self.journal.free_name(submission.name), plan.config, parameters)),
                    submission=submission.id,
                    submitted_by=submitted_by,
                    code_hash=submission.code_hash,
                    frozen_fingerprint=submission.frozen_fingerprint,
                    state="queued",
                    reason="",
                    created=time.time(),
                    ended=0.0,
                    cohort=(),
                    round=0,
                    model=submission.blob.sha256,
                    best_round=-1,
                    best_score=0.0,
                    best_model="",
                    frozen_model=submission.frozen.sha256,
                    frozen_bytes=submission.frozen.size,
                    plan_name=submission.plan_name,
                )
                self.journal.add_experiment(row, plan.to_json())
                body = {"by": submitted_by, "plan": plan.name}
                if is_signed:
                    self.signatures.keep(row.name, submission)
                    body["submission"] = submission.id
                self.journal.add_event(row.name, "submitted", body)
        return row.name

    def _received(self, pieces: Iterable[bytes], announced: pb.Blob, what: str) -> Tensors:
        tensors = self.blobs.open(self.blobs.receive(pieces, announced.sha256, announced.size))
        if not tensors or not all(all_finite(value) for value in tensors.values()):
            raise Refused(f"{what} has no tensors, or holds NaN or infinity")
        return tensors


def divided(pieces: Iterable[bytes], size: int, in_two: bool) -> tuple[Iterator[bytes], Iterator[bytes]]:
    """Divide what arrives into its first bytes and, where there are two parts, the rest; to be read in this order."""
    source = iter(pieces)
    if not in_two:
        return source, iter(())
    over: list[bytes] = []

    def first() -> Iterator[bytes]:
        left = size
        while left and (piece := next(source, None)) is not None:
            mine, others = piece[:left], piece[left:]
            left -= len(mine)
            over.extend([others] if others else [])
            yield mine

    def rest() -> Iterator[bytes]:
        yield from over
        yield from source

    return first(), rest()
