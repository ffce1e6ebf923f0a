"""Who is at the other end of a connection: credentials for mTLS, and the identity in the peer's certificate.

The authority's signature is checked by gRPC in the handshake (`federation.core_log` puts its refusals into
words), name and role here, before a handler reads any payload. Without certificates (``--insecure``, loopback
only) a caller's word is taken for its name and role.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import grpc
from cryptography import x509

from federation.addresses import address_of_peer, is_loopback_peer, require_loopback, split_address
from federation.certificates import (
    AUTHORITY,
    ROLES,
    certificate_file,
    is_signed_by,
    key_file,
    load_certificate,
    load_key,
    read,
    subject_of,
)
from federation.errors import InputError, Refused
from federation.names import check_name
from federation.proxies import proxy_options

__all__ = [
    "ROLES",
    "Credentials",
    "Identity",
    "check_name",
    "identity_of",
    "insecure_channel",
    "listen",
    "require_role",
]

NAME_KEY = "fed-name"
ROLE_KEY = "fed-role"

Options = Sequence[tuple[str, Any]]


@dataclass(frozen=True)
class Identity:
    """A member of the federation: its name, and one of `ROLES`."""

    name: str
    role: str

    def __str__(self) -> str:
        return f"{self.role} {self.name}"


@dataclass(frozen=True)
class Credentials:
    """A member's key and certificate and the authority's certificate, as ``fed certify`` has made them.

    Parameters
    ----------
    folder : Path
        Holds ``authority.crt``, ``NAME.crt`` and ``NAME.key``.
    name : str
        The member's name.
    """

    folder: Path
    name: str

    def identity(self) -> Identity:
        """Check the files and return who they say we are.

        Raises
        ------
        InputError
            If a file is missing or damaged, if the certificate is of another name or authority or is not
            valid now, or if the key does not fit it.
        """
        remedy = "make it with `fed certify`, or copy it from where the authority is"
        if not self.folder.is_dir():
            raise InputError(
                f"{self.folder}: there is no such folder, where the certificates should be; {remedy}"
            )
        file = certificate_file(self.folder, self.name)
        authority = load_certificate(certificate_file(self.folder, AUTHORITY), remedy)
        certificate = load_certificate(file, remedy)
        key = load_key(key_file(self.folder, self.name), remedy)
        name, role = subject_of(certificate)
        if not is_signed_by(certificate, authority):
            raise InputError(
                f"{file}: is not signed by {AUTHORITY}.crt beside it; make it anew with `fed certify`"
            )
        if key.public_key() != certificate.public_key():
            raise InputError(
                f"{file}: does not belong to the key {self.name}.key; make both anew with `fed certify`"
            )
        if name != self.name or role not in ROLES:
            raise InputError(
                f"{file}: is the certificate of {role or 'no role'} {name!r}, not of {self.name!r}"
            )
        for known in (certificate, authority):
            if reason := _invalid_now(known):
                raise InputError(f"{file}: {reason}; make it anew with `fed certify --force`")
        return Identity(name, role)

    def server_credentials(self) -> grpc.ServerCredentials:
        """Return what a director serves with: callers must show a certificate of the same authority."""
        identity = self.identity()
        if identity.role != "director":
            file = certificate_file(self.folder, self.name)
            raise InputError(f"{file}: is the certificate of {identity}; only a director's can serve")
        authority, key, certificate = self._read()
        return grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)

    def channel(self, address: str, options: Options = ()) -> grpc.Channel:
        """Open a channel to the director at ``host:port``; it connects when it is first used."""
        self.identity()
        authority, key, certificate = self._read()
        return grpc.secure_channel(
            address,
            grpc.ssl_channel_credentials(authority, key, certificate),
            [*proxy_options(address), *options],
        )

    def _read(self) -> tuple[bytes, bytes, bytes]:
        files = (
            certificate_file(self.folder, AUTHORITY),
            key_file(self.folder, self.name),
            certificate_file(self.folder, self.name),
        )
        authority, key, certificate = (read(file, "make it with `fed certify`") for file in files)
        return authority, key, certificate


def identity_of(context: grpc.ServicerContext) -> Identity:
    """Tell who calls, by the certificate of the connection.

    Raises
    ------
    Refused
        If the certificate has no name or role of this federation or is no longer valid; or if there is none
        and the caller is not on the loopback address.
    """
    pem = context.auth_context().get("x509_pem_cert")
    if pem:
        identity, certificate = _certified(bytes(pem[0]))
        if reason := _invalid_now(certificate):
            raise Refused(
                f"{identity} at {_peer(context)}: its certificate {reason}; make it anew with `fed certify`"
            )
    elif is_loopback_peer(context.peer()):
        metadata = {pair[0]: pair[1] for pair in context.invocation_metadata() or ()}
        identity = Identity(str(metadata.get(NAME_KEY, "")), str(metadata.get(ROLE_KEY, "")))
    else:
        raise Refused(f"{_peer(context)}: has no certificate, and is not on the loopback address")
    try:
        check_name(identity.name)
    except InputError as error:
        raise Refused(f"{_peer(context)}: {error}") from None
    if identity.role not in ROLES:
        raise Refused(f"{_peer(context)}: {identity.name} has no role of a federation's; use `fed certify`")
    return identity


def certificate_of(context: grpc.ServicerContext) -> x509.Certificate | None:
    """Return the certificate of the connection; None without one, on the loopback address."""
    pem = context.auth_context().get("x509_pem_cert")
    return _certified(bytes(pem[0]))[1] if pem else None


def require_role(context: grpc.ServicerContext, *roles: str, names: Container[str] | None = None) -> Identity:
    """Tell who calls, if it may.

    Parameters
    ----------
    context : grpc.ServicerContext
        The call's.
    *roles : str
        Those that may make this call.
    names : container of str, optional
        Those who may; all if not given.

    Returns
    -------
    Identity
        The caller.

    Raises
    ------
    Refused
        If the role or name is another; the message is for the caller and for the log.
    """
    identity = identity_of(context)
    if identity.role not in roles:
        wanted = " or ".join(roles)
        raise Refused(
            f"{identity} at {_peer(context)}: this is for the role {wanted}; use a certificate of that role"
        )
    if names is not None and identity.name not in names:
        raise Refused(f"{identity} at {_peer(context)}: is not known here")
    return identity


class Ports(Protocol):
    """What binds to addresses: a gRPC server of either form."""

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials, /) -> int:
        """Bind with certificates."""

    def add_insecure_port(self, address: str, /) -> int:
        """Bind without."""


def listen(server: Ports, address: str, credentials: Credentials | None) -> int:
    """Bind a server, without certificates only on the loopback address.

    Returns
    -------
    int
        The port, which the system has chosen where the address says 0.

    Raises
    ------
    InputError
        If the address cannot be had, or the credentials cannot be used.
    """
    split_address(address)
    try:
        if credentials is not None:
            port = server.add_secure_port(address, credentials.server_credentials())
        else:
            require_loopback(address)
            port = server.add_insecure_port(address)
    except RuntimeError:
        port = 0
    if not port:
        raise InputError(f"cannot listen at {address}: it is in use already, or no address of this machine")
    return port


def insecure_channel(address: str, identity: Identity, options: Options = ()) -> grpc.Channel:
    """Open a channel without certificates, to a director on the loopback address that takes our word."""
    require_loopback(address)
    check_name(identity.name)
    channel = grpc.insecure_channel(address, [*proxy_options(address), *options])
    return grpc.intercept_channel(channel, _Introduction(identity))


class _CallDetails(NamedTuple):
    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str | bytes]] | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Introduction(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.StreamStreamClientInterceptor,  # type: ignore[type-arg]
):
    """Says in each call's metadata who makes it."""

    def __init__(self, identity: Identity) -> None:
        self._metadata = [(NAME_KEY, identity.name), (ROLE_KEY, identity.role)]

    def _intercept(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), *self._metadata]
        fields = {field: getattr(details, field, None) for field in _CallDetails._fields}
        return continuation(_CallDetails(**(fields | {"metadata": metadata})), request)

    intercept_unary_unary: Any = _intercept
    intercept_unary_stream: Any = _intercept
    intercept_stream_unary: Any = _intercept
    intercept_stream_stream: Any = _intercept


@lru_cache(maxsize=1024)
def _certified(pem: bytes) -> tuple[Identity, x509.Certificate]:
    certificate = x509.load_pem_x509_certificate(pem)
    return Identity(*subject_of(certificate)), certificate


def _invalid_now(certificate: x509.Certificate) -> str:
    """Say why a certificate is not valid at this time; empty if it is."""
    now = dt.datetime.now(dt.UTC)
    if now > certificate.not_valid_after_utc:
        return f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if now < certificate.not_valid_before_utc:
        return (
            f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC; is the clock right?"
        )
    return ""


def _peer(context: grpc.ServicerContext) -> str:
    return address_of_peer(context.peer())
