"""A model that is taken home is what was announced, or it is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envoy.client import MOST_DAMAGED, GrpcAggregatorClient
from federation.download import download
from federation.errors import Refused, Unreachable
from federation.identity import Identity
from federation.link import Link
from federation.protocol import federation_pb2 as pb
from federation.tensors import chunks, measure
from tests.federation.fake_director import FakeDirector, serving
from workspace.client import Federation

MODEL = {"weight": np.arange(6, dtype=np.float32)}


class Careless(FakeDirector):
    """Sends a model, the first few times with a byte that its disk has altered."""

    def __init__(self, damaged: int) -> None:
        super().__init__()
        self.left = damaged

    def GetModel(self, request: Any, context: Any) -> Iterator[pb.ModelChunk]:
        sha256, size = measure(MODEL)
        data = bytearray(b"".join(chunks(MODEL)))
        if self.left > 0:
            self.left -= 1
            data[-1] ^= 1
        yield pb.ModelChunk(info=pb.ModelInfo(blob=pb.Blob(sha256=sha256, size=size)))
        yield pb.ModelChunk(data=bytes(data))


def test_a_worker_asks_again_for_a_model_that_is_not_what_was_announced() -> None:
    with (
        serving(Careless(damaged=MOST_DAMAGED - 1)) as address,
        Link(address, Identity("north", "envoy"), None) as link,
    ):
        model = GrpcAggregatorClient(link, "rows").get_model(0)
    np.testing.assert_array_equal(model["weight"], MODEL["weight"])


def test_a_worker_does_not_train_with_one_that_stays_damaged_and_says_what_to_do() -> None:
    with (
        serving(Careless(damaged=99)) as address,
        Link(address, Identity("north", "envoy"), None) as link,
        pytest.raises(Refused, match="was announced: `fed director check` says"),
    ):
        GrpcAggregatorClient(link, "rows").get_model(0)


def test_a_workspace_takes_no_damaged_model_home(tmp_path: Path) -> None:
    with (
        serving(Careless(damaged=99)) as address,
        Federation(address, name="alice", insecure=True) as federation,
        pytest.raises(Unreachable, match="was announced"),
    ):
        federation.call(lambda stub: download(stub, pb.ModelRequest(kept="best"), (), tmp_path), patience=1.0)


class BreaksOff(FakeDirector):
    """Ends in the middle of a model, as if that were its end."""

    def GetModel(self, request: Any, context: Any) -> Iterator[pb.ModelChunk]:
        sha256, size = measure(MODEL)
        yield pb.ModelChunk(info=pb.ModelInfo(blob=pb.Blob(sha256=sha256, size=size)))
        yield pb.ModelChunk(data=bytes(4))


def test_a_model_of_fewer_bytes_than_were_announced_comes_again_and_is_nobodys_misbehaviour(
    tmp_path: Path,
) -> None:
    size = measure(MODEL)[1]
    with (
        serving(BreaksOff()) as address,
        Link(address, Identity("north", "envoy"), None) as link,
        pytest.raises(Unreachable, match=f"4 of {size} bytes arrived"),
    ):
        link.call(lambda stub: download(stub, pb.ModelRequest(round=0), (), tmp_path), patience=0.0)
