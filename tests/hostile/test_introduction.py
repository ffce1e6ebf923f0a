"""A member talks to no director that cannot show that it is the one that was called."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from federation.certificates import make_authority, make_member
from federation.errors import Refused
from federation.identity import Credentials
from federation.protocol import federation_pb2 as pb
from federation.signing import sign, text_of_introduction
from tests.federation.fake_director import FakeDirector, serving
from workspace.client import Federation


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_authority(tmp_path)
    for name, host in (("director", "127.0.0.1"), ("elsewhere", "elsewhere.example")):
        make_member(tmp_path, name, "director", [host])
    make_member(tmp_path, "north", "envoy")
    make_member(tmp_path, "alice", "workspace")
    return tmp_path


@dataclass
class Impostor(FakeDirector):
    """Introduces itself with what a test gives it."""

    signature: Callable[[bytes], pb.Signature]

    def Introduce(self, request: pb.Challenge, context: grpc.ServicerContext) -> pb.Introduction:
        return pb.Introduction(signature=self.signature(request.nonce))


def test_a_director_must_show_that_it_is_the_one_that_was_called(folder: Path) -> None:
    def signed_by(name: str) -> Callable[[bytes], pb.Signature]:
        return lambda nonce: sign(Credentials(folder, name), text_of_introduction(nonce))

    stale = signed_by("director")(os.urandom(32))
    for signature, said in (
        (signed_by("north"), "this is for the role director"),
        (lambda nonce: stale, "the signature is of something else"),
        (signed_by("elsewhere"), "which its certificate does not name"),
        (lambda nonce: pb.Signature(), "cannot be read"),
    ):
        with (
            serving(Impostor(signature), credentials=Credentials(folder, "director")) as address,
            Federation(address, folder, "alice") as federation,
            pytest.raises(Refused, match=said),
        ):
            federation.director_name()
    with (
        serving(Impostor(signed_by("director")), credentials=Credentials(folder, "director")) as address,
        Federation(address, folder, "alice") as federation,
    ):
        assert federation.director_name() == "director"


def test_a_director_of_an_earlier_version_has_no_name(folder: Path) -> None:
    with (
        serving(FakeDirector(), credentials=Credentials(folder, "director")) as address,
        Federation(address, folder, "alice") as federation,
    ):
        assert federation.director_name() == ""
