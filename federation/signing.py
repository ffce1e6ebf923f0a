"""What members sign, and how a signature is checked by those who believe nobody between.

The text that is signed is made from a message's fields, in a fixed order, each behind its length: two messages that differ in
one of them have different texts. It begins with what it is and its version: no signature of one kind passes for another. It is
never sent; who checks a signature makes it anew from what has arrived.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from federation.certificates import (
    AUTHORITY,
    certificate_file,
    is_signed_by,
    key_file,
    load_certificate,
    load_key,
    read,
    subject_of,
)
from federation.errors import InputError, Refused
from federation.identity import Credentials, Identity
from federation.names import check_name
from federation.protocol import federation_pb2 as pb

MAX_CERTIFICATE = 16 << 10
MAX_SIGNATURE = 1 << 10

_SUBMISSION = b"fed-submission-1\0"
_SUBMISSION_2 = b"fed-submission-2\0"  # with tensors that are frozen by value
_AMENDMENT = b"fed-amendment-1\0"
_INTRODUCTION = b"fed-introduction-1\0"


@dataclass(frozen=True)
class Signer:
    """Who has signed something: the name and role in the certificate, and the certificate."""

    identity: Identity
    certificate: x509.Certificate


def text_of(tag: bytes, *fields: str | bytes) -> bytes:
    """Return what is signed of some fields: each behind its length, after a tag that says what they are."""
    encoded = [field if isinstance(field, bytes) else field.encode() for field in fields]
    return tag + b"".join(len(field).to_bytes(8, "big") + field for field in encoded)


def text_of_submission(submission: pb.Submission) -> bytes:
    """Return what is signed of a submission: all that decides what a site does, but for the experiment's name."""
    signed = [
        submission.director,
        submission.id,
        submission.code_hash,
        submission.blob.sha256,
        str(submission.blob.size),
        submission.frozen_fingerprint,
        submission.plan,
    ]
    if not submission.HasField("frozen"):
        return text_of(_SUBMISSION, *signed)
    return text_of(_SUBMISSION_2, *signed, submission.frozen.sha256, str(submission.frozen.size))


def text_of_amendment(director: str, submission: str, number: int, settings: Mapping[str, str]) -> bytes:
    """Return what is signed of an amendment of a submission, which its id stands for."""
    pairs = [part for pair in sorted(settings.items()) for part in pair]
    return text_of(_AMENDMENT, director, submission, str(number), *pairs)


def text_of_introduction(nonce: bytes) -> bytes:
    """Return what a director signs to show that it is one."""
    return text_of(_INTRODUCTION, nonce)


def sign(credentials: Credentials, text: bytes) -> pb.Signature:
    """Sign a text with a member's key.

    Raises
    ------
    InputError
        If the key or the certificate cannot be read.
    """
    remedy = "make it with `fed certify`"
    key = load_key(key_file(credentials.folder, credentials.name), remedy)
    certificate = read(certificate_file(credentials.folder, credentials.name), remedy)
    return pb.Signature(certificate=certificate, signature=key.sign(text, ec.ECDSA(hashes.SHA256())))


def authority_of(credentials: Credentials) -> x509.Certificate:
    """Read the certificate of a member's authority."""
    return load_certificate(certificate_file(credentials.folder, AUTHORITY), "make it with `fed certify`")


def verify(
    signature: pb.Signature,
    text: bytes,
    authority: x509.Certificate,
    roles: Collection[str],
    *,
    in_time: bool = True,
) -> Signer:
    """Check a signature, and say whose it is.

    Parameters
    ----------
    signature : pb.Signature
        As it has arrived.
    text : bytes
        Made anew from what has arrived with it.
    authority : x509.Certificate
        Must have signed the certificate.
    roles : collection of str
        One of them must be the certificate's.
    in_time : bool
        Whether the certificate must be valid now.

    Raises
    ------
    Refused
        If the signature is worth nothing; the message, a clause about it, says why.
    """
    if len(signature.certificate) > MAX_CERTIFICATE or len(signature.signature) > MAX_SIGNATURE:
        raise Refused("the signature or its certificate is too large")
    try:
        certificate = x509.load_pem_x509_certificate(signature.certificate)
        if not is_signed_by(certificate, authority):
            raise Refused("it is signed with a certificate of another authority")
        identity = Identity(*subject_of(certificate))
        check_name(identity.name)
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise Refused("it is signed with a key that is no elliptic-curve key")
        key.verify(signature.signature, text, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise Refused(f"{identity} has not signed this: the signature is of something else") from None
    except (ValueError, TypeError, UnsupportedAlgorithm, InputError):
        raise Refused("the certificate that it is signed with cannot be read") from None
    if identity.role not in roles:
        raise Refused(f"it is signed by {identity}; this is for the role {' or '.join(roles)}")
    if (
        in_time
        and not certificate.not_valid_before_utc <= dt.datetime.now(dt.UTC) <= certificate.not_valid_after_utc
    ):
        raise Refused(
            f"the certificate of {identity}, which has signed it, is valid from {certificate.not_valid_before_utc:%Y-%m-%d} "
            f"to {certificate.not_valid_after_utc:%Y-%m-%d} only"
        )
    return Signer(identity, certificate)
