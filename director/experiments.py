"""The life of experiments: queued, running, then finished, failed or stopped; and which envoys are there to run them.

Locks: `_lock` guards what is online and what is live; it may be taken while an aggregator's lock is held, never the other way
round.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from openfl.callbacks import LambdaCallback

from director.bell import Bell
from director.blobs import BlobStore
from director.journal import EventRow, ExperimentRow, Journal
from director.matching import mismatch
from director.record import JournalRecord, discard_unreferenced
from director.uploads import Uploads
from federation.document import Problems
from federation.engine.aggregator import Aggregator
from federation.engine.build import build_aggregator
from federation.engine.results import BestModel, TaskOutput
from federation.errors import InputError, Refused
from federation.plan import CheckedPlan, plan_from_json
from federation.protocol import federation_pb2 as pb
from federation.tensors import all_finite, unpack

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
ENDED = ("finished", "failed", "stopped")


class Orders(Protocol):
    """Where an envoy's orders are put."""

    def put(self, order: pb.Order | None, /) -> None:
        """Send an order; may be called from any thread."""


@dataclass(frozen=True)
class Happened:
    """Events of an experiment, oldest first, and whether no more will come."""

    events: Sequence[EventRow]
    ended: bool


@dataclass(eq=False)
class OnlineEnvoy:
    """An envoy with an open connection; ``orders`` are sent to it, None ends the connection."""

    name: str
    announcement: pb.Announcement
    since: float
    orders: Orders

    @property
    def slots(self) -> int:
        """How many experiments it runs at once: one for each device."""
        return max(1, len(self.announcement.devices))


class Experiments:
    """All experiments of a director, and the envoys that are online.

    Parameters
    ----------
    journal, blobs, uploads
        The durable state.
    version
        Of this project, as installed at the director.
    max_model_bytes
        The largest initial model that is accepted.
    """

    def __init__(
        self, journal: Journal, blobs: BlobStore, uploads: Uploads, version: str, max_model_bytes: int
    ) -> None:
        self._journal = journal
        self._blobs = blobs
        self._uploads = uploads
        self._version = version
        self._max_model_bytes = max_model_bytes
        self._lock = threading.RLock()
        self._live: dict[str, Aggregator] = {}
        self._envoys: dict[str, OnlineEnvoy] = {}
        self.news = Bell()
        self.turned = Bell()
        self._closing = False
        # What a crash left behind between a write to the store and the journal.
        self.discard(*blobs.names())
        running = [row for row in journal.experiments() if row.state == "running"]
        uploads.keep(row.name for row in running)
        for row in running:
            self._resume(row)

    # Envoys.

    def connect(self, name: str, announcement: pb.Announcement, orders: Orders) -> OnlineEnvoy:
        """Take note of an envoy that is there; a new connection of the same name replaces the old one."""
        envoy = OnlineEnvoy(name, announcement, time.time(), orders)
        envoy.orders.put(pb.Order(connected=pb.Empty()))
        with self._lock:
            if name in self._envoys:
                self._envoys[name].orders.put(None)
            self._envoys[name] = envoy
            for experiment, aggregator in self._live.items():
                if name in aggregator.authorized_cols:
                    self._go_on_with(envoy, self._row(experiment), aggregator.authorized_cols)
        logger.info(
            "envoy %s is online: %s, %d devices", name, announcement.dataset, len(announcement.devices)
        )
        self.schedule()
        return envoy

    def disconnect(self, envoy: OnlineEnvoy) -> None:
        """Take note that a connection has ended."""
        with self._lock:
            if self._envoys.get(envoy.name) is not envoy:
                return
            del self._envoys[envoy.name]
        logger.info("envoy %s is offline", envoy.name)

    def online(self) -> list[tuple[OnlineEnvoy, list[str]]]:
        """Return the envoys that are there, by name, each with the experiments that it works on."""
        with self._lock:
            return [(envoy, self._work_of(name)) for name, envoy in sorted(self._envoys.items())]

    # Experiments.

    def submit(self, submission: pb.Submission, pieces: Iterable[bytes], submitted_by: str) -> ExperimentRow:
        """Take an experiment in; it is on disk when this returns. The same submission twice is one experiment."""
        if (row := self._journal.experiment_of_submission(submission.id)) is not None:
            return row
        if not _NAME.fullmatch(submission.name) or not 8 <= len(submission.id) <= 64:
            raise InputError(
                f"{submission.name[:80]!r} cannot name an experiment: use a-z, 0-9, '_', '-', '.'"
            )
        try:
            plan = plan_from_json(submission.plan, submission.name, "checked_if_known")
        except Problems as error:
            raise InputError(
                "\n".join(f"the director refuses {line}" for line in str(error).splitlines())
            ) from error
        if submission.version != self._version:
            raise Refused(
                f"the workspace has version {submission.version} of the project, the director {self._version}: "
                "install the same"
            )
        if not 0 < submission.blob.size <= self._max_model_bytes:
            raise Refused(
                f"a model of {submission.blob.size} bytes; this director takes up to {self._max_model_bytes}"
            )
        try:
            row = self._take_in(submission, plan, pieces, submitted_by)
        finally:
            self.discard(submission.blob.sha256)
        logger.info("experiment %s: submitted by %s", row.name, submitted_by)
        self.schedule()
        return self._row(row.name)

    def _take_in(
        self, submission: pb.Submission, plan: CheckedPlan, pieces: Iterable[bytes], submitted_by: str
    ) -> ExperimentRow:
        with self._blobs.held(submission.blob.sha256):
            model = self._blobs.receive(pieces, submission.blob.sha256, submission.blob.size)
            tensors = self._blobs.open(model)
            if not tensors or not all(all_finite(value) for value in tensors.values()):
                raise Refused("the initial model has no tensors, or holds NaN or infinity")
            with self._lock:
                row = ExperimentRow(
                    name=self._free_name(submission.name),
                    submission=submission.id,
                    plan=plan.to_json(),
                    submitted_by=submitted_by,
                    code_hash=submission.code_hash,
                    frozen_fingerprint=submission.frozen_fingerprint,
                    state="queued",
                    reason="",
                    created=time.time(),
                    ended=0.0,
                    cohort=(),
                    round=0,
                    model=model,
                    best_round=-1,
                    best_score=0.0,
                    best_model="",
                )
                with self._journal.transaction():
                    self._journal.add_experiment(row)
                    self._journal.add_event(row.name, "submitted", {"by": submitted_by, "plan": plan.name})
        return row

    def experiment(self, name: str) -> ExperimentRow:
        """Return an experiment.

        Raises
        ------
        InputError
            If there is none of that name.
        """
        return self._row(name)

    def experiments(self) -> list[ExperimentRow]:
        """Return all experiments, oldest first."""
        return self._journal.experiments()

    def live(self, name: str) -> Aggregator | None:
        """Return the aggregator of an experiment that runs; None if it has ended or waits."""
        self._row(name)
        with self._lock:
            return self._live.get(name)

    def stop(self, name: str) -> ExperimentRow:
        """Stop an experiment; one that has ended stays as it is."""
        with self._lock:
            row = self._row(name)
            if row.state == "queued":
                self._end(name, "stopped", "stopped before it began")
            aggregator = self._live.get(name)
        if aggregator is not None:
            aggregator.stop()
        return self._row(name)

    def events_after(self, name: str, after: int) -> Happened:
        """Return the events of an experiment after one, and whether it has ended and these are the last."""
        # Asked before the events are read: what ends it is an event, too.
        ended = self._row(name).state in ENDED
        return Happened(self._journal.events(name, after), ended)

    def schedule(self) -> None:
        """Start what can be started: oldest first, past those that still wait for envoys."""
        with self._lock:
            if self._closing:
                return
            for row in self._journal.experiments():
                if row.state == "queued":
                    self._try_start(row)

    def discard(self, *blobs: str) -> None:
        """Remove those of some blobs that nothing in the journal names."""
        discard_unreferenced(self._journal, self._blobs, blobs)

    def close(self) -> None:
        """Let everybody who waits return, because the service is going down; nothing changes on disk."""
        with self._lock:
            self._closing = True
            for envoy in self._envoys.values():
                envoy.orders.put(None)
            aggregators = list(self._live.values())
        for aggregator in aggregators:
            aggregator.interrupt()
        self.turned.ring()
        self.notify()

    def _try_start(self, row: ExperimentRow) -> None:
        plan = _plan_of(row)
        unfit = self._unfit(plan, row, list(self._envoys))
        for name in self._envoys.keys() - unfit.keys():
            if len(self._work_of(name)) >= self._envoys[name].slots:
                unfit[name] = "is at work on other experiments"
        cohort = sorted(self._envoys.keys() - unfit.keys())
        if len(cohort) < plan.federation.envoys:
            waiting = f"waiting for envoys: {len(cohort)} of {plan.federation.envoys} are there"
            self._note_waiting(row, "; ".join([waiting, *_told(unfit)]))
            return
        with self._journal.transaction():
            self._journal.update_experiment(row.name, state="running", reason="", cohort=cohort)
            self._journal.add_event(row.name, "started", {"cohort": cohort})
        row = replace(row, state="running", cohort=tuple(cohort))
        logger.info("experiment %s: starts with %s", row.name, ", ".join(cohort))
        if self._open(row, plan, resumed=False):
            for name in cohort:
                self._envoys[name].orders.put(self._start_order(row))

    def _go_on_with(self, envoy: OnlineEnvoy, row: ExperimentRow, cohort: Sequence[str]) -> None:
        """Order an envoy that is back to go on with an experiment that runs; with other code it would be another one."""
        unfit = self._unfit(_plan_of(row), row, [name for name in cohort if name in self._envoys])
        if envoy.name not in unfit:
            envoy.orders.put(self._start_order(row))
        self._note_waiting(row, "; ".join(_told(unfit)))

    def _unfit(self, plan: CheckedPlan, row: ExperimentRow, names: Sequence[str]) -> dict[str, str]:
        """Say of those of some envoys that an experiment cannot be run with what keeps them from it."""
        said = {
            name: mismatch(plan, row.code_hash, self._version, self._envoys[name].announcement)
            for name in names
        }
        return {name: reason for name, reason in said.items() if reason is not None}

    def _note_waiting(self, row: ExperimentRow, reason: str) -> None:
        if reason == row.reason:
            return
        with self._journal.transaction():
            self._journal.update_experiment(row.name, reason=reason)
            if reason:
                self._journal.add_event(row.name, "waiting", {"reason": reason})
        self.notify()

    def _resume(self, row: ExperimentRow) -> None:
        """Go on with an experiment that ran when the director went down, replaying the open round's results."""
        logger.info("experiment %s: goes on with round %d", row.name, row.round)
        if not self._open(row, _plan_of(row), resumed=True):
            return
        aggregator = self._live[row.name]
        for result in self._journal.results(row.name):
            tensors = self._blobs.open(result.blob) if result.blob else {}
            output = TaskOutput(tensors, unpack(result.statistics), result.blob)
            aggregator.process_task_results(result.envoy, result.round, result.task, result.data_size, output)

    def _open(self, row: ExperimentRow, plan: CheckedPlan, resumed: bool) -> bool:
        name = row.name
        best = BestModel(row.best_round, row.best_score) if row.best_round >= 0 else None
        try:
            self._live[name] = build_aggregator(
                plan,
                row.cohort,
                self._blobs.open(row.model),
                JournalRecord(name, self._journal, self._blobs, self._uploads, self.notify),
                round_number=row.round,
                best=best,
                resumed=resumed,
                callbacks=[LambdaCallback(on_experiment_end=lambda logs=None: self._ended(name))],
            )
            self._live[name].on_turn = self.turned.ring
        except Exception as error:
            logger.exception("experiment %s cannot be opened", name)
            self._end(name, "failed", f"its aggregator cannot be built: {error}")
            return False
        return True

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
                self._tell_the_end(self._row(name))
        self.schedule()

    def _end(self, name: str, state: str, reason: str) -> None:
        with self._journal.transaction():
            self._journal.update_experiment(name, state=state, reason=reason, ended=time.time())
            self._journal.add_event(name, state, {"reason": reason})
            uploads = self._journal.clear_results(name)
        self.discard(*uploads)
        self._uploads.drop(name)
        self._tell_the_end(self._row(name))

    def _tell_the_end(self, row: ExperimentRow) -> None:
        for envoy in [self._envoys[member] for member in row.cohort if member in self._envoys]:
            envoy.orders.put(pb.Order(stop=row.name))
        logger.info("experiment %s: %s%s", row.name, row.state, f" ({row.reason})" if row.reason else "")
        self.notify()

    def _start_order(self, row: ExperimentRow) -> pb.Order:
        return pb.Order(
            start=pb.Start(
                experiment=row.name,
                plan=row.plan,
                frozen_fingerprint=row.frozen_fingerprint,
                code_hash=row.code_hash,
            )
        )

    def _work_of(self, envoy: str) -> list[str]:
        return sorted(name for name, aggregator in self._live.items() if envoy in aggregator.authorized_cols)

    def _free_name(self, name: str) -> str:
        taken = {row.name for row in self._journal.experiments()}
        number = 2
        free = name
        while free in taken:
            free = f"{name}-{number}"
            number += 1
        return free

    def _row(self, name: str) -> ExperimentRow:
        row = self._journal.experiment(name)
        if row is None:
            raise InputError(f"no experiment {name[:80]!r} here; `fed list` names those that are")
        return row

    def notify(self) -> None:
        """Let everybody who watches events look again."""
        self.news.ring()


def _plan_of(row: ExperimentRow) -> CheckedPlan:
    """Read the plan of an experiment; its settings were checked when it was submitted, perhaps by another version."""
    return plan_from_json(row.plan, row.name, "opaque")


def _told(unfit: Mapping[str, str]) -> list[str]:
    return [f"the envoy {name} {reason}" for name, reason in sorted(unfit.items())]
