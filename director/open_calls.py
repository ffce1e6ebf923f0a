"""The calls that last: kept in mind as long as they do, so that those of a member that is revoked can be ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import grpc
from cryptography import x509

from federation.errors import Refused
from federation.identity import certificate_of
from federation.rpc import ANSWER_KEY

END_SECONDS = 5.0


@dataclass(eq=False, frozen=True)
class _Call:
    context: Any
    certificate: x509.Certificate
    # It may wait for something that does not come any more.
    task: asyncio.Task[Any]


class OpenCalls:
    """The calls of members with certificates; may be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: set[_Call] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextmanager
    def during(self, context: Any) -> Iterator[None]:
        """Know of a call while the context lasts, which is within it; for its coroutine."""
        if (certificate := certificate_of(context)) is None:
            yield
            return
        task = asyncio.current_task()
        assert task is not None
        self._loop = asyncio.get_running_loop()
        call = _Call(context, certificate, task)
        with self._lock:
            self._calls.add(call)
        try:
            yield
        finally:
            with self._lock:
                self._calls.discard(call)

    def end(self, reason: Callable[[x509.Certificate], str]) -> int:
        """End the calls with a certificate of which there is a reason to, and tell it those who made them; return how many."""
        with self._lock:
            ending = [(call, said) for call in self._calls if (said := reason(call.certificate))]
            loop = self._loop
        if loop is None:
            return 0
        ended = [asyncio.run_coroutine_threadsafe(_cancelled(call, said), loop) for call, said in ending]
        for future in ended:
            with suppress(Exception):  # it has ended by itself
                future.result(END_SECONDS)
        return len(ending)


_MARK = ((ANSWER_KEY, Refused.__name__),)


async def _cancelled(call: _Call, said: str) -> None:
    with suppress(Exception):
        await call.context.abort(grpc.StatusCode.PERMISSION_DENIED, said, _MARK)
    call.task.cancel()
