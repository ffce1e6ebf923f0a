"""A site's key never leaves it: it makes a request, and the authority alone says whose the certificate is."""

from __future__ import annotations

import datetime as dt
import shutil
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from federation.certificate_requests import make_request, renew, request_file, sign_request
from federation.certificates import hosts_of, load_certificate, make_authority, make_member
from federation.cli import certify
from federation.errors import InputError
from federation.identity import Credentials, Identity
from tests.hostile.commands import run


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    make_authority(tmp_path / "authority")
    return tmp_path / "authority"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


def bring(authority: Path, site: Path, name: str) -> Credentials:
    """Bring the certificates, and nothing else, from the authority to the site."""
    for file in ("authority.crt", f"{name}.crt"):
        shutil.copy(authority / file, site / file)
    return Credentials(site, name)


def test_a_member_joins_with_a_key_that_never_leaves_its_site(authority: Path, site: Path) -> None:
    said = run(certify, "-o", str(site), "request", "north", "--role", "envoy")
    assert "fed certify sign north.csr --name north --role envoy" in said
    assert stat.S_IMODE((site / "north.key").stat().st_mode) == 0o600
    assert b"PRIVATE" not in request_file(site, "north").read_bytes()
    shutil.copy(request_file(site, "north"), authority / "from-north.csr")

    request = str(authority / "from-north.csr")
    said = run(certify, "-o", str(authority), "sign", request, "--name", "north", "--role", "envoy")
    assert "certificate of envoy north, valid until" in said
    assert not (authority / "north.key").exists()
    assert bring(authority, site, "north").identity() == Identity("north", "envoy")


def test_what_a_request_says_of_name_and_role_is_not_looked_at(authority: Path, site: Path) -> None:
    make_request(site, "olga", "operator")
    sign_request(authority, request_file(site, "olga"), "mallory", "workspace")
    shutil.copy(site / "olga.key", site / "mallory.key")
    assert bring(authority, site, "mallory").identity() == Identity("mallory", "workspace")
    assert not (authority / "olga.crt").exists()


def test_a_directors_request_is_signed_for_hosts_that_the_authority_names(
    authority: Path, site: Path
) -> None:
    make_request(site, "director", "director")
    request = str(request_file(site, "director"))
    run(certify, "-o", str(authority), "sign", request, "--name", "director", "--role", "director")
    found = hosts_of(load_certificate(authority / "director.crt", ""))
    assert [str(host.value) for host in found] == ["localhost", "127.0.0.1", "::1"]
    sign_request(authority, request_file(site, "director"), "director", "director", ["fed.example.org"])
    found = hosts_of(load_certificate(authority / "director.crt", ""))
    assert [host.value for host in found] == ["fed.example.org"]


def test_a_certificate_is_renewed_with_the_same_key_before_it_ends(authority: Path, site: Path) -> None:
    make_request(site, "north", "envoy")
    sign_request(authority, request_file(site, "north"), "north", "envoy", days=20)
    before = load_certificate(authority / "north.crt", "")
    key = (site / "north.key").read_bytes()

    assert not make_request(site, "north", "envoy"), "the key is kept"
    sign_request(authority, request_file(site, "north"), "north", "envoy")
    assert (site / "north.key").read_bytes() == key
    after = load_certificate(authority / "north.crt", "")
    assert after.not_valid_after_utc > before.not_valid_after_utc + dt.timedelta(days=600)
    assert after.serial_number != before.serial_number
    assert bring(authority, site, "north").identity() == Identity("north", "envoy")


def test_the_authority_renews_without_a_request_and_without_the_key(authority: Path) -> None:
    make_member(authority, "director", "director", ["fed.example.org"], days=10)
    key = (authority / "director.key").read_bytes()
    (authority / "director.key").unlink()
    renew(authority, "director")
    (authority / "director.key").write_bytes(key)
    (authority / "director.key").chmod(0o600)
    assert Credentials(authority, "director").identity() == Identity("director", "director")
    renewed = load_certificate(authority / "director.crt", "")
    assert [host.value for host in hosts_of(renewed)] == ["fed.example.org"]
    assert renewed.not_valid_after_utc > dt.datetime.now(dt.UTC) + dt.timedelta(days=700)


def test_the_certificate_of_another_key_or_role_is_replaced_only_by_force(
    authority: Path, site: Path, tmp_path: Path
) -> None:
    make_request(site, "north", "envoy")
    request = request_file(site, "north")
    sign_request(authority, request, "north", "envoy")
    with pytest.raises(InputError, match=r"of another key or role; replace it with --force"):
        sign_request(authority, request, "north", "operator")
    make_request(tmp_path / "thief", "north", "envoy")
    stolen = request_file(tmp_path / "thief", "north")
    with pytest.raises(InputError, match=r"of another key or role; replace it with --force"):
        sign_request(authority, stolen, "north", "envoy")
    sign_request(authority, stolen, "north", "envoy", force=True)


def test_another_key_is_made_only_by_force(site: Path) -> None:
    make_request(site, "north", "envoy")
    before = (site / "north.key").read_bytes()
    make_request(site, "north", "envoy")
    assert (site / "north.key").read_bytes() == before
    assert make_request(site, "north", "envoy", force=True)
    assert (site / "north.key").read_bytes() != before


def test_what_another_authority_has_signed_is_not_renewed(authority: Path, tmp_path: Path) -> None:
    make_authority(tmp_path / "other")
    make_member(tmp_path / "other", "north", "operator")
    shutil.copy(tmp_path / "other" / "north.crt", authority / "north.crt")
    with pytest.raises(InputError, match="is not signed by"):
        renew(authority, "north")


def test_what_is_no_request_is_one_clear_line(authority: Path, site: Path) -> None:
    make_request(site, "north", "envoy")
    request = request_file(site, "north")
    sound = request.read_bytes()
    weak = rsa.generate_private_key(65537, 1024)
    of_another_kind = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(weak, hashes.SHA256())
    body = sound.splitlines()
    tampered = b"\n".join([*body[:-2], body[-2][:8] + b"AAAA" + body[-2][12:], body[-1]])
    for content, why in (
        (b"", "is no request for a certificate"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "is no request"),
        (sound * 1000, "too many for a request"),
        (of_another_kind.public_bytes(serialization.Encoding.PEM), "curve P-256"),
        (tampered, "is n"),
    ):
        request.write_bytes(content)
        with pytest.raises(InputError, match=why):
            sign_request(authority, request, "north", "envoy")
    with pytest.raises(InputError, match="there is no such file"):
        sign_request(authority, site / "gone.csr", "north", "envoy")
    request.write_bytes(sound)
    with pytest.raises(InputError, match="there is no role 'boss'"):
        sign_request(authority, request, "north", "boss")
    with pytest.raises(InputError, match="name"):
        sign_request(authority, request, "../north", "envoy")
    assert not (authority / "north.crt").exists()
