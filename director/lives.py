"""The experiments that run: how one starts, goes on after a restart of the director, and ends.

Locks: whoever owns this guards it with a lock that may be taken while an aggregator's lock is held, never the other way round.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from functools import partial

from director.attendance import Live
from director.blobs import BlobStore
from director.envoys import OnlineEnvoy
from director.journal import Journal
from director.opening import FAULTS, build, replay
from director.record import discard_unreferenced, write_end
from director.rows import ExperimentRow, MemberRow
from director.states import IllegalTransition
from director.uploads import Uploads
from federation.engine.members import ACTIVE, Member

logger = logging.getLogger(__name__)


class Lives:
    """The aggregators of the experiments that run, in the order in which these were started.

    Parameters
    ----------
    journal, blobs, uploads
        The durable state.
    notify
        Called after each event.
    turned
        Called when a round has turned, or somebody has left.
    ended
        Called with the name of an experiment that has ended.
    fault
        Called with what kept an experiment from going on, where it is the machine's.
    """

    def __init__(
        self,
        journal: Journal,
        blobs: BlobStore,
        uploads: Uploads,
        notify: Callable[[], None],
        turned: Callable[[], None],
        ended: Callable[[str], None],
        fault: Callable[[OSError], None],
    ) -> None:
        self._journal, self._blobs, self._uploads = journal, blobs, uploads
        self._notify, self._turned, self._ended, self._fault = notify, turned, ended, fault
        self._live: dict[str, Live] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._live))

    def __getitem__(self, name: str) -> Live:
        return self._live[name]

    def get(self, name: str) -> Live | None:
        """Return what runs of an experiment; None if it does not run."""
        return self._live.get(name)

    def forget(self, name: str) -> None:
        """Take note that an experiment runs no more."""
        self._live.pop(name, None)

    def work_of(self, envoy: str) -> list[str]:
        """Return the names of the experiments that hold a device of an envoy, in the order in which they were started."""
        members = ((name, live.aggregator.members.get(envoy)) for name, live in self._live.items())
        return [name for name, member in members if member is not None and member.standing == ACTIVE]

    def start(self, row: ExperimentRow, there: list[OnlineEnvoy]) -> None:
        """Start an experiment with the envoys that are there, or go on with it with those that it had.

        Raises
        ------
        ExperimentFailed
            If it cannot be opened.
        """
        names = [envoy.name for envoy in there]
        members = self._journal.members(row.name) or [announced(envoy, row.experiment) for envoy in there]
        live = self._built(row, members)
        faults: list[OSError] = []
        live.aggregator.on_fault = faults.append
        with self._journal.transaction():
            self._journal.update_experiment(row.name, state="running", reason="")
            self._journal.put_members(row.name, members)
            self._journal.add_event(row.name, "started", {"cohort": [member.name for member in members]})
            for name in names:
                live.aggregator.arrive(name)
            live.aggregator.go_on()
            for fault in faults:
                raise fault
        if live.aggregator.failure is not None:
            return
        live.aggregator.on_fault = self._fault
        self._live[row.name] = live
        logger.info("experiment %s: starts with %s", row.name, ", ".join(names))
        self._notify()

    def go_on(self, row: ExperimentRow) -> str:
        """Go on with an experiment that ran when the director went down; one that cannot go on fails alone.

        Returns
        -------
        str
            Why it cannot be gone on with now, for a fault of the machine; empty otherwise.
        """
        logger.info("experiment %s: goes on with round %d", row.name, row.round)
        try:
            live = self._built(row, self._journal.members(row.name), is_open=True)
            replay(row.name, live.aggregator, self._journal, self._blobs)
            self._live[row.name] = live
            live.aggregator.go_on()
        except FAULTS as error:
            logger.exception("experiment %s cannot be gone on with now", row.name)
            self.forget(row.name)
            return f"it cannot be gone on with now, and is tried again: {error}"
        except Exception as error:
            logger.exception("experiment %s cannot be gone on with", row.name)
            self.forget(row.name)
            self.end(row.name, "failed", str(error) or type(error).__name__)
        return ""

    def join(self, row: ExperimentRow, envoy: OnlineEnvoy) -> None:
        """Let an envoy that was not there when an experiment started take part in it from the next round."""
        aggregator = self._live[row.name].aggregator
        with aggregator.lock:
            if aggregator.failure is not None or aggregator.stopped or aggregator.finished:
                return
            member = announced(envoy, row.experiment)
            with self._journal.transaction():
                self._journal.put_members(row.name, [member])
                self._journal.add_event(
                    row.name, "envoy_joined", {"envoy": envoy.name, "round": aggregator.round_number}
                )
            aggregator.members[envoy.name] = Member(envoy.name, samples=member.announced)

    def end(self, name: str, state: str, reason: str) -> None:
        """End an experiment that has no aggregator; one that has ended before stays as it is."""
        try:
            uploads = write_end(self._journal, name, state, reason)
        except IllegalTransition as error:
            logger.info("%s, it has ended: %s", error, reason)
            return
        discard_unreferenced(self._journal, self._blobs, uploads)
        self._uploads.drop(name)
        self._notify()

    def _built(self, row: ExperimentRow, members: list[MemberRow], is_open: bool = False) -> Live:
        opened = self._journal.opened(row.name) if is_open else None
        ended = partial(self._ended, row.name)
        live = build(row, members, opened, self._journal, self._blobs, self._uploads, self._notify, ended)
        live.aggregator.on_turn, live.aggregator.on_fault = self._turned, self._fault
        return live


def announced(envoy: OnlineEnvoy, experiment: str) -> MemberRow:
    """Return the row of an envoy that is taken in, with what it says of itself."""
    said = envoy.announcement
    return MemberRow(
        envoy.name,
        samples=json.dumps(dict(sorted(said.samples.items()))),
        code_hash=said.code_hashes.get(experiment, ""),
        fingerprint=said.fingerprint,
    )
