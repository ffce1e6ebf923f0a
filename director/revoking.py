"""What becomes of a member that is revoked: it is gone at once, and what it has in hand goes with it, whole or not at all.

A revoked envoy takes part in nothing any more, and nothing of it counts in rounds that are open. The experiments of a revoked
workspace stop. All of it is written in one transaction with the entry.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack

from director.attending import Attending
from director.blobs import BlobStore
from director.envoys import Envoys
from director.journal import Journal
from director.lives import Lives
from director.record import discard_unreferenced, write_end, write_standing
from director.revocations import Revocations
from director.rows import ExperimentRow
from director.uploads import Uploads
from federation.engine.aggregator import Aggregator
from federation.engine.members import EXCLUDED
from federation.engine.results import Standing
from federation.protocol import federation_pb2 as pb
from federation.revocation import told

logger = logging.getLogger(__name__)


class Revoking:
    """Revokes members.

    Parameters
    ----------
    revocations, journal, blobs, uploads
        The director's.
    envoys, lives, lock
        Who is online and what runs, and what guards both, as in `director.attending.Attending`.
    attending
        Stands still meanwhile, so that nobody takes in who goes.
    ended
        Called with an experiment that was stopped and did not run.
    """

    def __init__(
        self,
        revocations: Revocations,
        journal: Journal,
        blobs: BlobStore,
        uploads: Uploads,
        envoys: Envoys,
        lives: Lives,
        lock: threading.RLock,  # type: ignore[valid-type]
        attending: Attending,
        ended: Callable[[str], None],
    ) -> None:
        self._revocations, self._journal = revocations, journal
        self._blobs, self._uploads = blobs, uploads
        self._envoys, self._lives, self._lock = envoys, lives, lock
        self._attending, self._ended = attending, ended
        self._one_at_a_time = threading.Lock()

    def revoke(self, entry: pb.Revocation, end_calls: Callable[[], object]) -> None:
        """Revoke what an entry that was checked says. The same one twice is one.

        Parameters
        ----------
        entry
            Signed.
        end_calls
            Ends the calls of who is refused by now; called before anything that may take a while.

        Raises
        ------
        OSError
            If it cannot be written: nothing is then, but who is revoked is refused as long as this process lives.
        """
        with self._one_at_a_time:
            self._revocations.take(entry)
            is_back = self._disconnect(entry)
            end_calls()
            if self._revocations.is_written(entry):
                return
            logger.warning("%s: a certificate %s", entry.name, told(entry))
            with self._attending.standing_still():
                self._take_out(entry, but_envoy=is_back)
            self._pass_on(entry)

    def _disconnect(self, entry: pb.Revocation) -> bool:
        """End an envoy's connection; say whether it has one with another certificate than those that are revoked."""
        with self._lock:
            envoy = self._envoys.get(entry.name)
            if envoy is None:
                return False
            if envoy.certificate is not None and not self._revocations.reason(envoy.certificate):
                return True
            self._envoys.disconnect(envoy)
        envoy.orders.put(None)
        return False

    def _take_out(self, entry: pb.Revocation, but_envoy: bool) -> None:
        reason = f"its certificate {told(entry)}"
        live = self._running()
        with ExitStack() as held:
            for aggregator in live.values():
                held.enter_context(aggregator.lock)
            blobs: list[str] = []
            stopped, left = [], []
            with self._journal.transaction():
                self._revocations.write(entry)
                for row in self._journal.experiments("queued", "running"):
                    if row.submitted_by == entry.name:
                        blobs += write_end(self._journal, row.name, "stopped", f"{entry.name}: {reason}")
                        stopped.append(row)
                    elif not but_envoy and self._takes_part(row, entry.name):
                        change = Standing(entry.name, EXCLUDED, "envoy_excluded", row.round, reason, "", True)
                        blobs += write_standing(self._journal, row.name, change)
                        left.append(row.name)
            for name in left:
                if name in live:
                    live[name].expel(entry.name, reason)
            for row in stopped:
                if row.name in live:
                    live[row.name].stop()
        for row in stopped:
            if row.name not in live:
                self._stop(row.name)
        try:
            discard_unreferenced(self._journal, self._blobs, blobs)
            for row in stopped:
                self._uploads.drop(row.name)
        except OSError as error:
            logger.warning("what %s has sent could not be removed: %s", entry.name, error)

    def _stop(self, name: str) -> None:
        """Tell the end of an experiment that did not run, unless it has just been started."""
        with self._lock:
            started = self._lives.get(name)
            if started is None:
                self._ended(name)
        if started is not None:
            started.aggregator.stop()

    def _running(self) -> dict[str, Aggregator]:
        """Return what runs, by name: the order in which locks are taken."""
        with self._lock:
            found = {name: self._lives.get(name) for name in sorted(self._lives)}
        return {name: live.aggregator for name, live in found.items() if live is not None}

    def _takes_part(self, row: ExperimentRow, name: str) -> bool:
        """Say whether an experiment waits for an envoy, or has something of it in its open round."""
        opened = self._journal.opened(row.name)
        counts = opened is not None and name in opened.cohort and name not in opened.out
        return counts or any(
            member.takes_part for member in self._journal.members(row.name) if member.name == name
        )

    def _pass_on(self, entry: pb.Revocation) -> None:
        with self._lock:
            for envoy in self._envoys.values():
                envoy.orders.put(pb.Order(revoked=entry))
