"""A director of a few lines, in the test's process: its calls do what the test tells them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from federation.identity import Credentials, listen
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.rpc import ANSWER_KEY, status_of

Unary = Callable[[Any, grpc.ServicerContext], Any]
Stream = Callable[[Any, grpc.ServicerContext], Iterator[Any]]


def nothing(request: Any, context: grpc.ServicerContext) -> pb.Experiments:
    return pb.Experiments()


def silence(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    """Stay until the caller or the director goes."""
    gone = threading.Event()
    context.add_callback(gone.set)
    yield pb.Event(id=1, body="{}")
    gone.wait(30)


class FakeDirector(rpc.DirectorServicer):
    """`ListExperiments` is wrapped as the director's are; `ListEnvoys` is bare, as gRPC's own faults would be."""

    def __init__(self, unary: Unary = nothing, stream: Stream = silence) -> None:
        self.unary, self.stream = unary, stream
        self.peers: list[str] = []

    def ListExperiments(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.peers.append(context.peer())
        with answered("ListExperiments", context):
            return self.unary(request, context)

    def ListEnvoys(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.peers.append(context.peer())
        return self.unary(request, context)

    def Watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.peers.append(context.peer())
        with answered("Watch", context):
            yield from self.stream(request, context)


@contextmanager
def answered(what: str, context: grpc.ServicerContext) -> Iterator[None]:
    """Mark an error as what the director has answered, as `director.calls` does."""
    try:
        yield
    except Exception as error:
        context.set_trailing_metadata(((ANSWER_KEY, type(error).__name__),))
        if (status := status_of(error)) is not None:
            context.abort(status, str(error))
        context.abort(grpc.StatusCode.INTERNAL, f"{what} failed in the director: {type(error).__name__}")


@contextmanager
def serving(
    director: FakeDirector, address: str = "127.0.0.1:0", credentials: Credentials | None = None
) -> Iterator[str]:
    """Serve it, and yield its address."""
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    rpc.add_DirectorServicer_to_server(director, server)
    port = listen(server, address, credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def free_address() -> str:
    """Return an address where nobody listens, yet."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{unused.getsockname()[1]}"


@contextmanager
def black_hole() -> Iterator[str]:
    """Take connections, and never say a word."""
    with socket.create_server(("127.0.0.1", 0)) as hole:
        yield f"127.0.0.1:{hole.getsockname()[1]}"
