"""What goes of experiments that have ended: everything of one that somebody removes, the models of those that are old enough.

What is removed leaves its name, which stays taken, its submission, and an event that says by whom and when.
"""

from __future__ import annotations

import datetime as dt
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from director.blobs import BlobStore
from director.journal import Journal
from director.record import discard_unreferenced
from director.rows import ExperimentRow
from director.states import ENDED, REMOVED
from director.uploads import Uploads
from federation.engine.aggregator import Aggregator
from federation.errors import InputError

logger = logging.getLogger(__name__)

DAY_SECONDS = 24 * 3600.0
PRUNED = "pruned"
NO_MODELS = {"model": "", "best_model": "", "frozen_model": ""}


class Retention:
    """Removes what is not to be kept, on request and by age.

    Parameters
    ----------
    journal, blobs, uploads
        The durable state.
    days
        After which the models of an experiment that has ended go; None keeps all.
    gone
        Called with an experiment that will not be gone on with any more, and the envoys that it had.
    clock
        Returns seconds, from any beginning: what the days between two looks are measured by.
    """

    def __init__(
        self,
        journal: Journal,
        blobs: BlobStore,
        uploads: Uploads,
        days: float | None,
        gone: Callable[[str, Sequence[str]], None],
        clock: Callable[[], float],
    ) -> None:
        self._journal, self._blobs, self._uploads = journal, blobs, uploads
        self._days, self._gone, self._clock = days, gone, clock
        self._next = -math.inf

    def attend(self) -> float:
        """Prune what is old enough, once a day; return seconds after which this must be called again."""
        if self._days is None:
            return math.inf
        if self._clock() >= self._next:
            for row in self._journal.experiments(*ENDED):
                if self._is_old(row):
                    self._prune(row.name)
            self._next = self._clock() + DAY_SECONDS
        return self._next - self._clock()

    def remove(self, name: str, live: Aggregator | None, by: str) -> ExperimentRow:
        """Remove an experiment that has ended; one that was removed before stays so.

        Parameters
        ----------
        name
            The experiment's.
        live
            Its aggregator, if it runs or is just ending.
        by
            Who asks for it.

        Raises
        ------
        InputError
            If it has not ended.
        """
        # What is just ending tells everybody first: its envoys by the rows that go here.
        with nullcontext() if live is None else live.lock, self._journal.transaction():
            row = self._row(name)
            if row.state == REMOVED:
                return row
            if row.state not in ENDED:
                raise InputError(
                    f"experiment {name} is {row.state}; end it with `fed stop {name}` to remove it"
                )
            members = self._members(name)
            blobs = [*row.blobs, *self._journal.clear_results(name)]
            self._journal.update_experiment(name, state=REMOVED, reason="", **NO_MODELS)
            self._journal.erase(name)
            self._journal.add_event(name, REMOVED, {"by": by})
        logger.info("experiment %s: removed by %s", name, by)
        self._done_with(name, members, blobs)
        return self._row(name)

    def _prune(self, name: str) -> None:
        by = f"this director's retention ({self._days:g} days)"
        with self._journal.transaction():
            # Somebody may have resumed or removed it meanwhile.
            if not self._is_old(row := self._row(name)):
                return
            members = self._members(name)
            self._journal.update_experiment(name, **NO_MODELS)
            self._journal.add_event(name, PRUNED, {"by": by})
        logger.info("experiment %s: its models are pruned by %s", name, by)
        self._done_with(name, members, row.blobs)

    def _is_old(self, row: ExperimentRow) -> bool:
        assert self._days is not None
        return bool(row.state in ENDED and row.model) and time.time() - row.ended > self._days * DAY_SECONDS

    def _row(self, name: str) -> ExperimentRow:
        row = self._journal.experiment(name)
        assert row is not None
        return row

    def _members(self, name: str) -> list[str]:
        return [member.name for member in self._journal.members(name)]

    def _done_with(self, name: str, members: Sequence[str], blobs: Sequence[str]) -> None:
        """Remove what is named no more; that it is gone is written by now, so nothing that goes wrong here may undo it."""
        try:
            discard_unreferenced(self._journal, self._blobs, blobs)
            self._uploads.drop(name)
        except OSError as error:
            logger.warning("experiment %s: what is done with could not be removed: %s", name, error)
        self._gone(name, members)


def check_is_there(journal: Journal, row: ExperimentRow) -> None:
    """Raise an `InputError` that says by whom and when, if an experiment was removed."""
    if row.state == REMOVED:
        raise InputError(
            f"experiment {row.name} was removed {_told(journal, row, REMOVED)}; its name stays taken"
        )


def check_has_models(journal: Journal, row: ExperimentRow) -> None:
    """Raise an `InputError` that says by whom and when, if an experiment's models are not there any more."""
    check_is_there(journal, row)
    if not row.model:
        raise InputError(
            f"the models of experiment {row.name} were pruned {_told(journal, row, PRUNED)}; submit its plan again to have "
            "new ones"
        )


def _told(journal: Journal, row: ExperimentRow, kind: str) -> str:
    if (event := journal.last_event(row.name, kind)) is None:
        return "by somebody"
    when = dt.datetime.fromtimestamp(event.time, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"by {event.body.get('by', 'somebody')} on {when}"
