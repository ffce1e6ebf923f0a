"""Following events: those that the journal holds, and whether more can come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from director.journal import Journal
from director.rows import EventRow
from director.states import ENDED


@dataclass(frozen=True)
class Happened:
    """Events of an experiment, oldest first, and whether no more will come."""

    events: Sequence[EventRow]
    ended: bool


def events_after(journal: Journal, name: str, after: int) -> Happened:
    """Return the events of an experiment after one."""
    # Asked before the events are read: what ends it is an event, too.
    row = journal.experiment(name)
    ended = row is None or row.state in ENDED
    return Happened(journal.events(name, after), ended)
