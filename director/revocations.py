"""What is revoked at this director: the entries, on disk and in mind, asked at every call."""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509

from director.journal import Journal
from federation.errors import InputError, Refused
from federation.identity import Credentials
from federation.protocol import federation_pb2 as pb
from federation.revocation import RevocationList, check_revocation, is_ahead
from federation.signing import authority_of


class Revocations:
    """The revocations of a director, oldest first; may be used from any thread.

    Parameters
    ----------
    journal
        The director's.
    credentials
        Its own; without any there are no certificates, and none is revoked.
    """

    def __init__(self, journal: Journal, credentials: Credentials | None) -> None:
        self._journal, self._credentials = journal, credentials
        rows = journal.read("SELECT revocation FROM revocations")
        self._list = RevocationList(pb.Revocation.FromString(row[0]) for row in rows)

    def __iter__(self) -> Iterator[pb.Revocation]:
        return iter(self._list)

    def reason(self, certificate: x509.Certificate | None) -> str:
        """Say that a certificate was revoked, as a clause about it; empty if it was not, or there is none."""
        return "" if certificate is None else self._list.reason(certificate)

    def names(self) -> set[str]:
        """Return the names of which a certificate was revoked; they may have another by now."""
        return {entry.name for entry in self}

    def check(self, entry: pb.Revocation, by: str) -> None:
        """Check an entry that a member hands in.

        Raises
        ------
        Refused
            If it is not signed as it must be, or by somebody else.
        InputError
            If it would take this director away, or certificates that are yet to be made.
        """
        if self._credentials is None:
            raise Refused("this director was started with --insecure: there are no certificates to revoke")
        check_revocation(entry, authority_of(self._credentials))
        if entry.by != by:
            raise Refused(f"the revocation of {entry.name} is signed by {entry.by}, and sent by {by}")
        if entry.name == self._credentials.name:
            raise InputError(
                f"{entry.name} is this director: a director is not revoked at itself, but by stopping it and making a new "
                "authority"
            )
        if is_ahead(entry):
            raise InputError(
                f"the revocation of {entry.name} has a time to come; is the clock of {by} right?"
            )

    def is_written(self, entry: pb.Revocation) -> bool:
        """Say whether an entry, or one that reaches further, is on disk."""
        query = "SELECT revocation FROM revocations WHERE name = ? AND serial = ?"
        rows = self._journal.read(query, entry.name, entry.serial)
        return any(pb.Revocation.FromString(row[0]).time >= entry.time for row in rows)

    def take(self, entry: pb.Revocation) -> None:
        """Have an entry in mind: from now on the certificates that it is of are refused."""
        self._list.add(entry)

    def write(self, entry: pb.Revocation) -> None:
        """Write an entry down; to be called in the transaction of what becomes of the member."""
        with self._journal.transaction() as journal:
            journal.execute(
                "INSERT OR REPLACE INTO revocations VALUES (?, ?, ?)",
                (entry.name, entry.serial, entry.SerializeToString()),
            )
