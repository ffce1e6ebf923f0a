"""How calls are answered: what takes a moment in a small pool, what waits as a coroutine, what transfers in its own thread.

A call that only waits (an envoy for its orders or tasks, a watcher for events) must not hold a thread, or as many of them as
there are threads keep everybody else out. Streams of tensors are as fast in threads as in coroutines
(``benchmarks/server_forms.py``), and simpler: they read and write files.

Who calls is checked before the first byte of a payload is read, and each message by its limits before it is used. A
`FederationError` becomes its status; anything else is a fault of the director's own, and leaves its traceback in the log. Both
are marked as what the director has answered.

What writes is refused at once, as `Unreachable`, while there is no room on the disk; so is what finds out that there is none,
or meets another fault of the machine that may pass.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc

from director.disk import OF_THE_MACHINE, Disk, DiskFull, reason_of, told
from federation.engine.client import StaleRound
from federation.errors import InputError, Unreachable
from federation.identity import require_role
from federation.protocol.limits import check, checked
from federation.rpc import ANSWER_KEY, EXPERIMENT_KEY, status_of

logger = logging.getLogger(__name__)

MAX_NAME = 256


@dataclass(frozen=True)
class Caller:
    """Who calls, by its certificate, and the experiment that the call's metadata name (empty if none)."""

    name: str
    role: str
    experiment: str


def brief(*roles: str, writes: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Answer a call of these roles by a function of request and caller that takes a moment.

    Its class has the ``pool`` for it, and the ``disk``, which must have room if it writes.
    """

    def decorate(handler: Callable[..., Any]) -> Any:
        @functools.wraps(handler)
        async def wrapped(self: Any, request: Any, context: Any) -> Any:
            try:
                caller = _caller(context, roles)
                if writes:
                    self.disk.require_room()
                return await in_pool(self.pool, handler, self, check(request), caller)
            except Exception as error:
                await _abort(context, self.disk, handler.__name__, error)

        return wrapped

    return decorate


def waiting(*roles: str) -> Callable[[Callable[..., Any]], Any]:
    """Answer a call of these roles by a coroutine of request and caller, which may wait."""

    def decorate(handler: Callable[..., Any]) -> Any:
        @functools.wraps(handler)
        async def wrapped(self: Any, request: Any, context: Any) -> Any:
            try:
                caller = _caller(context, roles)
                return await handler(self, check(request), caller)
            except Exception as error:
                await _abort(context, self.disk, handler.__name__, error)

        return wrapped

    return decorate


def waiting_stream(*roles: str) -> Callable[[Callable[..., AsyncIterator[Any]]], Any]:
    """Answer a call of these roles by an asynchronous generator of request and caller."""

    def decorate(handler: Callable[..., AsyncIterator[Any]]) -> Any:
        @functools.wraps(handler)
        async def wrapped(self: Any, request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                caller = _caller(context, roles)
                async for answer in handler(self, check(request), caller):
                    yield answer
            except Exception as error:
                await _abort(context, self.disk, handler.__name__, error)

        return wrapped

    return decorate


def receiving(*roles: str) -> Callable[[Callable[..., Any]], Any]:
    """Answer a stream of these roles by a function of its messages and caller, which writes, in a thread of its own."""

    def decorate(handler: Callable[..., Any]) -> Any:
        @functools.wraps(handler)
        def wrapped(self: Any, requests: Iterator[Any], context: Any) -> Any:
            try:
                caller = _caller(context, roles)
                self.disk.require_room()
                return handler(self, checked(requests), caller)
            except Exception as error:
                _abort_in_thread(context, self.disk, handler.__name__, error)

        return wrapped

    return decorate


def sending(*roles: str) -> Callable[[Callable[..., Iterator[Any]]], Any]:
    """Answer a call of these roles by a generator of request and caller, in a thread of its own."""

    def decorate(handler: Callable[..., Iterator[Any]]) -> Any:
        @functools.wraps(handler)
        def wrapped(self: Any, request: Any, context: Any) -> Iterator[Any]:
            try:
                caller = _caller(context, roles)
                yield from handler(self, check(request), caller)
            except Exception as error:
                _abort_in_thread(context, self.disk, handler.__name__, error)

        return wrapped

    return decorate


async def in_pool(pool: ThreadPoolExecutor, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run what may block for a moment (a lock, the journal, the disk) outside the event loop."""
    return await asyncio.get_running_loop().run_in_executor(pool, functools.partial(function, *arguments))


def _caller(context: Any, roles: tuple[str, ...]) -> Caller:
    identity = require_role(context, *roles)
    metadata = {pair[0]: pair[1] for pair in context.invocation_metadata() or ()}
    experiment = str(metadata.get(EXPERIMENT_KEY, ""))
    if len(experiment) > MAX_NAME:
        raise InputError(f"{EXPERIMENT_KEY} has {len(experiment)} characters; up to {MAX_NAME} are taken")
    return Caller(identity.name, identity.role, experiment)


async def _abort(context: Any, disk: Disk, what: str, error: Exception) -> None:
    if isinstance(error, grpc.aio.AbortError):
        raise error
    status, details, mark = _told(disk, what, error)
    await context.abort(status, details, mark)


def _abort_in_thread(context: Any, disk: Disk, what: str, error: Exception) -> None:
    status, details, mark = _told(disk, what, error)
    context.abort(status, details, mark)


def _told(
    disk: Disk, what: str, error: Exception
) -> tuple[grpc.StatusCode, str, tuple[tuple[str, str], ...]]:
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        error = _passing(disk, error)
    # gRPC uses the same statuses for its own faults, which may pass.
    mark = ((ANSWER_KEY, type(error).__name__),)
    if (status := status_of(error)) is not None:
        expected = isinstance(error, (StaleRound, DiskFull))
        logger.log(logging.DEBUG if expected else logging.WARNING, "%s: %s", what, error)
        return status, str(error), mark
    logger.error("%s failed", what, exc_info=error)
    details = f"{what} failed in the director: {type(error).__name__}; its log has more"
    return grpc.StatusCode.INTERNAL, details, mark


def _passing(disk: Disk, error: OSError) -> Unreachable:
    """Return what tells the caller to try again after a fault of the machine."""
    if disk.note(error):
        return DiskFull(told(disk.paused or reason_of(error)))
    return Unreachable(f"the director's machine cannot do it now: {error}")
