"""Revoking members' certificates: what an operator signs and hands in."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from federation.errors import InputError
from federation.protocol import federation_pb2 as pb
from federation.revocation import signed_revocation
from workspace.client import CALL_SECONDS, Federation


@dataclass(frozen=True)
class RevocationInfo:
    """A certificate that is worth nothing any more, by ``serial``; all that the name had until ``time`` if that is empty."""

    name: str
    serial: str
    time: float
    by: str
    reason: str

    def __str__(self) -> str:
        when = dt.datetime.fromtimestamp(self.time, dt.UTC)
        what = f"the certificate {self.serial}" if self.serial else "every certificate until then"
        return f"{self.name}: {what}, on {when:%Y-%m-%d %H:%M:%S} UTC by {self.by}" + (
            f": {self.reason}" if self.reason else ""
        )


def revoke(federation: Federation, name: str, serial: str = "", reason: str = "") -> list[RevocationInfo]:
    """Make a member's certificates worth nothing from now on, and return all that is revoked.

    Parameters
    ----------
    federation
        Connected as an operator.
    name
        The member's.
    serial
        Of the only certificate that is; all that the name has had until now if empty.
    reason
        For whoever reads it.

    Raises
    ------
    InputError
        If it is no name or serial number, or there is no certificate to sign with.
    Refused
        If we are no operator.
    """
    if federation.credentials is None:
        raise InputError(
            "a revocation is signed with an operator's certificate; without certificates there is none"
        )
    entry = signed_revocation(federation.credentials, name, serial, reason)
    return _infos(federation.call(lambda stub: stub.Revoke(entry, timeout=CALL_SECONDS)))


def revocations(federation: Federation) -> list[RevocationInfo]:
    """Return what is revoked, oldest first."""
    return _infos(federation.call(lambda stub: stub.ListRevocations(pb.Empty(), timeout=CALL_SECONDS)))


def _infos(answer: pb.Revocations) -> list[RevocationInfo]:
    return [RevocationInfo(e.name, e.serial, e.time, e.by, e.reason) for e in answer.revocations]
