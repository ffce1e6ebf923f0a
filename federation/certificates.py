"""Make the certificates by which the members of a federation know each other.

One authority signs a certificate for each member: its name is the subject's CN, its role the subject's OU.
Only a director's certificate may serve, and it names the hosts at which it is found; the others may only call.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation.errors import InputError
from federation.faults import path_fault
from federation.files import read_regular
from federation.names import check_name
from federation.pem_files import write_certificate, write_key
from federation.permissions import require_secret

Role = Literal["director", "envoy", "workspace", "operator"]
ROLES: tuple[str, ...] = get_args(Role)
OPERATOR = "operator"
USERS = ("workspace", OPERATOR)
"""The roles of people: what they submit and change is signed."""
AUTHORITY = "authority"
AUTHORITY_DAYS = 3650
MEMBER_DAYS = 730
LOOPBACK = ("localhost", "127.0.0.1", "::1")

# For so long before it is made a certificate is valid, for members whose clock is behind.
SKEW = dt.timedelta(minutes=5)
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


def certificate_file(folder: Path, name: str) -> Path:
    """Return where a member's certificate lies."""
    return folder / f"{name}.crt"


def key_file(folder: Path, name: str) -> Path:
    """Return where a member's private key lies."""
    return folder / f"{name}.key"


def make_authority(
    folder: Path, name: str = "federation", *, days: int = AUTHORITY_DAYS, force: bool = False
) -> bool:
    """Make the key and certificate that sign all others.

    Parameters
    ----------
    folder : Path
        Where ``authority.crt`` and ``authority.key`` are written.
    name : str
        What the authority is called in its certificate.
    days : int
        How long it is valid.
    force : bool
        Replace one that is there, which makes every certificate it has signed worthless.

    Returns
    -------
    bool
        False if there was one already, which is kept.
    """
    if not force and key_file(folder, AUTHORITY).exists() and certificate_file(folder, AUTHORITY).exists():
        return False
    _refuse_overwriting(folder, AUTHORITY, force)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name, AUTHORITY)
    start = dt.datetime.now(dt.UTC) - SKEW
    builder = _builder(subject, subject, key.public_key(), start, start + dt.timedelta(days=days))
    builder = builder.add_extension(
        x509.BasicConstraints(ca=True, path_length=0), critical=True
    ).add_extension(_usage(signs_certificates=True), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    _write(folder, AUTHORITY, key, certificate)
    return True


def make_member(
    folder: Path,
    name: str,
    role: str,
    hosts: Sequence[str] = (),
    *,
    days: int = MEMBER_DAYS,
    force: bool = False,
) -> bool:
    """Make a member's key and certificate.

    Parameters
    ----------
    folder : Path
        Where the authority's key and certificate are, and the member's are written.
    name : str
        The member's name.
    role : str
        One of `ROLES`.
    hosts : sequence of str
        DNS names and IP addresses at which a director is reached.
    days : int
        How long it is valid, but no longer than its authority.
    force : bool
        Replace a key and certificate that are there.

    Returns
    -------
    bool
        False if there was such a certificate already, which is kept.

    Raises
    ------
    InputError
        If there is no authority, a bad name or host, or another certificate in that place and no `force`.
    """
    check_member(name, role)
    names = [host_name(host) for host in hosts]
    authority = Authority.of(folder)
    if not force and _is_made(folder, name, role, names, authority.certificate):
        return False
    _refuse_overwriting(folder, name, force)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = member_certificate(authority, key.public_key(), name, role, names, days)
    _write(folder, name, key, certificate)
    return True


@dataclass(frozen=True)
class Authority:
    """What signs certificates: the authority's own, and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def of(cls, folder: Path) -> Authority:
        """Read the authority of a folder.

        Raises
        ------
        InputError
            If it is not there, or not with its key.
        """
        certificate = load_certificate(
            certificate_file(folder, AUTHORITY), "make it with: fed certify authority"
        )
        return cls(
            certificate,
            load_key(key_file(folder, AUTHORITY), "only where the authority was made can it sign"),
        )


def check_member(name: str, role: str) -> None:
    """Raise an `InputError` if no member can have this name or role."""
    check_name(name)
    if name == AUTHORITY:
        raise InputError("the name 'authority' is taken by the certificate authority; choose another")
    if role not in ROLES:
        raise InputError(f"there is no role {role!r}; known: {', '.join(ROLES)}")


def member_certificate(
    authority: Authority,
    key: ec.EllipticCurvePublicKey,
    name: str,
    role: str,
    hosts: Iterable[x509.GeneralName],
    days: int,
) -> x509.Certificate:
    """Sign that a key is a member's, who has this name and role."""
    issued = authority.certificate
    start = dt.datetime.now(dt.UTC) - SKEW
    end = min(start + dt.timedelta(days=days), issued.not_valid_after_utc)
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH]
    if role == "director":
        purposes.append(ExtendedKeyUsageOID.SERVER_AUTH)
    builder = _builder(
        _subject(name, role), issued.subject, key, max(start, issued.not_valid_before_utc), end
    )
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(_signed_by(authority.key), critical=False)
    )
    if names := list(hosts):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def load_certificate(file: Path, remedy: str) -> x509.Certificate:
    """Read a certificate.

    Raises
    ------
    InputError
        If it is not there or cannot be read; `remedy` ends the line.
    """
    try:
        return x509.load_pem_x509_certificate(read(file, remedy))
    except ValueError:
        raise InputError(f"{file}: is no certificate in PEM format; {remedy}") from None


def load_key(file: Path, remedy: str) -> ec.EllipticCurvePrivateKey:
    """Read a private key, as `load_certificate` does; one that others can read is refused."""
    content = read(file, remedy)
    require_secret(file)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InputError(f"{file}: is no unencrypted elliptic-curve key in PEM format; {remedy}")
    return key


def read(file: Path, remedy: str) -> bytes:
    """Read a small file; `remedy` ends the line of the `InputError` if that fails."""
    try:
        return read_regular(file, 1 << 20)
    except FileNotFoundError:
        raise InputError(f"{file}: there is no such file; {remedy}") from None
    except OSError as error:
        raise path_fault(file, error) from None


def is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Tell whether an authority has signed a certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def subject_of(certificate: x509.Certificate) -> tuple[str, str]:
    """Return the name (CN) and the role (OU) in a certificate; empty where it has none."""

    def attribute(oid: x509.ObjectIdentifier) -> str:
        return next((str(found.value) for found in certificate.subject.get_attributes_for_oid(oid)), "")

    return attribute(NameOID.COMMON_NAME), attribute(NameOID.ORGANIZATIONAL_UNIT_NAME)


def hosts_of(certificate: x509.Certificate) -> list[x509.GeneralName]:
    """Return the names and addresses at which a certificate says that its member is reached."""
    try:
        return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def issued_at(certificate: x509.Certificate) -> float:
    """Return when a certificate was made, as Unix time: `SKEW` after it begins to be valid."""
    return (certificate.not_valid_before_utc + SKEW).timestamp()


def _is_made(
    folder: Path, name: str, role: str, hosts: Sequence[x509.GeneralName], authority: x509.Certificate
) -> bool:
    """Tell whether such a certificate is there, with its key, and still valid."""
    file = certificate_file(folder, name)
    if not file.exists() or not key_file(folder, name).exists():
        return False
    certificate = load_certificate(file, "replace it with --force")
    same_hosts = set(hosts_of(certificate)) == set(hosts)
    valid = certificate.not_valid_after_utc > dt.datetime.now(dt.UTC)
    return (
        is_signed_by(certificate, authority)
        and subject_of(certificate) == (name, role)
        and same_hosts
        and valid
    )


def _refuse_overwriting(folder: Path, name: str, force: bool) -> None:
    there = [file for file in (key_file(folder, name), certificate_file(folder, name)) if file.exists()]
    if there and not force:
        raise InputError(
            f"{there[0]}: is there already, and is another or has expired; replace it with --force"
        )


def host_name(host: str) -> x509.GeneralName:
    """Return a DNS name or IP address as a certificate has it; raises an `InputError` if it is neither."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _HOST.fullmatch(host.lower()):
        raise InputError(f"--host {host!r}: is neither a host name nor an IP address; give it without a port")
    return x509.DNSName(host.lower())


def _subject(name: str, role: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
        ]
    )


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    start: dt.datetime,
    end: dt.datetime,
) -> x509.CertificateBuilder:
    """Begin a certificate with what all of them have."""
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), start, end)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key)
    return builder.add_extension(identifier, critical=False)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _signed_by(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _write(folder: Path, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    """Write the key before the certificate, and each at once or not at all."""
    write_key(key_file(folder, name), key)
    write_certificate(certificate_file(folder, name), certificate)
