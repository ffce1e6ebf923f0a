"""A journal knows its version, an older one becomes one of now, and states follow each other by a table."""

from __future__ import annotations

import json
import shutil
import sqlite3
from itertools import product
from pathlib import Path

import pytest

from director.journal import Journal
from director.needs import fingerprint
from director.states import ENDED, FOLLOWING, IllegalTransition
from federation.errors import InputError
from tests.checkout import ROOT
from tests.director.in_process import director
from tests.director.test_state import row

THEN = ROOT / "tests" / "compatibility" / "written_by_0_1_0" / "state" / "journal.sqlite"


def version(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return found


def test_a_new_journal_has_this_version(tmp_path: Path) -> None:
    Journal(tmp_path / "journal.sqlite").close()
    assert version(tmp_path / "journal.sqlite") == 6


def test_a_journal_that_did_not_number_itself_is_brought_to_this_version_as_it_was(tmp_path: Path) -> None:
    path = Path(shutil.copy(THEN, tmp_path))
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        before = connection.execute("SELECT * FROM experiments ORDER BY name").fetchall()
        others = [connection.execute(f"SELECT * FROM {t}").fetchall() for t in ("events", "results")]
    connection.close()
    assert version(path) == 0
    for _ in range(2):
        journal = Journal(path)
        assert version(path) == 6
        for then in before:
            now = journal.experiment(then["name"])
            assert now is not None
            plan = json.loads(journal.plan(then["name"]))
            assert journal.plan(then["name"]) == then["plan"]
            for column in set(then.keys()) - {"plan", "cohort"}:
                assert getattr(now, column) == then[column]
            settings = plan["federation"]["settings"]
            assert now.rounds == plan["aggregator"]["settings"]["rounds_to_train"]
            assert (now.envoys, now.dataset) == (settings["envoys"], settings["dataset"])
            assert (now.classes, now.classes_sha256) == (
                len(settings["classes"]),
                fingerprint(settings["classes"]),
            )
            assert now.experiment == "keyword_spotting"
            assert json.loads(now.asked)["rounds"] == now.rounds
        journal.close()
    with sqlite3.connect(path) as connection:
        connection.row_factory = sqlite3.Row
        now = [connection.execute(f"SELECT * FROM {t}").fetchall() for t in ("events", "results")]
        columns = [
            {column: value for column, value in dict(row).items() if column != "norm"}
            for t in now
            for row in t
        ]
        assert [dict(row) for table in others for row in table] == columns, "but for a column that came later"
    connection.close()


def test_the_version_before_can_use_a_journal_of_now_and_what_it_wrote_is_filled_in(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        alive.submit("ours")
        plan = alive.journal.plan("ours")
    columns = (
        "name, submission, plan, submitted_by, code_hash, frozen_fingerprint, state, reason, created, ended, cohort, round, "
        "model, best_round, best_score, best_model"
    )
    with sqlite3.connect(tmp_path / "journal.sqlite") as connection:
        # The statements of 0.2.0.
        connection.execute("CREATE TABLE IF NOT EXISTS experiments (name TEXT PRIMARY KEY)")
        assert (
            len(connection.execute(f"SELECT {columns} FROM experiments ORDER BY created, name").fetchall())
            == 1
        )
        connection.execute(
            f"INSERT INTO experiments ({columns}) VALUES ({', '.join('?' * 16)})",
            ("theirs", "s", plan, "w", "c", "f", "queued", "", 2.0, 0.0, "[]", 0, "", -1, 0.0, ""),
        )
    connection.close()
    with director(tmp_path) as again:
        ours, theirs = again.experiments.experiments()
        assert (theirs.rounds, theirs.envoys, theirs.classes_sha256) == (
            ours.rounds,
            ours.envoys,
            ours.classes_sha256,
        )


def test_a_journal_of_a_later_version_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    Journal(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 7")
    connection.close()
    with pytest.raises(
        InputError, match="the journal has format 7, this version of the project knows up to 6"
    ):
        Journal(path)
    assert version(path) == 7


def test_a_migration_that_breaks_off_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(shutil.copy(THEN, tmp_path))

    def breaks(connection: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("director.migrations._fill_in_needs", breaks)
        with pytest.raises(ZeroDivisionError):
            Journal(path)
    assert version(path) == 0
    assert len(Journal(path).experiments()) == 3


@pytest.mark.parametrize(("before", "after"), list(product(FOLLOWING, FOLLOWING)))
def test_states_follow_each_other_by_the_table(tmp_path: Path, before: str, after: str) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.add_experiment(row(state=before), "{}")
    legal = (before, after) in {
        ("queued", "running"),
        ("queued", "stopped"),
        ("queued", "failed"),
        ("running", "finished"),
        ("running", "failed"),
        ("running", "stopped"),
        ("failed", "queued"),
        ("stopped", "queued"),
        ("finished", "removed"),
        ("failed", "removed"),
        ("stopped", "removed"),
    }
    if legal:
        journal.update_experiment("first", state=after)
    else:
        with pytest.raises(IllegalTransition), journal.transaction():
            journal.add_event("first", "told", {})
            journal.update_experiment("first", state=after, reason="another")
    found = journal.experiment("first")
    assert found is not None
    assert (found.state, found.reason) == (after if legal else before, "")
    assert journal.events("first") == []
    journal.close()


@pytest.mark.parametrize("end", ENDED)
def test_an_acknowledged_end_is_not_overwritten_by_a_round_that_closes(tmp_path: Path, end: str) -> None:
    with director(tmp_path) as alive:
        alive.submit("rows", envoys=1)
        alive.connect("north")
        aggregator = alive.experiments.live("rows")
        assert aggregator is not None
        while aggregator.round_number < 2:
            for task in aggregator.get_tasks("north")[0] or []:
                alive.report("rows", "north", task)
        before = alive.experiments.experiment("rows")
        # Another way to the same row, past the aggregator.
        alive.journal.update_experiment("rows", state=end, reason="acknowledged")
        alive.report("rows", "north", "aggregated_model_validation")
        after = alive.experiments.experiment("rows")
        assert (after.state, after.reason, after.round) == (end, "acknowledged", before.round)
        assert "round_closed" not in alive.kinds("rows")[-1:]
        assert alive.experiments.live("rows") is None


def test_a_stop_is_one_event_and_the_last(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        alive.submit("rows", envoys=1)
        alive.submit("queued", envoys=3)
        alive.connect("north")
        for name in ("rows", "queued"):
            for _ in range(2):
                assert alive.experiments.stop(name).state == "stopped"
            assert alive.kinds(name).count("stopped") == 1
            assert alive.kinds(name)[-1] == "stopped"
    with director(tmp_path) as again:
        again.connect("north", "south", "west")
        assert {row.state for row in again.experiments.experiments()} == {"stopped"}
