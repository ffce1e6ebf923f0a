"""What an aggregator must not lose, written to the director's journal and blob store."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from director.blobs import BlobStore
from director.journal import ExperimentRow, Journal, ResultRow
from director.uploads import Uploads
from federation.engine.results import ClosedRound, TaskResult
from federation.tensors import Tensors, pack


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

    def result(self, result: TaskResult) -> None:
        """Write a checked result, unless it is there already, as it is after a restart; its tensors are in the store."""
        row = ResultRow(
            result.round_number,
            result.task_name,
            result.collaborator,
            result.data_size,
            result.output.blob or "",
            pack(result.output.statistics),
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

    def close_round(self, closed: ClosedRound) -> Tensors | None:
        """Store the new model, then move the experiment to it, all or nothing, and to the next round if there is one."""
        row = self._journal.experiment(self._experiment)
        assert row is not None
        if closed.model is None:
            uploads = self._move(row, closed, row.model)
            model = row.model
        else:
            with self._blobs.stored(closed.model) as model:
                uploads = self._move(row, closed, model)
        discard_unreferenced(self._journal, self._blobs, [*uploads, row.model, row.best_model])
        self._uploads.drop(self._experiment)
        self._notify()
        return self._blobs.open(model)

    def event(self, kind: str, **body: Any) -> None:
        """Write an event; one that names the cohort changes it."""
        if kind == "round_started":
            # It has been written in the transaction that opened the round.
            return
        with self._journal.transaction():
            if "cohort" in body:
                self._journal.update_experiment(self._experiment, cohort=body["cohort"])
            self._journal.add_event(self._experiment, kind, body)
        if kind == "envoy_failed":
            self._uploads.drop(self._experiment, body["envoy"])
        self._notify()

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
            changes |= {"state": "finished", "reason": "", "ended": time.time()}
        body = {
            "round": closed.round_number,
            "cohort": list(closed.cohort),
            "metrics": {task: dict(metrics) for task, metrics in closed.metrics.items()},
            "best_round": closed.best.round_number if closed.best else None,
            "exchanged_sha256": model,
        }
        with self._journal.transaction():
            self._journal.update_experiment(self._experiment, **changes)
            self._journal.add_event(self._experiment, "round_closed", body)
            if closed.last:
                self._journal.add_event(self._experiment, "finished", {"reason": ""})
            else:
                opened = {"round": changes["round"], "cohort": list(row.cohort)}
                self._journal.add_event(self._experiment, "round_started", opened)
            return self._journal.clear_results(self._experiment)


def discard_unreferenced(journal: Journal, blobs: BlobStore, names: Sequence[str]) -> None:
    """Remove those of some blobs that nothing in the journal names any more, and nobody holds."""
    # Within a transaction nobody can begin to name one that was just found unnamed.
    with journal.transaction():
        for name in journal.unreferenced(names):
            blobs.remove(name)
