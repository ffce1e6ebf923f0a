"""Making certificates: what they say, and what is not overwritten, signed or named."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509

from federation.certificates import load_certificate, make_authority, make_member
from federation.errors import InputError
from federation.identity import Credentials, Identity


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    make_authority(folder)
    make_member(folder, "director", "director", ["localhost", "127.0.0.1"])
    make_member(folder, "north", "envoy")
    make_member(folder, "alice", "workspace")
    return folder


def test_keys_can_be_read_by_their_owner_only(folder: Path) -> None:
    for file in folder.glob("*.key"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_certificate_says_name_role_hosts_and_use(folder: Path) -> None:
    certificate = load_certificate(folder / "director.crt", "")
    assert certificate.subject.rfc4514_string() == "OU=director,CN=director"
    hosts = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert hosts.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(host) for host in hosts.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == 730
    serials = {load_certificate(file, "").serial_number for file in folder.glob("*.crt")}
    assert len(serials) == len(list(folder.glob("*.crt")))


def test_what_is_there_is_kept_and_what_differs_is_not_overwritten(tmp_path: Path) -> None:
    assert make_authority(tmp_path)
    assert make_member(tmp_path, "north", "envoy")
    before = {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert not make_authority(tmp_path)
    assert not make_member(tmp_path, "north", "envoy")
    with pytest.raises(InputError, match=r"north\.key: is there already, .* --force"):
        make_member(tmp_path, "north", "workspace")
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert make_member(tmp_path, "north", "workspace", force=True)
    assert Credentials(tmp_path, "north").identity() == Identity("north", "workspace")


def test_a_member_is_not_valid_for_longer_than_its_authority(tmp_path: Path) -> None:
    make_authority(tmp_path, days=3)
    make_member(tmp_path, "north", "envoy", days=30)
    end = load_certificate(tmp_path / "north.crt", "").not_valid_after_utc
    assert end == load_certificate(tmp_path / "authority.crt", "").not_valid_after_utc


@pytest.mark.parametrize("name", ["authority", "North", "a/b", "..", "my_aggregator", "model"])
def test_a_member_cannot_have_a_name_that_would_harm(folder: Path, name: str) -> None:
    with pytest.raises(InputError, match="name"):
        make_member(folder, name, "envoy")


@pytest.mark.parametrize("host", ["http://host", "host:50051", "a b", "-x", ""])
def test_a_host_is_a_name_or_an_ip_address(folder: Path, host: str) -> None:
    with pytest.raises(InputError, match="is neither a host name nor an IP address"):
        make_member(folder, "other", "director", [host])


def test_without_an_authority_nothing_is_signed(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"authority\.crt: there is no such file; make it with: fed certify authority"
    ):
        make_member(tmp_path, "north", "envoy")
