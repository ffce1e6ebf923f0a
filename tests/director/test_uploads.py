"""A result that breaks off on its way changes nothing and goes on where it broke; only what arrived whole can be refused."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from director.blobs import BlobStore
from director.uploads import Announced, BrokenOff, SendAgain, Uploads
from federation.errors import Refused
from federation.tensors import pack

DATA = pack({"weight": np.arange(3000, dtype=np.float32)})
PIECES = [DATA[start : start + 1000] for start in range(0, len(DATA), 1000)]
SHA256 = hashlib.sha256(DATA).hexdigest()


def result(**changes: object) -> Announced:
    told = {
        "experiment": "words",
        "envoy": "north",
        "round": 3,
        "task": "train",
        "size": len(DATA),
        "sha256": SHA256,
    }
    return Announced(**(told | changes))  # type: ignore[arg-type]


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "blobs")


@pytest.fixture
def uploads(tmp_path: Path, blobs: BlobStore) -> Uploads:
    return Uploads(tmp_path / "uploads", blobs)


def partial_files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "uploads").rglob("*.partial"))


def broken(uploads: Uploads, pieces: int, offset: int = 0, announced: Announced | None = None) -> None:
    first = offset // 1000
    with pytest.raises(BrokenOff):
        uploads.receive(announced or result(), offset, PIECES[first : first + pieces])


def test_a_whole_result_becomes_a_blob(uploads: Uploads, blobs: BlobStore, tmp_path: Path) -> None:
    assert uploads.receive(result(), 0, PIECES) == SHA256
    assert blobs.open(SHA256)["weight"][-1] == 2999
    assert partial_files(tmp_path) == []


def test_it_goes_on_where_it_broke(uploads: Uploads, blobs: BlobStore, tmp_path: Path) -> None:
    assert uploads.have(result()) == 0
    broken(uploads, 4)
    assert uploads.have(result()) == 4000
    broken(uploads, 3, offset=4000)
    assert uploads.have(result()) == 7000
    assert blobs.names() == [], "nothing counts before it is whole"
    assert uploads.receive(result(), 7000, PIECES[7:]) == SHA256
    assert partial_files(tmp_path) == []


def test_it_may_begin_anew_or_earlier(uploads: Uploads) -> None:
    broken(uploads, 4)
    broken(uploads, 1, offset=2000)
    assert uploads.have(result()) == 3000
    assert uploads.receive(result(), 0, PIECES) == SHA256


def test_it_does_not_go_on_behind_what_is_not_here(uploads: Uploads) -> None:
    broken(uploads, 2)
    broken(uploads, 5, offset=5000)
    assert uploads.have(result()) == 2000, "no gap is made"


def test_a_source_that_breaks_with_an_error_changes_nothing_else(uploads: Uploads) -> None:
    def cut() -> Iterator[bytes]:
        yield PIECES[0]
        raise ConnectionResetError("reset")

    with pytest.raises(ConnectionResetError):
        uploads.receive(result(), 0, cut())
    assert uploads.have(result()) == 1000


def test_it_outlives_a_restart_of_the_director(uploads: Uploads, blobs: BlobStore, tmp_path: Path) -> None:
    broken(uploads, 4)
    again = Uploads(tmp_path / "uploads", blobs)
    again.keep(["words"])
    assert again.have(result()) == 4000
    assert again.receive(result(), 4000, PIECES[4:]) == SHA256


def test_at_a_start_only_what_still_runs_is_kept(uploads: Uploads, tmp_path: Path) -> None:
    broken(uploads, 4)
    broken(uploads, 4, announced=result(experiment="other"))
    uploads.keep(["other"])
    assert uploads.have(result()) == 0
    assert uploads.have(result(experiment="other")) == 4000


@pytest.mark.parametrize("changes", [{"sha256": "0" * 64}, {"size": len(DATA) + 1}])
def test_another_announcement_replaces_the_partial_file(
    uploads: Uploads, tmp_path: Path, changes: dict[str, object]
) -> None:
    broken(uploads, 4)
    broken(uploads, 2, announced=result(**changes))
    assert len(partial_files(tmp_path)) == 1
    assert uploads.have(result()) == 0


def test_there_is_one_for_each_round_task_and_envoy(uploads: Uploads, tmp_path: Path) -> None:
    for changes in ({}, {"round": 4}, {"task": "train_more"}, {"envoy": "south"}, {"envoy": "north_2"}):
        broken(uploads, 1, announced=result(**changes))
    assert len(partial_files(tmp_path)) == 5


def test_what_arrived_whole_and_is_other_is_refused(
    uploads: Uploads, blobs: BlobStore, tmp_path: Path
) -> None:
    other = [*PIECES[:-1], PIECES[-1][:-1] + b"!"]
    with pytest.raises(Refused, match="was announced"):
        uploads.receive(result(), 0, other)
    with pytest.raises(Refused, match="more than the"):
        uploads.receive(result(), 0, [*PIECES, b"!"])
    assert blobs.names() == []
    assert partial_files(tmp_path) == []


def test_what_was_gone_on_with_and_is_other_is_asked_for_once_from_its_first_byte(
    uploads: Uploads, tmp_path: Path
) -> None:
    """The disk may have lost what was here: that is nobody's misbehaviour."""
    broken(uploads, 4)
    [file] = (tmp_path / "uploads").rglob("*.partial")
    file.write_bytes(b"?" + file.read_bytes()[1:])
    with pytest.raises(SendAgain):
        uploads.receive(result(), 4000, PIECES[4:])
    assert uploads.have(result()) == 0
    assert uploads.receive(result(), 0, PIECES) == SHA256


def test_a_later_upload_takes_over_and_ends_the_earlier(uploads: Uploads) -> None:
    reached, go_on = threading.Event(), threading.Event()
    ended: list[BaseException] = []

    def slow() -> Iterator[bytes]:
        yield from PIECES[:2]
        reached.set()
        go_on.wait(30)
        yield from PIECES[2:]

    def earlier() -> None:
        try:
            uploads.receive(result(), 0, slow())
        except BrokenOff as error:
            ended.append(error)

    thread = threading.Thread(target=earlier)
    thread.start()
    assert reached.wait(30)
    assert uploads.have(result()) == 2000
    assert uploads.receive(result(), 2000, PIECES[2:]) == SHA256
    go_on.set()
    thread.join(30)
    assert "taken over" in str(ended[0])


def test_it_is_gone_when_its_envoy_or_its_round_or_its_experiment_ends(
    uploads: Uploads, tmp_path: Path
) -> None:
    for name in ("north", "south"):
        broken(uploads, 1, announced=result(envoy=name))
    uploads.drop("words", "north")
    assert [name.partition(".")[0] for name in partial_files(tmp_path)] == ["south"]
    uploads.drop("words")
    assert partial_files(tmp_path) == []
    uploads.drop("words")


def test_an_upload_that_is_no_longer_wanted_is_ended(uploads: Uploads, tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield PIECES[0]
        uploads.drop("words")
        yield PIECES[1]

    with pytest.raises(BrokenOff, match="no longer wanted"):
        uploads.receive(result(), 0, pieces())
    assert partial_files(tmp_path) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"experiment": "../words"},
        {"experiment": ".."},
        {"envoy": "../north"},
        {"envoy": "north.4"},
        {"task": "train/../.."},
        {"sha256": "../../etc/passwd"},
        {"sha256": ""},
    ],
)
def test_no_name_leads_out_of_the_folder(changes: dict[str, object]) -> None:
    with pytest.raises(Refused):
        result(**changes)
