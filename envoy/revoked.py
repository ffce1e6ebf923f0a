"""What a site knows to be revoked: entries that the director passes on, kept here, and believed if an operator has signed them.

A director can withhold an entry; it can neither make one up nor take one back.
"""

from __future__ import annotations

import logging
from pathlib import Path

from cryptography import x509
from google.protobuf.message import DecodeError

from federation.certificates import AUTHORITY, certificate_file, load_certificate
from federation.errors import InputError, Refused
from federation.files import write_whole
from federation.permissions import make_private
from federation.protocol import federation_pb2 as pb
from federation.revocation import RevocationList, check_revocation, told

logger = logging.getLogger(__name__)

FILE = "revocations.pb"
# What an authority signs in its life; a director cannot fill the disk with entries that no operator has made.
MOST_BYTES = 64 << 20


class Revoked:
    """The revocations that a site keeps.

    Parameters
    ----------
    folder
        The envoy's state folder.
    certificates
        The folder with ``authority.crt``; without it nothing can be checked, and nothing is kept.
    """

    def __init__(self, folder: Path, certificates: Path | None) -> None:
        self._file, self._certificates = folder / FILE, certificates
        self._list = RevocationList(self._read())

    def is_revoked(self, certificate: x509.Certificate) -> str:
        """Say that a certificate was revoked, as a clause about it; empty if that is not known here."""
        return self._list.reason(certificate)

    def keep(self, entry: pb.Revocation) -> None:
        """Keep an entry, on disk when this returns.

        Raises
        ------
        Refused
            If no operator of this federation has signed it.
        """
        if self._certificates is None:
            return
        try:
            authority = load_certificate(
                certificate_file(self._certificates, AUTHORITY), "copy it from the authority"
            )
        except InputError as error:  # it is being replaced
            raise Refused(f"a revocation cannot be checked: {error}") from error
        check_revocation(entry, authority)
        if not self._list.add(entry):
            return
        logger.warning("%s %s %s", entry.name, entry.serial or "(all certificates until then)", told(entry))
        try:
            self._write()
        except OSError as error:
            # It is known as long as this process lives, and comes again with the next connection.
            logger.warning("%s: the revocation cannot be kept: %s", self._file, error)

    def _read(self) -> list[pb.Revocation]:
        try:
            if self._file.stat().st_size > MOST_BYTES:
                raise Refused(f"{self._file} is too large")
            return list(pb.Revocations.FromString(self._file.read_bytes()).revocations)
        except FileNotFoundError:
            return []
        except (OSError, DecodeError, Refused) as error:
            logger.error(
                "%s cannot be read, what it held must come from the director again: %s", self._file, error
            )
            return []

    def _write(self) -> None:
        make_private(self._file.parent)
        write_whole(self._file, pb.Revocations(revocations=self._list).SerializeToString(), 0o600)
