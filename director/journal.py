"""The director's durable state: experiments, their events and the results of the open round, in SQLite.

Tensors are not here but in the blob store; the journal holds their names. Each method is one transaction, on disk when it
returns (``synchronous=FULL``), so that a director killed at any instruction finds on restart all that it acknowledged.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from director.migrations import migrate
from director.needs import Needs
from director.rows import EventRow, ExperimentRow, MemberRow, OpenRow, ResultRow
from director.sqlite_faults import connect
from director.states import REMOVED, IllegalTransition, preceding
from federation.errors import InputError
from federation.permissions import make_private

_COLUMNS = [f.name for f in fields(ExperimentRow) if f.name != "signed"]
_MEMBER = [f.name for f in fields(MemberRow)]
_SIGNED = "EXISTS (SELECT 1 FROM signed WHERE experiment = experiments.name)"
_EXPERIMENTS = f"SELECT {', '.join(_COLUMNS)}, {_SIGNED} FROM experiments"


class Journal:
    """One SQLite file; its methods may be called from any thread.

    Parameters
    ----------
    path
        The file; made if it is not there.

    Raises
    ------
    InputError
        If the file is no journal, or one of a later version.
    """

    def __init__(self, path: Path) -> None:
        make_private(path.parent)
        self._lock = threading.RLock()
        self._depth = 0
        self._connection = connect(path)
        # One damaged text must not keep every other row from being read.
        self._connection.text_factory = lambda data: data.decode(errors="replace")
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=FULL")
            migrate(self._connection)
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                raise InputError(
                    f"state: {path} is no journal, or damaged ({error}); restore it from a backup"
                ) from error
            raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Make everything inside one transaction; may be nested. Who has tables of its own writes by what it gives.

        Raises
        ------
        OSError
            If the machine keeps it from being written; nothing of it is then.
        """
        with self._lock:
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self._connection
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._roll_back()
                raise
            self._depth -= 1
            if self._depth == 0:
                try:
                    self._connection.execute("COMMIT")
                except BaseException:
                    self._roll_back()
                    raise

    def _roll_back(self) -> None:
        """Undo what was not committed; SQLite may have done so itself, and it must not hide what was wrong."""
        with suppress(sqlite3.Error, OSError):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def read(self, query: str, *values: Any) -> list[Any]:
        """Return rows of a table that has a file of its own."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def add_experiment(self, row: ExperimentRow, plan: str) -> None:
        """Write a new experiment, with the JSON of its plan."""
        values = [_value(getattr(row, column)) for column in _COLUMNS]
        with self.transaction():
            self._connection.execute(
                f"INSERT INTO experiments ({', '.join(_COLUMNS)}, plan) VALUES ({'?, ' * len(values)}?)",
                [*values, plan],
            )

    def update_experiment(self, name: str, **changes: Any) -> None:
        """Change columns of an experiment.

        Raises
        ------
        IllegalTransition
            If its state is to become one that may not follow the one it is in; nothing of the transaction is written then.
        """
        if not changes.keys() <= set(_COLUMNS):
            raise KeyError(f"no such columns: {sorted(changes.keys() - set(_COLUMNS))}")
        columns = ", ".join(f"{column} = ?" for column in changes)
        query = f"UPDATE experiments SET {columns} WHERE name = ?"
        values = [*map(_value, changes.values()), name]
        if "state" in changes:
            before = preceding(changes["state"])
            query += f" AND state IN ({', '.join('?' * len(before))})"
            values += before
        with self.transaction():
            if not self._connection.execute(query, values).rowcount and "state" in changes:
                raise IllegalTransition(f"experiment {name} cannot become {changes['state']}")

    def experiments(self, *states: str) -> list[ExperimentRow]:
        """Return the experiments in some states, or all but those that were removed, oldest first."""
        chosen = (
            f"WHERE state IN ({', '.join('?' * len(states))})" if states else f"WHERE state != '{REMOVED}'"
        )
        with self._lock:
            rows = self._connection.execute(
                f"{_EXPERIMENTS} {chosen} ORDER BY created, name", states
            ).fetchall()
        return [_experiment(row) for row in rows]

    def plan(self, name: str) -> str:
        """Return the JSON of an experiment's plan; empty if there is none of that name."""
        with self._lock:
            row = self._connection.execute("SELECT plan FROM experiments WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def change_plan(self, name: str, plan: str, needs: Needs) -> None:
        """Put another plan, and what it asks for, in the place of an experiment's."""
        with self.transaction():
            self.update_experiment(name, **{k: v for k, v in vars(needs).items() if k != "name"})
            self._connection.execute("UPDATE experiments SET plan = ? WHERE name = ?", (plan, name))

    def free_name(self, name: str) -> str:
        """Return a name that no experiment has: this one, or with a number added."""
        if self.experiment(name) is None:
            return name
        # Numbers are given one after another, so the first that is free is found without trying each.
        taken, free = 1, 2
        while self.experiment(f"{name}-{free}") is not None:
            taken, free = free, 2 * free
        while free - taken > 1:
            middle = (taken + free) // 2
            if self.experiment(f"{name}-{middle}") is not None:
                taken = middle
            else:
                free = middle
        return f"{name}-{free}"

    def experiment(self, name: str) -> ExperimentRow | None:
        """Return one experiment."""
        return self._one("name", name)

    def experiment_of_submission(self, submission: str) -> ExperimentRow | None:
        """Return the experiment that a submission made."""
        return self._one("submission", submission)

    def erase(self, name: str) -> None:
        """Forget the plan, the events, the envoys, the open round and what is signed of an experiment; its row stays."""
        with self.transaction():
            for table in ("events", "members", "open_rounds", "signed", "amendments"):
                self._connection.execute(f"DELETE FROM {table} WHERE experiment = ?", (name,))
            self._connection.execute("UPDATE experiments SET plan = '{}' WHERE name = ?", (name,))

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
        return [_event(row) for row in rows]

    def last_event(self, experiment: str, kind: str) -> EventRow | None:
        """Return the newest event of a kind."""
        with self._lock:
            row = self._connection.execute(
                "SELECT id, time, kind, body FROM events WHERE experiment = ? AND kind = ? ORDER BY id DESC LIMIT 1",
                (experiment, kind),
            ).fetchone()
        return _event(row) if row else None

    def add_result(self, experiment: str, result: ResultRow) -> bool:
        """Write a result of the open round; False if it was there already."""
        with self.transaction():
            return bool(
                self._connection.execute(
                    f"INSERT INTO results VALUES (?{', ?' * len(fields(result))}) ON CONFLICT DO NOTHING",
                    (experiment, *(getattr(result, f.name) for f in fields(result))),
                ).rowcount
            )

    def remove_result(self, experiment: str, result: ResultRow) -> bool:
        """Forget one result; False if it was not there."""
        with self.transaction():
            return bool(
                self._connection.execute(
                    "DELETE FROM results WHERE experiment = ? AND round = ? AND task = ? AND envoy = ?",
                    (experiment, result.round, result.task, result.envoy),
                ).rowcount
            )

    def results(self, experiment: str) -> list[ResultRow]:
        """Return the results of the open round, in the order in which they came."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT round, task, envoy, data_size, blob, statistics, norm FROM results WHERE experiment = ? ORDER BY rowid",
                (experiment,),
            ).fetchall()
        return [ResultRow(*row) for row in rows]

    def clear_results(self, experiment: str, envoy: str | None = None) -> list[str]:
        """Forget the results of an experiment (of one envoy); return the blobs that they named."""
        with self.transaction():
            cleared = [row for row in self.results(experiment) if envoy in (None, row.envoy)]
            for row in cleared:
                self.remove_result(experiment, row)
        return [row.blob for row in cleared if row.blob]

    def members(self, experiment: str) -> list[MemberRow]:
        """Return the envoys of an experiment, by name; none before it has started."""
        with self._lock:
            rows = self._connection.execute(
                f"SELECT {', '.join(_MEMBER)} FROM members WHERE experiment = ? ORDER BY name", (experiment,)
            ).fetchall()
        return [MemberRow(*row) for row in rows]

    def put_members(self, experiment: str, members: Iterable[MemberRow]) -> None:
        """Write envoys of an experiment, in the place of what was known of them; the experiment's cohort follows."""
        rows = [[experiment, *(getattr(member, column) for column in _MEMBER)] for member in members]
        with self.transaction():
            self._connection.executemany(
                f"INSERT OR REPLACE INTO members (experiment, {', '.join(_MEMBER)}) VALUES (?{', ?' * len(_MEMBER)})",
                rows,
            )
            left = [row.name for row in self.members(experiment) if row.takes_part]
            self.update_experiment(experiment, cohort=left)

    def change_members(self, experiment: str, names: Iterable[str], **changes: Any) -> None:
        """Change what is known of some envoys of an experiment."""
        chosen = set(names)
        with self.transaction():
            rows = [replace(row, **changes) for row in self.members(experiment) if row.name in chosen]
            self.put_members(experiment, rows)

    def opened(self, experiment: str) -> OpenRow | None:
        """Return the open round of an experiment; None between rounds."""
        with self._lock:
            row = self._connection.execute(
                "SELECT attempt, cohort, out FROM open_rounds WHERE experiment = ?", (experiment,)
            ).fetchone()
        return OpenRow(row[0], _names(row[1]), _names(row[2])) if row else None

    def open_round(self, experiment: str, opened: OpenRow | None) -> None:
        """Write which round is open in the place of the one before, or that none is."""
        with self.transaction():
            self._connection.execute("DELETE FROM open_rounds WHERE experiment = ?", (experiment,))
            if opened is not None:
                values = (experiment, opened.attempt, _value(opened.cohort), _value(opened.out))
                self._connection.execute("INSERT INTO open_rounds VALUES (?, ?, ?, ?)", values)

    def unreferenced(self, blobs: Sequence[str]) -> list[str]:
        """Return those of some blobs that nothing in the journal names any more."""
        with self._lock:
            return [blob for blob in dict.fromkeys(blobs) if blob and not self._is_named(blob)]

    def named_blobs(self) -> set[str]:
        """Return all blobs that the journal names."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT model FROM experiments UNION SELECT best_model FROM experiments"
                " UNION SELECT frozen_model FROM experiments UNION SELECT blob FROM results"
            ).fetchall()
        return {row[0] for row in rows if row[0]}

    def _is_named(self, blob: str) -> bool:
        return bool(
            self._connection.execute(
                "SELECT EXISTS (SELECT 1 FROM experiments WHERE model = :blob)"
                " OR EXISTS (SELECT 1 FROM experiments WHERE best_model = :blob)"
                " OR EXISTS (SELECT 1 FROM experiments WHERE frozen_model = :blob)"
                " OR EXISTS (SELECT 1 FROM results WHERE blob = :blob)",
                {"blob": blob},
            ).fetchone()[0]
        )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _one(self, column: str, value: str) -> ExperimentRow | None:
        with self._lock:
            row = self._connection.execute(f"{_EXPERIMENTS} WHERE {column} = ?", (value,)).fetchone()
        return _experiment(row) if row else None


def _value(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (tuple, list)) else value


def _experiment(row: Sequence[Any]) -> ExperimentRow:
    values = dict(zip([*_COLUMNS, "signed"], row, strict=True))
    values["cohort"] = _names(values["cohort"])
    return ExperimentRow(**values | {"signed": bool(values["signed"])})


def _event(row: Sequence[Any]) -> EventRow:
    return EventRow(row[0], row[1], row[2], json.loads(row[3]))


def _names(text: str) -> tuple[str, ...]:
    try:
        return tuple(map(str, json.loads(text)))
    except (ValueError, TypeError):
        # Whoever opens it fails it then; a listing goes on.
        return ()
