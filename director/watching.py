"""Following events: those that the journal holds, and then each as it comes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from director.journal import EventRow, Journal
from director.states import ENDED


class Watching:
    """Wakes those who follow an experiment when there is something new."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._news = threading.Condition()
        self._count = 0
        self._closing = False

    def notify(self) -> None:
        """Let everybody who watches look again."""
        with self._news:
            self._count += 1
            self._news.notify_all()

    def close(self) -> None:
        """Let everybody who waits return, because the service is going down."""
        self._closing = True
        self.notify()

    def events(self, name: str, after: int, watching: Callable[[], bool]) -> Iterator[EventRow]:
        """Yield the events of an experiment after one; goes on until it has ended, or while ``watching``.

        Whoever ends a watch calls `notify`, so that the waiting ends too.
        """
        while True:
            with self._news:
                seen = self._count
            row = self._journal.experiment(name)
            ended = row is None or row.state in ENDED
            rows = self._journal.events(name, after)
            yield from rows
            after = rows[-1].id if rows else after
            if rows:
                continue
            with self._news:
                while self._count == seen and not ended and not self._closing and watching():
                    self._news.wait()
                if ended or self._closing or not watching():
                    return
