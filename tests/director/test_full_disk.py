"""A director whose disk is full: nothing is half written, nothing is given up, and it goes on when there is room."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from director.attending import RETRY_SECONDS
from director.blobs import BlobStore
from director.disk import Disk, DiskFull, probe
from director.journal import Journal
from director.uploads import Announced, Uploads
from federation.tensors import Tensors
from tests.director.filling_disk import filling_disk
from tests.director.in_process import TRAIN, TUNED, VALIDATE, Director, announcement, director
from tests.director.test_state import row as new_experiment
from tests.full_disk import full

DEADLINE = 60.0
LARGE: Tensors = {"weight": np.ones(250_000, np.float32)}


def failing(number: int) -> Callable[..., Any]:
    """Return a call that the machine answers with an error."""

    def call(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


def test_a_transaction_that_finds_no_room_is_undone_and_the_next_one_works(small_disk: Path) -> None:
    journal = Journal(small_disk / "journal.sqlite")
    journal.add_experiment(new_experiment("rows"), "{}")
    journal.add_event("rows", "before", {})
    with full(small_disk):
        with pytest.raises(OSError, match="journal") as raised:
            for _ in range(10):
                journal.add_event("rows", "full", {"reason": "x" * 300_000})
        assert raised.value.errno == errno.ENOSPC
        written = journal.events("rows")
        assert {event.kind for event in written} <= {"before", "full"}, "reading needs no room"
        assert [row.name for row in journal.experiments()] == ["rows"]
    journal.add_event("rows", "after", {})
    assert journal.events("rows")[-1].kind == "after"
    assert [event.id for event in journal.events("rows")] == list(range(1, len(written) + 2))
    journal.close()


def test_a_nested_transaction_without_room_leaves_nothing_of_the_outer_one(small_disk: Path) -> None:
    journal = Journal(small_disk / "journal.sqlite")
    journal.add_experiment(new_experiment("rows"), "{}")
    with full(small_disk), pytest.raises(OSError), journal.transaction():
        journal.update_experiment("rows", reason="half")
        for _ in range(10):
            journal.add_event("rows", "full", {"reason": "x" * 300_000})
    row = journal.experiment("rows")
    assert row is not None
    assert row.reason == ""
    assert journal.events("rows") == []
    journal.close()


def test_a_blob_that_finds_no_room_leaves_nothing(small_disk: Path) -> None:
    blobs = BlobStore(small_disk / "blobs")
    with full(small_disk):
        with pytest.raises(OSError) as raised, blobs.stored(LARGE):
            pass
        assert raised.value.errno == errno.ENOSPC
        assert not list((small_disk / "blobs").glob("*.part"))
        assert blobs.names() == []
    name = blobs.put(LARGE)
    blobs.remove(name)
    assert blobs.names() == [], "nothing holds it any more"


def test_an_upload_that_finds_no_room_gives_back_what_it_took(small_disk: Path) -> None:
    uploads = Uploads(small_disk / "uploads", BlobStore(small_disk / "blobs"))
    whole = bytes(4 << 20)
    announced = Announced("rows", "north", 0, "train", len(whole), hashlib.sha256(whole).hexdigest())
    pieces = (whole[at : at + (1 << 18)] for at in range(0, len(whole), 1 << 18))
    with pytest.raises(OSError) as raised:
        uploads.receive(announced, 0, pieces)
    assert raised.value.errno == errno.ENOSPC
    assert not list((small_disk / "uploads").rglob("*.partial"))
    assert uploads.have(announced) == 0


def test_a_submission_that_finds_no_room_leaves_nothing_and_may_come_again(small_disk: Path) -> None:
    with director(small_disk) as alive:
        with full(small_disk):
            with pytest.raises(OSError) as raised:
                alive.submit(model=LARGE)
            assert raised.value.errno == errno.ENOSPC
            assert alive.blobs.names() == []
            assert alive.experiments.experiments() == []
        alive.submit()
        assert [row.name for row in alive.experiments.experiments()] == ["rows"]


def undisturbed(folder: Path) -> str:
    with director(folder) as alive:
        alive.submit()
        alive.connect("north", "south")
        return alive.finish("rows", {"north": 1.0, "south": 2.0})


def exhaust(alive: Director) -> None:
    """Leave no room in the journal's file either, whose pages may be used again."""
    with pytest.raises(OSError):
        while True:
            alive.journal.add_event("rows", "ballast", {"reason": "x" * 3000})


def test_a_round_that_cannot_be_written_ends_by_itself_when_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    expected = undisturbed(tmp_path / "undisturbed")
    with director(small_disk) as alive:
        disk = Disk(small_disk, alive.experiments.attention.set)
        alive.experiments.on_fault = disk.note
        alive.submit()
        alive.connect("north", "south")
        alive.work("rows", "north", 1.0)
        with full(small_disk):
            exhaust(alive)
            refused: OSError | None = None
            try:
                alive.work("rows", "south", 2.0)
            except OSError as error:
                refused = error
            assert refused is not None or disk.paused, "either the result or the round found no room"
            if refused is not None:
                disk.note(refused)
            assert disk.paused == "disk full"
            with pytest.raises(DiskFull, match=r"disk full.*goes on by itself"):
                disk.require_room()
            assert [row.state for row in alive.experiments.experiments()] == ["running"]
            alive.experiments.attention.clear()
        assert alive.experiments.attention.wait(DEADLINE)
        assert disk.paused == ""
        alive.attend()
        assert alive.finish("rows", {"north": 1.0, "south": 2.0}) == expected
        assert "failed" not in alive.kinds("rows")


def test_an_experiment_that_cannot_start_for_want_of_room_starts_when_there_is_some(small_disk: Path) -> None:
    with director(small_disk) as alive:
        disk = Disk(small_disk, alive.experiments.attention.set)
        alive.experiments.on_fault = disk.note
        alive.submit()
        with full(small_disk):
            exhaust(alive)
            alive.connect("north", "south")
            assert disk.paused == "disk full"
            assert [row.state for row in alive.experiments.experiments()] == ["queued"]
            alive.experiments.attention.clear()
        assert alive.experiments.attention.wait(DEADLINE)
        alive.attend()
        assert [row.state for row in alive.experiments.experiments()] == ["running"]


def test_only_want_of_room_pauses_the_director(tmp_path: Path) -> None:
    rung = threading.Event()
    disk = Disk(tmp_path, rung.set)
    assert not disk.note(OSError(errno.EIO, "a bad sector"))
    assert disk.paused == ""
    assert disk.note(OSError(errno.EROFS, "read-only"))
    assert disk.paused == "disk read-only"
    assert rung.wait(DEADLINE), "it finds by itself that it can write"
    disk.require_room()


def test_looking_for_room_leaves_nothing(small_disk: Path) -> None:
    probe(small_disk)
    with full(small_disk):
        with pytest.raises(OSError) as raised:
            probe(small_disk)
        assert raised.value.errno == errno.ENOSPC
        assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_results_of_a_round_are_counted_once_though_the_disk_was_full_between(small_disk: Path) -> None:
    with director(small_disk) as alive:
        alive.submit()
        alive.connect("north", "south")
        with full(small_disk):
            exhaust(alive)
            with pytest.raises(OSError):
                alive.work("rows", "north", 1.0)
        alive.work("rows", "north", 1.0)
        results = [e.body for e in alive.events("rows") if e.kind == "result" and e.body["task"] == TRAIN]
        assert [body["envoy"] for body in results] == ["north"]


def test_what_one_experiment_finds_no_room_for_keeps_no_other_from_being_attended_to(tmp_path: Path) -> None:
    with filling_disk() as disk, director(tmp_path) as alive:
        for name in ("one", "two"):
            alive.submit(name)
        alive.connect("north", "south")
        alive.experiments.disconnect(alive.connections.pop("south"))
        disk.left = 1
        assert alive.experiments.attend() <= RETRY_SECONDS, "it is tried again, though nothing happens"
        assert disk.fired == 1
        assert [alive.kinds(name).count("envoy_away") for name in ("one", "two")] == [0, 1]
        alive.attend()
        assert [alive.kinds(name).count("envoy_away") for name in ("one", "two")] == [1, 1]


def test_so_it_is_where_what_an_envoy_of_an_earlier_version_announces_now_finds_no_room(
    tmp_path: Path,
) -> None:
    def fingerprints() -> list[str]:
        return [alive.journal.members(name)[0].fingerprint for name in ("one", "two")]

    with filling_disk() as disk, director(tmp_path) as alive:
        for name in ("one", "two"):
            alive.submit(name)
        alive.connect("north", "south")
        alive.experiments.connect("north", announcement(fingerprint="f" * 64), SimpleQueue())
        disk.left = 1
        assert alive.experiments.attend() <= RETRY_SECONDS
        assert (disk.fired, fingerprints()) == (1, ["", "f" * 64])
        alive.attend()
        assert fingerprints() == ["f" * 64] * 2
        disk.left = 1
        alive.attend()
        assert disk.fired == 1, "where nothing is new nothing is written"


def test_a_start_whose_round_finds_no_room_is_undone_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with director(tmp_path) as alive:
        alive.submit()
        with monkeypatch.context() as patched:
            patched.setattr(Journal, "open_round", failing(errno.ENOSPC))
            alive.connect("north", "south")
            assert alive.experiments.experiment("rows").state == "queued"
            assert "started" not in alive.kinds("rows")
            assert alive.journal.members("rows") == []
        alive.attend()
        assert alive.kinds("rows")[-2:] == ["started", "round_started"]
        alive.finish("rows", {"north": 1.0, "south": 2.0})
        assert alive.kinds("rows").count("started") == 1


def test_a_round_whose_model_cannot_be_opened_now_is_not_closed_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = undisturbed(tmp_path / "undisturbed")
    with director(tmp_path / "disturbed") as alive:
        alive.submit()
        alive.connect("north", "south")
        alive.work("rows", "north", 1.0)
        with monkeypatch.context() as patched, suppress(OSError):
            patched.setattr(alive.blobs, "open", failing(errno.EMFILE))
            alive.work("rows", "south", 2.0)
        assert alive.experiments.experiment("rows").round == 0
        assert "round_closed" not in alive.kinds("rows")
        alive.attend()
        assert alive.finish("rows", {"north": 1.0, "south": 2.0}) == expected
        assert alive.kinds("rows").count("round_closed") == 3


def test_what_is_done_with_and_cannot_be_removed_now_keeps_no_round_from_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = undisturbed(tmp_path / "undisturbed")
    with director(tmp_path / "disturbed") as alive:
        alive.submit()
        alive.connect("north", "south")
        with monkeypatch.context() as patched:
            patched.setattr(alive.blobs, "remove", failing(errno.EROFS))
            alive.work("rows", "north", 1.0)
            alive.work("rows", "south", 2.0)
            assert alive.experiments.experiment("rows").round == 1
            assert alive.work("rows", "north", 2.0) == [VALIDATE, TRAIN, TUNED], "the next one is open"
        assert alive.finish("rows", {"north": 1.0, "south": 2.0}) == expected
        assert alive.kinds("rows").count("round_closed") == 3


def test_an_upload_that_the_disk_fails_gives_back_what_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has written before may not be what is read again."""
    uploads = Uploads(tmp_path / "uploads", BlobStore(tmp_path / "blobs"))
    whole = bytes(1 << 20)
    announced = Announced("rows", "north", 0, "train", len(whole), hashlib.sha256(whole).hexdigest())

    def pieces() -> Iterator[bytes]:
        yield whole[:1000]
        monkeypatch.setattr(os, "write", failing(errno.EIO))
        yield whole[1000:]

    with pytest.raises(OSError):
        uploads.receive(announced, 0, pieces())
    monkeypatch.undo()
    assert uploads.have(announced) == 0


def test_what_another_fault_of_the_machine_keeps_from_starting_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of too many open files nobody tells when there are fewer."""
    monkeypatch.setattr("director.experiments.RETRY_SECONDS", 0.01)
    with director(tmp_path) as alive:
        alive.submit()
        with monkeypatch.context() as patched:
            patched.setattr(BlobStore, "check", failing(errno.EMFILE))
            alive.connect("north", "south")
            alive.experiments.attention.clear()
            alive.experiments.schedule()
            assert alive.experiments.attention.wait(DEADLINE)
            assert alive.experiments.experiment("rows").state == "queued"
        alive.attend()
        assert alive.experiments.experiment("rows").state == "running"
