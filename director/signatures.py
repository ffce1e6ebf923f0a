"""What workspaces have signed: checked when it arrives, kept as it came, and passed on to the sites, which check it again.

The tables ``signed`` and ``amendments`` of the journal hold the messages as they came, but for their tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from director.journal import Journal
from director.rows import ExperimentRow
from federation.amendments import MOST, amendment_settings
from federation.certificates import OPERATOR, USERS
from federation.errors import InputError, Refused
from federation.identity import Credentials
from federation.introduction import answer
from federation.protocol import federation_pb2 as pb
from federation.signing import Signer, authority_of, text_of_amendment, text_of_submission, verify


def submitted(journal: Journal, experiment: str) -> pb.Submission | None:
    """Return the submission of an experiment as it was signed; None if nobody has."""
    rows = journal.read("SELECT submission FROM signed WHERE experiment = ?", experiment)
    return pb.Submission.FromString(rows[0][0]) if rows else None


def amendments(journal: Journal, experiment: str) -> list[pb.Amendment]:
    """Return the changes of a signed experiment, in order."""
    query = "SELECT amendment FROM amendments WHERE experiment = ? ORDER BY number"
    return [pb.Amendment.FromString(row[0]) for row in journal.read(query, experiment)]


class Signatures:
    """Checks and keeps what is signed.

    Parameters
    ----------
    journal
        The director's.
    credentials
        Its own; without any, nothing can be checked, and what comes counts as unsigned.
    """

    def __init__(self, journal: Journal, credentials: Credentials | None) -> None:
        self._journal, self._credentials = journal, credentials

    def introduce(self, challenge: pb.Challenge) -> pb.Introduction:
        """Show who we are."""
        return answer(challenge, self._credentials)

    def is_signed(self, submission: pb.Submission, by: str) -> bool:
        """Say whether a submission is signed; earlier versions' are not.

        Raises
        ------
        Refused
            If it is, but not by who sends it, or not for this director.
        """
        if self._credentials is None or not submission.HasField("signature"):
            return False
        if submission.director != self._credentials.name:
            raise Refused(
                f"the submission is meant for the director {submission.director[:80]!r}, this is {self._credentials.name}"
            )
        self._verified(submission.signature, text_of_submission(submission), by, "submission")
        return True

    def keep(self, experiment: str, submission: pb.Submission) -> None:
        """Write a signed submission down."""
        with self._journal.transaction() as journal:
            journal.execute("INSERT INTO signed VALUES (?, ?)", (experiment, submission.SerializeToString()))

    def take_amendment(
        self,
        row: ExperimentRow,
        amendment: pb.Amendment | None,
        settings: Mapping[str, str],
        accept_code: bool,
        by: str,
    ) -> dict[str, Any]:
        """Check what signs a change of an experiment, and write it down. To be called in the transaction of the change.

        Parameters
        ----------
        row
            The experiment.
        amendment
            As it has arrived; None if nothing did.
        settings, accept_code
            What is changed.
        by
            Who asks for it.

        Returns
        -------
        dict
            What an event of it says of who has done it, and of the number of what was signed.

        Raises
        ------
        Refused
            If the experiment is signed and its change is not, or not by its owner or an operator.
        InputError
            If it is not the next one.
        """
        changes = amendment_settings(settings, accept_code)
        submission = submitted(self._journal, row.name) if changes else None
        if submission is None:
            return {"by": by}
        if amendment is None or not amendment.HasField("signature"):
            raise Refused(
                f"experiment {row.name} was signed, so its changes must be: resume it with a certificate and a version "
                "of `fed` that signs"
            )
        text = text_of_amendment(submission.director, submission.id, amendment.number, amendment.settings)
        signer = self._verified(amendment.signature, text, by, "change")
        if by != row.submitted_by and signer.identity.role != OPERATOR:
            raise Refused(
                f"experiment {row.name} is {row.submitted_by}'s: only they or an operator may change it"
            )
        if dict(amendment.settings) != changes:
            raise Refused("what was signed is another change than the one that is asked for")
        if amendment.number != (wanted := len(amendments(self._journal, row.name)) + 1):
            raise InputError(
                f"experiment {row.name} was changed meanwhile (this is change {amendment.number}, {wanted} is next): look "
                "again, and resume it once more"
            )
        if wanted > MOST:
            raise InputError(f"experiment {row.name} was changed {MOST} times: submit it again")
        with self._journal.transaction() as journal:
            journal.execute(
                "INSERT INTO amendments VALUES (?, ?, ?)",
                (row.name, amendment.number, amendment.SerializeToString()),
            )
        return {"by": by, "amendment": amendment.number}

    def _verified(self, signature: pb.Signature, text: bytes, by: str, what: str) -> Signer:
        assert self._credentials is not None
        try:
            signer = verify(signature, text, authority_of(self._credentials), USERS)
        except Refused as error:
            raise Refused(f"the {what} is not signed as it must be: {error}") from None
        if signer.identity.name != by:
            raise Refused(f"the {what} is signed by {signer.identity}, and sent by {by}")
        return signer
