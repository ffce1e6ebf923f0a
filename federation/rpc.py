"""How errors cross the wire: the server's answers as gRPC statuses, the client's retries by status."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import grpc

from federation.core_log import explain
from federation.engine.client import StaleRound
from federation.errors import ExperimentFailed, FederationError, InputError, Refused, Unreachable

logger = logging.getLogger(__name__)
T = TypeVar("T")

EXPERIMENT_KEY = "fed-experiment"
OWN_FAULT = ("fed-fault", "director")
"""In the trailing metadata of an answer: the director has failed, and would fail again."""

_STATUS: list[tuple[type[FederationError], grpc.StatusCode]] = [
    (StaleRound, grpc.StatusCode.FAILED_PRECONDITION),
    (InputError, grpc.StatusCode.INVALID_ARGUMENT),
    (Refused, grpc.StatusCode.PERMISSION_DENIED),
    (ExperimentFailed, grpc.StatusCode.ABORTED),
    (Unreachable, grpc.StatusCode.UNAVAILABLE),
]
_TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNKNOWN,
}


def status_of(error: Exception) -> grpc.StatusCode | None:
    """Return the status that tells an error to the caller; None for a fault of the one who answers."""
    if not isinstance(error, FederationError):
        return None
    return next((status for kind, status in _STATUS if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def translate(error: grpc.RpcError, address: str) -> FederationError:
    """Turn the status of a failed call into the error that a person should see."""
    status, details = error.code(), error.details() or ""
    for kind, known in _STATUS:
        if status == known and status != grpc.StatusCode.UNAVAILABLE:
            return kind(details)
    if status == grpc.StatusCode.UNAUTHENTICATED:
        return Refused(details)
    if status == grpc.StatusCode.NOT_FOUND:
        return InputError(details)
    if status in _TRANSIENT:
        cause = explain(details) or "is it running, and are the certificates of the same authority?"
        return Unreachable(f"the director at {address} does not answer ({status.name.lower()}): {cause}")
    return FederationError(f"the director at {address} answered {status.name}: {details}")


def call(function: Callable[[], T], address: str) -> T:
    """Make a call once; a failed one is raised as `translate` says."""
    try:
        return function()
    except grpc.RpcError as error:
        raise translate(error, address) from error


class Backoff:
    """Pauses that grow from ``first`` to ``longest`` seconds, each shortened at random by up to a half."""

    def __init__(self, first: float = 0.2, longest: float = 15.0) -> None:
        self._first, self._longest = first, longest
        self._next = first

    def reset(self) -> None:
        """Begin again with the first pause."""
        self._next = self._first

    def pause(self) -> float:
        """Return the next pause in seconds."""
        pause, self._next = self._next, min(self._next * 2, self._longest)
        return pause * (0.5 + random.random() / 2)


def retrying(
    function: Callable[[], T], address: str, *, patience: float, stop: threading.Event | None = None
) -> T:
    """Repeat a call while its failure may pass, for up to ``patience`` seconds.

    Raises
    ------
    FederationError
        As `translate` says, once the failure is not transient or patience is at its end.
    """
    deadline = time.monotonic() + patience
    backoff = Backoff()
    stop = stop or threading.Event()
    waiting = False
    while True:
        try:
            return function()
        except grpc.RpcError as error:
            if error.code() not in _TRANSIENT or time.monotonic() >= deadline:
                raise translate(error, address) from error
            if not waiting:
                logger.warning("the director at %s does not answer; trying again until it does", address)
                waiting = True
            if stop.wait(backoff.pause()):
                raise translate(error, address) from error
