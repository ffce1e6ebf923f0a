"""A site keeps what operators have revoked, and believes no director about it."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

import pytest

from envoy.revoked import FILE, Revoked
from federation.certificates import load_certificate, make_authority, make_member
from federation.errors import Refused
from federation.identity import Credentials
from federation.protocol import federation_pb2 as pb
from federation.revocation import serial_of, signed_revocation, text_of_revocation
from federation.signing import sign


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    folder = tmp_path / "certificates"
    make_authority(folder)
    for name, role in (("olga", "operator"), ("director", "director"), ("alice", "workspace")):
        make_member(folder, name, role)
    return folder


@pytest.fixture
def revoked(tmp_path: Path, certificates: Path) -> Revoked:
    return Revoked(tmp_path / "north", certificates)


def signed(certificates: Path, by: str, name: str, serial: str = "") -> pb.Revocation:
    return signed_revocation(Credentials(certificates, by), name, serial, "stolen")


def test_what_an_operator_has_revoked_is_known_after_a_restart(
    tmp_path: Path, certificates: Path, revoked: Revoked
) -> None:
    alice = load_certificate(certificates / "alice.crt", "")
    assert revoked.is_revoked(alice) == ""
    revoked.keep(signed(certificates, "olga", "alice"))
    assert "was revoked by olga" in revoked.is_revoked(alice)
    again = Revoked(tmp_path / "north", certificates)
    assert again.is_revoked(alice) == revoked.is_revoked(alice)
    assert again.is_revoked(load_certificate(certificates / "olga.crt", "")) == ""
    assert stat.S_IMODE((tmp_path / "north" / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "north").stat().st_mode) == 0o700


@pytest.mark.parametrize("by", ["director", "alice"])
def test_a_director_cannot_make_a_revocation_up(
    tmp_path: Path, certificates: Path, revoked: Revoked, by: str
) -> None:
    with pytest.raises(Refused, match="this is for the role operator"):
        revoked.keep(signed(certificates, by, "alice"))
    tampered = signed(certificates, "olga", "bob")
    tampered.name = "alice"
    with pytest.raises(Refused, match="has not signed this"):
        revoked.keep(tampered)
    elsewhere = tmp_path / "elsewhere"
    make_authority(elsewhere)
    make_member(elsewhere, "olga", "operator")
    with pytest.raises(Refused, match="another authority"):
        revoked.keep(signed(elsewhere, "olga", "alice"))
    assert revoked.is_revoked(load_certificate(certificates / "alice.crt", "")) == ""
    assert not (tmp_path / "north").exists()


def test_an_operator_whose_certificate_was_not_valid_then_has_revoked_nothing(
    certificates: Path, revoked: Revoked
) -> None:
    entry = signed(certificates, "olga", "alice")
    entry.time -= 3600
    entry.signature.CopyFrom(sign(Credentials(certificates, "olga"), text_of_revocation(entry)))
    with pytest.raises(Refused, match="was not valid on"):
        revoked.keep(entry)


def test_a_director_cannot_take_a_revocation_back(certificates: Path, revoked: Revoked) -> None:
    alice = load_certificate(certificates / "alice.crt", "")
    early = signed(certificates, "olga", "alice")
    late = signed(certificates, "olga", "alice")
    revoked.keep(late)
    revoked.keep(early)
    assert "was revoked by olga" in revoked.is_revoked(alice)
    with pytest.raises(Refused):
        revoked.keep(pb.Revocation(name="alice", time=1.0, by="olga"))
    assert "was revoked by olga" in revoked.is_revoked(alice)


def test_a_serial_number_is_of_one_certificate(certificates: Path, revoked: Revoked) -> None:
    old = load_certificate(certificates / "alice.crt", "")
    make_member(certificates, "alice", "workspace", force=True)
    revoked.keep(signed(certificates, "olga", "alice", serial_of(old)))
    assert "was revoked" in revoked.is_revoked(old)
    assert revoked.is_revoked(load_certificate(certificates / "alice.crt", "")) == ""


def test_a_damaged_file_keeps_no_site_from_starting(tmp_path: Path, certificates: Path) -> None:
    (tmp_path / "north").mkdir()
    (tmp_path / "north" / FILE).write_bytes(b"\xff\xff\xff")
    again = Revoked(tmp_path / "north", certificates)
    again.keep(signed(certificates, "olga", "alice"))
    alice = load_certificate(certificates / "alice.crt", "")
    assert "was revoked" in Revoked(tmp_path / "north", certificates).is_revoked(alice)


def test_without_an_authority_nothing_is_believed(certificates: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(certificates, bare)
    (bare / "authority.crt").unlink()
    entry = signed(certificates, "olga", "alice")
    with pytest.raises(Refused, match="cannot be checked"):
        Revoked(tmp_path / "north", bare).keep(entry)
    insecure = Revoked(tmp_path / "south", None)
    insecure.keep(entry)
    assert insecure.is_revoked(load_certificate(certificates / "alice.crt", "")) == ""
