"""What `fed director check` tells harm and harmless by, and what `repair` gives up: no more than it must."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from director.removal import no_removal
from director.upkeep import check
from director.upkeep.check import examine
from federation.errors import InputError
from tests.director.in_process import director
from tests.director.test_upkeep import VALUES, blob, fed_director, run_half, spoil, undisturbed

RESULT = "SELECT blob FROM results WHERE blob != ''"
MODEL = "SELECT model FROM experiments WHERE name = 'rows'"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state of a director that went down in the middle of a round."""
    with director(tmp_path / "state") as alive:
        run_half(alive)
    return tmp_path / "state"


def change(state: Path, *statements: str) -> None:
    with closing(sqlite3.connect(state / "journal.sqlite")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def damage_an_index(state: Path) -> None:
    """What reads the journal row by row finds nothing of it."""
    change(
        state,
        "PRAGMA writable_schema = ON",
        "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'results_by_blob') "
        "WHERE name = 'experiments_by_state'",
    )


def files(folder: Path) -> dict[Path, bytes]:
    """All files of a folder but the one that SQLite's readers share."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith("-shm")
    }


def test_looking_at_what_a_killed_director_has_left_changes_nothing(tmp_path: Path) -> None:
    with director(tmp_path / "alive") as alive:
        run_half(alive)
        shutil.copytree(tmp_path / "alive", tmp_path / "killed")
    before = files(tmp_path / "killed")
    assert any(path.name == "journal.sqlite-wal" for path in before)
    assert examine(tmp_path / "killed").whole
    assert files(tmp_path / "killed") == before


def test_the_state_is_told_as_it_was_at_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that was named then may be done with when its turn comes."""
    with director(tmp_path / "state") as alive:
        run_half(alive)
        fault_of = check.fault_of

        def meanwhile(folder: Path, name: str) -> str:
            alive.finish("rows", VALUES)
            return fault_of(folder, name)

        monkeypatch.setattr(check, "fault_of", meanwhile)
        found = examine(tmp_path / "state")
        assert alive.experiments.experiment("rows").state == "finished"
    assert found.problems == []
    assert found.experiments == [{"name": "rows", "state": "running", "round": 1}]


def test_what_is_harmless_is_noted(state: Path) -> None:
    blobs, uploads = state / "blobs", state / "uploads" / "rows"
    (blobs / ("a" * 64)).write_bytes(b"whatever")
    (blobs / "aside").mkdir()
    (blobs / "aside" / ("b" * 64)).write_bytes(b"whatever")
    uploads.mkdir(parents=True)
    (uploads / "north.1.train.100.abc.partial").write_bytes(bytes(50))
    change(state, "PRAGMA user_version = 2")
    assert examine(state).notes == [
        "the journal has format 2; the next start brings it to this version's",
        "1 blobs that nothing names: on their way, or set aside at the next start",
        "1 blobs lie in blobs/aside, each for a week",
        "1 results on their way, 50 bytes, in uploads/",
    ]
    assert fed_director(state, "check").exit_code == 0


def test_a_damaged_index_is_told_and_nothing_is_mended_by_such_a_journal(state: Path) -> None:
    spoil(blob(state, RESULT))
    damage_an_index(state)
    before = files(state)
    done = fed_director(state, "check")
    assert isinstance(done.exception, InputError)
    assert "the journal is damaged (" in done.output
    done = fed_director(state, "repair", "--yes")
    assert isinstance(done.exception, InputError)
    assert "CANNOT BE MENDED: the journal is damaged" in done.output
    assert "done:" not in done.output
    after = files(state)
    assert {path: after[path] for path in before} == before


def test_an_empty_journal_beside_blobs_is_a_missing_one(state: Path) -> None:
    (state / "journal.sqlite").write_bytes(b"")
    done = fed_director(state, "check")
    assert isinstance(done.exception, InputError)
    assert "journal.sqlite is missing, and there are blobs that it names" in done.output


def test_a_lost_best_model_is_told(state: Path) -> None:
    with director(state) as alive:
        alive.finish("rows", VALUES)
        row = alive.experiments.experiment("rows")
        assert row.best_model != row.model
    (state / "blobs" / row.best_model).unlink()
    [problem] = examine(state).problems
    assert (
        problem.says == f"experiment rows (finished): its best model, the blob {row.best_model}, is missing"
    )


def test_a_blob_that_cannot_be_read_is_told(state: Path) -> None:
    path = blob(state, MODEL)
    path.unlink()
    path.mkdir()
    [problem] = examine(state).problems
    assert problem.says.endswith(f"its model, the blob {path.name}, cannot be read (Is a directory)")


# Repair.


@pytest.mark.parametrize("query", [MODEL, RESULT])
def test_what_is_whole_aside_is_taken_back_and_nothing_is_given_up(
    state: Path, tmp_path: Path, query: str
) -> None:
    path = blob(state, query)
    (state / "blobs" / "aside").mkdir()
    path.rename(state / "blobs" / "aside" / path.name)
    done = fed_director(state, "repair", "--yes")
    assert done.output == f"done: take back the blob {path.name} from blobs/aside\n"
    with director(state) as alive:
        assert "result_dropped" not in alive.kinds("rows")
        assert alive.experiments.experiment("rows").state == "running"
        assert alive.finish("rows", VALUES) == undisturbed(tmp_path / "undisturbed")


def test_what_is_damaged_aside_is_not_taken_back(state: Path) -> None:
    path = blob(state, MODEL)
    (state / "blobs" / "aside").mkdir()
    spoil(path.rename(state / "blobs" / "aside" / path.name))
    found = examine(state)
    assert found.come_back == []
    assert found.problems[0].says.endswith("is missing")
    assert (
        "done: fail it: experiment rows (running): its model" in fed_director(state, "repair", "--yes").output
    )


def test_the_blob_of_what_was_dropped_is_set_aside_at_once(state: Path) -> None:
    path = blob(state, RESULT)
    spoil(path)
    fed_director(state, "repair", "--yes")
    assert (state / "blobs" / "aside" / path.name).exists()
    assert examine(state).unnamed == []


def test_a_result_that_nobody_waits_for_is_dropped_without_a_word_to_those_who_watch(state: Path) -> None:
    change(state, f"UPDATE results SET round = 7 WHERE blob = '{blob(state, RESULT).name}'")
    assert (
        "done: drop it: experiment rows: train of north in round 7"
        in fed_director(state, "repair", "--yes").output
    )
    assert examine(state).whole
    with director(state) as alive:
        assert "result_dropped" not in alive.kinds("rows")


def test_an_experiment_without_plan_and_model_fails_once(state: Path) -> None:
    blob(state, MODEL).unlink()
    change(state, "UPDATE experiments SET plan = '{'")
    done = fed_director(state, "repair", "--yes")
    assert done.output.count("done: fail it") == 1
    with director(state) as alive:
        assert alive.kinds("rows").count("failed") == 1
        assert alive.experiments.experiment("rows").reason.startswith("repaired: ")


# Backup.


def test_a_backup_is_for_the_eyes_of_its_owner(state: Path, tmp_path: Path) -> None:
    assert fed_director(state, "backup", str(tmp_path / "copy")).exit_code == 0
    for folder in (tmp_path / "copy", tmp_path / "copy" / "blobs"):
        assert folder.stat().st_mode & 0o077 == 0


def test_a_blob_that_is_missing_breaks_no_backup_off(state: Path, tmp_path: Path) -> None:
    path = blob(state, RESULT)
    path.unlink()
    done = fed_director(state, "backup", str(tmp_path / "copy"))
    assert str(done.exception) == (
        f"the backup lacks what is not whole: the blob {path.name} of experiment rows is missing"
    )
    with director(tmp_path / "copy") as alive:
        assert alive.experiments.experiment("rows").state == "running"


def test_a_damaged_journal_is_not_copied(state: Path, tmp_path: Path) -> None:
    (state / "journal.sqlite").write_bytes(b"no journal at all" * 1000)
    done = fed_director(state, "backup", str(tmp_path / "copy"))
    assert isinstance(done.exception, InputError)
    assert "cannot be copied" in str(done.exception)
    assert "restore it from a backup" in str(done.exception)
    assert not (tmp_path / "copy" / "journal.sqlite").exists()


def test_a_start_beside_a_backup_removes_nothing_that_has_lain_aside_for_its_week(state: Path) -> None:
    aside = state / "blobs" / "aside" / ("a" * 64)
    aside.parent.mkdir()
    aside.write_bytes(b"whatever")
    long_ago = time.time() - 8 * 24 * 3600
    os.utime(aside, (long_ago, long_ago))
    with no_removal(state / "blobs"), director(state):
        assert aside.exists()
    with director(state):
        assert not aside.exists()
