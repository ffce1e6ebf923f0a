"""What must be so on disk when an experiment has ended, whatever was disturbed on the way."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from director.journal import Journal

ONCE = ("result", "round_started", "round_closed", "started", "finished")


def check_state(folder: Path) -> None:
    """Hold what is on disk to what must be there when all has ended."""
    state = folder / "state"
    with closing(sqlite3.connect(state / "journal.sqlite")) as connection:
        rows = connection.execute("SELECT id, kind, body FROM events ORDER BY id").fetchall()
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1)), "events with a gap or double"
    told = [(kind, json.loads(body)) for _, kind, body in rows]
    once = [
        (kind, *(body.get(key) for key in ("round", "task", "envoy", "attempt")))
        for kind, body in told
        if kind in ONCE
    ]
    assert len(once) == len(set(once)), f"told twice: {once}"
    assert not {"envoy_failed", "failed", "stopped"} & {kind for kind, _ in told}, told
    assert told[-1][0] == "finished", told[-1]
    unfinished = [str(path) for pattern in ("*.part", "*.partial") for path in folder.rglob(pattern)]
    assert not unfinished, unfinished
    journal = Journal(state / "journal.sqlite")
    with closing(journal):
        named = journal.named_blobs()
    there = {path.name for path in (state / "blobs").iterdir() if path.is_file()}
    assert there == named, f"blobs that nothing names: {there - named}, or that are missing: {named - there}"
