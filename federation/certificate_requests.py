"""Certificates for keys that never leave their site: requested there, signed at the authority, renewed before they end.

A request says nothing but which key it is for. What its certificate says, the name and the role above all, is up to whoever
signs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from federation.certificates import (
    MEMBER_DAYS,
    Authority,
    certificate_file,
    check_member,
    host_name,
    hosts_of,
    is_signed_by,
    key_file,
    load_certificate,
    load_key,
    member_certificate,
    read,
    subject_of,
)
from federation.errors import InputError
from federation.pem_files import write_certificate, write_key

MAX_REQUEST = 64 << 10


def request_file(folder: Path, name: str) -> Path:
    """Return where a member's request lies."""
    return folder / f"{name}.csr"


def make_request(folder: Path, name: str, role: str, *, force: bool = False) -> bool:
    """Make a key, if there is none, and the request for a certificate of it.

    Parameters
    ----------
    folder : Path
        Where ``NAME.key`` and ``NAME.csr`` are written.
    name, role : str
        Those that the authority is asked for.
    force : bool
        Make another key in the place of one that is there, whose certificate is of no use any more then.

    Returns
    -------
    bool
        False if there was a key already, which is kept: its certificate is renewed.

    Raises
    ------
    InputError
        If no member can have this name or role, or the key that is there cannot be used.
    """
    check_member(name, role)
    file = key_file(folder, name)
    made = force or not file.exists()
    if made:
        key = ec.generate_private_key(ec.SECP256R1())
        write_key(file, key)
    else:
        key = load_key(file, "replace it with --force")
    # For whoever reads it: what is signed is what the authority says.
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, name),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
        ]
    )
    request = x509.CertificateSigningRequestBuilder(subject).sign(key, hashes.SHA256())
    write_certificate(request_file(folder, name), request)
    return made


def sign_request(
    folder: Path,
    request: Path,
    name: str,
    role: str,
    hosts: Sequence[str] = (),
    *,
    days: int = MEMBER_DAYS,
    force: bool = False,
) -> None:
    """Sign a request: its key is the member's with this name and role, whatever the request says of itself.

    Parameters
    ----------
    folder : Path
        Where the authority's key and certificate are, and ``NAME.crt`` is written.
    request : Path
        The file of the request.
    name, role : str
        The member's.
    hosts : sequence of str
        DNS names and IP addresses at which a director is reached.
    days : int
        How long it is valid, but no longer than its authority.
    force : bool
        Replace a certificate of another key or role.

    Raises
    ------
    InputError
        If it is no request, or there is another certificate in that place and no ``force``.
    """
    check_member(name, role)
    names = [host_name(host) for host in hosts]
    authority = Authority.of(folder)
    key = _key_of(request)
    file = certificate_file(folder, name)
    if file.exists() and not force:
        found = load_certificate(file, "replace it with --force")
        if found.public_key() != key or subject_of(found) != (name, role):
            raise InputError(f"{file}: is there already, of another key or role; replace it with --force")
    write_certificate(file, member_certificate(authority, key, name, role, names, days))


def renew(folder: Path, name: str, *, days: int = MEMBER_DAYS) -> None:
    """Sign a member's certificate anew: for the same key, name, role and hosts, and valid for longer.

    Parameters
    ----------
    folder : Path
        Where the authority's key and certificate are, and ``NAME.crt``.
    name : str
        The member's.
    days : int
        How long it is valid from now on, but no longer than its authority.

    Raises
    ------
    InputError
        If there is no certificate, or this authority has not signed it.
    """
    authority = Authority.of(folder)
    file = certificate_file(folder, name)
    found = load_certificate(file, "make it with `fed certify`")
    if not is_signed_by(found, authority.certificate):
        raise InputError(f"{file}: is not signed by authority.crt beside it; make it anew with --force")
    said, role = subject_of(found)
    check_member(said, role)
    if said != name:
        raise InputError(f"{file}: is the certificate of {role} {said!r}, not of {name!r}")
    write_certificate(
        file,
        member_certificate(authority, _elliptic(found.public_key(), file), name, role, hosts_of(found), days),
    )


def _key_of(file: Path) -> ec.EllipticCurvePublicKey:
    remedy = "make it with: fed certify request"
    content = read(file, remedy)
    if len(content) > MAX_REQUEST:
        raise InputError(f"{file}: {len(content)} bytes are too many for a request; {remedy}")
    try:
        request = x509.load_pem_x509_csr(content)
        is_sound = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(f"{file}: is no request for a certificate in PEM format; {remedy}") from None
    if not is_sound:
        raise InputError(f"{file}: is not signed with the key that it is for; {remedy}")
    return _elliptic(key, file)


def _elliptic(key: object, file: Path) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InputError(
            f"{file}: its key is not one of the curve P-256; make another: fed certify request --force"
        )
    return key
