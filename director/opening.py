"""Opening an experiment: building its aggregator from what the journal and the store hold, and counting again what had come.

What a fault of the machine keeps from being read (`FAULTS`) is nobody's: it is raised on, and nothing is given up for it.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence

from openfl.callbacks import LambdaCallback

from director.attendance import Live
from director.blobs import BlobStore
from director.journal import Journal
from director.record import JournalRecord, discard_unreferenced
from director.rows import ExperimentRow, MemberRow, OpenRow, ResultRow
from director.uploads import Uploads
from federation.engine.aggregator import Aggregator
from federation.engine.build import build_aggregator
from federation.engine.members import Member
from federation.engine.results import BestModel, OpenedRound, Progress, TaskOutput
from federation.errors import ExperimentFailed, FederationError
from federation.plan import plan_from_json
from federation.tensors import Tensors, unpack

logger = logging.getLogger(__name__)

FAULTS = (OSError, sqlite3.OperationalError)


def build(
    row: ExperimentRow,
    members: Sequence[MemberRow],
    opened: OpenRow | None,
    journal: Journal,
    blobs: BlobStore,
    uploads: Uploads,
    notify: Callable[[], None],
    ended: Callable[[], None],
) -> Live:
    """Build the aggregator of an experiment, for its envoys and its round; writes nothing.

    Parameters
    ----------
    row
        The experiment.
    members
        Its envoys.
    opened
        Its open round; None between rounds.
    journal, blobs, uploads
        The durable state.
    notify
        Called after each event.
    ended
        Called when the experiment has ended.

    Raises
    ------
    ExperimentFailed
        If it cannot be built: its plan cannot be read, or its model is missing or damaged.
    """
    if not members or (opened is not None and not opened.cohort):
        raise ExperimentFailed("it cannot be opened: the journal does not say with which envoys")
    try:
        # Its settings were checked when it was submitted, perhaps by another version.
        plan = plan_from_json(journal.plan(row.name), row.name, "opaque")
        aggregator = build_aggregator(
            plan,
            [member.name for member in members],
            _models(row, blobs),
            JournalRecord(row.name, journal, blobs, uploads, notify),
            progress=_progress(row, members, opened),
            there=(),
            callbacks=[LambdaCallback(on_experiment_end=lambda logs=None: ended())],
        )
    except FAULTS:
        raise
    except Exception as error:
        logger.exception("experiment %s cannot be opened", row.name)
        said = "; ".join(str(error).splitlines()) or type(error).__name__
        raise ExperimentFailed(f"it cannot be opened: {said}") from error
    return Live(aggregator, plan.federation)


def _models(row: ExperimentRow, blobs: BlobStore) -> Tensors:
    """Open an experiment's model; what is frozen by value must be whole as well, for the sites to fetch."""
    if row.frozen_model:
        blobs.check(row.frozen_model)
    return blobs.open(row.model)


def _progress(row: ExperimentRow, members: Sequence[MemberRow], opened: OpenRow | None) -> Progress:
    return Progress(
        row.round,
        BestModel(row.best_round, row.best_score) if row.best_round >= 0 else None,
        tuple(Member(m.name, m.standing, m.reason, m.counted, m.announced) for m in members),
        OpenedRound(row.round, opened.cohort, opened.attempt, out=frozenset(opened.out)) if opened else None,
    )


def replay(name: str, aggregator: Aggregator, journal: Journal, blobs: BlobStore) -> None:
    """Count the recorded results of the open round, each checked as if it came now; the aggregator's `go_on` follows.

    One that is not sound is dropped, which an event says: its task is open again then, and its envoy is asked for it.
    """
    for result in journal.results(name):
        reason = _count(result, aggregator, blobs)
        if reason is not None and _drop(name, result, reason, journal):
            logger.warning(
                "experiment %s: %s of %s in round %d is dropped: %s",
                name,
                result.task,
                result.envoy,
                result.round,
                reason,
            )
            discard_unreferenced(journal, blobs, [result.blob])


def _count(result: ResultRow, aggregator: Aggregator, blobs: BlobStore) -> str | None:
    """Hand a recorded result in; say what keeps it from counting."""
    try:
        tensors = blobs.open(result.blob) if result.blob else {}
        output = TaskOutput(tensors, unpack(result.statistics), result.blob, result.norm)
        counted = aggregator.send_local_task_results(
            result.envoy, result.round, result.task, result.data_size, output
        )
    except FederationError as error:
        return str(error)
    return None if counted else f"it is not wanted in round {aggregator.round_number}"


def _drop(name: str, result: ResultRow, reason: str, journal: Journal) -> bool:
    with journal.transaction():
        # A round that the results before have closed took the rest along.
        if not journal.remove_result(name, result):
            return False
        journal.add_event(
            name,
            "result_dropped",
            {"envoy": result.envoy, "task": result.task, "round": result.round, "reason": reason},
        )
    return True
