"""Certificates that ``fed certify`` does not make: of another role or time, for a key that is there."""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID

from federation.certificates import AUTHORITY, certificate_file, key_file, load_certificate, load_key
from federation.identity import Credentials

DAY = dt.timedelta(days=1)


def reissued(
    credentials: Credentials,
    role: str | None = None,
    ends_in: dt.timedelta = DAY,
    public_key: CertificatePublicKeyTypes | None = None,
) -> bytes:
    """Sign a member's key and name once more, valid for ten days until then, as PEM."""
    folder, name = credentials.folder, credentials.name
    authority = load_certificate(certificate_file(folder, AUTHORITY), "")
    known = load_certificate(certificate_file(folder, name), "")
    known_role = known.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)[0].value
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role or str(known_role)),
        ]
    )
    end = dt.datetime.now(dt.UTC) + ends_in
    builder = x509.CertificateBuilder(
        authority.subject,
        subject,
        public_key or known.public_key(),
        x509.random_serial_number(),
        end - 10 * DAY,
        end,
    )
    certificate = builder.sign(load_key(key_file(folder, AUTHORITY), ""), hashes.SHA256())
    return certificate.public_bytes(serialization.Encoding.PEM)
