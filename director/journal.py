"""The director's durable state: experiments, their events and the results of the open round, in SQLite.

Tensors are not here but in the blob store; the journal holds their names. Each method is one transaction, on disk when it
returns (``synchronous=FULL``), so that a director killed at any instruction finds on restart all that it acknowledged.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS experiments (
    name TEXT PRIMARY KEY, submission TEXT UNIQUE NOT NULL, plan TEXT NOT NULL, submitted_by TEXT NOT NULL,
    code_hash TEXT NOT NULL, frozen_fingerprint TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
    created REAL NOT NULL, ended REAL NOT NULL, cohort TEXT NOT NULL, round INTEGER NOT NULL, model TEXT NOT NULL,
    best_round INTEGER NOT NULL, best_score REAL NOT NULL, best_model TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    experiment TEXT NOT NULL, id INTEGER NOT NULL, time REAL NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL,
    PRIMARY KEY (experiment, id));
CREATE TABLE IF NOT EXISTS results (
    experiment TEXT NOT NULL, round INTEGER NOT NULL, task TEXT NOT NULL, envoy TEXT NOT NULL, data_size INTEGER NOT NULL,
    blob TEXT NOT NULL, statistics BLOB NOT NULL, PRIMARY KEY (experiment, round, task, envoy));
"""


@dataclass(frozen=True)
class ExperimentRow:
    """An experiment as it stands on disk; ``model`` and ``best_model`` are blobs, ``best_round`` is -1 without one."""

    name: str
    submission: str
    plan: str
    submitted_by: str
    code_hash: str
    frozen_fingerprint: str
    state: str
    reason: str
    created: float
    ended: float
    cohort: tuple[str, ...]
    round: int
    model: str
    best_round: int
    best_score: float
    best_model: str


@dataclass(frozen=True)
class EventRow:
    """Something that happened in an experiment; ``id`` counts from 1 without gaps."""

    id: int
    time: float
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class ResultRow:
    """A result of the open round."""

    round: int
    task: str
    envoy: str
    data_size: int
    blob: str
    statistics: bytes


_COLUMNS = ", ".join(f.name for f in fields(ExperimentRow))


class Journal:
    """One SQLite file; its methods may be called from any thread.

    Parameters
    ----------
    path
        The file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.executescript(_SCHEMA)
        self._depth = 0

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside one transaction; may be nested."""
        with self._lock:
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._connection.execute("COMMIT")

    def add_experiment(self, row: ExperimentRow) -> None:
        """Write a new experiment."""
        values = [
            json.dumps(v) if isinstance(v, tuple) else v for v in (getattr(row, f.name) for f in fields(row))
        ]
        with self.transaction():
            self._connection.execute(
                f"INSERT INTO experiments ({_COLUMNS}) VALUES ({', '.join('?' * len(values))})", values
            )

    def update_experiment(self, name: str, **changes: Any) -> None:
        """Change columns of an experiment."""
        known = {f.name for f in fields(ExperimentRow)}
        if not changes.keys() <= known:
            raise KeyError(f"no such columns: {sorted(changes.keys() - known)}")
        values = [json.dumps(v) if isinstance(v, (tuple, list)) else v for v in changes.values()]
        with self.transaction():
            columns = ", ".join(f"{column} = ?" for column in changes)
            self._connection.execute(f"UPDATE experiments SET {columns} WHERE name = ?", [*values, name])

    def experiments(self) -> list[ExperimentRow]:
        """Return all experiments, oldest first."""
        with self._lock:
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM experiments ORDER BY created, name"
            ).fetchall()
        return [_experiment(row) for row in rows]

    def experiment(self, name: str) -> ExperimentRow | None:
        """Return one experiment."""
        return self._one("name", name)

    def experiment_of_submission(self, submission: str) -> ExperimentRow | None:
        """Return the experiment that a submission made."""
        return self._one("submission", submission)

    def add_event(self, experiment: str, kind: str, body: Mapping[str, Any]) -> None:
        """Append an event."""
        with self.transaction():
            self._connection.execute(
                "INSERT INTO events SELECT ?, COALESCE(MAX(id), 0) + 1, ?, ?, ? FROM events WHERE experiment = ?",
                (experiment, time.time(), kind, json.dumps(body), experiment),
            )

    def events(self, experiment: str, after: int = 0, limit: int = 1000) -> list[EventRow]:
        """Return the events after one, oldest first."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT id, time, kind, body FROM events WHERE experiment = ? AND id > ? ORDER BY id LIMIT ?",
                (experiment, after, limit),
            ).fetchall()
        return [EventRow(row[0], row[1], row[2], json.loads(row[3])) for row in rows]

    def add_result(self, experiment: str, result: ResultRow) -> None:
        """Write a result of the open round."""
        with self.transaction():
            self._connection.execute(
                "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?)",
                (experiment, *(getattr(result, f.name) for f in fields(result))),
            )

    def results(self, experiment: str) -> list[ResultRow]:
        """Return the results of the open round, in the order in which they came."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT round, task, envoy, data_size, blob, statistics FROM results WHERE experiment = ? ORDER BY rowid",
                (experiment,),
            ).fetchall()
        return [ResultRow(*row) for row in rows]

    def clear_results(self, experiment: str) -> list[str]:
        """Forget the results of an experiment; return the blobs that they named."""
        with self.transaction():
            blobs = [row.blob for row in self.results(experiment) if row.blob]
            self._connection.execute("DELETE FROM results WHERE experiment = ?", (experiment,))
        return blobs

    def unreferenced(self, blobs: Sequence[str]) -> list[str]:
        """Return those of some blobs that nothing in the journal names any more."""
        with self._lock:
            named = {
                row[0]
                for row in self._connection.execute(
                    "SELECT model FROM experiments UNION SELECT best_model FROM experiments UNION SELECT blob FROM results"
                )
            }
        return [blob for blob in dict.fromkeys(blobs) if blob and blob not in named]

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _one(self, column: str, value: str) -> ExperimentRow | None:
        with self._lock:
            row = self._connection.execute(
                f"SELECT {_COLUMNS} FROM experiments WHERE {column} = ?", (value,)
            ).fetchone()
        return _experiment(row) if row else None


def _experiment(row: Sequence[Any]) -> ExperimentRow:
    values = dict(zip((f.name for f in fields(ExperimentRow)), row, strict=True))
    values["cohort"] = tuple(json.loads(values["cohort"]))
    return ExperimentRow(**values)
