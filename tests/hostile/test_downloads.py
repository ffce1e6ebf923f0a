"""A site and a workspace take from a director what its plan's model can be, and not a byte more."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envoy.client import GrpcAggregatorClient
from envoy.room import what_is_full
from federation.download import download
from federation.errors import Refused
from federation.identity import Identity
from federation.link import Link
from federation.protocol import federation_pb2 as pb
from federation.tensors import chunks, measure, most_bytes, specs_of
from tests.federation.fake_director import FakeDirector, serving

MODEL = {"weight": np.arange(1 << 18, dtype=np.float32), "böse": np.zeros((3, 0, 5), np.float32)}
TERABYTE = 1 << 40
PIECE = bytes(1 << 20)
# What lies between the two ends: windows and queues of gRPC.
ON_ITS_WAY = 64


class Endless(FakeDirector):
    """Announces a model, and sends bytes for as long as anybody takes them."""

    def __init__(self, announced: int, piece: bytes = PIECE) -> None:
        super().__init__()
        self.announced, self.piece, self.sent = announced, piece, 0

    def GetModel(self, request: Any, context: Any) -> Iterator[pb.ModelChunk]:
        yield pb.ModelChunk(info=pb.ModelInfo(blob=pb.Blob(sha256="a" * 64, size=self.announced)))
        while self.sent < 1 << 20:
            self.sent += 1
            yield pb.ModelChunk(data=self.piece)


class Honest(FakeDirector):
    def GetModel(self, request: Any, context: Any) -> Iterator[pb.ModelChunk]:
        sha256, size = measure(MODEL)
        yield pb.ModelChunk(info=pb.ModelInfo(blob=pb.Blob(sha256=sha256, size=size)))
        for piece in chunks(MODEL):
            yield pb.ModelChunk(data=piece)


class Mute(FakeDirector):
    def GetModel(self, request: Any, context: Any) -> Iterator[pb.ModelChunk]:
        yield from ()


@contextmanager
def connected(director: FakeDirector) -> Iterator[Link]:
    with serving(director) as address, Link(address, Identity("north", "envoy"), None) as link:
        yield link


def client(link: Link, folder: Path) -> GrpcAggregatorClient:
    worker = GrpcAggregatorClient(link, "birds", downloads=folder)
    worker.most_bytes = most_bytes(specs_of(MODEL))
    return worker


@pytest.mark.parametrize(
    ("announced", "piece", "why"),
    [
        (
            TERABYTE,
            PIECE,
            "announces a model of 1,099,511,627,776 bytes; it can have 1,0[0-9]{2},[0-9]{3} at most",
        ),
        (10**15, PIECE, "announces a model of"),
        (1_000_000, PIECE, "more than the 1,000,000 bytes that were announced arrive"),
        (0, PIECE, "more than the 0 bytes"),
        (1_000_000, b"", "pieces without any"),
    ],
)
def test_an_endless_stream_ends_at_once_and_leaves_nothing(
    tmp_path: Path, announced: int, piece: bytes, why: str
) -> None:
    director = Endless(announced, piece)
    with connected(director) as link, pytest.raises(Refused, match=why):
        client(link, tmp_path / "downloads").get_model(0)
    if piece:
        assert director.sent <= ON_ITS_WAY
    assert not list(tmp_path.rglob("*.*")), "nothing lies there"


def test_what_a_site_builds_says_how_large_a_model_is_and_its_own_fits(tmp_path: Path) -> None:
    assert measure(MODEL)[1] <= most_bytes(specs_of(MODEL)) <= measure(MODEL)[1] + 4096
    with connected(Honest()) as link:
        model = client(link, tmp_path / "downloads").get_model(0)
    assert model.keys() == MODEL.keys()
    np.testing.assert_array_equal(model["weight"], MODEL["weight"])
    assert list((tmp_path / "downloads").iterdir()) == [], "its file has no name, and goes with the process"


def test_a_model_that_the_disk_has_no_room_for_is_waited_for_like_any_full_disk(small_disk: Path) -> None:
    with connected(Honest()) as link:
        worker = client(link, small_disk)
        (small_disk / "ballast").write_bytes(bytes(1 << 20))
        with pytest.raises(OSError, match="No space left") as caught:
            worker.get_model(0)
        (small_disk / "ballast").unlink()
        assert worker.get_model(0).keys() == MODEL.keys()
    assert what_is_full(caught.value) is not None


def test_a_director_that_sends_nothing_is_asked_a_few_times_and_then_refused(tmp_path: Path) -> None:
    with connected(Mute()) as link, pytest.raises(Refused, match="sent nothing in the place of a model"):
        client(link, tmp_path).get_model(0)


TAKES_A_MODEL = """
import json, resource, sys
from pathlib import Path
from envoy.client import GrpcAggregatorClient
from federation.identity import Identity
from federation.link import Link

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
address, folder, most = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
with Link(address, Identity("north", "envoy"), None) as link:
    client = GrpcAggregatorClient(link, "birds", downloads=folder)
    client.most_bytes = most
    before = peak()
    try:
        client.get_model(0)
    except Exception as error:
        print(json.dumps([type(error).__name__, (peak() - before) >> 10]))
"""


def test_a_site_that_expects_a_large_model_takes_no_memory_for_it(tmp_path: Path) -> None:
    """Of 256 MiB that come as announced, and are other bytes, none stays in memory or on the disk."""
    size = 256 << 20
    director = Endless(size)
    with serving(director) as address:
        arguments = [sys.executable, "-c", TAKES_A_MODEL, address, str(tmp_path), str(size)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=120)
    error, grown_mib = json.loads(done.stdout)
    assert error == "Refused"
    assert director.sent >= 256
    assert grown_mib < 128
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_looks_at_what_is_announced_before_it_takes_a_byte(tmp_path: Path) -> None:
    director = Endless(1 << 30)
    with connected(director) as link, pytest.raises(Refused, match="it can have 1,000 at most"):
        link.call(lambda stub: download(stub, pb.ModelRequest(kept="best"), (), tmp_path, lambda _: 1000))
    assert director.sent <= ON_ITS_WAY
