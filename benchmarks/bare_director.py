"""A bare gRPC server with a director's calls, options and certificates, which checks, hashes, writes and sums nothing."""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil

from director.server import OPTIONS as SERVER_OPTIONS
from federation.identity import Credentials
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc

DEADLINE = 120.0
spawn = multiprocessing.get_context("spawn")


@contextmanager
def bare(
    folder: Path, cohort: int, pieces: Sequence[bytes], rounds: int
) -> Iterator[tuple[psutil.Process, str, Any]]:
    """Run a bare server; yield its process, its address and the times at which its rounds turn."""
    port, turns = spawn.Queue(), spawn.Queue()
    process = spawn.Process(target=serve, args=(folder, cohort, pieces, rounds, port, turns))
    process.start()
    try:
        yield psutil.Process(process.pid), f"localhost:{port.get(timeout=DEADLINE)}", turns
    finally:
        process.kill()
        process.join()


def serve(folder: Path, cohort: int, pieces: Sequence[bytes], rounds: int, port: Any, turns: Any) -> None:
    """Be the bare server, until killed."""

    async def run() -> None:
        server = grpc.aio.server(options=SERVER_OPTIONS)
        rpc.add_DirectorServicer_to_server(Bare(cohort, pieces, rounds, turns), server)
        port.put(server.add_secure_port("127.0.0.1:0", Credentials(folder, "director").server_credentials()))
        await server.start()
        await server.wait_for_termination()

    raise_descriptor_limit()
    asyncio.run(run())


class Bare(rpc.DirectorServicer):  # type: ignore[misc]
    """Answers as a director does, and does nothing else: a round turns with the last of as many results as there are envoys."""

    def __init__(self, cohort: int, pieces: Sequence[bytes], rounds: int, turns: Any) -> None:
        self._cohort, self._pieces, self._rounds, self._turns = cohort, pieces, rounds, turns
        self._round = self._results = 0
        self._turned = asyncio.Event()
        self._given: dict[str, int] = {}  # the round whose task a peer has got

    async def Connect(self, request: pb.Announcement, context: Any) -> AsyncIterator[pb.Order]:  # noqa: N802
        """Keep a connection."""
        yield pb.Order(connected=pb.Empty())
        if self._cohort:
            yield pb.Order(start=pb.Start(experiment="bare"))
        await asyncio.Event().wait()

    async def GetTasks(self, request: pb.TasksRequest, context: Any) -> pb.Tasks:  # noqa: N802
        """Answer when a round turns."""
        if self._given.get(context.peer()) == self._round:
            await self._turned.wait()
        self._given[context.peer()] = self._round
        return pb.Tasks(tasks=["train"], round=self._round, quit=self._round >= self._rounds)

    async def GetModel(self, request: pb.ModelRequest, context: Any) -> AsyncIterator[pb.ModelChunk]:  # noqa: N802
        """Send the model."""
        yield pb.ModelChunk(info=pb.ModelInfo(round=request.round))
        for piece in self._pieces:
            yield pb.ModelChunk(data=piece)

    async def SendTaskResults(self, requests: AsyncIterator[pb.ResultChunk], context: Any) -> pb.Receipt:  # noqa: N802
        """Take a result."""
        async for _ in requests:
            pass
        self._results += 1
        if self._results == self._cohort:
            self._results, self._round = 0, self._round + 1
            self._turns.put(time.time())
            self._turned.set()
            self._turned = asyncio.Event()
        return pb.Receipt(counted=True)


def raise_descriptor_limit() -> None:
    """Allow this process as many connections as the system does."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
