"""What an aggregator must not lose, written to the director's journal and blob store."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from director.blobs import BlobStore
from director.journal import Journal
from director.rows import ExperimentRow, OpenRow, ResultRow
from director.states import IllegalTransition
from director.uploads import Uploads
from federation.engine.results import ClosedRound, OpenedRound, Standing, TaskResult
from federation.tensors import Tensors, pack

logger = logging.getLogger(__name__)


class JournalRecord:
    """The `federation.engine.results.Record` of one experiment.

    Parameters
    ----------
    experiment
        Its name.
    journal, blobs, uploads
        The director's.
    notify
        Called after each write, so that watchers look again.
    """

    def __init__(
        self,
        experiment: str,
        journal: Journal,
        blobs: BlobStore,
        uploads: Uploads,
        notify: Callable[[], None],
    ) -> None:
        self._experiment = experiment
        self._journal = journal
        self._blobs = blobs
        self._uploads = uploads
        self._notify = notify
        self._clamped: tuple[int, int] | None = None

    def result(self, result: TaskResult) -> None:
        """Write a checked result, unless it is there already, as it is after a restart; its tensors are in the store."""
        row = ResultRow(
            result.round_number,
            result.task_name,
            result.collaborator,
            result.data_size,
            result.output.blob or "",
            pack(result.output.statistics),
            result.output.norm,
        )
        with self._journal.transaction():
            if not self._journal.add_result(self._experiment, row):
                return
            self._journal.add_event(
                self._experiment,
                "result",
                {
                    "round": row.round,
                    "task": row.task,
                    "envoy": row.envoy,
                    "samples": row.data_size,
                    "metrics": dict(result.metrics),
                },
            )
        self._notify()

    def open_round(self, opened: OpenedRound) -> None:
        """Write that a round begins; an earlier attempt's results and uploads are done with."""
        with self._journal.transaction():
            uploads = self._journal.clear_results(self._experiment)
            self._open(opened)
        self._done_with(uploads)

    def close_round(self, closed: ClosedRound) -> Tensors | None:
        """Store the new model, then move the experiment to it, all or nothing, and to the next round if there is one."""
        row = self._journal.experiment(self._experiment)
        assert row is not None
        if closed.model is None:
            tensors = self._blobs.open(row.model)
            uploads = self._move(row, closed, row.model)
        else:
            with self._blobs.stored(closed.model) as model:
                # Before it is written that this is the model: what cannot be opened could not be gone on with.
                tensors = self._blobs.open(model)
                uploads = self._move(row, closed, model)
        self._done_with([*uploads, row.model, row.best_model])
        return tensors

    def standing(self, change: Standing) -> None:
        """Write how an envoy stands now; of one that leaves before it has finished the open round nothing counts in it."""
        uploads = write_standing(self._journal, self._experiment, change)
        self._done_with(uploads, change.envoy if change.drops else "")

    def end(self, state: str, reason: str) -> None:
        """Write that the experiment has failed, or was stopped; one that has ended before stays as it is."""
        try:
            uploads = write_end(self._journal, self._experiment, state, reason)
        except IllegalTransition as error:
            logger.info("%s, it has ended: %s", error, reason)
            return
        self._done_with(uploads)

    def event(self, kind: str, **body: Any) -> None:
        """Write an event."""
        with self._journal.transaction():
            self._journal.add_event(self._experiment, kind, body)
        self._notify()

    def _open(self, opened: OpenedRound) -> None:
        body: dict[str, Any] = {"round": opened.round_number, "cohort": list(opened.cohort)}
        if opened.late:
            self._journal.add_event(
                self._experiment, "stragglers", {"round": opened.round_number, "envoys": list(opened.late)}
            )
        if opened.wanted is not None and self._clamped != (clamped := (opened.wanted, len(opened.cohort))):
            told = {"round": opened.round_number, "wanted": clamped[0], "there": clamped[1]}
            self._journal.add_event(self._experiment, "cohort_clamped", told)
            self._clamped = clamped
        if opened.attempt:
            body["attempt"] = opened.attempt
        self._journal.open_round(self._experiment, OpenRow(opened.attempt, opened.cohort))
        self._journal.add_event(self._experiment, "round_started", body)

    def _move(self, row: ExperimentRow, closed: ClosedRound, model: str) -> list[str]:
        """Write a round's end and what it changes; return the uploads that are done with."""
        goes_on = closed.model is not None or not closed.last
        changes: dict[str, Any] = {"round": closed.round_number + goes_on, "model": model}
        if closed.best is not None and closed.best.round_number == closed.round_number:
            changes |= {
                "best_round": closed.best.round_number,
                "best_score": closed.best.score,
                "best_model": row.model,
            }
        if closed.last:
            changes |= {"state": "finished", "reason": closed.reason, "ended": time.time()}
        elif closed.failure:
            changes |= {"state": "failed", "reason": closed.failure, "ended": time.time()}
        body = {
            "round": closed.round_number,
            "cohort": list(closed.cohort),
            "metrics": {task: dict(metrics) for task, metrics in closed.metrics.items()},
            "best_round": closed.best.round_number if closed.best else None,
            "exchanged_sha256": model,
        }
        if closed.left_out:
            body["left_out"] = list(closed.left_out)
        with self._journal.transaction():
            self._journal.update_experiment(self._experiment, **changes)
            self._journal.change_members(self._experiment, closed.counted, counted=closed.round_number)
            for kind, told in closed.events:
                self._journal.add_event(self._experiment, kind, told)
            if closed.late:
                late = {"round": closed.round_number, "envoys": list(closed.late)}
                self._journal.add_event(self._experiment, "stragglers", late)
            self._journal.add_event(self._experiment, "round_closed", body)
            uploads = self._journal.clear_results(self._experiment)
            self._journal.open_round(self._experiment, None)
            if closed.last or closed.failure:
                end = {"reason": changes["reason"]}
                self._journal.add_event(self._experiment, changes["state"], end)
            elif closed.opens is not None:
                self._open(closed.opens)
        return uploads

    def _done_with(self, uploads: Sequence[str], envoy: str | None = None) -> None:
        """Remove what is named no more; it is written by now, so that nothing that goes wrong here may undo it."""
        try:
            discard_unreferenced(self._journal, self._blobs, uploads)
            if envoy != "":
                self._uploads.drop(self._experiment, envoy)
        except OSError as error:
            logger.warning(
                "experiment %s: what is done with could not be removed: %s", self._experiment, error
            )
        self._notify()


def write_standing(journal: Journal, experiment: str, change: Standing) -> list[str]:
    """Write how an envoy stands now, unless it is written already; return the uploads that are done with."""
    body: dict[str, Any] = {"envoy": change.envoy, "round": change.round_number}
    body |= {key: said for key in ("reason", "traceback") if (said := getattr(change, key))}
    uploads: list[str] = []
    with journal.transaction():
        known = {member.name: (member.standing, member.reason) for member in journal.members(experiment)}
        if known.get(change.envoy) == (change.standing, change.reason):
            return []
        journal.change_members(experiment, [change.envoy], standing=change.standing, reason=change.reason)
        opened = journal.opened(experiment)
        if change.drops and opened is not None:
            out = tuple(sorted({*opened.out, change.envoy}))
            journal.open_round(experiment, replace(opened, out=out))
            uploads = journal.clear_results(experiment, change.envoy)
        journal.add_event(experiment, change.event, body)
    return uploads


def write_end(journal: Journal, experiment: str, state: str, reason: str) -> list[str]:
    """Write that an experiment has failed or was stopped; return the uploads that are done with.

    Raises
    ------
    IllegalTransition
        If it has ended before.
    """
    with journal.transaction():
        journal.update_experiment(experiment, state=state, reason=reason, ended=time.time())
        journal.add_event(experiment, state, {"reason": reason})
        journal.open_round(experiment, None)
        return journal.clear_results(experiment)


def discard_unreferenced(journal: Journal, blobs: BlobStore, names: Sequence[str]) -> None:
    """Remove those of some blobs that nothing in the journal names any more, and nobody holds."""
    # Within a transaction nobody can begin to name one that was just found unnamed.
    with journal.transaction(), blobs.removal.of(names) as removable:
        for name in journal.unreferenced(removable):
            blobs.remove(name)
