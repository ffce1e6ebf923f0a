"""What is done for experiments that run whenever something has happened: orders, absences, and for whom they wait."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace

from director.attendance import Attendance
from director.envoys import Envoys
from director.journal import Journal
from director.lives import Lives, announced
from director.opening import FAULTS
from director.rows import ExperimentRow, MemberRow
from director.scheduling import Missing, missing, told, too_few, unfit
from director.signatures import amendments, submitted
from federation.engine.aggregator import Aggregator
from federation.engine.members import ACTIVE
from federation.protocol import federation_pb2 as pb

logger = logging.getLogger(__name__)

SETTLING_SECONDS = 15.0
RETRY_SECONDS = 5.0


def set_later(event: threading.Event, seconds: float) -> None:
    """Set an event after a while, if the process is there then."""
    timer = threading.Timer(seconds, event.set)
    timer.daemon = True
    timer.start()


class Attending:
    """Attends to all experiments that run.

    Parameters
    ----------
    journal
        The director's.
    envoys, lives, lock
        Who is online and what runs, and what guards both. It may be taken while an aggregator's lock is held, never the other
        way round: aggregators are told without it.
    note_waiting
        Called with an experiment and what it waits for.
    note_fault
        Called with a fault of the machine that kept an experiment from being attended to.
    clock
        Returns seconds, from any beginning.
    """

    def __init__(
        self,
        journal: Journal,
        envoys: Envoys,
        lives: Lives,
        lock: threading.RLock,  # type: ignore[valid-type]
        note_waiting: Callable[[ExperimentRow, str], None],
        note_fault: Callable[[Exception], None],
        clock: Callable[[], float],
    ) -> None:
        self._journal, self._envoys, self._lives = journal, envoys, lives
        self._lock, self._note_waiting, self._note_fault = lock, note_waiting, note_fault
        self._attendance = Attendance(clock)
        self._passing: dict[tuple[str, str], str] = {}
        self._attending = threading.Lock()

    def attend(self) -> float:
        """Attend to each; return seconds after which it must be done again, though nothing happens."""
        with self._attending:
            self._attendance.begin()
            return min([self._attend_to(name) for name in self._lives], default=math.inf)

    def standing_still(self) -> AbstractContextManager[object]:
        """Attend to nothing while the context lasts."""
        return self._attending

    def forget(self, name: str) -> None:
        """Forget an experiment that has ended."""
        self._attendance.forget(name)
        for key in [key for key in list(self._passing) if key[0] == name]:
            self._passing.pop(key, None)

    def cannot_work(self, name: str, envoy: str, reason: str) -> None:
        """Take note that an envoy cannot work on an experiment for now."""
        self._passing[name, envoy] = reason

    def works(self, name: str, envoy: str) -> bool:
        """Take note that an envoy works on an experiment; False if that is no news."""
        return bool(self._passing) and self._passing.pop((name, envoy), None) is not None

    def _attend_to(self, name: str) -> float:
        live, row = self._lives.get(name), self._journal.experiment(name)
        if live is None or row is None or row.state != "running":
            return math.inf
        try:
            with self._lock:
                members = [member for member in self._members(row) if member.takes_part]
                why = {member.name: self._missing(row, member) for member in members}
            due = self._attendance.look(name, live, why)
            joined = live.settings.join_late and self._let_join(row)
            self._give_orders(row, live.aggregator, why)
            return 0.0 if joined else min(due, self._tell_waiting(row, live.aggregator, why))
        except FAULTS as error:
            logger.error("experiment %s cannot be attended to now: %s", name, error)
            self._note_fault(error)
            return RETRY_SECONDS
        finally:
            if self._lives.get(name) is None:
                # It has ended meanwhile: what was noted after that would be held against its next life.
                self.forget(name)

    def _members(self, row: ExperimentRow) -> list[MemberRow]:
        """Return an experiment's envoys; of those that an earlier version has taken in, what they announce is taken down."""
        members = self._journal.members(row.name)
        for number, member in enumerate(members):
            envoy = self._envoys.get(member.name)
            if member.fingerprint or envoy is None or not envoy.announcement.fingerprint:
                continue
            if not unfit(row, [envoy]):
                said = announced(envoy, row.experiment)
                known = {key: getattr(said, key) for key in ("samples", "code_hash", "fingerprint")}
                self._journal.change_members(row.name, [member.name], **known)
                members[number] = replace(member, **known)
        return members

    def _missing(self, row: ExperimentRow, member: MemberRow) -> Missing | None:
        envoy = self._envoys.get(member.name)
        work = self._lives.work_of(member.name)
        before = work.index(row.name) if row.name in work else len(work)
        has_device = envoy is not None and before < envoy.slots
        keeps, passing = missing(row, member, envoy, has_device), self._passing
        if keeps is None and (reason := passing.get((row.name, member.name))) is not None:
            return Missing(reason, tries=True)
        return keeps

    def _let_join(self, row: ExperimentRow) -> bool:
        """Take in envoys that were not there when an experiment started; say whether there are such."""
        members = {member.name for member in self._journal.members(row.name)}
        with self._lock:
            others = [envoy for name, envoy in self._envoys.items() if name not in members]
            keeps = unfit(row, others)
            fit = [e for e in others if e.name not in keeps and len(self._lives.work_of(e.name)) < e.slots]
        for envoy in fit:
            self._lives.join(row, envoy)
        return bool(fit)

    def _give_orders(
        self, row: ExperimentRow, aggregator: Aggregator, why: Mapping[str, Missing | None]
    ) -> None:
        with self._lock:
            if self._lives.get(row.name) is None:
                return
            left = [name for name in aggregator.members if name not in why]
            self._envoys.order_stop([n for n in left if self._has_order(n, row.name)], row.name)
            start = None
            # Who cannot work for now is ordered too, if it comes anew: only by trying it finds out that it can.
            for name in [name for name, reason in why.items() if reason is None or reason.tries]:
                if (envoy := self._envoys.get(name)) is not None and row.name not in envoy.ordered:
                    start = start or self._start_order(row)
                    envoy.ordered.add(row.name)
                    envoy.orders.put(start)

    def _has_order(self, envoy: str, experiment: str) -> bool:
        return envoy in self._envoys and experiment in self._envoys[envoy].ordered

    def _tell_waiting(
        self, row: ExperimentRow, aggregator: Aggregator, why: Mapping[str, Missing | None]
    ) -> float:
        """Say for whom an experiment waits; return seconds after which to look again: envoys may only just be coming back."""
        active = {name: reason for name, reason in why.items() if aggregator.members[name].standing == ACTIVE}
        there = sum(reason is None for reason in active.values())
        keeps = {name: reason.reason for name, reason in why.items() if reason is not None}
        held = {name: reason.reason for name, reason in why.items() if reason is not None and reason.held}
        waits = there < row.envoys and not aggregator.participation.too_few()
        reason = too_few(there, row.envoys, keeps) if waits else "; ".join(told(held))
        settling = self._attendance.since_start() < SETTLING_SECONDS
        if settling and reason and not held:
            return SETTLING_SECONDS - self._attendance.since_start()
        self._note_waiting(row, reason)
        return math.inf

    def _start_order(self, row: ExperimentRow) -> pb.Order:
        return pb.Order(
            start=pb.Start(
                experiment=row.name,
                plan=self._journal.plan(row.name),
                frozen_fingerprint=row.frozen_fingerprint,
                code_hash=row.code_hash,
                submitted=submitted(self._journal, row.name),
                amendments=amendments(self._journal, row.name),
                frozen=row.frozen,
            )
        )
