"""What one member does costs no other its place: at a director that runs, over mTLS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from federation.certificates import make_member
from federation.identity import Credentials
from federation.link import OPTIONS
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from tests.deployment import DEADLINE, Deployment


class Member:
    """A member's connection, and its calls."""

    def __init__(self, deployment: Deployment, name: str) -> None:
        self.channel = Credentials(deployment.certificates, name).channel(deployment.address, OPTIONS)
        self.stub: Any = rpc.DirectorStub(self.channel)


@pytest.fixture
def members(deployment: Deployment) -> Iterator[Any]:
    """Opens connections; they are closed at the end."""
    opened: list[Member] = []

    def member(name: str, role: str = "") -> Member:
        if role:
            make_member(deployment.certificates, name, role)
        opened.append(Member(deployment, name))
        return opened[-1]

    yield member
    for one in opened:
        one.channel.close()


def test_a_second_envoy_of_a_name_waits_until_the_first_is_gone(deployment: Deployment, members: Any) -> None:
    director = deployment.start_director()
    first, second = members("north", "envoy"), members("north")
    orders = first.stub.Connect(pb.Announcement(process="a" * 32, dataset="first"))
    assert next(orders).HasField("connected")

    for _ in range(3):
        refused = second.stub.Connect(pb.Announcement(process="b" * 32, dataset="second"))
        with pytest.raises(grpc.RpcError) as error:
            next(refused)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    director.wait_for(r"north is connected from 127.0.0.1:\d+ already, and cannot be from 127.0.0.1:\d+ too")
    workspace = members("workspace")
    [online] = workspace.stub.ListEnvoys(pb.Empty(), timeout=DEADLINE).envoys
    assert online.announcement.dataset == "first"

    orders.cancel()
    director.wait_for("envoy north is offline")
    orders = second.stub.Connect(pb.Announcement(process="b" * 32, dataset="second"))
    assert next(orders).HasField("connected")
