"""Members know each other by certificates with a role; the director's log says who is refused, and why."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from federation.certificates import load_certificate, load_key, make_authority, make_member
from federation.core_log import explain
from federation.errors import InputError, Refused
from federation.identity import (
    Credentials,
    Identity,
    insecure_channel,
    listen,
    require_role,
)
from tests.checkout import ROOT

KNOWN = ("north", "north-2", "alice", "my_aggregator")


class Service(grpc.GenericRpcHandler):
    """Answers envoys that it knows with who they are."""

    def service(self, handler_call_details: Any) -> Any:
        return grpc.stream_stream_rpc_method_handler(self._answer)

    @staticmethod
    def _answer(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        try:
            identity = require_role(context, "envoy", "director", names=KNOWN)
        except Refused as error:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
        yield str(identity).encode()
        yield from requests


def ask(channel: grpc.Channel) -> str:
    """Who the server takes us for, or why it refuses us."""
    with channel:
        try:
            answers = channel.stream_stream("/any/method")(iter([b"payload"]), timeout=10)
            return b", ".join(answers).decode()
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_authority(folder)
    make_member(folder, "director", "director", ["localhost", "127.0.0.1"])
    for name in ("north", "stranger"):
        make_member(folder, name, "envoy")
    make_member(folder, "alice", "workspace")
    return folder


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificates of another federation."""
    folder = tmp_path_factory.mktemp("elsewhere")
    make_authority(folder)
    make_member(folder, "north", "envoy")
    make_member(folder, "director", "director", ["localhost", "127.0.0.1"])
    return folder


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., str]]:
    servers = []

    def serve(credentials: Credentials | None, host: str = "127.0.0.1") -> str:
        server = grpc.server(
            futures.ThreadPoolExecutor(2), handlers=[Service()], options=[("grpc.so_reuseport", 0)]
        )
        port = listen(server, f"{host}:0", credentials)
        server.start()
        servers.append(server)
        return f"{host}:{port}"

    yield serve
    for server in servers:
        server.stop(None)


@pytest.fixture(scope="module")
def address(serve: Callable[..., str], folder: Path) -> str:
    return serve(Credentials(folder, "director"))


def forge(
    folder: Path,
    name: str,
    subject: str,
    role: str,
    days: int = 1,
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
) -> Credentials:
    """Sign with the authority's key what ``fed certify`` would not."""
    key = load_key(folder / "north.key", "")
    attributes = [
        x509.NameAttribute(NameOID.COMMON_NAME, subject),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role),
    ]
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(load_certificate(folder / "authority.crt", "").subject)
        .subject_name(x509.Name(attributes))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=2))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .sign(load_key(folder / "authority.key", ""), hashes.SHA256())
    )
    (folder / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    shutil.copy(folder / "north.key", folder / f"{name}.key")
    return Credentials(folder, name)


def raw_channel(credentials: Credentials, address: str) -> grpc.Channel:
    """Call as someone would who does not check certificates first."""
    authority, key, certificate = credentials._read()
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(authority, key, certificate))


# Loading them.


def test_credentials_say_whose_they_are(folder: Path) -> None:
    assert Credentials(folder, "alice").identity() == Identity("alice", "workspace")


def test_a_missing_or_damaged_file_is_one_clear_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"^\S*/gone\.crt: there is no such file; make it with `fed certify`"
    ):
        Credentials(folder, "gone").channel("localhost:1")
    for file in folder.iterdir():
        shutil.copy(file, tmp_path / file.name)
    (tmp_path / "north.key").write_text("-----BEGIN nothing")
    with pytest.raises(InputError, match=r"north\.key: is no unencrypted elliptic-curve key in PEM format"):
        Credentials(tmp_path, "north").identity()
    (tmp_path / "north.crt").write_text("")
    with pytest.raises(InputError, match=r"north\.crt: is no certificate in PEM format"):
        Credentials(tmp_path, "north").identity()
    (tmp_path / "authority.crt").unlink()
    with pytest.raises(InputError, match=r"authority\.crt: there is no such file"):
        Credentials(tmp_path, "north").identity()


def traditional(pem: bytes) -> bytes:
    """A key as `openssl ecparam -genkey` and `openssl ec` write it, with the parameters of its curve before it."""
    key = serialization.load_pem_private_key(pem, None)
    written = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    # The object identifier of prime256v1.
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    return parameters + written


def crlf(pem: bytes) -> bytes:
    """As it is after a way through Windows."""
    return pem.replace(b"\n", b"\r\n")


def with_words(pem: bytes) -> bytes:
    """As `openssl x509 -text` and mails have it: with text around."""
    return b"subject=CN=north\n" + pem + b"\nregards\n"


@pytest.mark.parametrize(
    ("of_the_key", "of_certificates"),
    [
        (traditional, bytes),
        (crlf, crlf),
        (lambda pem: crlf(traditional(pem)), crlf),
        (bytes, with_words),
    ],
    ids=["traditional", "crlf", "both", "words"],
)
def test_keys_and_certificates_in_the_forms_that_other_tools_write_are_used(
    serve: Callable[..., str],
    folder: Path,
    tmp_path: Path,
    of_the_key: Callable[[bytes], bytes],
    of_certificates: Callable[[bytes], bytes],
) -> None:
    for name in ("director", "north", "authority"):
        certificate = tmp_path / f"{name}.crt"
        certificate.write_bytes(of_certificates((folder / f"{name}.crt").read_bytes()))
        if name != "authority":
            key = tmp_path / f"{name}.key"
            key.write_bytes(of_the_key((folder / f"{name}.key").read_bytes()))
            key.chmod(0o600)
    address = serve(Credentials(tmp_path, "director"))
    assert ask(Credentials(tmp_path, "north").channel(address)) == "envoy north, payload"


def test_a_key_of_another_certificate_is_refused(folder: Path, tmp_path: Path) -> None:
    for name in ("authority.crt", "north.crt"):
        shutil.copy(folder / name, tmp_path / name)
    shutil.copy(folder / "alice.key", tmp_path / "north.key")
    with pytest.raises(InputError, match=r"north\.crt: does not belong to the key north\.key"):
        Credentials(tmp_path, "north").identity()


def test_a_certificate_of_another_name_authority_or_time_is_refused(
    folder: Path, elsewhere: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"is the certificate of envoy 'stranger', not of 'renamed'"):
        forge(folder, "renamed", "stranger", "envoy").identity()
    with pytest.raises(InputError, match=r"old\.crt: expired on \d{4}-\d\d-\d\d; make it anew"):
        forge(folder, "old", "old", "envoy", days=-1).identity()
    shutil.copy(elsewhere / "authority.crt", tmp_path / "authority.crt")
    for name in ("north.crt", "north.key"):
        shutil.copy(folder / name, tmp_path / name)
    with pytest.raises(InputError, match=r"north\.crt: is not signed by authority\.crt beside it"):
        Credentials(tmp_path, "north").identity()


def test_only_a_director_can_serve(serve: Callable[..., str], folder: Path) -> None:
    with pytest.raises(InputError, match=r"is the certificate of envoy north; only a director's can serve"):
        serve(Credentials(folder, "north"))


def test_a_port_that_is_taken_is_one_clear_line(
    serve: Callable[..., str], folder: Path, address: str
) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    with pytest.raises(InputError, match=f"cannot listen at {address}: it is in use already"):
        listen(server, address, Credentials(folder, "director"))


# Calling with them.


def test_an_envoy_is_known_by_its_certificate(address: str, folder: Path) -> None:
    assert ask(Credentials(folder, "north").channel(address)) == "envoy north, payload"
    assert ask(Credentials(folder, "north").channel(address.replace("127.0.0.1", "localhost"))).startswith(
        "envoy"
    )


def test_the_wrong_role_is_refused(address: str, folder: Path) -> None:
    answer = ask(Credentials(folder, "alice").channel(address))
    assert answer.startswith("PERMISSION_DENIED: workspace alice at 127.0.0.1:")
    assert "this is for the role envoy or director; use a certificate of that role" in answer


def test_a_name_that_is_not_known_is_refused(address: str, folder: Path) -> None:
    answer = ask(Credentials(folder, "stranger").channel(address))
    assert answer.startswith("PERMISSION_DENIED: envoy stranger at 127.0.0.1:")
    assert answer.endswith("is not known here")


@pytest.mark.parametrize(
    ("subject", "role", "reason"),
    [
        ("my_aggregator", "envoy", "the name 'my_aggregator' has a meaning of its own in OpenFL"),
        ("../north", "envoy", "the name '../north' must begin with a small letter"),
        ("north", "root", "north has no role of a federation's"),
        ("north", "authority", "north has no role of a federation's"),
    ],
)
def test_a_signed_certificate_with_a_bad_name_or_role_is_refused(
    address: str, folder: Path, subject: str, role: str, reason: str
) -> None:
    answer = ask(raw_channel(forge(folder, "forged", subject, role), address))
    assert answer.startswith("PERMISSION_DENIED: ")
    assert reason in answer


def test_a_name_in_the_metadata_does_not_count_beside_a_certificate(address: str, folder: Path) -> None:
    with Credentials(folder, "stranger").channel(address) as channel:
        metadata = [("fed-name", "north"), ("fed-role", "envoy")]
        with pytest.raises(grpc.RpcError, match="envoy stranger"):
            list(channel.stream_stream("/any/method")(iter([]), timeout=10, metadata=metadata))


def test_another_authority_is_refused_by_both_sides(address: str, folder: Path, elsewhere: Path) -> None:
    answer = ask(Credentials(elsewhere, "north").channel(address))
    assert answer.startswith("UNAVAILABLE")
    assert explain(answer) == "its certificate is not signed by our authority, or expired"
    (elsewhere / "mixed").mkdir()
    for source, name in ((folder, "authority.crt"), (elsewhere, "north.crt"), (elsewhere, "north.key")):
        shutil.copy(source / name, elsewhere / "mixed" / name)
    trusting = raw_channel(Credentials(elsewhere / "mixed", "north"), address)
    answer = ask(trusting)
    assert answer.startswith("UNAVAILABLE")
    assert "if it refuses our certificate, its log says why" in explain(answer)


def test_an_expired_certificate_is_refused(address: str, folder: Path) -> None:
    assert ask(raw_channel(forge(folder, "old", "north", "envoy", days=-1), address)).startswith(
        "UNAVAILABLE"
    )


def test_a_director_at_a_host_that_its_certificate_does_not_name_is_not_trusted(
    serve: Callable[..., str], folder: Path
) -> None:
    address = serve(Credentials(folder, "director"), "127.0.0.2")
    answer = ask(Credentials(folder, "north").channel(address))
    assert answer.startswith("UNAVAILABLE")
    assert "its certificate does not name this host" in explain(answer)


def test_an_envoy_cannot_pass_for_the_director(folder: Path) -> None:
    server = grpc.server(futures.ThreadPoolExecutor(1), handlers=[Service()])
    authority, key, certificate = Credentials(folder, "north")._read()
    credentials = grpc.ssl_server_credentials([(key, certificate)], authority, require_client_auth=True)
    port = server.add_secure_port("localhost:0", credentials)
    server.start()
    assert ask(Credentials(folder, "alice").channel(f"localhost:{port}")).startswith("UNAVAILABLE")
    server.stop(None)


# Without them.


def test_on_the_loopback_address_a_name_is_taken_at_its_word(serve: Callable[..., str]) -> None:
    address = serve(None, "localhost")
    assert ask(insecure_channel(address, Identity("north", "envoy"))) == "envoy north, payload"
    assert "this is for the role" in ask(insecure_channel(address, Identity("alice", "workspace")))
    assert "the name '' must begin" in ask(grpc.insecure_channel(address))


@pytest.mark.parametrize(
    "address", ["0.0.0.0:0", "[::]:0", "192.168.1.5:0", "director.example.org:0", "127.0.0.1.nip.io:0"]
)
def test_without_certificates_no_other_address_is_served_or_called(
    serve: Callable[..., str], address: str
) -> None:
    with pytest.raises(InputError, match="without certificates only"):
        serve(None, address.removesuffix(":0"))
    with pytest.raises(InputError, match="without certificates only"):
        insecure_channel(address, Identity("north", "envoy"))


def test_a_director_that_is_not_there_is_told_from_one_that_refuses(folder: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        answer = ask(Credentials(folder, "north").channel(f"127.0.0.1:{unused.getsockname()[1]}"))
    assert explain(answer) == "nothing listens there"


# What the director's log says.

DIRECTOR = """
import logging, os, sys
from concurrent import futures
from pathlib import Path
import grpc
from federation import logs
from federation.core_log import refusals_in_words
from federation.identity import Credentials, listen

folder = Path(sys.argv[1])
logs.configure(file=folder / "director.log")
with refusals_in_words():
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = listen(server, "localhost:0", Credentials(folder, "director"))
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    os.write(2, b"from below\\n")
    print("from python", file=sys.stderr)
    server.stop(None).wait()
os.write(2, b"afterwards\\n")
logging.warning("last words")
"""


def test_the_log_says_why_a_handshake_failed(folder: Path, elsewhere: Path) -> None:
    director = subprocess.Popen(
        [sys.executable, "-c", DIRECTOR, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "GRPC_VERBOSITY": "ERROR"},
    )
    assert director.stdout is not None
    address = f"localhost:{director.stdout.readline().strip()}"
    mixed = grpc.ssl_channel_credentials(
        (folder / "authority.crt").read_bytes(),
        (elsewhere / "north.key").read_bytes(),
        (elsewhere / "north.crt").read_bytes(),
    )
    anonymous = grpc.ssl_channel_credentials((folder / "authority.crt").read_bytes())
    for credentials in (mixed, mixed, anonymous):
        assert ask(grpc.secure_channel(address, credentials)).startswith("UNAVAILABLE")
    assert ask(grpc.insecure_channel(address)).startswith("UNAVAILABLE")
    _, errors = director.communicate("", timeout=20)

    log = (folder / "director.log").read_text()
    assert (
        log.count("refused a connection: its certificate is not signed by this federation's authority") == 1
    )
    assert "refused a connection: it has no certificate" in log
    assert "refused a connection: it does not speak TLS" in log
    assert log.splitlines()[-1].endswith("WARNING root: last words")
    assert "Handshake failed" not in errors
    assert "absl" not in errors
    for line in ("from below", "from python", "afterwards", "last words", "refused a connection"):
        assert line in errors
    assert director.returncode == 0
