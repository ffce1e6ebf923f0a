"""Certificates that are worth nothing any more: entries that an operator signs, and that whoever gets one checks.

An entry is of one certificate, by its serial number, or of all that a name has had until its time. So a member whose key got
lost goes on with a certificate that is made later, and the others need no new ones.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import time
from collections.abc import Iterable, Iterator

from cryptography import x509

from federation.certificates import OPERATOR, SKEW, issued_at, subject_of
from federation.errors import InputError, Refused
from federation.identity import Credentials
from federation.names import check_name
from federation.protocol import federation_pb2 as pb
from federation.signing import Signer, sign, text_of, verify

MAX_REASON = 200

_TAG = b"fed-revocation-1\0"
_SERIAL = re.compile(r"[1-9a-f][0-9a-f]{0,39}")


def serial_of(certificate: x509.Certificate) -> str:
    """Return a certificate's serial number as entries have it."""
    return f"{certificate.serial_number:x}"


def as_serial(text: str) -> str:
    """Return a serial number as entries have it; raises an `InputError` if it is none."""
    serial = text.lower().replace(":", "").removeprefix("0x").lstrip("0")
    if not _SERIAL.fullmatch(serial):
        raise InputError(f"--serial {text[:80]!r}: is no serial number; it is written in hexadecimal digits")
    return serial


def text_of_revocation(entry: pb.Revocation) -> bytes:
    """Return what is signed of an entry: all of it, in a fixed order, each field behind its length."""
    return text_of(_TAG, entry.name, entry.serial, float(entry.time).hex(), entry.reason, entry.by)


def signed_revocation(
    credentials: Credentials, name: str, serial: str = "", reason: str = ""
) -> pb.Revocation:
    """Make an entry that begins now.

    Parameters
    ----------
    credentials : Credentials
        An operator's.
    name : str
        Whose certificates are revoked.
    serial : str
        Of the only one that is; all that the name has had until now if empty.
    reason : str
        For whoever reads it.

    Raises
    ------
    InputError
        If it is no name, serial number or reason, or the key cannot be read.
    """
    entry = pb.Revocation(
        name=check_name(name),
        serial=as_serial(serial) if serial else "",
        time=time.time(),
        reason=reason,
        by=credentials.name,
    )
    if (fault := _fault(entry)) is not None:
        raise InputError(fault)
    entry.signature.CopyFrom(sign(credentials, text_of_revocation(entry)))
    return entry


def check_revocation(entry: pb.Revocation, authority: x509.Certificate) -> Signer:
    """Check that an operator has signed an entry, whose certificate was valid then.

    Raises
    ------
    Refused
        If it is worth nothing.
    """
    if (fault := _fault(entry)) is not None:
        raise Refused(f"the revocation is refused: {fault}")
    try:
        signer = verify(entry.signature, text_of_revocation(entry), authority, (OPERATOR,), in_time=False)
    except Refused as error:
        raise Refused(f"the revocation of {entry.name} is refused: {error}") from None
    when = dt.datetime.fromtimestamp(entry.time, dt.UTC)
    begin, end = signer.certificate.not_valid_before_utc, signer.certificate.not_valid_after_utc
    if signer.identity.name != entry.by or not begin <= when <= end:
        raise Refused(
            f"the revocation of {entry.name} is refused: the certificate of {signer.identity} is not that of "
            f"{entry.by[:80]!r}, or was not valid on {when:%Y-%m-%d}"
        )
    return signer


def covers(entry: pb.Revocation, certificate: x509.Certificate) -> bool:
    """Say whether an entry is of a certificate."""
    if entry.serial:
        return entry.serial == serial_of(certificate)
    return entry.name == subject_of(certificate)[0] and issued_at(certificate) <= entry.time


def told(entry: pb.Revocation) -> str:
    """Put an entry into words, as a clause about a certificate."""
    when = dt.datetime.fromtimestamp(entry.time, dt.UTC)
    return f"was revoked by {entry.by} on {when:%Y-%m-%d %H:%M} UTC" + (
        f": {entry.reason}" if entry.reason else ""
    )


class RevocationList:
    """Entries that were checked: of each name, and of each serial number, the one that reaches furthest.

    Threads may read it while one adds to it.
    """

    def __init__(self, entries: Iterable[pb.Revocation] = ()) -> None:
        self._by_name: dict[str, pb.Revocation] = {}
        self._by_serial: dict[str, pb.Revocation] = {}
        for entry in entries:
            self.add(entry)

    def __iter__(self) -> Iterator[pb.Revocation]:
        found = [*self._by_name.values(), *self._by_serial.values()]
        return iter(sorted(found, key=lambda entry: (entry.time, entry.name, entry.serial)))

    def add(self, entry: pb.Revocation) -> bool:
        """Add an entry; False if there is one that reaches as far."""
        entries, key = (self._by_serial, entry.serial) if entry.serial else (self._by_name, entry.name)
        if key in entries and (entry.serial or entries[key].time >= entry.time):
            return False
        entries[key] = entry
        return True

    def reason(self, certificate: x509.Certificate) -> str:
        """Say that a certificate was revoked, as a clause about it; empty if it was not."""
        entry = self._by_serial.get(serial_of(certificate))
        if entry is None:
            entry = self._by_name.get(subject_of(certificate)[0])
        return told(entry) if entry is not None and covers(entry, certificate) else ""


def is_ahead(entry: pb.Revocation) -> bool:
    """Say whether an entry's time is one to come, of which it would revoke certificates, too."""
    return entry.time > time.time() + SKEW.total_seconds()


def _fault(entry: pb.Revocation) -> str | None:
    try:
        check_name(entry.name)
    except InputError as error:
        return str(error)
    if entry.serial and not _SERIAL.fullmatch(entry.serial):
        return f"{entry.serial[:80]!r} is no serial number"
    if len(entry.reason) > MAX_REASON or not entry.reason.isprintable():
        return f"a reason is one line of up to {MAX_REASON} characters"
    if not math.isfinite(entry.time) or not 0 < entry.time < 1 << 33:
        return f"{entry.time} is no time"
    return None
