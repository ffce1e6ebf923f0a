"""What an operator does to a director's state: check it, mend it, back it up beside a director that runs, and restore it."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from director.audit import AuditLog, Entry
from director.cli import director as command
from director.record import discard_unreferenced
from director.removal import no_removal
from director.state import lock, open_state
from director.upkeep.backup import back_up
from director.upkeep.check import examine
from federation.errors import InputError, MachineFault
from tests.deployment import write_yaml
from tests.director.in_process import TRAIN, Director, director

VALUES = {"north": 1.0, "south": 2.0}


def fed_director(folder: Path, *arguments: str) -> Result:
    """Run `fed director ...` over a state folder."""
    config = write_yaml(folder.parent / "director_config.yaml", {"state": str(folder)})
    name, *rest = arguments
    return CliRunner().invoke(command, [name, "-c", str(config), *rest])


def run_half(alive: Director, name: str = "rows") -> None:
    """Submit an experiment and bring it into its second round, which north has worked in."""
    alive.submit(name)
    alive.connect(*VALUES)
    for envoy, value in VALUES.items():
        alive.work(name, envoy, value)
    alive.work(name, "north", 5.0)


def undisturbed(folder: Path) -> str:
    with director(folder) as alive:
        run_half(alive)
        return alive.finish("rows", VALUES)


def blob(folder: Path, query: str) -> Path:
    connection = sqlite3.connect(folder / "journal.sqlite")
    try:
        [(name,)] = connection.execute(query).fetchall()
    finally:
        connection.close()
    return folder / "blobs" / name


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The state of a director that went down in the middle of a round."""
    with director(tmp_path / "state") as alive:
        run_half(alive)
    return tmp_path / "state"


# Check.


def test_a_state_that_is_whole_is_said_to_be(state: Path) -> None:
    done = fed_director(state, "check")
    assert done.exit_code == 0, done.output
    assert "rows: running, round 1" in done.output
    assert "the state is whole" in done.output
    assert json.loads(fed_director(state, "check", "--json").stdout)["whole"] is True


def test_looking_changes_nothing_and_may_happen_beside_a_director(tmp_path: Path) -> None:
    with director(tmp_path / "state") as alive:
        run_half(alive)
        before = {p: p.read_bytes() for p in (tmp_path / "state").rglob("*") if p.is_file()}
        with lock(tmp_path / "state"):
            assert fed_director(tmp_path / "state", "check").exit_code == 0
        after = {p: p.read_bytes() for p in (tmp_path / "state").rglob("*") if p in before}
        assert after.keys() == before.keys()
        assert {p.name for p in after if after[p] != before[p]} <= {"journal.sqlite-shm"}


@pytest.mark.parametrize("how", ["lost", "damaged"])
@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("SELECT blob FROM results WHERE blob != ''", "train of north in round 1: its blob"),
        ("SELECT model FROM experiments", "its model, the blob"),
    ],
)
def test_a_named_blob_that_is_lost_or_damaged_is_told(state: Path, query: str, says: str, how: str) -> None:
    path = blob(state, query)
    path.unlink() if how == "lost" else spoil(path)
    done = fed_director(state, "check")
    assert isinstance(done.exception, InputError)
    assert done.exception.exit_code == 3
    assert says in done.output
    assert ("is missing" if how == "lost" else "is damaged") in done.output
    found = json.loads(fed_director(state, "check", "--json").stdout)
    assert found["whole"] is False
    assert len(found["problems"]) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("DELETE FROM events WHERE id = 2", "events, numbered up to"),
        ("UPDATE events SET body = '{' WHERE id = 2", "its event 2 cannot be read"),
        (
            "INSERT INTO events VALUES ('gone', 1, 0, 'started', '{}')",
            "of an experiment gone that is not there",
        ),
        ("UPDATE experiments SET plan = '{'", "its plan cannot be read"),
        ("UPDATE results SET statistics = x'00' WHERE blob != ''", "its statistics cannot be read"),
        ("UPDATE results SET round = 7 WHERE blob != ''", "is a result that nobody waits for"),
        ("PRAGMA user_version = 99", "which a later version has written"),
    ],
)
def test_what_is_wrong_in_the_journal_is_told(state: Path, change: str, says: str) -> None:
    connection = sqlite3.connect(state / "journal.sqlite")
    connection.execute(change)
    connection.commit()
    connection.close()
    done = fed_director(state, "check")
    assert isinstance(done.exception, InputError), done.output
    assert says in done.output


def test_a_damaged_or_missing_journal_is_told_and_is_not_mended(state: Path) -> None:
    path = state / "journal.sqlite"
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + bytes(4096) + whole[12288:])
    damaged = path.read_bytes()
    assert isinstance(fed_director(state, "check").exception, InputError)
    done = fed_director(state, "repair", "--yes")
    assert isinstance(done.exception, InputError)
    assert "restore it from a backup" in done.output
    assert path.read_bytes() == damaged
    path.unlink()
    assert "is missing" in fed_director(state, "check").output


def test_a_folder_that_is_no_state_is_refused(tmp_path: Path) -> None:
    for arguments in (["check"], ["repair"], ["backup", str(tmp_path / "copy")]):
        done = fed_director(tmp_path / "nothing", *arguments)
        assert isinstance(done.exception, InputError)
        assert "holds no state of a director" in str(done.exception)
    assert not (tmp_path / "nothing").exists()


# Repair.


def test_nothing_is_mended_beside_a_running_director(state: Path) -> None:
    with lock(state):
        done = fed_director(state, "repair", "--yes")
    assert "another director is using" in str(done.exception)


def test_a_damaged_result_is_dropped_and_the_experiment_ends_with_the_same_bits(
    state: Path, tmp_path: Path
) -> None:
    spoil(blob(state, "SELECT blob FROM results WHERE blob != ''"))
    said = fed_director(state, "repair")
    assert "would: drop it: experiment rows: train of north in round 1" in said.output
    assert isinstance(said.exception, InputError), "nothing is changed without --yes"
    assert not examine(state).whole
    assert fed_director(state, "repair", "--yes").exit_code == 0
    assert examine(state).whole
    expected = undisturbed(tmp_path / "undisturbed")
    with director(state) as alive:
        [dropped] = [event.body for event in alive.events("rows") if event.kind == "result_dropped"]
        assert (dropped["envoy"], dropped["task"]) == ("north", TRAIN)
        alive.connect(*VALUES)
        alive.work("rows", "north", 5.0)
        assert alive.finish("rows", VALUES) == expected


def test_an_experiment_without_its_model_fails_with_the_reason_and_the_others_go_on(state: Path) -> None:
    with director(state) as alive:
        alive.submit("other")
    blob(state, "SELECT model FROM experiments WHERE name = 'rows'").unlink()
    fed_director(state, "repair", "--yes")
    with director(state) as alive:
        rows = {row.name: row for row in alive.experiments.experiments()}
        assert rows["rows"].state == "failed"
        assert "repaired: " in rows["rows"].reason
        assert "is missing" in rows["rows"].reason
        assert rows["other"].state == "queued"


def test_what_lies_aside_and_is_named_comes_back_and_what_is_unnamed_goes_there(state: Path) -> None:
    model = blob(state, "SELECT model FROM experiments")
    (state / "blobs" / "aside").mkdir()
    model.rename(state / "blobs" / "aside" / model.name)
    unnamed = state / "blobs" / ("a" * 64)
    unnamed.write_bytes(b"whatever")
    assert not examine(state).whole
    done = fed_director(state, "repair", "--yes")
    assert done.exit_code == 0, done.output
    assert model.exists()
    assert (state / "blobs" / "aside" / unnamed.name).exists()
    assert examine(state).whole


def test_a_lost_model_of_an_experiment_that_has_ended_cannot_be_mended(state: Path) -> None:
    with director(state) as alive:
        alive.experiments.stop("rows")
    blob(state, "SELECT model FROM experiments").unlink()
    done = fed_director(state, "repair", "--yes")
    assert isinstance(done.exception, InputError)
    assert "CANNOT BE MENDED" in done.output
    assert "restore it from a backup" in done.output


# Backup.


def test_backups_beside_rounds_that_close_are_whole_and_each_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    with director(tmp_path / "undisturbed") as alive:
        alive.submit(rounds=8)
        alive.connect(*VALUES)
        expected = alive.finish("rows", VALUES)

    state = tmp_path / "state"
    with director(state) as alive:
        alive.submit(rounds=8)
        alive.connect(*VALUES)
        done = threading.Event()
        made: list[Path] = []

        def back_up_until_done() -> None:
            while not done.is_set() or not made:
                made.append(tmp_path / f"backup-{len(made)}")
                back_up(state, made[-1])

        worker = threading.Thread(target=back_up_until_done)
        worker.start()
        assert alive.finish("rows", VALUES) == expected
        done.set()
        worker.join()
    for folder in made:
        found = examine(folder)
        assert found.whole, found.problems
        assert found.unnamed == []
        with director(folder) as restored:
            restored.connect(*VALUES)
            assert restored.finish("rows", VALUES) == expected


def test_nothing_is_removed_while_a_backup_runs_and_it_is_with_the_next_removal(tmp_path: Path) -> None:
    with director(tmp_path / "state") as alive:
        run_half(alive)
        named = alive.journal.named_blobs()
        with no_removal(tmp_path / "state" / "blobs"):
            alive.finish("rows", VALUES)
            assert named <= set(alive.blobs.names())
        discard_unreferenced(alive.journal, alive.blobs, [])
        assert set(alive.blobs.names()) == alive.journal.named_blobs()


def test_a_start_beside_a_backup_sets_nothing_aside(state: Path) -> None:
    unnamed = state / "blobs" / ("a" * 64)
    unnamed.write_bytes(b"whatever")
    with no_removal(state / "blobs"), director(state):
        assert unnamed.exists()
    with director(state):
        assert not unnamed.exists()


def test_a_backup_wants_an_empty_folder(state: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    target.mkdir()
    assert fed_director(state, "backup", str(target)).exit_code == 0
    done = fed_director(state, "backup", str(target))
    assert "is not empty" in str(done.exception)
    assert examine(target).whole


def test_a_backup_holds_who_did_what_and_is_its_owners_only(state: Path, tmp_path: Path) -> None:
    audit = AuditLog(state)
    audit.did(Entry("remove", member="alice", experiment="rows"))
    audit.close()
    target = tmp_path / "copy"
    assert fed_director(state, "backup", str(target)).exit_code == 0
    copy = AuditLog(target)
    assert [(entry.what, entry.member) for entry in copy.read()] == [("remove", "alice")]
    copy.close()
    assert stat.S_IMODE((target / "audit.jsonl").stat().st_mode) == 0o600


def test_a_backup_that_was_broken_off_is_not_started_from(state: Path, small_disk: Path) -> None:
    model = blob(state, "SELECT model FROM experiments")
    (small_disk / "ballast").write_bytes(
        bytes((2 << 20) - (model.stat().st_size + os.sysconf("SC_PAGESIZE") * 4))
    )
    done = fed_director(state, "backup", str(small_disk / "copy"))
    assert isinstance(done.exception, MachineFault), done.output
    assert "the backup is unfinished, remove it" in str(done.exception)
    assert not (small_disk / "copy" / "journal.sqlite").exists()
    with pytest.raises(InputError, match="a backup that was broken off"):
        open_state(small_disk / "copy")


def test_a_backup_says_what_it_lacks_and_holds_the_rest(state: Path, tmp_path: Path) -> None:
    with director(state) as alive:
        alive.submit("other")
    spoil(blob(state, "SELECT blob FROM results WHERE blob != ''"))
    done = fed_director(state, "backup", str(tmp_path / "copy"))
    assert isinstance(done.exception, InputError)
    assert "lacks what is not whole" in str(done.exception)
    with director(tmp_path / "copy") as alive:
        assert {row.state for row in alive.experiments.experiments()} == {"running", "queued"}


def test_a_name_in_the_journal_that_leads_elsewhere_is_neither_read_nor_copied(
    state: Path, tmp_path: Path
) -> None:
    (state / "secret").write_text("of somebody else's")
    connection = sqlite3.connect(state / "journal.sqlite")
    with connection:
        connection.execute("UPDATE experiments SET model = '../secret'")
    connection.close()
    (problem,) = [problem for problem in examine(state).problems if problem.kind == "model"]
    assert "is not read: '../secret' is no name of a file or folder" in problem.says
    done = fed_director(state, "backup", str(tmp_path / "copy"))
    assert "the blob ../secret of experiment rows is not copied" in str(done.exception)
    assert not (tmp_path / "copy/secret").exists()


def test_a_blob_that_is_a_link_is_neither_read_nor_copied(state: Path, tmp_path: Path) -> None:
    model = blob(state, "SELECT model FROM experiments")
    model.rename(tmp_path / "elsewhere")
    model.symlink_to(tmp_path / "elsewhere")
    assert any("is a link, which is not followed" in problem.says for problem in examine(state).problems)
    done = fed_director(state, "backup", str(tmp_path / "copy"))
    assert "is a link, which is not followed" in str(done.exception)
    assert not (tmp_path / "copy/blobs" / model.name).exists()
