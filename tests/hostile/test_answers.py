"""What a director answers beyond all measure: members refuse it in one short line, and go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from federation.download import download
from federation.errors import FederationError, InputError, Unreachable
from federation.identity import Identity, listen
from federation.link import Link
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from workspace.client import Experiment, Federation

PROMPT = 30.0
MEGABYTE = 1 << 20


class LyingDirector(rpc.DirectorServicer):
    """A director that answers what the test has told it to."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.connections = 0

    def ListExperiments(self, request: Any, context: Any) -> Any:
        context.set_compression(self.answers.get("compression", grpc.Compression.NoCompression))
        return pb.Experiments(**self.answers.get("experiments", {}))

    def Watch(self, request: Any, context: Any) -> Any:
        yield pb.Event(id=1, kind="round_closed", body=self.answers["body"])

    def GetModel(self, request: Any, context: Any) -> Any:
        yield from self.answers.get("chunks", ())

    def Connect(self, request: Any, context: Any) -> Any:
        self.connections += 1
        yield self.answers["first"] if self.connections == 1 else pb.Order(connected=pb.Empty())


@pytest.fixture
def lying() -> Iterator[Callable[..., str]]:
    servers = []

    def serve(**answers: Any) -> str:
        options = [("grpc.max_send_message_length", -1), ("grpc.so_reuseport", 0)]
        server = grpc.server(ThreadPoolExecutor(4), options=options)
        rpc.add_DirectorServicer_to_server(LyingDirector(**answers), server)
        port = listen(server, "127.0.0.1:0", None)
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield serve
    for server in servers:
        server.stop(None).wait()


@pytest.mark.parametrize(
    "order",
    [
        pb.Order(start=pb.Start(experiment="rows", frozen_fingerprint="x" * MEGABYTE)),
        pb.Order(start=pb.Start(experiment="x" * 257)),
        pb.Order(start=pb.Start(plan="x" * (3 * MEGABYTE))),
        pb.Order(forget="../" * 1000),
    ],
)
def test_an_order_beyond_measure_is_not_obeyed_and_ends_no_envoy(lying: Any, order: pb.Order) -> None:
    with Link(lying(first=order), Identity("north", "envoy"), None) as link:
        orders = link.stream(lambda stub: stub.Connect(pb.Announcement()), endless=True)
        assert next(orders).HasField("connected")


def test_a_workspace_takes_no_answer_beyond_measure(lying: Any) -> None:
    experiment = {"name": "rows", "reason": "x" * MEGABYTE}
    with (
        Federation(
            lying(experiments={"experiments": [experiment]}), name="alice", insecure=True
        ) as federation,
        pytest.raises(InputError, match=r"experiments\.reason has 1048576 characters"),
    ):
        federation.experiments()


@pytest.mark.parametrize("body", ["{", "[]", "{}", "[" * 100_000])
def test_a_workspace_says_that_an_event_cannot_be_read(lying: Any, body: str) -> None:
    with (
        Federation(lying(body=body), name="alice", insecure=True) as federation,
        pytest.raises(InputError, match="the director has sent an event"),
    ):
        list(Experiment(federation, "rows").events())


@pytest.mark.parametrize(
    ("chunks", "error"),
    [
        ([], Unreachable),
        ([pb.ModelChunk()], Unreachable),
        ([pb.ModelChunk(data=bytes(5 * MEGABYTE))], InputError),
        ([pb.ModelChunk(info=pb.ModelInfo(blob=pb.Blob(size=2**63)))], InputError),
    ],
)
def test_a_member_takes_no_model_that_is_none(
    lying: Any, chunks: Any, error: type[Exception], tmp_path: Path
) -> None:
    with Link(lying(chunks=chunks), Identity("north", "envoy"), None) as link, pytest.raises(error):
        link.call(lambda stub: download(stub, pb.ModelRequest(round=0), (), tmp_path), patience=0.0)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_member_inflates_no_answer(lying: Any, compression: grpc.Compression) -> None:
    answer = {"paused": "x" * 60_000}
    with Link(lying(experiments=answer), Identity("north", "envoy"), None) as link:
        assert link.call(lambda stub: stub.ListExperiments(pb.Empty(), timeout=PROMPT)).paused
    with (
        Link(lying(experiments=answer, compression=compression), Identity("north", "envoy"), None) as link,
        pytest.raises(FederationError) as refusal,
    ):
        link.call(lambda stub: stub.ListExperiments(pb.Empty(), timeout=PROMPT), patience=0.0)
    assert len(str(refusal.value)) < 500
