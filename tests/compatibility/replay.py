"""Make the calls of then again, byte for byte, and read what is answered now in the words of then."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict

from federation.protocol import federation_pb2 as pb
from tests.compatibility.recording import Call, call_from_json

# The messages of each call: what is asked, and what is answered.
MESSAGES: dict[str, tuple[Any, Any]] = {
    method.name: (method.input_type._concrete_class, method.output_type._concrete_class)
    for method in pb.DESCRIPTOR.services_by_name["Director"].methods
}
TIMES = {"created", "ended", "since", "time"}


def recorded(written: Path, name: str = "calls.jsonl.xz") -> Iterator[Call]:
    """The calls that were recorded, in their order."""
    packed = written / name
    text = lzma.decompress(packed.read_bytes()) if packed.exists() else (written / "calls.jsonl").read_bytes()
    for line in text.splitlines():
        yield call_from_json(json.loads(line))


def method_of(call: Call) -> str:
    """The name of a call's method."""
    return call.method.rpartition("/")[2]


def make(channel: grpc.Channel, call: Call) -> Any:
    """Begin a call again; its answers are bytes."""
    metadata = list(call.metadata.items())
    return channel.stream_stream(call.method)(iter(call.requests), metadata=metadata, timeout=60)


def answers(channel: grpc.Channel, call: Call) -> tuple[str, list[Any]]:
    """Make a call again; return its status, and as many of its answers as there were then, as plain data."""
    stream = make(channel, call)
    found = []
    try:
        with suppress(StopIteration):
            found = list(islice(stream, len(call.responses)))
            if call.code == "CANCELLED":  # by its caller, who had read enough
                stream.cancel()
                return "CANCELLED", plain(call, found)
            next(stream)
    except grpc.RpcError as error:
        return error.code().name, plain(call, found)
    return "OK", plain(call, found)


def plain(call: Call, messages: list[bytes]) -> list[Any]:
    """Messages as plain data, without times."""
    kind = MESSAGES[method_of(call)][1]
    return [without_times(MessageToDict(kind.FromString(message))) for message in messages]


def without_times(told: Any) -> Any:
    """Plain data without what differs from run to run; an event's body is read too."""
    if isinstance(told, list):
        return [without_times(value) for value in told]
    if not isinstance(told, dict):
        return told
    kept = {key: without_times(value) for key, value in told.items() if key not in TIMES}
    return kept | ({"body": json.loads(told["body"])} if "body" in told else {})


def says(now: Any, then: Any) -> bool:
    """Whether what is told now says all that was told then, in the same words; it may say more."""
    if isinstance(then, dict):
        return isinstance(now, dict) and all(key in now and says(now[key], then[key]) for key in then)
    if isinstance(then, list):
        return (
            isinstance(now, list)
            and len(now) == len(then)
            and all(says(one, other) for one, other in zip(now, then, strict=True))
        )
    return bool(now == then)
