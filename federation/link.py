"""A way to the director that is opened anew whenever it breaks: the one place where what failed is tried again.

gRPC's own reconnecting is not relied on: it does not connect while nobody calls, its 1.65 may stop trying for good, and its
pauses outgrow ours. So each attempt to connect has a channel of its own, which a knock begins: a short call that whoever is
there answers. Its deadline is that of the connecting, and where it fails, it says why. Long streams then have no deadline:
keepalive tells when nobody is at their other end.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc

from federation.addresses import split_address
from federation.core_log import keep_quiet
from federation.errors import FederationError, InputError, Refused, Unreachable
from federation.identity import Credentials, Identity, insecure_channel
from federation.protocol import federation_pb2_grpc as rpc
from federation.protocol.limits import LARGEST_ANSWER, NEVER_INFLATED
from federation.protocol.stub import CheckedStub
from federation.rpc import Distrusted, is_answer, is_farewell, translate

logger = logging.getLogger(__name__)
T = TypeVar("T")

OPTIONS = [
    # A dead director is noticed within half a minute even where no packet is refused.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # For so long gRPC 1.65 waits for the answer to a ping, whatever keepalive's timeout says; a minute where it is left out.
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", LARGEST_ANSWER),
    *NEVER_INFLATED,
    # A new channel would otherwise share connections with older ones of the process, and their pauses.
    ("grpc.use_local_subchannel_pool", 1),
]
# Together they bound how long it takes to come back to a director that is there again: its first packets may have been lost.
CONNECT_SECONDS = 8.0
LONGEST_PAUSE = 4.0
SAY_AGAIN_SECONDS = 180.0
# Who waits for longer than that is told for whom.
SAY_SECONDS = 1.0
# Not in the protocol, so that every version answers it alike: that there is no such call.
KNOCK = "/federation.Director/Knock"


def open_channel(address: str, identity: Identity, certificates: Path | None) -> grpc.Channel:
    """Open a channel to a director; it connects when it is first used.

    Parameters
    ----------
    address
        ``host:port``.
    identity
        Who we are.
    certificates
        The folder with our certificate, read anew each time; None stands for ``--insecure``.

    Raises
    ------
    InputError
        If the address is none, the certificates cannot be used, or without them the address is not loopback.
    """
    split_address(address)
    keep_quiet()
    if certificates is None:
        return insecure_channel(address, identity, OPTIONS)
    return Credentials(certificates, identity.name).channel(address, OPTIONS)


class _Unregistered(grpc.Channel):  # type: ignore[misc]
    """A channel whose calls gRPC does not register: on one that is closed, its 1.65 would end the process."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def unary_unary(self, method: str, *codecs: Any, _registered_method: bool = False, **others: Any) -> Any:
        return self._channel.unary_unary(method, *codecs, **others)

    def unary_stream(self, method: str, *codecs: Any, _registered_method: bool = False, **others: Any) -> Any:
        return self._channel.unary_stream(method, *codecs, **others)

    def stream_unary(self, method: str, *codecs: Any, _registered_method: bool = False, **others: Any) -> Any:
        return self._channel.stream_unary(method, *codecs, **others)

    def stream_stream(
        self, method: str, *codecs: Any, _registered_method: bool = False, **others: Any
    ) -> Any:
        return self._channel.stream_stream(method, *codecs, **others)

    def subscribe(self, callback: Any, try_to_connect: bool = False) -> None:
        self._channel.subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Any) -> None:
        self._channel.unsubscribe(callback)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> grpc.Channel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Backoff:
    """Pauses that grow from ``first`` to ``longest`` seconds, each shortened at random by up to a half."""

    def __init__(self, first: float = 0.2, longest: float = LONGEST_PAUSE) -> None:
        self._first, self._longest = first, longest
        self._next = first

    def reset(self) -> None:
        """Begin again with the first pause."""
        self._next = self._first

    def pause(self) -> float:
        """Return the next pause in seconds."""
        pause, self._next = self._next, min(self._next * 2, self._longest)
        return pause * (0.5 + random.random() / 2)


class Link:
    """Calls and streams that are made again while the director is away; threads may share one.

    Parameters
    ----------
    address, identity, certificates
        As in `open_channel`.

    Raises
    ------
    InputError
        As `open_channel`. Later, certificates that cannot be used are a fault that may pass: they are being replaced.
    """

    def __init__(self, address: str, identity: Identity, certificates: Path | None) -> None:
        self.address = address
        self._open = lambda: open_channel(address, identity, certificates)
        self._open().close()
        self._connecting = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._closed = threading.Event()
        self._met = False
        self._away: float | None = None
        self._said = 0.0

    def __enter__(self) -> Link:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End what is under way, in other threads too; not from a signal handler, which gRPC would wait for."""
        self._closed.set()
        if (channel := self._channel) is not None:
            channel.close()

    def call(self, function: Callable[[rpc.DirectorStub], T], *, patience: float = math.inf) -> T:
        """Make a call, again while its failure may pass.

        Parameters
        ----------
        function
            Makes the whole of the call; it must be one that may be made twice.
        patience
            Seconds, after which a failure is no longer followed by another attempt.

        Raises
        ------
        FederationError
            As `translate` says, if the failure will not pass or patience is at its end; or if the link is closed.
        """

        def once(stub: rpc.DirectorStub) -> Iterator[T]:
            yield function(stub)

        with closing(self.stream(once, patience=patience)) as answers:
            for answer in answers:
                return answer
        raise self._end()

    def stream(
        self,
        start: Callable[[rpc.DirectorStub], Iterable[T]],
        *,
        patience: float = math.inf,
        endless: bool = False,
    ) -> Generator[T, None, None]:
        """Yield what a stream brings, and start it anew when it breaks; the end of the link ends it.

        Parameters
        ----------
        start
            Starts the stream, from behind what has been yielded.
        patience
            Seconds from the first failure in a row, after which none is followed by another attempt.
        endless
            The stream is to be there as long as the link: it is started again, too, when the director ends it or answers
            with any error but a refusal.

        Raises
        ------
        FederationError
            As `translate` says, if the failure will not pass or patience is at its end.
        """
        backoff = Backoff()
        failing = math.inf
        while not self._closed.is_set():
            channel: grpc.Channel | None = None
            began = math.inf
            try:
                channel = self._connected(patience)
                began = time.monotonic()
                with _ended(start(CheckedStub(channel))) as messages:
                    for message in messages:
                        failing = math.inf
                        self._is_there()
                        yield message
                if not endless:
                    return
                raise Unreachable(f"the director at {self.address} has ended the connection")
            except ValueError:
                # gRPC's word for a channel that is closed: by `close`, or by another thread, which has lost it.
                if not self._closed.is_set() and channel in (None, self._channel):
                    raise
            except (grpc.RpcError, Unreachable, InputError) as error:
                if self._closed.is_set():
                    return
                problem = translate(error, self.address) if isinstance(error, grpc.RpcError) else error
                if channel is not None and _is_broken(error):
                    self._lose(channel)
                failing = min(failing, time.monotonic())
                passes = not isinstance(problem, Refused) if endless else isinstance(problem, Unreachable)
                # A certificate may be being replaced, which somebody who waits for ever, or has been there, waits for.
                lasts = isinstance(problem, Distrusted) and patience < math.inf and not self._met
                if not passes or lasts or time.monotonic() - failing >= patience:
                    raise problem from error
                self._is_away(problem, patience)
            if time.monotonic() - began > LONGEST_PAUSE:
                backoff.reset()
            self._closed.wait(backoff.pause())

    def _connected(self, patience: float) -> grpc.Channel:
        """Return the channel that is open, or a new one on which somebody has answered."""
        with self._connecting:
            if self._channel is None:
                channel = self._channel = self._opened()
                try:
                    # `close` may have come when there was no channel yet for it to close.
                    if self._closed.is_set():
                        raise self._end()
                    with self._said_if_slow(patience):
                        _knock(channel)
                    self._is_there()
                except BaseException:
                    self._channel = None
                    channel.close()
                    raise
            return self._channel

    def _opened(self) -> grpc.Channel:
        try:
            return _Unregistered(self._open())
        except InputError as error:
            raise Unreachable(str(error)) from error

    def _lose(self, channel: grpc.Channel) -> None:
        """Forget a channel; what others have under way on it fails, and is tried again on the next one."""
        with self._connecting:
            if self._channel is channel:
                self._channel = None
        channel.close()

    @contextmanager
    def _said_if_slow(self, patience: float) -> Iterator[None]:
        if self._met or self._away is not None:
            yield
            return
        how_long = "" if patience == math.inf else f", for up to {CONNECT_SECONDS + patience:.0f} s"
        said = threading.Timer(
            SAY_SECONDS, logger.info, ("connecting to the director at %s%s", self.address, how_long)
        )
        said.daemon = True
        said.start()
        try:
            yield
        finally:
            said.cancel()

    def _is_away(self, problem: FederationError, patience: float) -> None:
        now = time.monotonic()
        if self._away is None:
            how_long = "" if patience == math.inf else f" for {patience:.0f} s"
            logger.warning("%s; trying again%s", problem, how_long)
            self._away = self._said = now
        elif now - self._said >= SAY_AGAIN_SECONDS:
            logger.warning("%s; trying again for %.0f minutes now", problem, (now - self._away) / 60)
            self._said = now

    def _is_there(self) -> None:
        self._met = True
        if self._away is not None:
            logger.info("the director at %s is there", self.address)
            self._away = None

    def _end(self) -> Unreachable:
        return Unreachable(f"the connection to the director at {self.address} is closed")


def _is_broken(error: Exception) -> bool:
    """Say whether a channel is of no use any more: on one that a director has closed as it went down, gRPC might wait long."""
    return isinstance(error, grpc.RpcError) and (is_farewell(error) or not is_answer(error))


def _knock(channel: grpc.Channel) -> None:
    try:
        channel.unary_unary(KNOCK, None, None)(b"", timeout=CONNECT_SECONDS)
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.UNIMPLEMENTED:
            raise


@contextmanager
def _ended(messages: Iterable[T]) -> Iterator[Iterable[T]]:
    """Cancel a call when it is left, so that the director does not go on waiting for us."""
    try:
        yield messages
    finally:
        if (cancel := getattr(messages, "cancel", None)) is not None:
            cancel()
