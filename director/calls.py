"""How calls are answered: what takes a moment in a small pool, what waits as a coroutine, what transfers in threads.

A call that only waits (an envoy for its orders or tasks, a watcher for events) must not hold a thread, or as many of them as
there are threads keep everybody else out. Streams of tensors are as fast in threads as in coroutines
(``benchmarks/server_forms.py``), and simpler: they read and write files.

Who calls, and whether it may call now (`director.quotas`), is checked before the first byte of a payload is read, and each
message by its limits before it is used. A
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
from contextlib import aclosing, asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import Any, Protocol

import grpc
from cryptography import x509

from director.audit import AuditLog, Entry
from director.disk import OF_THE_MACHINE, Disk, DiskFull, reason_of, told
from director.envoys import NameInUse
from director.lines import cause
from director.open_calls import OpenCalls
from director.quotas import Quotas
from director.revocations import Revocations
from director.transfers import Incoming, pulled
from federation.addresses import address_of_peer
from federation.engine.client import StaleRound
from federation.errors import InputError, Refused, Unreachable
from federation.identity import certificate_of, identity_of, require_role
from federation.protocol.limits import check, checked
from federation.rpc import EXPERIMENT_KEY, Busy, mark_of, status_of

logger = logging.getLogger(__name__)

MAX_NAME = 256
# What the audit log has beside what was done.
REFUSALS = (Refused, InputError, Busy, NameInUse)


@dataclass(frozen=True)
class Caller:
    """Who calls, by its certificate and from where, and the experiment that the call's metadata name (empty if none)."""

    name: str
    role: str
    experiment: str
    address: str
    certificate: x509.Certificate | None = None

    def entry(self, what: str, outcome: str = "done") -> Entry:
        """Return what the audit log has of a call."""
        return Entry(what, self.name, self.role, self.address, self.experiment, outcome)


class Serving(Protocol):
    """What a class has whose methods are decorated here."""

    disk: Disk
    quotas: Quotas
    audit: AuditLog
    open_calls: OpenCalls
    revocations: Revocations
    pool: ThreadPoolExecutor
    transfers: ThreadPoolExecutor


def brief(
    *roles: str, writes: bool = False, does: str = "", whom: Callable[[Any], str] = lambda request: ""
) -> Callable[[Callable[..., Any]], Any]:
    """Answer a call of these roles by a function of request and caller that takes a moment.

    Its class is a `Serving`, whose disk must have room if it writes. What it ``does`` to whom, if it changes something, is in
    the audit log before it is answered.
    """

    def decorate(handler: Callable[..., Any]) -> Any:
        @functools.wraps(handler)
        async def wrapped(self: Any, request: Any, context: Any) -> Any:
            async with _answering(self, context, handler.__name__, roles, bool(does)) as caller:
                if writes:
                    self.disk.require_room()
                return await in_pool(self.pool, work, self, check(request), caller)

        def work(self: Any, request: Any, caller: Caller) -> Any:
            answer = handler(self, request, caller)
            if does:
                self.audit.did(caller.entry(does, outcome=" ".join(["done", whom(request)]).strip()))
            return answer

        return wrapped

    return decorate


def waiting(*roles: str) -> Callable[[Callable[..., Any]], Any]:
    """Answer a call of these roles by a coroutine of request and caller, which may wait."""

    def decorate(handler: Callable[..., Any]) -> Any:
        @functools.wraps(handler)
        async def wrapped(self: Any, request: Any, context: Any) -> Any:
            async with _answering(self, context, handler.__name__, roles) as caller:
                return await handler(self, check(request), caller)

        return wrapped

    return decorate


def waiting_stream(*roles: str) -> Callable[[Callable[..., AsyncIterator[Any]]], Any]:
    """Answer a call of these roles by an asynchronous generator of request and caller."""

    def decorate(handler: Callable[..., AsyncIterator[Any]]) -> Any:
        @functools.wraps(handler)
        async def wrapped(self: Any, request: Any, context: Any) -> AsyncIterator[Any]:
            async with _answering(self, context, handler.__name__, roles) as caller:
                async for answer in handler(self, check(request), caller):
                    yield answer

        return wrapped

    return decorate


def receiving(*roles: str, does: str = "") -> Callable[[Callable[..., Any]], Any]:
    """Answer a stream of these roles by a function of its messages and caller, which writes, in a thread of its own.

    What it ``does``, if anything, is as in `brief`; the experiment is the answer's.
    """

    def decorate(handler: Callable[..., Any]) -> Any:
        @functools.wraps(handler)
        async def wrapped(self: Any, requests: AsyncIterator[Any], context: Any) -> Any:
            async with _answering(self, context, handler.__name__, roles, bool(does)) as caller:
                self.disk.require_room()
                incoming = Incoming(requests, self.quotas.upload_rate, self.quotas.upload_patience)
                await incoming.begin()
                # The thread is the member's until it ends, which may be after the call was cancelled.
                ended = self.quotas.upload(caller.name)
                thread = self.transfers.submit(copy_context().run, work, self, checked(incoming), caller)
                thread.add_done_callback(lambda _: ended())
                answer = await asyncio.wrap_future(thread)
                if isinstance(answer, _Told):
                    raise answer
                return answer

        def work(self: Any, requests: Iterator[Any], caller: Caller) -> Any:
            try:
                answer = handler(self, requests, caller)
                if does:
                    self.audit.did(replace(caller.entry(does), experiment=answer.name))
                return answer
            except Exception as error:
                # Said here: if the call was cancelled, nobody waits for it any more.
                return _told(self, caller, handler.__name__, error)

        return wrapped

    return decorate


def sending(*roles: str) -> Callable[[Callable[..., Iterator[Any]]], Any]:
    """Answer a call of these roles by a generator of request and caller, in a thread for each of its messages."""

    def decorate(handler: Callable[..., Iterator[Any]]) -> Any:
        @functools.wraps(handler)
        async def wrapped(self: Any, request: Any, context: Any) -> AsyncIterator[Any]:
            async with (
                _answering(self, context, handler.__name__, roles) as caller,
                aclosing(pulled(self.transfers, handler(self, check(request), caller))) as messages,
            ):
                async for message in messages:
                    yield message

        return wrapped

    return decorate


async def in_pool(pool: ThreadPoolExecutor, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run what may block for a moment (a lock, the journal, the disk) outside the event loop."""
    call = functools.partial(copy_context().run, function, *arguments)
    return await asyncio.get_running_loop().run_in_executor(pool, call)


@asynccontextmanager
async def _answering(
    self: Serving, context: Any, what: str, roles: tuple[str, ...], changes: bool = False
) -> AsyncIterator[Caller]:
    """Let a call be answered within the context: by whoever may, within limits; an error becomes its status."""
    caller = _stranger(context)
    cause.set(caller.address.rpartition(":")[0])
    ended: Callable[[], None] = lambda: None  # noqa: E731
    try:
        identity, certificate = identity_of(context), certificate_of(context)
        caller = replace(caller, name=identity.name, role=identity.role, certificate=certificate)
        cause.set(caller.name)
        ended = self.quotas.call(caller.name, changes)
        with self.open_calls.during(context):
            # Asked within `OpenCalls.during`: who becomes revoked after it is ended.
            if reason := self.revocations.reason(certificate):
                raise Refused(f"{identity}: its certificate {reason}")
            require_role(context, *roles)
            if len(caller.experiment) > MAX_NAME:
                raise InputError(
                    f"{EXPERIMENT_KEY} has {len(caller.experiment)} characters; up to {MAX_NAME} are taken"
                )
            yield caller
    except grpc.aio.AbortError:
        raise
    except Exception as error:
        said = (
            error if isinstance(error, _Told) else await in_pool(self.pool, _told, self, caller, what, error)
        )
        await context.abort(said.status, said.details, said.mark)
    finally:
        ended()


def _stranger(context: Any) -> Caller:
    """Return what is known of a caller before its certificate is looked at."""
    metadata = {pair[0]: pair[1] for pair in context.invocation_metadata() or ()}
    return Caller("", "", str(metadata.get(EXPERIMENT_KEY, "")), address_of_peer(context.peer()))


class _Told(Exception):  # noqa: N818
    """An error as its caller will have it; the log has it already."""

    def __init__(self, status: grpc.StatusCode, details: str, mark: tuple[tuple[str, str], ...]) -> None:
        self.status, self.details, self.mark = status, details, mark


def _told(self: Serving, caller: Caller, what: str, error: Exception) -> _Told:
    if isinstance(error, OSError) and error.errno in OF_THE_MACHINE:
        error = _passing(self.disk, error)
    # gRPC uses the same statuses for its own faults, which may pass.
    mark = mark_of(error)
    if (status := status_of(error)) is not None:
        expected = isinstance(error, (StaleRound, DiskFull))
        logger.log(logging.DEBUG if expected else logging.WARNING, "%s: %s", what, error)
        if isinstance(error, REFUSALS):
            self.audit.refused(caller.entry("refused", outcome=f"{what}: {error}"))
        return _Told(status, str(error), mark)
    logger.error("%s failed", what, exc_info=error)
    details = f"{what} failed in the director: {type(error).__name__}; its log has more"
    return _Told(grpc.StatusCode.INTERNAL, details, mark)


def _passing(disk: Disk, error: OSError) -> Unreachable:
    """Return what tells the caller to try again after a fault of the machine."""
    if disk.note(error):
        return DiskFull(told(disk.paused or reason_of(error)))
    return Unreachable(f"the director's machine cannot do it now: {error}")
