"""What a director makes of each thing that a machine says: no room is waited for, a lost write ends the process at once."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from director.blobs import BlobStore, DamagedBlob
from director.disk import Disk, fsync, probe, sync_folder, wait_for_room
from director.journal import Journal
from director.sqlite_faults import connect
from tests.director.in_process import MODEL
from tests.director.test_full_disk import failing, full
from tests.director.test_state import row as new_experiment

DEADLINE = 60.0


class Ended(BaseException):
    """The process has ended; nothing of it is done any more."""


@pytest.fixture
def _ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        assert code == 1
        raise Ended

    monkeypatch.setattr(os, "_exit", end)


def sync_file(folder: Path) -> None:
    with (folder / "file").open("wb") as file:
        fsync(file.fileno())


@pytest.mark.usefixtures("_ends")
@pytest.mark.parametrize("sync", [sync_file, sync_folder])
def test_an_fsync_without_room_is_told_and_one_that_has_lost_a_write_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: Callable[[Path], None]
) -> None:
    sync(tmp_path)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        monkeypatch.setattr(os, "fsync", failing(number))
        with pytest.raises(OSError) as raised:
            sync(tmp_path)
        assert raised.value.errno == number
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(Ended):
        sync(tmp_path)


def test_room_that_turns_out_to_be_missing_at_the_fsync_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on file systems that find a place for what was written only then."""
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(OSError) as raised:
        probe(tmp_path)
    assert raised.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "disk full"),
        (errno.EDQUOT, "disk quota used up"),
        (errno.EROFS, "disk read-only"),
    ],
)
def test_the_director_pauses_for_each_kind_of_it_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    monkeypatch.setattr("director.disk.FIRST_PAUSE", 0.01)
    there = threading.Event()
    disk = Disk(tmp_path, there.set)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing(number))
        assert disk.note(OSError(number, os.strerror(number)))
        assert disk.paused == said
    assert there.wait(DEADLINE)
    assert disk.paused == ""


def test_where_room_for_a_probe_is_too_little_it_is_tried_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("director.disk.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("director.disk.LONGEST_PAUSE", 0.008)
    monkeypatch.setattr("director.disk.time.monotonic", lambda: 1000.0)
    there = threading.Semaphore(0)
    disk = Disk(tmp_path, lambda: there.release())
    pauses = []
    for _ in range(5):
        disk.note(OSError(errno.ENOSPC, "no space"))
        pauses.append(disk._pause)
        assert there.acquire(timeout=DEADLINE)
    assert pauses == [0.001, 0.002, 0.004, 0.008, 0.008]


def test_a_director_on_a_disk_that_is_read_only_starts_when_it_is_not_any_more(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("director.disk.FIRST_PAUSE", 0.01)
    with read_only(small_disk):
        starting = threading.Thread(target=wait_for_room, args=(small_disk,), daemon=True)
        starting.start()
        starting.join(0.2)
        assert starting.is_alive()
    starting.join(DEADLINE)
    assert not starting.is_alive()
    assert [record.message for record in caplog.records] == [
        f"disk read-only: {small_disk}; the director starts by itself when there is room"
    ]


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)


# The journal.


@pytest.mark.usefixtures("_ends")
def test_a_journal_that_cannot_be_opened_for_want_of_room_is_told_so(small_disk: Path) -> None:
    """SQLite has no words for it: it cannot open, or meets an error of the disk."""
    Journal(small_disk / "journal.sqlite").close()
    with full(small_disk), pytest.raises(OSError) as raised:
        Journal(small_disk / "journal.sqlite")
    assert raised.value.errno == errno.ENOSPC
    with read_only(small_disk), pytest.raises(OSError) as raised:
        Journal(small_disk / "journal.sqlite")
    assert raised.value.errno == errno.EROFS
    Journal(small_disk / "journal.sqlite").close()


@pytest.mark.usefixtures("_ends")
def test_a_journal_without_room_for_one_more_file_is_told_so(small_disk: Path) -> None:
    Journal(small_disk / "journal.sqlite").close()
    subprocess.run(["mount", "-o", "remount,nr_inodes=8", str(small_disk)], check=True)
    with suppress(OSError):
        for number in range(8):
            (small_disk / f"{number}").touch()
    with pytest.raises(OSError) as raised:
        Journal(small_disk / "journal.sqlite")
    assert raised.value.errno == errno.ENOSPC
    (small_disk / "0").unlink()
    (small_disk / "1").unlink()
    Journal(small_disk / "journal.sqlite").close()


@pytest.mark.usefixtures("_ends")
def test_a_commit_that_the_disk_fails_ends_the_process_and_is_not_there_after_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.add_experiment(new_experiment("rows"), "{}")
    journal.add_event("rows", "before", {})
    with no_file_grows_beyond((tmp_path / "journal.sqlite-wal").stat().st_size), pytest.raises(Ended):
        journal.add_event("rows", "lost", {})
    again = Journal(tmp_path / "journal.sqlite")
    assert [event.kind for event in again.events("rows")] == ["before"]
    again.close()


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """Let writes behind so many bytes fail with an error that is no want of room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("_ends")
@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC])
def test_an_fsync_of_sqlite_that_has_lost_a_write_ends_the_process_wherever_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def lost(*_: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr("director.sqlite_faults._Cursor.execute", lost, raising=False)
    with pytest.raises(Ended):
        Journal(tmp_path / "journal.sqlite")


@pytest.mark.usefixtures("_ends")
@pytest.mark.parametrize("read", ["fetchone", "fetchall"])
def test_a_row_that_the_disk_cannot_read_is_told_and_ends_nothing(tmp_path: Path, read: str) -> None:
    path = tmp_path / "journal.sqlite"
    with_rows = connect(path)
    with_rows.execute("CREATE TABLE rows (value BLOB)")
    for _ in range(3):
        with_rows.execute("INSERT INTO rows VALUES (zeroblob(500000))")
    with_rows.close()
    connection = connect(path)
    cursor = connection.execute("SELECT value FROM rows")
    with unreadable(path), pytest.raises(OSError) as raised:
        for _ in range(3):
            getattr(cursor, read)()
    assert raised.value.errno == errno.EIO
    connection.close()


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Let reads of a file that this process has open fail, as those of a bad sector do."""
    [opened] = [int(link.name) for link in Path("/proc/self/fd").iterdir() if leads_to(link, path)]
    kept, unreadable = os.dup(opened), os.open(path, os.O_WRONLY)
    os.dup2(unreadable, opened)
    try:
        yield
    finally:
        os.dup2(kept, opened)
        os.close(kept)
        os.close(unreadable)


def leads_to(link: Path, path: Path) -> bool:
    try:
        return link.readlink() == path
    except FileNotFoundError:  # what listed them
        return False


# Blobs.


def test_a_blob_that_the_disk_cannot_read_is_damaged_and_one_that_the_machine_cannot_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = BlobStore(tmp_path).put(MODEL)
    blobs = BlobStore(tmp_path)
    for number in (errno.EMFILE, errno.ENOMEM):
        monkeypatch.setattr("director.blobs.hashlib.file_digest", failing(number))
        with pytest.raises(OSError) as raised:
            blobs.open(name)
        assert raised.value.errno == number
    monkeypatch.setattr("director.blobs.hashlib.file_digest", failing(errno.EIO))
    with pytest.raises(DamagedBlob, match=f"the disk cannot read the blob {name}; restore it from a backup"):
        blobs.open(name)
    monkeypatch.undo()
    assert blobs.open(name)


def test_a_blob_whose_name_finds_no_room_is_held_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = BlobStore(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("director.blobs.sync_folder", failing(errno.ENOSPC))
        with pytest.raises(OSError), blobs.stored(MODEL):
            pass
    for name in blobs.names():
        blobs.remove(name)
    assert blobs.names() == []
