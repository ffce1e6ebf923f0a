"""Between the event loop, which has the streams, and the threads that read and write files.

An upload holds a thread from its second message to its end, and must bring what it brings at a least rate; only time in which
the director was ready to read counts. A download holds one only while a piece is read, however slowly it is taken.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Generic, TypeVar

from federation.rpc import Busy

T = TypeVar("T")
_END: Any = object()


class Incoming(Generic[T]):
    """The messages of a stream, for a thread.

    Parameters
    ----------
    messages
        Of the stream; they are read in the loop that is running.
    rate
        Bytes a second that must arrive.
    patience
        Seconds for which nothing may arrive; what arrives faster than it must earns them back.
    """

    def __init__(self, messages: AsyncIterator[T], rate: float, patience: float) -> None:
        self._messages, self._rate, self._patience = messages, rate, patience
        self._left = patience
        self._loop = asyncio.get_running_loop()
        self._first: list[T] = []

    async def begin(self) -> None:
        """Wait for the first message, as a coroutine: a stream that never begins holds no thread."""
        try:
            first = await asyncio.wait_for(self._read(), self._patience)
        except TimeoutError:
            raise self._too_slow() from None
        self._first = [first]

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        message = self._first.pop() if self._first else self._next()
        if message is _END:
            self._first = [message]
            raise StopIteration
        return message

    def _next(self) -> T:
        began = time.monotonic()
        reading = asyncio.run_coroutine_threadsafe(self._read(), self._loop)
        try:
            message = reading.result(max(0.0, self._left))
        except CancelledError:
            return _END  # type: ignore[no-any-return]
        except TimeoutError:
            raise self._too_slow() from None
        if message is not _END:
            earned = message.ByteSize() / self._rate  # type: ignore[attr-defined]
            self._left = min(self._patience, self._left - (time.monotonic() - began) + earned)
        return message

    async def _read(self) -> T:
        # The end of a stream cannot cross a future as the exception that it is.
        return await anext(self._messages, _END)

    def _too_slow(self) -> Busy:
        return Busy(
            f"the upload brings less than the limit upload_rate of the director, {self._rate:g} bytes a second, for "
            f"{self._patience:g} seconds; what has arrived of a result is kept, and it goes on there"
        )


async def pulled(pool: ThreadPoolExecutor, messages: Iterator[T]) -> AsyncGenerator[T, None]:
    """Yield what a generator yields, which runs in a pool: one message ahead, and for no longer than each takes."""
    context = copy_context()

    def pull() -> T:
        return context.run(next, messages, _END)

    ahead: Future[T] = pool.submit(pull)
    try:
        while (message := await asyncio.wrap_future(ahead)) is not _END:
            ahead = pool.submit(pull)
            yield message
    finally:
        # Its thread may be in it still.
        ahead.add_done_callback(lambda _: getattr(messages, "close", lambda: None)())
