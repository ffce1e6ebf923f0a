"""Whether a site takes an experiment from its director: by what a workspace has signed, since the director is not believed.

What is signed is checked before anything of it is built. A certificate must be valid when the site first takes what it has
signed; later only the signature counts, and that the certificate is not revoked. What was taken is noted in the state folder.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from cryptography import x509

from envoy.config import SitePolicy
from federation.amendments import ACCEPT_CODE, amended
from federation.certificates import OPERATOR, USERS
from federation.errors import InputError, Refused
from federation.files import write_whole
from federation.identity import Credentials
from federation.plan import plan_from_json
from federation.protocol import federation_pb2 as pb
from federation.signing import Signer, authority_of, text_of_amendment, text_of_submission, verify


def nobody_is_revoked(certificate: x509.Certificate) -> str:
    """Say of no certificate that it is revoked."""
    return ""


@dataclass(frozen=True)
class Taken:
    """What a site has taken: under which experiment's name, the SHA-256 of what was signed, and how many amendments."""

    experiment: str
    text: str
    amendments: int


class Trust:
    """Checks the orders to start an experiment.

    Parameters
    ----------
    credentials
        The envoy's; without any, nothing that is signed can be checked, and all counts as unsigned.
    policy
        What the site permits.
    folder
        Where it is noted what was taken; made when there is something to note.
    is_revoked
        Says why a certificate is worth nothing any more; empty if it is worth something.
    """

    def __init__(
        self,
        credentials: Credentials | None,
        policy: SitePolicy,
        folder: Path,
        is_revoked: Callable[[x509.Certificate], str] = nobody_is_revoked,
    ) -> None:
        self._credentials, self._policy = credentials, policy
        self._folder, self._is_revoked = folder, is_revoked
        self._lock = threading.Lock()

    def take(self, start: pb.Start, director: str, first: Callable[[], object] = lambda: None) -> None:
        """Take an experiment, once or again.

        Parameters
        ----------
        start
            The director's order.
        director
            Its name, as it has shown it.
        first
            Called before a submission is noted that was never taken here: what there is under its name is another's.

        Raises
        ------
        Refused
            If the site does not take it.
        OSError
            If it cannot be noted, or ``first`` raises it.
        """
        if self._credentials is None or not start.HasField("submitted"):
            self._permit_unsigned()
            return
        submission = start.submitted
        with self._lock:
            taken = self._taken(submission.id)
            signer = self._verified(
                submission.signature, text_of_submission(submission), "submission", taken is None
            )
            self._permit(signer.identity.name)
            self._check_sameness(start, director, taken)
            self._check_amendments(start, signer.identity.name, taken.amendments if taken else 0)
            _check_order(start, signer.identity.name)
            if taken is None:
                first()
            known = taken.amendments if taken else -1
            if len(start.amendments) > known:
                self._note(submission.id, Taken(start.experiment, _digest(submission), len(start.amendments)))

    def _permit_unsigned(self) -> None:
        if self._policy.workspaces is not None:
            raise Refused(
                "the site's policy permits signed submissions of some workspaces only (policy: workspaces)"
            )
        if not self._policy.unsigned:
            raise Refused("the site's policy does not permit unsigned submissions (policy: unsigned)")

    def _permit(self, name: str) -> None:
        if self._policy.workspaces is not None and name not in self._policy.workspaces:
            raise Refused(f"the site's policy does not permit submissions of {name} (policy: workspaces)")

    def _check_sameness(self, start: pb.Start, director: str, taken: Taken | None) -> None:
        submission = start.submitted
        if submission.director != director:
            raise Refused(
                f"the submission is meant for the director {submission.director[:80]!r}, not for {director or 'this one'}"
            )
        if taken is not None and taken.experiment != start.experiment:
            raise Refused(
                f"the submission was taken as the experiment {taken.experiment}, and runs under no other name"
            )
        if taken is not None and taken.text != _digest(submission):
            raise Refused("another submission of the same id was taken before")

    def _check_amendments(self, start: pb.Start, owner: str, known: int) -> None:
        submission = start.submitted
        for number, amendment in enumerate(start.amendments, 1):
            if amendment.number != number:
                raise Refused(f"change {number} of the experiment is missing, or comes twice")
            text = text_of_amendment(submission.director, submission.id, number, amendment.settings)
            signer = self._verified(amendment.signature, text, f"change {number}", number > known)
            if signer.identity.name != owner and signer.identity.role != OPERATOR:
                raise Refused(f"change {number} is signed by {signer.identity}, the submission by {owner}")

    def _verified(self, signature: pb.Signature, text: bytes, what: str, in_time: bool) -> Signer:
        assert self._credentials is not None
        try:
            signer = verify(signature, text, authority_of(self._credentials), USERS, in_time=in_time)
        except Refused as error:
            raise Refused(f"the {what} is not signed as it must be: {error}") from None
        if reason := self._is_revoked(signer.certificate):
            raise Refused(f"the {what} is signed by {signer.identity}, whose certificate {reason}")
        return signer

    def _taken(self, submission: str) -> Taken | None:
        file = self._file(submission)
        try:
            return Taken(**json.loads(file.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise Refused(f"{file} is damaged: remove it if this experiment may run here") from error

    def _note(self, submission: str, taken: Taken) -> None:
        """Note what is taken; on disk, so that the experiment is not taken for another after a fault of the machine."""
        file = self._file(submission)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, json.dumps(asdict(taken)).encode())

    def _file(self, submission: str) -> Path:
        return self._folder / hashlib.sha256(submission.encode()).hexdigest()


def _check_order(start: pb.Start, signer: str) -> None:
    """Raise `Refused` if a director orders something else than what was signed, with the changes that were signed."""
    submission = start.submitted
    changes = [dict(amendment.settings) for amendment in start.amendments]
    accepts_code = [change.pop(ACCEPT_CODE, None) for change in changes]
    if not (submission.blob.sha256 and submission.blob.size):
        raise Refused(f"what {signer} has signed names no initial model")
    if start.frozen_fingerprint != submission.frozen_fingerprint:
        raise Refused(f"the order's frozen part is not the one that {signer} has signed")
    if start.frozen != submission.frozen:
        raise Refused(f"what is frozen by value is not what {signer} has signed")
    if start.code_hash != submission.code_hash and "true" not in accepts_code:
        raise Refused(f"the order's code is not the one that {signer} has signed")
    try:
        plan = plan_from_json(submission.plan, start.experiment)
        for change in changes:
            plan = amended(plan.to_json(), change, start.experiment, "checked")
        ordered = plan_from_json(start.plan, start.experiment)
    except InputError as error:
        raise Refused(
            f"the plan that {signer} has signed cannot be run here: {'; '.join(str(error).splitlines())}"
        ) from error
    if plan.to_json() != ordered.to_json():
        raise Refused(f"the order's plan is not the one that {signer} has signed")


def _digest(submission: pb.Submission) -> str:
    return hashlib.sha256(text_of_submission(submission)).hexdigest()
