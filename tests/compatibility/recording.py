"""A proxy before a director that writes down the bytes of each call: what a version says over the wire."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc

OURS = "fed-"  # how the keys of our metadata begin


@dataclass
class Call:
    """One call: its method, our metadata, and the messages of both sides, serialised."""

    method: str
    metadata: dict[str, str]
    requests: list[bytes] = field(default_factory=list)
    responses: list[bytes] = field(default_factory=list)
    code: str = "OK"

    def to_json(self) -> dict[str, Any]:
        """As plain data; messages in base64."""
        coded = {
            name: [base64.b64encode(message).decode() for message in messages]
            for name, messages in (("requests", self.requests), ("responses", self.responses))
        }
        return {"method": self.method, "metadata": self.metadata, **coded, "code": self.code}


def call_from_json(told: dict[str, Any]) -> Call:
    """Read back what `Call.to_json` made."""
    coded = {name: [base64.b64decode(text) for text in told[name]] for name in ("requests", "responses")}
    return Call(told["method"], told["metadata"], **coded, code=told["code"])


class RecordingProxy(grpc.GenericRpcHandler):
    """Passes every call on to a director on the loopback address, as bytes, and keeps them in ``calls``;
    in ``answered`` they are in the order of their first answers."""

    def __init__(self, director: str) -> None:
        self.calls: list[Call] = []
        self.answered: list[Call] = []
        self._lock = threading.Lock()
        self._channel = grpc.insecure_channel(director)
        self._server = grpc.server(ThreadPoolExecutor(32), handlers=[self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def close(self) -> None:
        """End every call and the server."""
        self._channel.close()
        self._server.stop(None).wait()

    def _note(self, call: Call) -> None:
        with self._lock:
            self.answered.append(call)

    def service(self, details: Any) -> Any:
        """Take any call; a stream of one message is what a single message is on the wire."""
        metadata = {key: value for key, value in details.invocation_metadata if key.startswith(OURS)}

        def forward(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            call = Call(details.method, metadata)
            with self._lock:
                self.calls.append(call)

            def noted() -> Iterator[bytes]:
                for request in requests:
                    call.requests.append(request)
                    yield request

            answer = self._channel.stream_stream(details.method)(noted(), metadata=list(metadata.items()))
            context.add_callback(answer.cancel)
            try:
                for response in answer:
                    if not call.responses:
                        self._note(call)
                    call.responses.append(response)
                    yield response
            except grpc.RpcError as error:
                call.code = error.code().name
                if not call.responses:
                    self._note(call)
                context.abort(error.code(), error.details())

        return grpc.stream_stream_rpc_method_handler(forward)
