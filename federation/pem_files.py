"""Files in PEM format, each written at once or not at all: keys for their owner only, what is public as the umask says."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from federation.errors import InputError


def write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a private key; raises an `InputError` if that cannot be done."""
    _write(
        file,
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        0o600,
    )


def write_certificate(file: Path, certificate: x509.Certificate | x509.CertificateSigningRequest) -> None:
    """Write a certificate, or the request for one; raises an `InputError` if that cannot be done."""
    _write(file, certificate.public_bytes(serialization.Encoding.PEM), 0o666)


def _write(file: Path, content: bytes, mode: int) -> None:
    new = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(content)
                os.fsync(out.fileno())
            new.replace(file)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(f"{file.parent}: cannot be written: {error.strerror}") from None
