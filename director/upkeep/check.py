"""Whether a director's state is whole: its journal, and the blobs that the journal names. Nothing is changed by looking.

A director may run meanwhile: the journal is looked at as it stood at one moment, and no blob is removed until then.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from director import migrations
from director.blobs import blobs_in
from director.removal import no_removal
from federation.errors import InputError, Refused
from federation.paths import inside
from federation.tensors import unpack

RECOVER = "restore it from a backup, or try `sqlite3 journal.sqlite .recover` on a copy"

_WORDS = {
    "model": ("model", "its model"),
    "best_model": ("best", "its best model"),
    "frozen_model": ("model", "its frozen part"),
}
"""Of a column that names blobs: the kind of problem, and what the blob is."""


@dataclass(frozen=True)
class Problem:
    """Something that is not whole.

    ``kind`` is journal, plan, model, best, result, stray or events; ``key`` finds a result or what is stray.
    """

    kind: str
    says: str
    experiment: str = ""
    state: str = ""
    key: tuple[Any, ...] = ()


@dataclass
class Findings:
    """What there is, and what of it is not whole; ``notes`` are harmless."""

    version: int = 0
    experiments: list[dict[str, Any]] = field(default_factory=list)
    blobs: int = 0
    unnamed: list[str] = field(default_factory=list)
    come_back: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    @property
    def readable(self) -> bool:
        """Whether the journal can be gone on with."""
        return all(problem.kind != "journal" for problem in self.problems)


def examine(state: Path) -> Findings:
    """Look at a state folder.

    Raises
    ------
    InputError
        If it is no director's.
    """
    require_state(state)
    blobs, journal = state / "blobs", state / "journal.sqlite"
    found = Findings()
    with no_removal(blobs):
        if not journal.exists() or not journal.stat().st_size:
            if blobs_in(blobs):
                _add(found, "journal", f"{journal} is missing, and there are blobs that it names; {RECOVER}")
            return found
        try:
            with closing(read_only(journal)) as connection:
                _examine(connection, found, blobs)
        except sqlite3.DatabaseError as error:
            _add(found, "journal", f"{journal} is damaged ({error}); {RECOVER}")
    partial = list((state / "uploads").glob("*/*.partial"))
    if partial:
        found.notes.append(f"{len(partial)} results on their way, {_size(partial)} bytes, in uploads/")
    return found


def require_state(folder: Path) -> None:
    """Refuse a folder in which no director has ever been started."""
    if not (folder / "blobs").is_dir():
        raise InputError(f"state: {folder} holds no state of a director")


def read_only(journal: Path) -> sqlite3.Connection:
    """Open a journal that a director may be writing, to read from it as it stands at one moment."""
    connection = sqlite3.connect(f"file:{quote(str(journal))}?mode=ro", uri=True, isolation_level=None)
    connection.text_factory = lambda data: data.decode(errors="replace")
    connection.row_factory = sqlite3.Row
    return connection


def named_in(connection: sqlite3.Connection) -> dict[str, str]:
    """Return the blobs that a journal names, each with one experiment that it belongs to."""
    rows = connection.execute(
        "".join(f"SELECT {column}, name FROM experiments UNION ALL " for column in _blobs_of(connection))
        + "SELECT blob, experiment FROM results"
    )
    return {str(row[0]): str(row[1]) for row in rows if row[0]}


def _blobs_of(connection: sqlite3.Connection) -> list[str]:
    """Return the columns in which an experiment names blobs; formats before 6 have nothing that is frozen by value."""
    there = {row[1] for row in connection.execute("PRAGMA table_info(experiments)")}
    return [column for column in _WORDS if column in there]


def fault_of(folder: Path, name: str) -> str:
    """Say what is wrong with a blob; empty if nothing is. Its name is as a journal has it, which may be anybody's."""
    try:
        with inside(folder, name).open("rb") as file:
            sound = hashlib.file_digest(file, "sha256").hexdigest() == name
    except Refused as error:
        return f"is not read: {error}"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if sound else "is damaged"


def _examine(connection: sqlite3.Connection, found: Findings, blobs: Path) -> None:
    connection.execute("BEGIN")
    found.version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found.version > migrations.VERSION:
        _add(found, "journal", f"the journal has format {found.version}, which a later version has written")
        return
    if found.version < migrations.VERSION:
        found.notes.append(
            f"the journal has format {found.version}; the next start brings it to this version's"
        )
    for (said,) in connection.execute("PRAGMA integrity_check"):
        if said != "ok":
            _add(found, "journal", f"the journal is damaged ({' '.join(said.split())}); {RECOVER}")
    named = named_in(connection)
    aside = {path.name for path in (blobs / "aside").glob("*")}
    faults = {name: fault for name in named if (fault := fault_of(blobs, name))}
    found.come_back = sorted(
        name
        for name in aside & faults.keys()
        if not (blobs / name).exists() and not fault_of(blobs / "aside", name)
    )
    there = blobs_in(blobs)
    found.blobs = len(there)
    found.unnamed = [name for name in there if name not in named]
    if found.unnamed:
        found.notes.append(
            f"{len(found.unnamed)} blobs that nothing names: on their way, or set aside at the next start"
        )
    if left := aside - {*found.come_back}:
        found.notes.append(f"{len(left)} blobs lie in blobs/aside, each for a week")
    _examine_experiments(connection, found, faults)
    _examine_results(connection, found, faults)
    _examine_events(connection, found)


def _examine_experiments(connection: sqlite3.Connection, found: Findings, faults: dict[str, str]) -> None:
    columns = _blobs_of(connection)
    query = f"SELECT name, state, round, plan, {', '.join(columns)} FROM experiments ORDER BY created, name"
    for row in connection.execute(query):
        name, state = row["name"], row["state"]
        found.experiments.append({"name": name, "state": state, "round": row["round"]})
        if not _is_json(row["plan"]):
            _add(found, "plan", f"experiment {name} ({state}): its plan cannot be read", name, state)
        for column in columns:
            kind, words = _WORDS[column]
            if (blob := row[column]) in faults:
                back = "; it lies in blobs/aside" if blob in found.come_back else ""
                says = f"experiment {name} ({state}): {words}, the blob {blob}, {faults[blob]}{back}"
                _add(found, kind, says, name, state, (blob,))


def _examine_results(connection: sqlite3.Connection, found: Findings, faults: dict[str, str]) -> None:
    states = {e["name"]: e for e in found.experiments}
    for row in connection.execute("SELECT experiment, round, task, envoy, blob, statistics FROM results"):
        name, key = row["experiment"], (row["round"], row["task"], row["envoy"])
        what = f"experiment {name}: {row['task']} of {row['envoy']} in round {row['round']}"
        experiment = states.get(name)
        if experiment is None or experiment["state"] != "running" or experiment["round"] != row["round"]:
            _add(found, "stray", f"{what} is a result that nobody waits for", name, key=key)
        elif row["blob"] in faults:
            says = f"{what}: its blob {row['blob']} {faults[row['blob']]}"
            _add(found, "result", says, name, "running", (*key, row["blob"]))
        elif not _is_packed(row["statistics"]):
            _add(found, "result", f"{what}: its statistics cannot be read", name, "running", (*key, ""))


def _examine_events(connection: sqlite3.Connection, found: Findings) -> None:
    known = {e["name"] for e in found.experiments}
    for row in connection.execute(
        "SELECT experiment, COUNT(*) AS many, MIN(id) AS first, MAX(id) AS last FROM events GROUP BY experiment"
    ):
        name = row["experiment"]
        if name not in known:
            _add(found, "events", f"there are events of an experiment {name} that is not there", name)
        elif (row["first"], row["last"]) != (1, row["many"]):
            _add(
                found,
                "events",
                f"experiment {name}: {row['many']} events, numbered up to {row['last']}",
                name,
            )
    for row in connection.execute("SELECT experiment, id, body FROM events"):
        if not _is_json(row["body"]):
            name = row["experiment"]
            _add(found, "events", f"experiment {name}: its event {row['id']} cannot be read", name)


def _add(
    found: Findings, kind: str, says: str, experiment: str = "", state: str = "", key: tuple[Any, ...] = ()
) -> None:
    found.problems.append(Problem(kind, says, experiment, state, key))


def _is_json(text: Any) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, TypeError, RecursionError):
        return False


def _is_packed(statistics: Any) -> bool:
    try:
        unpack(statistics)
    except Exception:
        # Damaged bytes may be anything.
        return False
    return True


def _size(paths: list[Path]) -> int:
    def sizes() -> Iterator[int]:
        for path in paths:
            try:
                yield path.stat().st_size
            except FileNotFoundError:  # it has arrived meanwhile
                continue

    return sum(sizes())
