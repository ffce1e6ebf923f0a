"""A director whose disk is full: nothing is half written, nothing is given up, and it goes on when there is room."""

from __future__ import annotations

import errno
import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest

from director.blobs import BlobStore
from director.disk import Disk, DiskFull, probe
from director.journal import Journal
from director.uploads import Announced, Uploads
from federation.tensors import Tensors
from tests.director.filling_disk import filling_disk
from tests.director.in_process import TRAIN, Director, director
from tests.director.test_state import row as new_experiment
from tests.full_disk import full

DEADLINE = 60.0
LARGE: Tensors = {"weight": np.ones(250_000, np.float32)}


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


def test_one_experiment_that_finds_no_room_keeps_no_other_from_being_attended_to(tmp_path: Path) -> None:
    with director(tmp_path) as alive, filling_disk() as disk:
        alive.connect_as("north", fingerprint="f" * 12)
        for name in ("old", "young"):
            alive.submit(name, envoys=1)
        # Taken in by a version that did not note what envoys announce: it is noted when they are there.
        alive.journal.change_members("old", ["north"], fingerprint="")
        noted: list[OSError] = []
        alive.experiments.on_fault = lambda error: not noted.append(error)
        alive.work("young", "north")
        alive.disconnect("north")
        disk.left = 1
        alive.connect_as("north", fingerprint="f" * 12)
        assert [error.errno for error in noted] == [errno.ENOSPC]
        assert alive.work("young", "north"), "it goes on with who is back"
        alive.attend()
        assert alive.journal.members("old")[0].fingerprint == "f" * 12


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
