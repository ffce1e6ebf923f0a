"""Which experiments start, and which go on that ran when the director went down."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from director.envoys import Envoys
from director.journal import Journal
from director.lives import Lives
from director.opening import FAULTS
from director.rows import ExperimentRow
from director.scheduling import cohort_of
from federation.errors import ExperimentFailed

logger = logging.getLogger(__name__)


class Starting:
    """Starts what can be started.

    Parameters
    ----------
    journal
        The director's.
    envoys, lives, lock
        Who is online and what runs, and what guards both; see `director.experiments`.
    end
        Called with the name, state and reason of an experiment that can never run.
    started
        Called when one has started, or ended so.
    note_fault
        Called with a fault of the machine that kept something from starting.
    notify
        Called after each event.
    """

    def __init__(
        self,
        journal: Journal,
        envoys: Envoys,
        lives: Lives,
        lock: threading.RLock,  # type: ignore[valid-type]
        end: Callable[[str, str, str], None],
        started: Callable[[], None],
        note_fault: Callable[[Exception], None],
        notify: Callable[[], None],
    ) -> None:
        self._journal, self._envoys, self._lives, self._lock = journal, envoys, lives, lock
        self._end, self._started, self._note_fault, self._notify = end, started, note_fault, notify

    def go_on(self) -> bool:
        """Go on with what ran when the director went down; say whether a fault of the machine keeps something from it."""
        with self._lock:
            asleep = [
                row for row in self._journal.experiments("running") if self._lives.get(row.name) is None
            ]
            said = {row.name: self._lives.go_on(row) for row in asleep}
            try:
                for row in asleep:
                    self.note_waiting(row, said[row.name])
            except FAULTS as error:
                self._note_fault(error)
        return any(said.values())

    def schedule(self) -> None:
        """Start what can be started: oldest first, past those that still wait for envoys."""
        with self._lock:
            for row in self._journal.experiments("queued"):
                try:
                    self._try_start(row)
                except FAULTS as error:
                    logger.error(
                        "experiment %s cannot be started now; it stays as it is: %s", row.name, error
                    )
                    self._note_fault(error)

    def note_waiting(self, row: ExperimentRow, reason: str) -> None:
        """Write what an experiment waits for, if that is news."""
        if reason == row.reason:
            return
        with self._journal.transaction():
            self._journal.update_experiment(row.name, reason=reason)
            if reason:
                self._journal.add_event(row.name, "waiting", {"reason": reason})
        self._notify()

    def _try_start(self, row: ExperimentRow) -> None:
        if not row.rounds:
            self._end(row.name, "failed", "its plan cannot be read; submit it again")
            return
        members = [member.name for member in self._journal.members(row.name)]
        cohort, waiting = cohort_of(row, self._envoys, self._lives.work_of, members)
        if waiting:
            self.note_waiting(row, waiting)
            return
        try:
            self._lives.start(row, [self._envoys[name] for name in cohort])
        except ExperimentFailed as error:
            self._end(row.name, "failed", str(error))
        self._started()
