"""Taking an experiment in: its plan and its initial model are checked before anything of them is kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
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
from federation.tensors import all_finite

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
            discard_unreferenced(self.journal, self.blobs, [submission.blob.sha256])
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
        if not 0 < submission.blob.size <= self.max_model_bytes:
            raise InputError(
                f"a model of {submission.blob.size} bytes; this director takes up to {self.max_model_bytes} (max_model_gib)"
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
        with self.blobs.held(submission.blob.sha256):
            model = self.blobs.receive(pieces, submission.blob.sha256, submission.blob.size)
            tensors = self.blobs.open(model)
            if not tensors or not all(all_finite(value) for value in tensors.values()):
                raise Refused("the initial model has no tensors, or holds NaN or infinity")
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
                    model=model,
                    best_round=-1,
                    best_score=0.0,
                    best_model="",
                )
                self.journal.add_experiment(row, plan.to_json())
                body = {"by": submitted_by, "plan": plan.name}
                if is_signed:
                    self.signatures.keep(row.name, submission)
                    body["submission"] = submission.id
                self.journal.add_event(row.name, "submitted", body)
        return row.name
