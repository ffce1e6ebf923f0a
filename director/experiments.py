"""The life of experiments: queued, running, then finished, failed or stopped. The last two may be resumed, all three removed.

Locks: `_lock` guards who is online and what is live; it may be taken while an aggregator's lock is held, never the other way
round. So whoever tells an aggregator something (`attend`) does not hold it.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager

from cryptography import x509

from director.attending import RETRY_SECONDS, Attending, set_later
from director.bell import Bell
from director.blobs import BlobStore
from director.changes import accept_shared_code, check_resume, exclude, queue_again
from director.envoys import Envoys, OnlineEnvoy, Orders
from director.journal import Journal
from director.lives import Lives
from director.record import discard_unreferenced
from director.retention import Retention, check_has_models, check_is_there
from director.revocations import Revocations
from director.revoking import Revoking
from director.rows import ExperimentRow, MemberRow
from director.signatures import Signatures
from director.starting import Starting
from director.states import ENDED, REMOVED
from director.submissions import Submissions
from director.uploads import Uploads
from director.watching import Happened, events_after
from federation.engine.aggregator import Aggregator
from federation.errors import InputError, Refused
from federation.identity import Credentials
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
    clock
        Returns seconds, from any beginning: what `attend` measures absences by.
    retention_days
        After which the models of an experiment that has ended go; None keeps all.
    credentials
        The director's own; None stands for ``--insecure``.
    """

    def __init__(
        self,
        journal: Journal,
        blobs: BlobStore,
        uploads: Uploads,
        max_model_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        retention_days: float | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self._journal = journal
        self._blobs = blobs
        self._uploads = uploads
        self.signatures = Signatures(journal, credentials)
        self._submissions = Submissions(journal, blobs, max_model_bytes, self.signatures)
        self.news = Bell()
        self.turned = Bell()
        self.attention = threading.Event()
        # Told of a fault of the machine that kept something from being done, which `attend` tries again.
        self.on_fault: Callable[[OSError], bool] = lambda error: False
        self._lock = threading.RLock()
        self._envoys = Envoys()
        self.closing = False
        self._lives = Lives(
            journal, blobs, uploads, self.notify, self._has_turned, self._ended, self._note_fault
        )
        running = self._envoys, self._lives, self._lock
        self._starting = Starting(
            journal, *running, self._end, self.attention.set, self._note_fault, self.notify
        )
        note_waiting = self._starting.note_waiting
        self._attending = Attending(journal, *running, note_waiting, self._note_fault, clock)
        self.revocations = Revocations(journal, credentials)
        self._revoking = Revoking(
            self.revocations, journal, blobs, uploads, *running, self._attending, self._tell_the_end_of
        )
        self._retention = Retention(journal, blobs, uploads, retention_days, self._gone, clock)
        if aside := blobs.sort_out(journal.named_blobs()):
            logger.warning(
                "%d blobs that the journal does not name are set aside for a week, in blobs/aside", len(aside)
            )
        uploads.keep(row.name for row in journal.experiments("running"))
        self._starting.go_on()

    # Envoys.

    def connect(
        self,
        name: str,
        said: pb.Announcement,
        orders: Orders,
        address: str = "",
        certificate: x509.Certificate | None = None,
    ) -> OnlineEnvoy:
        """Take note of an envoy that is there; raises as `Envoys.connect` does, and `Refused` of a revoked certificate."""
        with self._lock:
            if reason := self.revocations.reason(certificate):
                raise Refused(f"the envoy {name}: its certificate {reason}")
            envoy = self._envoys.connect(name, said, orders, address, certificate)
            for entry in self.revocations:
                orders.put(pb.Order(revoked=entry))
            for experiment in said.kept:
                if self._is_done_with(experiment):
                    orders.put(pb.Order(forget=experiment))
        logger.info("envoy %s is online: %s, %d devices", name, said.dataset, len(said.devices))
        self.attention.set()
        return envoy

    def disconnect(self, envoy: OnlineEnvoy) -> None:
        """Take note that a connection has ended."""
        with self._lock:
            gone = self._envoys.disconnect(envoy)
        if gone:
            logger.info("envoy %s is offline", envoy.name)
            self.attention.set()

    def online(self) -> list[tuple[OnlineEnvoy, list[str]]]:
        """Return the envoys that are there, by name, each with the experiments that it works on."""
        with self._lock:
            return [
                (envoy, sorted(self._lives.work_of(name))) for name, envoy in sorted(self._envoys.items())
            ]

    def revoke(self, entry: pb.Revocation, by: str, end_calls: Callable[[], object]) -> None:
        """Revoke what a member asks for; raises as `Revocations.check` and `Revoking.revoke` do."""
        self.revocations.check(entry, by)
        self._revoking.revoke(entry, end_calls)
        self.attention.set()

    def cannot_work(self, name: str, envoy: str, reason: str) -> None:
        """Take note that an envoy cannot work on an experiment for now, and tries again by itself: it counts as away."""
        logger.warning("experiment %s: the envoy %s cannot work for now: %s", name, envoy, reason)
        self._attending.cannot_work(name, envoy, reason)
        self.attention.set()

    def works(self, name: str, envoy: str) -> None:
        """Take note that an envoy works on an experiment."""
        if self._attending.works(name, envoy):
            self.attention.set()

    def attend(self) -> float:
        """Start what can be started, and tell all that runs who is there and who has been away for too long.

        To be called whenever ``attention`` is set; returns seconds after which it must be called again, though nothing happens.
        """
        self.schedule()
        asleep = RETRY_SECONDS if self._starting.go_on() else math.inf
        return min(asleep, self._attending.attend(), self._retention.attend())

    # Experiments.

    def submit(self, submission: pb.Submission, pieces: Iterable[bytes], submitted_by: str) -> ExperimentRow:
        """Take an experiment in; it is on disk when this returns. The same submission twice is one experiment."""
        name = self._submissions.take_in(submission, pieces, submitted_by)
        self.schedule()
        self.attention.set()
        return self.experiment(name)

    def experiment(self, name: str) -> ExperimentRow:
        """Return an experiment.

        Raises
        ------
        InputError
            If there is none of that name, or it was removed.
        """
        check_is_there(self._journal, row := self._known(name))
        return row

    def with_models(self, name: str) -> ExperimentRow:
        """Return an experiment that has its models still; raises as `experiment` does, and if they were pruned."""
        check_has_models(self._journal, row := self._known(name))
        return row

    def experiments(self) -> list[ExperimentRow]:
        """Return all experiments that were not removed, oldest first."""
        return self._journal.experiments()

    def members(self, name: str) -> list[MemberRow]:
        """Return the envoys of an experiment; none before it has started."""
        return self._journal.members(name)

    def unchanged(self) -> AbstractContextManager[object]:
        """Keep the journal, and the blobs that it names, as they are while the context lasts."""
        return self._journal.transaction()

    def plan(self, name: str) -> str:
        """Return the JSON of an experiment's plan."""
        return self._journal.plan(name)

    def live(self, name: str) -> Aggregator | None:
        """Return the aggregator of an experiment that runs; None if it has ended or waits."""
        with self._lock:
            live = self._lives.get(name)
        if live is None:
            self._known(name)
            return None
        return live.aggregator

    def stop(self, name: str) -> ExperimentRow:
        """Stop an experiment; one that has ended stays as it is."""
        with self._lock:
            row = self.experiment(name)
            aggregator = self.live(name)
            if aggregator is None and row.state not in ENDED:
                reason = "stopped before it began" if row.state == "queued" else "stopped on request"
                self._end(name, "stopped", reason)
        if aggregator is not None:
            aggregator.stop()
        return self.experiment(name)

    def remove(self, name: str, by: str) -> ExperimentRow:
        """Remove an experiment that has ended; raises as `Retention.remove` does, and if there is none of that name."""
        return self._retention.remove(name, self.live(name), by)

    def exclude(self, name: str, envoy: str, by: str) -> ExperimentRow:
        """Let an experiment that runs go on without an envoy; raises as `director.changes.exclude` does."""
        exclude(name, self.live(name), envoy, by)
        self.attention.set()
        return self.experiment(name)

    def resume(
        self,
        name: str,
        settings: Mapping[str, str],
        accept_code: bool,
        by: str,
        amendment: pb.Amendment | None = None,
    ) -> ExperimentRow:
        """Queue an experiment that failed or was stopped again; let all envoys of one that runs take part again.

        Those that were revoked, and are not there with another certificate, stay out of it.

        Raises as `director.changes` does.
        """
        if (aggregator := self.live(name)) is not None:
            with aggregator.lock:  # one that is just ending has ended then
                pass
        row = self.experiment(name)
        check_resume(row, settings)
        aggregator = self.live(name)
        with self._lock, self._journal.transaction():
            asked = self.signatures.take_amendment(row, amendment, settings, accept_code, by)
            # Who is online has a certificate that counts, also if an earlier one was revoked.
            gone = self.revocations.names() - set(self._envoys)
            if accept_code:
                accept_shared_code(self._journal, row, self._envoys.values(), asked)
            if aggregator is None and row.state in ENDED:
                queue_again(self._journal, row, settings, asked, gone)
        if aggregator is not None:
            for member in sorted(set(aggregator.members) - gone):
                aggregator.take_back(member)
        self.schedule()
        self.attention.set()
        return self.experiment(name)

    def events_after(self, name: str, after: int) -> Happened:
        """Return the events of an experiment after one, and whether more can come."""
        self.experiment(name)
        return events_after(self._journal, name, after)

    def schedule(self) -> None:
        """Start what can be started: oldest first, past those that still wait for envoys."""
        with self._lock:
            if not self.closing:
                self._starting.schedule()

    def discard(self, *blobs: str) -> None:
        """Remove those of some blobs that nothing in the journal names."""
        discard_unreferenced(self._journal, self._blobs, blobs)

    def notify(self) -> None:
        """Let everybody who watches events look again."""
        self.news.ring()

    def close(self) -> None:
        """Let everybody who waits return, because the service is going down; nothing changes on disk."""
        with self._lock:
            self.closing = True
            self._envoys.close()
        self.turned.ring()
        self.news.ring()
        self.attention.set()

    def _note_fault(self, error: Exception) -> None:
        if not isinstance(error, OSError) or not self.on_fault(error):
            # Nobody tells when it has passed.
            set_later(self.attention, RETRY_SECONDS)

    def _has_turned(self) -> None:
        self.turned.ring()
        self.attention.set()

    def _ended(self, name: str) -> None:
        """Note the end of a running experiment (called by its aggregator, which has written it)."""
        with self._lock:
            self._lives.forget(name)
            self._attending.forget(name)
            self._tell_the_end_of(name)
        self.schedule()
        self.attention.set()

    def _end(self, name: str, state: str, reason: str) -> None:
        self._lives.end(name, state, reason)
        self._tell_the_end_of(name)

    def _tell_the_end_of(self, name: str) -> None:
        row = self._known(name)
        members = [member.name for member in self._journal.members(row.name)]
        self._envoys.order_stop(members, row.name)
        if self._is_done_with(row.name):
            self._envoys.order_forget(members, row.name)
        logger.info("experiment %s: %s%s", row.name, row.state, f" ({row.reason})" if row.reason else "")
        self.notify()

    def _gone(self, name: str, members: Sequence[str]) -> None:
        with self._lock:
            self._envoys.order_forget(members, name)

    def _known(self, name: str) -> ExperimentRow:
        row = self._journal.experiment(name)
        if row is None:
            raise InputError(f"no experiment {name[:80]!r} here; `fed list` names those that are")
        return row

    def _is_done_with(self, name: str) -> bool:
        """Say whether an experiment will never be gone on with; one that is unknown here might be another director's."""
        row = self._journal.experiment(name)
        return row is not None and (row.state in ("finished", REMOVED) or not row.model)
