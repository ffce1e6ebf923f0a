"""How a member learns its director's name, and that it is a director's: it asks for a signature of what only it has thought of.

The handshake of TLS has checked the director's certificate, but gRPC does not show it to those who call.
"""

from __future__ import annotations

import ipaddress
import os

import grpc
from cryptography import x509

from federation.addresses import split_address
from federation.certificates import subject_of
from federation.errors import InputError, Refused
from federation.identity import Credentials
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.signing import authority_of, sign, text_of_introduction, verify

NONCE_BYTES = 32
SECONDS = 30.0


def ask(stub: rpc.DirectorStub, address: str, credentials: Credentials) -> str:
    """Ask a director at ``host:port`` for its name; empty if it is of an earlier version, which cannot say it.

    Raises
    ------
    grpc.RpcError
        As the call does.
    Refused
        If it cannot show that it is the director that was called.
    """
    nonce = os.urandom(NONCE_BYTES)
    try:
        answer = stub.Introduce(pb.Challenge(nonce=nonce), timeout=SECONDS)
    except grpc.RpcError as error:
        if error.code() == grpc.StatusCode.UNIMPLEMENTED:
            return ""
        raise
    try:
        signer = verify(
            answer.signature, text_of_introduction(nonce), authority_of(credentials), ["director"]
        )
    except Refused as error:
        raise Refused(f"the director at {address} does not show that it is one: {error}") from None
    if not covers(signer.certificate, split_address(address)[0]):
        raise Refused(
            f"the director {signer.identity.name} has answered at {address}, which its certificate does not name"
        )
    return signer.identity.name


def answer(challenge: pb.Challenge, credentials: Credentials | None) -> pb.Introduction:
    """Show that we are a director.

    Raises
    ------
    InputError
        If it is asked for in another way than `ask` does, or there are no certificates.
    """
    if credentials is None:
        raise InputError("this director has no certificate to show: it was started with --insecure")
    if len(challenge.nonce) != NONCE_BYTES:
        raise InputError(f"a nonce has {NONCE_BYTES} bytes, not {len(challenge.nonce)}")
    return pb.Introduction(signature=sign(credentials, text_of_introduction(challenge.nonce)))


def covers(certificate: x509.Certificate, host: str) -> bool:
    """Tell whether a certificate names a host, as gRPC does: an address literally, a name in any case or by a wildcard."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return host.lower() == subject_of(certificate)[0]
    except ValueError:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        wanted = host.lower().rstrip(".")
        anyone = f"*.{wanted.partition('.')[2]}"
        return any(name.lower() in (wanted, anyone) for name in names.get_values_for_type(x509.DNSName))
    return address in names.get_values_for_type(x509.IPAddress)
