"""How errors cross the wire: the server's answers as gRPC statuses, and what a status means to who has called."""

from __future__ import annotations

import logging

import grpc

from federation.core_log import explain, is_distrust
from federation.engine.client import StaleRound
from federation.errors import ExperimentFailed, FederationError, InputError, Refused, Unreachable
from federation.printing import printable_lines
from federation.proxies import proxy_variable

logger = logging.getLogger(__name__)

EXPERIMENT_KEY = "fed-experiment"
# In the trailing metadata of each error that a director has answered with: gRPC uses the same statuses for its own faults.
ANSWER_KEY = "fed-answer"
# In its place where a limit is reached: members of earlier versions take that for a fault on the way, and so try again.
LIMIT_KEY = "fed-limit"
_FAULT = " failed in the director: "


class GoingDown(Unreachable):
    """The director answers that it is about to close the connection."""


class Busy(Unreachable):
    """The director answers that its caller does too much or too much at once, and shall try again."""


class Distrusted(Unreachable):
    """Whoever answers at the director's address does not show a certificate that we can trust."""


_STATUS: list[tuple[type[FederationError], grpc.StatusCode]] = [
    (StaleRound, grpc.StatusCode.FAILED_PRECONDITION),
    (InputError, grpc.StatusCode.INVALID_ARGUMENT),
    (Refused, grpc.StatusCode.PERMISSION_DENIED),
    (ExperimentFailed, grpc.StatusCode.ABORTED),
    (Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Unreachable, grpc.StatusCode.UNAVAILABLE),
]
# Which gRPC itself uses, too.
_SHARED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}
_TRANSIENT = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNKNOWN,
    # Of a call that its caller did not cancel: the connection was closed under it.
    grpc.StatusCode.CANCELLED,
    # Where the director has not said it: what arrived could not be read.
    grpc.StatusCode.INTERNAL,
}


def status_of(error: Exception) -> grpc.StatusCode | None:
    """Return the status that tells an error to the caller; None for a fault of the one who answers."""
    if not isinstance(error, FederationError):
        return None
    return next((status for kind, status in _STATUS if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def mark_of(error: Exception) -> tuple[tuple[str, str], ...]:
    """Return the trailing metadata by which a caller knows that an error is what the director has answered."""
    return ((LIMIT_KEY if isinstance(error, Busy) else ANSWER_KEY, type(error).__name__),)


def is_answer(error: grpc.RpcError) -> bool:
    """Tell whether a call's error is what the director has answered, not a fault on the way to it."""
    if any(pair.key in (ANSWER_KEY, LIMIT_KEY) for pair in error.trailing_metadata() or ()):
        return True
    # A director of 0.1.0 marks nothing: its own faults are known by their words.
    return error.code() == grpc.StatusCode.INTERNAL and _FAULT in (error.details() or "")


def is_farewell(error: grpc.RpcError) -> bool:
    """Tell whether the director has answered that it goes down."""
    answers = [str(pair.value) for pair in error.trailing_metadata() or () if pair.key == ANSWER_KEY]
    return GoingDown.__name__ in answers


def translate(error: grpc.RpcError, address: str) -> FederationError:
    """Turn the status of a failed call into the error that a person should see; `Unreachable` if it may pass."""
    status, details = error.code(), printable_lines(error.details() or "")
    for kind, known in _STATUS:
        if status == known and (status not in _SHARED or is_answer(error)):
            return kind(details)
    if status == grpc.StatusCode.UNAUTHENTICATED:
        return Refused(details)
    if status == grpc.StatusCode.NOT_FOUND:
        return InputError(details)
    if status == grpc.StatusCode.UNIMPLEMENTED:
        return Refused(
            f"the director at {address} is of an earlier version, which has no such call: upgrade the director"
        )
    if status in _TRANSIENT and not is_answer(error):
        if is_distrust(details):
            return Distrusted(f"the director at {address} cannot be trusted: {explain(details)}")
        cause = explain(details) or "is it running, and are the certificates of the same authority?"
        if variable := proxy_variable(address):
            cause += f" (asked through the proxy that {variable} names; no_proxy excepts a host)"
        return Unreachable(f"the director at {address} does not answer ({status.name.lower()}): {cause}")
    return FederationError(f"the director at {address} answered {status.name}: {details}")
