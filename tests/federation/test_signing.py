"""What is signed is one text for one message, and a signature is of one text, by one member, in its time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from federation.certificates import USERS, load_certificate, make_authority, make_member
from federation.errors import Refused
from federation.identity import Credentials
from federation.introduction import covers
from federation.protocol import federation_pb2 as pb
from federation.signing import (
    authority_of,
    sign,
    text_of_amendment,
    text_of_introduction,
    text_of_submission,
    verify,
)
from tests.reissue import DAY, reissued

SUBMISSION: dict[str, Any] = {
    "director": "director",
    "id": "submission-1",
    "code_hash": "c" * 64,
    "blob": pb.Blob(sha256="a" * 64, size=12),
    "frozen_fingerprint": "f" * 64,
    "plan": "{}",
}


@pytest.fixture
def alice(tmp_path: Path) -> Credentials:
    make_authority(tmp_path)
    make_member(tmp_path, "alice", "workspace")
    return Credentials(tmp_path, "alice")


def test_the_text_of_a_submission_is_what_it_has_always_been() -> None:
    """Members of different versions make it: another text needs another number in its first field."""
    submission = pb.Submission(director="d", id="i", code_hash="c", frozen_fingerprint="f", plan="p")
    submission.blob.CopyFrom(pb.Blob(sha256="s", size=7))
    length = (1).to_bytes(8, "big")
    fields = b"".join(length + field for field in (b"d", b"i", b"c", b"s", b"7", b"f", b"p"))
    assert text_of_submission(submission) == b"fed-submission-1\0" + fields
    assert text_of_introduction(b"n") == b"fed-introduction-1\0" + length + b"n"
    changes = b"".join(length + field for field in (b"d", b"i", b"1", b"a", b"2", b"b", b"3"))
    assert text_of_amendment("d", "i", 1, {"b": "3", "a": "2"}) == b"fed-amendment-1\0" + changes


@pytest.mark.parametrize(
    "changes",
    [
        {"director": "another"},
        {"id": "submission-2"},
        {"code_hash": "d" * 64},
        {"blob": pb.Blob(sha256="b" * 64, size=12)},
        {"blob": pb.Blob(sha256="a" * 64, size=13)},
        {"frozen_fingerprint": "e" * 64},
        {"plan": "{ }"},
        {"director": "directors", "id": "ubmission-1"},  # the same letters, in other fields
    ],
)
def test_whatever_changes_of_a_submission_changes_its_text(changes: dict[str, Any]) -> None:
    other = pb.Submission(**(SUBMISSION | changes))
    assert text_of_submission(other) != text_of_submission(pb.Submission(**SUBMISSION))


def test_a_change_cannot_be_read_as_another() -> None:
    texts = {
        text_of_amendment("director", "submission-1", number, settings)
        for number, settings in [
            (1, {}),
            (11, {}),
            (1, {"1": ""}),
            (1, {"a": "b"}),
            (1, {"ab": ""}),
            (1, {"a": "", "b": ""}),
        ]
    }
    assert len(texts) == 6


def test_a_signature_says_whose_it_is(alice: Credentials) -> None:
    signer = verify(sign(alice, b"text"), b"text", authority_of(alice), USERS)
    assert str(signer.identity) == "workspace alice"
    assert signer.certificate.serial_number


def test_a_signature_of_something_else_or_by_somebody_else_is_refused(alice: Credentials) -> None:
    authority = authority_of(alice)
    make_member(alice.folder, "north", "envoy")
    with pytest.raises(Refused, match="workspace alice has not signed this"):
        verify(sign(alice, b"text"), b"texts", authority, USERS)
    with pytest.raises(Refused, match="this is for the role workspace or operator"):
        verify(sign(Credentials(alice.folder, "north"), b"text"), b"text", authority, USERS)
    borrowed = pb.Signature(
        certificate=(alice.folder / "alice.crt").read_bytes(),
        signature=sign(Credentials(alice.folder, "north"), b"text").signature,
    )
    with pytest.raises(Refused, match="has not signed this"):
        verify(borrowed, b"text", authority, USERS)


def test_a_certificate_counts_in_its_time_unless_that_was_seen_before(alice: Credentials) -> None:
    signature = sign(alice, b"text")
    for ends_in in (-DAY, 20 * DAY):  # it has ended, or has not begun
        signature.certificate = reissued(alice, ends_in=ends_in)
        with pytest.raises(Refused, match=r"the certificate of workspace alice, .* is valid from"):
            verify(signature, b"text", authority_of(alice), USERS)
        assert verify(signature, b"text", authority_of(alice), USERS, in_time=False)


def test_the_authoritys_own_certificate_signs_nothing(alice: Credentials) -> None:
    with pytest.raises(Refused):
        verify(sign(Credentials(alice.folder, "authority"), b"text"), b"text", authority_of(alice), USERS)


@pytest.mark.parametrize("damage", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(alice: Credentials, damage: bytes) -> None:
    signature = sign(alice, b"text")
    signature.certificate = damage
    with pytest.raises(Refused, match="cannot be read"):
        verify(signature, b"text", authority_of(alice), USERS)


def test_a_key_of_another_kind_is_refused(alice: Credentials) -> None:
    key = rsa.generate_private_key(65537, 2048)
    signature = sign(alice, b"text")
    signature.certificate = reissued(alice, public_key=key.public_key())
    with pytest.raises(Refused, match="no elliptic-curve key"):
        verify(signature, b"text", authority_of(alice), USERS)


@pytest.mark.parametrize(
    ("hosts", "host", "covered"),
    [
        (["director.example"], "DIRECTOR.example", True),
        (["director.example"], "director.example.org", False),
        (["director.example"], "example", False),
        (["10.0.0.7"], "10.0.0.7", True),
        (["10.0.0.7"], "10.0.0.70", False),
        (["::1"], "0:0:0:0:0:0:0:1", True),
        ([], "director", True),
        ([], "another", False),
    ],
)
def test_a_certificate_is_for_the_hosts_that_it_names(
    tmp_path: Path, hosts: list[str], host: str, covered: bool
) -> None:
    make_authority(tmp_path)
    make_member(tmp_path, "director", "director", hosts)
    assert covers(load_certificate(tmp_path / "director.crt", ""), host) is covered
