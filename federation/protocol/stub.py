"""The calls of a director, whose answers are checked as they come: a member believes no director."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from federation.errors import InputError
from federation.protocol import federation_pb2 as pb
from federation.protocol import federation_pb2_grpc as rpc
from federation.protocol.limits import check

_METHODS = [
    (method.name, method.server_streaming) for method in pb.DESCRIPTOR.services_by_name["Director"].methods
]


class CheckedStub(rpc.DirectorStub):  # type: ignore[misc]
    """As the generated one; each call raises `InputError`, too, where an answer is beyond its limits."""

    def __init__(self, channel: grpc.Channel) -> None:
        super().__init__(channel)
        for name, streams in _METHODS:
            call = getattr(self, name)
            setattr(self, name, _streaming(call) if streams else _answering(call))


class _Stream:
    """A call that is answered by a stream; it is cancelled by the first message that is not taken."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return check(next(self._call))
        except InputError:
            self._call.cancel()
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._call, name)


def _answering(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **options: check(call(*arguments, **options))


def _streaming(call: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **options: _Stream(call(*arguments, **options))
