"""What wakes calls that wait: rung from any thread, heard in the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Bell:
    """Tells everybody who listens that something has changed, and not what: they look again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: set[Callable[[], None]] = set()

    def ring(self) -> None:
        """Wake everybody who listens; may be called from any thread, with any lock held."""
        with self._lock:
            for listener in self._listeners:
                listener()

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """Give the event loop's running coroutine an event that is set whenever the bell rings."""
        rung, loop = asyncio.Event(), asyncio.get_running_loop()

        def listener() -> None:
            _call_soon(loop, rung.set)

        with self._lock:
            self._listeners.add(listener)
        try:
            yield rung
        finally:
            with self._lock:
                self._listeners.discard(listener)


class Mailbox:
    """A queue that is filled from any thread and emptied by one coroutine."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, message: Any) -> None:
        """Add a message; may be called from any thread."""
        _call_soon(self._loop, self._queue.put_nowait, message)

    async def get(self) -> Any:
        """Wait for the next message."""
        return await self._queue.get()


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *arguments: Any) -> None:
    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(function, *arguments)
