"""Files in PEM format, each written at once or not at all: keys for their owner only, what is public as the umask says."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from federation.faults import path_fault
from federation.files import write_whole


def write_key(file: Path, key: ec.EllipticCurvePrivateKey) -> None:
    """Write a private key; raises what `federation.faults` says if that cannot be done."""
    _write(
        file,
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        0o600,
    )


def write_certificate(file: Path, certificate: x509.Certificate | x509.CertificateSigningRequest) -> None:
    """Write a certificate, or the request for one; raises as `write_key` does."""
    _write(file, certificate.public_bytes(serialization.Encoding.PEM), 0o666)


def _write(file: Path, content: bytes, mode: int) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content, mode)
    except OSError as error:
        raise path_fault(file.parent, error) from error
