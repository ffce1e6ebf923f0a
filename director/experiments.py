"""The life of experiments: queued, running, then finished, failed or stopped.

Locks: `_lock` guards what is online and what is live; it may be taken while an aggregator's lock is held, never the other way
round.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

from director.bell import Bell
from director.blobs import BlobStore
from director.envoys import Envoys, OnlineEnvoy, Orders
from director.journal import ExperimentRow, Journal
from director.opening import FAULTS, build, replay
from director.record import discard_unreferenced
from director.scheduling import cohort_of, told, unfit
from director.states import ENDED, IllegalTransition
from director.submissions import Submissions
from director.uploads import Uploads
from director.watching import Happened, events_after
from federation.engine.aggregator import Aggregator
from federation.errors import ExperimentFailed, InputError
from federation.protocol import federation_pb2 as pb

logger = logging.getLogger(__name__)


class Experiments:
    """All experiments of a director, and the envoys that are online.

    Parameters
    ----------
    journal, blobs, uploads
        The durable state.
    max_model_bytes
        The largest initial model that is accepted.
    """

    def __init__(self, journal: Journal, blobs: BlobStore, uploads: Uploads, max_model_bytes: int) -> None:
        self._journal = journal
        self._blobs = blobs
        self._uploads = uploads
        self._submissions = Submissions(journal, blobs, max_model_bytes)
        self.news = Bell()
        self.turned = Bell()
        self._lock = threading.RLock()
        self._live: dict[str, Aggregator] = {}
        self._envoys = Envoys()
        self._closing = False
        if aside := blobs.sort_out(journal.named_blobs()):
            logger.warning(
                "%d blobs that the journal does not name are set aside for a week, in blobs/aside", len(aside)
            )
        running = journal.experiments("running")
        uploads.keep(row.name for row in running)
        for row in running:
            self._resume(row)

    # Envoys.

    def connect(self, name: str, announcement: pb.Announcement, orders: Orders) -> OnlineEnvoy:
        """Take note of an envoy that is there; a new connection of the same name replaces the old one."""
        with self._lock:
            envoy = self._envoys.connect(name, announcement, orders)
            for experiment, aggregator in self._live.items():
                if name in aggregator.authorized_cols:
                    self._go_on_with(envoy, self.experiment(experiment), aggregator)
        logger.info(
            "envoy %s is online: %s, %d devices", name, announcement.dataset, len(announcement.devices)
        )
        self.schedule()
        return envoy

    def disconnect(self, envoy: OnlineEnvoy) -> None:
        """Take note that a connection has ended."""
        with self._lock:
            gone = self._envoys.disconnect(envoy)
        if gone:
            logger.info("envoy %s is offline", envoy.name)

    def online(self) -> list[tuple[OnlineEnvoy, list[str]]]:
        """Return the envoys that are there, by name, each with the experiments that it works on."""
        with self._lock:
            return [(envoy, self._work_of(name)) for name, envoy in sorted(self._envoys.items())]

    # Experiments.

    def submit(self, submission: pb.Submission, pieces: Iterable[bytes], submitted_by: str) -> ExperimentRow:
        """Take an experiment in; it is on disk when this returns. The same submission twice is one experiment."""
        name = self._submissions.take_in(submission, pieces, submitted_by)
        self.schedule()
        return self.experiment(name)

    def experiment(self, name: str) -> ExperimentRow:
        """Return an experiment.

        Raises
        ------
        InputError
            If there is none of that name.
        """
        row = self._journal.experiment(name)
        if row is None:
            raise InputError(f"no experiment {name[:80]!r} here; `fed list` names those that are")
        return row

    def experiments(self) -> list[ExperimentRow]:
        """Return all experiments, oldest first."""
        return self._journal.experiments()

    def unchanged(self) -> AbstractContextManager[None]:
        """Keep the journal, and the blobs that it names, as they are while the context lasts."""
        return self._journal.transaction()

    def plan(self, name: str) -> str:
        """Return the JSON of an experiment's plan."""
        return self._journal.plan(name)

    def live(self, name: str) -> Aggregator | None:
        """Return the aggregator of an experiment that runs; None if it has ended or waits."""
        self.experiment(name)
        with self._lock:
            return self._live.get(name)

    def stop(self, name: str) -> ExperimentRow:
        """Stop an experiment; one that has ended stays as it is."""
        with self._lock:
            row = self.experiment(name)
            aggregator = self._live.get(name)
            if aggregator is None and row.state not in ENDED:
                self._end(
                    name,
                    "stopped",
                    "stopped before it began" if row.state == "queued" else "stopped on request",
                )
        if aggregator is not None:
            aggregator.stop()
        return self.experiment(name)

    def events_after(self, name: str, after: int) -> Happened:
        """Return the events of an experiment after one, and whether more can come."""
        self.experiment(name)
        return events_after(self._journal, name, after)

    def schedule(self) -> None:
        """Start what can be started: oldest first, past those that still wait for envoys."""
        with self._lock:
            if self._closing:
                return
            for row in self._journal.experiments("queued"):
                try:
                    self._try_start(row)
                except FAULTS:
                    logger.exception("experiment %s cannot be started now; it stays as it is", row.name)

    def discard(self, *blobs: str) -> None:
        """Remove those of some blobs that nothing in the journal names."""
        discard_unreferenced(self._journal, self._blobs, blobs)

    def notify(self) -> None:
        """Let everybody who watches events look again."""
        self.news.ring()

    def close(self) -> None:
        """Let everybody who waits return, because the service is going down; nothing changes on disk."""
        with self._lock:
            self._closing = True
            self._envoys.close()
        self.turned.ring()
        self.news.ring()

    def _try_start(self, row: ExperimentRow) -> None:
        if not row.rounds:
            self._end(row.name, "failed", "its plan cannot be read; submit it again")
            return
        cohort, waiting = cohort_of(row, self._envoys, self._work_of)
        if waiting:
            self._note_waiting(row, waiting)
            return
        row = replace(row, state="running", cohort=tuple(cohort))
        try:
            aggregator = self._built(row)
        except ExperimentFailed as error:
            self._end(row.name, "failed", str(error))
            return
        with self._journal.transaction():
            self._journal.update_experiment(row.name, state="running", reason="", cohort=cohort)
            self._journal.add_event(row.name, "started", {"cohort": cohort})
            self._journal.add_event(row.name, "round_started", {"round": row.round, "cohort": cohort})
        self._live[row.name] = aggregator
        logger.info("experiment %s: starts with %s", row.name, ", ".join(cohort))
        self._envoys.order(cohort, self._start_order(row))
        self.notify()

    def _resume(self, row: ExperimentRow) -> None:
        """Go on with an experiment that ran when the director went down; one that cannot go on fails alone."""
        logger.info("experiment %s: goes on with round %d", row.name, row.round)
        try:
            self._live[row.name] = self._built(row)
            replay(row.name, self._live[row.name], self._journal, self._blobs)
        except FAULTS as error:
            logger.exception("experiment %s cannot be gone on with now", row.name)
            self._live.pop(row.name, None)
            self._note_waiting(row, f"the director must be started again to go on with it: {error}")
        except Exception as error:
            logger.exception("experiment %s cannot be gone on with", row.name)
            self._live.pop(row.name, None)
            self._end(row.name, "failed", str(error) or type(error).__name__)

    def _built(self, row: ExperimentRow) -> Aggregator:
        ended = partial(self._ended, row.name)
        aggregator = build(row, self._journal, self._blobs, self._uploads, self.notify, ended)
        aggregator.on_turn = self.turned.ring
        return aggregator

    def _go_on_with(self, envoy: OnlineEnvoy, row: ExperimentRow, aggregator: Aggregator) -> None:
        """Order an envoy that is back to go on with an experiment that runs; with other code it would be another one."""
        there = [self._envoys[name] for name in aggregator.authorized_cols if name in self._envoys]
        keeps = unfit(row, there)
        if envoy.name not in keeps:
            envoy.orders.put(self._start_order(row))
        self._note_waiting(row, "; ".join(told(keeps)))

    def _note_waiting(self, row: ExperimentRow, reason: str) -> None:
        if reason == row.reason:
            return
        with self._journal.transaction():
            self._journal.update_experiment(row.name, reason=reason)
            if reason:
                self._journal.add_event(row.name, "waiting", {"reason": reason})
        self.notify()

    def _ended(self, name: str) -> None:
        """Note the end of a running experiment (called by its aggregator)."""
        with self._lock:
            aggregator = self._live.pop(name)
            if aggregator.failure is not None:
                self._end(name, "failed", aggregator.failure)
            elif aggregator.stopped:
                self._end(name, "stopped", "stopped on request")
            else:
                # Its record has written the end together with the last round.
                self._tell_the_end(self.experiment(name))
        self.schedule()

    def _end(self, name: str, state: str, reason: str) -> None:
        try:
            with self._journal.transaction():
                self._journal.update_experiment(name, state=state, reason=reason, ended=time.time())
                self._journal.add_event(name, state, {"reason": reason})
                uploads = self._journal.clear_results(name)
        except IllegalTransition as error:
            logger.info("%s, it has ended: %s", error, reason)
            return
        self.discard(*uploads)
        self._uploads.drop(name)
        self._tell_the_end(self.experiment(name))

    def _tell_the_end(self, row: ExperimentRow) -> None:
        self._envoys.order(row.cohort, pb.Order(stop=row.name))
        logger.info("experiment %s: %s%s", row.name, row.state, f" ({row.reason})" if row.reason else "")
        self.notify()

    def _start_order(self, row: ExperimentRow) -> pb.Order:
        return pb.Order(
            start=pb.Start(
                experiment=row.name,
                plan=self._journal.plan(row.name),
                frozen_fingerprint=row.frozen_fingerprint,
                code_hash=row.code_hash,
            )
        )

    def _work_of(self, envoy: str) -> list[str]:
        return sorted(name for name, aggregator in self._live.items() if envoy in aggregator.authorized_cols)
