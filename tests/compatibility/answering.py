"""A director of then, made of its recorded answers: byte for byte what it said, and no call that it did not have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc

from federation.protocol import federation_pb2 as pb
from federation.rpc import EXPERIMENT_KEY
from tests.compatibility.recording import OURS, Call
from tests.compatibility.replay import MESSAGES, method_of

DEADLINE = 120.0
Asked = tuple[str, str, str, str]


def asked(call: Call) -> Asked:
    """Say what a call is, so that one that is made now is known as one that was made then."""
    method = method_of(call)
    name, experiment = call.metadata.get("fed-name", ""), call.metadata.get(EXPERIMENT_KEY, "")
    first = MESSAGES[method][0].FromString(call.requests[0])
    what = ""
    if method in ("SendTaskResults", "OfferResult"):
        info = first.info if method == "SendTaskResults" else first
        what = f"{info.round} {info.task}"
    elif method == "GetModel":
        what = f"{first.round} {first.kept}"
    elif method == "Submit":
        what = first.submission.name
    return method, name, experiment, what


class AnsweringDirector(grpc.GenericRpcHandler):
    """Answers each call as the same call was answered last, whoever makes it how often; what else there is has no answer.

    An envoy gets the tasks of a round until it has sent each of their results, and is told that an experiment has ended when it
    has asked all that it asked then.

    Parameters
    ----------
    recorded
        The calls of then.
    takes
        Asked of each call that has arrived whole; one that it does not take is as if it had not arrived.
    """

    def __init__(self, recorded: Iterable[Call], takes: Callable[[Call], bool] = lambda call: True) -> None:
        self.made: list[Call] = []
        self.unknown: list[str] = []
        self._recorded = list(recorded)
        self._takes = takes
        self._news = threading.Condition()
        self._closed = False
        self._methods = {call.method for call in self._recorded}
        self._server = grpc.server(
            ThreadPoolExecutor(16), handlers=[self], options=[("grpc.so_reuseport", 0)]
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def __enter__(self) -> AnsweringDirector:
        return self

    def __exit__(self, *_: object) -> None:
        with self._news:
            self._closed = True
            self._news.notify_all()
        self._server.stop(None).wait()

    def calls(self, method: str, **metadata: str) -> list[Call]:
        """Return the calls of a method that were made whole, in their order."""
        told = {OURS + key: value for key, value in metadata.items()}.items()
        with self._news:
            return [call for call in self.made if method_of(call) == method and told <= call.metadata.items()]

    def wait_until_all_is_asked(self, name: str) -> None:
        """Wait until a member has made each call that it made then."""
        with self._news:
            came = self._news.wait_for(lambda: not self._missing(name), DEADLINE)
            assert came, self._missing(name)

    def _missing(self, name: str) -> set[Asked]:
        """Return what a member asked then and has not yet asked now."""
        then = {asked(call) for call in self._recorded if call.metadata.get("fed-name") == name}
        return then - {asked(call) for call in self.made}

    def _has_asked_all(self, name: str, experiment: str) -> bool:
        return all(of != experiment for _, _, of, _ in self._missing(name))

    def service(self, details: Any) -> Any:
        """Take a call that there was then; gRPC says of any other that it is not implemented."""
        method = details.method.rpartition("/")[2]
        if details.method not in self._methods:
            self.unknown.append(method)
            return None
        metadata = {key: value for key, value in details.invocation_metadata if key.startswith(OURS)}
        answer = {"Connect": self._orders, "GetTasks": self._tasks}.get(method, self._same)

        def answered(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            call = Call(details.method, metadata, list(requests) if method != "Connect" else [next(requests)])
            if not self._takes(call):
                context.abort(grpc.StatusCode.UNAVAILABLE, "not taken")
            with self._news:
                self.made.append(call)
                self._news.notify_all()
            context.add_callback(self._notify)
            yield from answer(call, context)

        return grpc.stream_stream_rpc_method_handler(answered)

    def _notify(self) -> None:
        with self._news:
            self._news.notify_all()

    def _then(self, call: Call) -> list[Call]:
        return [one for one in self._recorded if asked(one) == asked(call)]

    def _same(self, call: Call, context: grpc.ServicerContext) -> Iterator[bytes]:
        then = self._then(call)
        if not then:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{asked(call)} has no recorded answer")
        yield from then[-1].responses

    def _tasks(self, call: Call, context: grpc.ServicerContext) -> Iterator[bytes]:
        sent = {asked(one)[1:] for one in self.calls("SendTaskResults")}
        who = (call.metadata["fed-name"], call.metadata[EXPERIMENT_KEY])
        for then in self._then(call):
            tasks = pb.Tasks.FromString(then.responses[0])
            if tasks.quit or not {(*who, f"{tasks.round} {task}") for task in tasks.tasks} <= sent:
                yield then.responses[0]
                return
        self._wait(context, lambda: False)

    def _orders(self, call: Call, context: grpc.ServicerContext) -> Iterator[bytes]:
        name = call.metadata["fed-name"]
        for response in self._then(call)[0].responses:
            if ended := pb.Order.FromString(response).stop:
                self._wait(context, partial(self._has_asked_all, name, ended))
            yield response
        self._wait(context, lambda: False)

    def _wait(self, context: grpc.ServicerContext, come: Callable[[], bool]) -> None:
        """Wait for what is to come, or the end of the call or of the director."""
        with self._news:
            self._news.wait_for(lambda: come() or self._closed or not context.is_active())
