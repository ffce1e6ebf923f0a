"""The journal's schema by version (``PRAGMA user_version``), and how a journal of an older version becomes one of this.

A migration goes one way: a director refuses a journal of a later version, and changes nothing (`migrate`). Who wants to go back
needs the copy of the state folder that was made before; what was done since is lost.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import suppress

from director.needs import needs_of
from federation.errors import InputError

_EXPERIMENTS_1 = """
    name TEXT PRIMARY KEY, submission TEXT UNIQUE NOT NULL, plan TEXT NOT NULL, submitted_by TEXT NOT NULL,
    code_hash TEXT NOT NULL, frozen_fingerprint TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL,
    created REAL NOT NULL, ended REAL NOT NULL, cohort TEXT NOT NULL, round INTEGER NOT NULL, model TEXT NOT NULL,
    best_round INTEGER NOT NULL, best_score REAL NOT NULL, best_model TEXT NOT NULL"""
# The plan comes last: SQLite walks through a long value to reach the columns behind it.
_EXPERIMENTS_2 = """
    name TEXT PRIMARY KEY, submission TEXT UNIQUE NOT NULL, submitted_by TEXT NOT NULL, code_hash TEXT NOT NULL,
    frozen_fingerprint TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, created REAL NOT NULL, ended REAL NOT NULL,
    cohort TEXT NOT NULL, round INTEGER NOT NULL, model TEXT NOT NULL, best_round INTEGER NOT NULL, best_score REAL NOT NULL,
    best_model TEXT NOT NULL, experiment TEXT NOT NULL DEFAULT '', rounds INTEGER NOT NULL DEFAULT 0,
    envoys INTEGER NOT NULL DEFAULT 0, dataset TEXT NOT NULL DEFAULT '', classes INTEGER NOT NULL DEFAULT 0,
    classes_sha256 TEXT NOT NULL DEFAULT '', plan TEXT NOT NULL"""
_COLUMNS_1 = (
    "name, submission, plan, submitted_by, code_hash, frozen_fingerprint, state, reason, created, ended, cohort, round, "
    "model, best_round, best_score, best_model"
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a journal to this version, whole or not at all.

    Raises
    ------
    InputError
        If a version later than this one has written it.
    """
    known = len(_STEPS)
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = _version(connection)
        if found > known:
            raise InputError(
                f"state: the journal has format {found}, this version of the project knows up to {known}; start the version "
                "that wrote it, or a later one"
            )
        for step in _STEPS[found:]:
            step(connection)
        connection.execute(f"PRAGMA user_version = {known}")
        _fill_in_needs(connection)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def is_new(connection: sqlite3.Connection) -> bool:
    """Say whether a file holds no journal yet."""
    return not connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()[0]


def _version(connection: sqlite3.Connection) -> int:
    written: int = connection.execute("PRAGMA user_version").fetchone()[0]
    # The first version did not number itself.
    return written or (0 if is_new(connection) else 1)


def _create(connection: sqlite3.Connection) -> None:
    connection.execute(f"CREATE TABLE experiments ({_EXPERIMENTS_1})")
    connection.execute(
        "CREATE TABLE events (experiment TEXT NOT NULL, id INTEGER NOT NULL, time REAL NOT NULL, kind TEXT NOT NULL, "
        "body TEXT NOT NULL, PRIMARY KEY (experiment, id))"
    )
    connection.execute(
        "CREATE TABLE results (experiment TEXT NOT NULL, round INTEGER NOT NULL, task TEXT NOT NULL, envoy TEXT NOT NULL, "
        "data_size INTEGER NOT NULL, blob TEXT NOT NULL, statistics BLOB NOT NULL, "
        "PRIMARY KEY (experiment, round, task, envoy))"
    )


def _keep_needs_beside_plans(connection: sqlite3.Connection) -> None:
    connection.execute(f"CREATE TABLE experiments_2 ({_EXPERIMENTS_2})")
    connection.execute(
        f"INSERT INTO experiments_2 ({_COLUMNS_1}) SELECT {_COLUMNS_1} FROM experiments ORDER BY rowid"
    )
    connection.execute("DROP TABLE experiments")
    connection.execute("ALTER TABLE experiments_2 RENAME TO experiments")
    for table, column in (
        ("experiments", "state"),
        ("experiments", "model"),
        ("experiments", "best_model"),
        ("results", "blob"),
    ):
        connection.execute(f"CREATE INDEX {table}_by_{column} ON {table} ({column})")


def _fill_in_needs(connection: sqlite3.Connection) -> None:
    """Read the needs of experiments that a director of the first version took in; of no plan that cannot be read."""
    for name, plan in connection.execute("SELECT name, plan FROM experiments WHERE rounds = 0").fetchall():
        try:
            needs = vars(needs_of(name, json.loads(plan)))
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        columns = ", ".join(f"{column} = :{column}" for column in needs)
        connection.execute(f"UPDATE experiments SET {columns} WHERE name = :name", needs)


def _keep_members(connection: sqlite3.Connection) -> None:
    """Give each envoy of an experiment a row. What it announced is not known; in a round that is closed each has counted."""
    connection.execute(
        "CREATE TABLE members (experiment TEXT NOT NULL, name TEXT NOT NULL, standing TEXT NOT NULL, "
        "reason TEXT NOT NULL DEFAULT '', counted INTEGER, samples TEXT NOT NULL DEFAULT '', "
        "code_hash TEXT NOT NULL DEFAULT '', fingerprint TEXT NOT NULL DEFAULT '', PRIMARY KEY (experiment, name))"
    )
    connection.execute(
        "CREATE TABLE open_rounds (experiment TEXT PRIMARY KEY, attempt INTEGER NOT NULL, cohort TEXT NOT NULL, "
        "out TEXT NOT NULL)"
    )
    for name, state, cohort, number in connection.execute(
        "SELECT name, state, cohort, round FROM experiments"
    ).fetchall():
        try:
            names = [str(envoy) for envoy in json.loads(cohort)]
        except (ValueError, TypeError):
            continue
        connection.executemany(
            "INSERT INTO members (experiment, name, standing, counted) VALUES (?, ?, 'active', ?)",
            [(name, envoy, number - 1 if number else None) for envoy in names],
        )
        if state == "running" and names:
            connection.execute(
                "INSERT INTO open_rounds VALUES (?, 0, ?, '[]')", (name, json.dumps(sorted(names)))
            )


def _keep_signatures(connection: sqlite3.Connection) -> None:
    """Make room for what was signed, for revocations, and for what sites' policies may object to."""
    connection.execute("ALTER TABLE experiments ADD COLUMN asked TEXT NOT NULL DEFAULT '{}'")
    for name, plan in connection.execute("SELECT name, plan FROM experiments").fetchall():
        with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            asked = needs_of(name, json.loads(plan)).asked
            connection.execute("UPDATE experiments SET asked = ? WHERE name = ?", (asked, name))
    connection.execute("CREATE TABLE signed (experiment TEXT PRIMARY KEY, submission BLOB NOT NULL)")
    connection.execute(
        "CREATE TABLE amendments (experiment TEXT NOT NULL, number INTEGER NOT NULL, amendment BLOB NOT NULL, "
        "PRIMARY KEY (experiment, number))"
    )
    connection.execute(
        "CREATE TABLE revocations (name TEXT NOT NULL, serial TEXT NOT NULL, revocation BLOB NOT NULL, "
        "PRIMARY KEY (name, serial))"
    )


def _keep_norms(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE results ADD COLUMN norm REAL")


def _keep_frozen_parts(connection: sqlite3.Connection) -> None:
    """Make room for what is frozen by value, and for what lists say of plans; earlier versions have nothing of the kind."""
    connection.execute("ALTER TABLE experiments ADD COLUMN plan_name TEXT NOT NULL DEFAULT ''")
    connection.execute("ALTER TABLE experiments ADD COLUMN best_metric TEXT NOT NULL DEFAULT ''")
    for name, plan in connection.execute("SELECT name, plan FROM experiments").fetchall():
        with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            metric = str(json.loads(plan)["aggregator"]["settings"]["best_metric"])
            connection.execute("UPDATE experiments SET best_metric = ? WHERE name = ?", (metric, name))
    connection.execute("ALTER TABLE experiments ADD COLUMN frozen_model TEXT NOT NULL DEFAULT ''")
    connection.execute("ALTER TABLE experiments ADD COLUMN frozen_bytes INTEGER NOT NULL DEFAULT 0")
    connection.execute("CREATE INDEX experiments_by_frozen_model ON experiments (frozen_model)")


_STEPS: list[Callable[[sqlite3.Connection], None]] = [
    _create,
    _keep_needs_beside_plans,
    _keep_members,
    _keep_signatures,
    _keep_norms,
    _keep_frozen_parts,
]
VERSION = len(_STEPS)
