"""What a director keeps on disk: a journal whose transactions hold, and blobs named by their bytes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from director.blobs import BlobStore
from director.journal import Journal
from director.record import discard_unreferenced
from director.rows import ExperimentRow, ResultRow
from federation.errors import Refused, Unreachable
from federation.tensors import digest, pack

MODEL = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}


def row(name: str = "first", **changes: object) -> ExperimentRow:
    values: dict[str, object] = {
        "name": name,
        "submission": f"submission-of-{name}",
        "experiment": "keyword_spotting",
        "rounds": 2,
        "envoys": 1,
        "dataset": "speech_commands",
        "classes": 4,
        "classes_sha256": "d" * 64,
        "asked": "{}",
        "best_metric": "accuracy",
        "submitted_by": "workspace",
        "code_hash": "c",
        "frozen_fingerprint": "f",
        "state": "queued",
        "reason": "",
        "created": 1.0,
        "ended": 0.0,
        "cohort": ("north", "south"),
        "round": 0,
        "model": "0" * 64,
        "best_round": -1,
        "best_score": 0.0,
        "best_model": "",
    }
    return ExperimentRow(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.sqlite")


def test_what_is_written_is_there_after_a_restart(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.add_experiment(row(), "{}")
    journal.update_experiment("first", state="running", cohort=["north"])
    journal.add_event("first", "started", {"cohort": ["north"]})
    journal.add_result("first", ResultRow(0, "train", "north", 7, "b" * 64, b"sums"))
    journal.close()

    again = Journal(tmp_path / "journal.sqlite")
    assert again.experiment("first") == row(state="running", cohort=("north",))
    assert [(e.id, e.kind, e.body) for e in again.events("first")] == [(1, "started", {"cohort": ["north"]})]
    assert again.results("first") == [ResultRow(0, "train", "north", 7, "b" * 64, b"sums")]


def test_a_transaction_holds_as_a_whole_or_not_at_all(journal: Journal) -> None:
    journal.add_experiment(row(), "{}")
    with pytest.raises(ZeroDivisionError), journal.transaction():
        journal.update_experiment("first", state="running")
        journal.add_event("first", "started", {})
        raise ZeroDivisionError
    found = journal.experiment("first")
    assert found is not None
    assert found.state == "queued"
    assert journal.events("first") == []


def test_a_process_killed_within_a_transaction_leaves_the_state_before_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.add_experiment(row(), "{}")
    journal.close()
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, signal, sys\n"
            "from pathlib import Path\n"
            "from director.journal import Journal\n"
            "journal = Journal(Path(sys.argv[1]))\n"
            "journal.add_event('first', 'kept', {})\n"
            "with journal.transaction():\n"
            "    journal.update_experiment('first', state='running')\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n",
            str(tmp_path / "journal.sqlite"),
        ],
        check=False,
        timeout=60,
    )
    assert killed.returncode == -9
    again = Journal(tmp_path / "journal.sqlite")
    assert [event.kind for event in again.events("first")] == ["kept"]
    found = again.experiment("first")
    assert found is not None
    assert found.state == "queued"


def test_events_are_numbered_per_experiment_without_gaps(journal: Journal) -> None:
    for name in ("first", "second", "first", "first"):
        journal.add_event(name, "something", {})
    assert [e.id for e in journal.events("first")] == [1, 2, 3]
    assert [e.id for e in journal.events("first", after=2)] == [3]
    assert [e.id for e in journal.events("second")] == [1]


def test_a_blob_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "blobs")
    data = pack(MODEL)
    assert store.receive(iter([data[:10], data[10:]]), digest(MODEL), len(data)) == digest(MODEL)
    np.testing.assert_array_equal(store.open(digest(MODEL))["a"], MODEL["a"])
    assert b"".join(store.stream(digest(MODEL), 7)) == data
    other = "1" * 64
    for pieces, sha256, size in (
        ([data], other, len(data)),
        ([data, b"x"], digest(MODEL), len(data)),
    ):
        with pytest.raises(Refused):
            store.receive(iter(pieces), sha256, size)
    with pytest.raises(Unreachable, match="send them again"):  # what broke off is nobody's misbehaviour
        store.receive(iter([data[:-1]]), digest(MODEL), len(data))
    assert [p.name for p in (tmp_path / "blobs").iterdir()] == [digest(MODEL)], "nothing half-written is left"


def test_a_blob_that_is_streamed_may_be_removed_meanwhile(tmp_path: Path) -> None:
    """A round may turn while somebody is being sent the model that it began with."""
    store = BlobStore(tmp_path / "blobs")
    name = store.put(MODEL)
    pieces = store.stream(name, 7)
    store.remove(name)
    assert b"".join(pieces) == pack(MODEL)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "/x"])
def test_a_blob_has_no_other_name_than_a_sha256(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused):
        BlobStore(tmp_path / "blobs").path(name)


def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    folder.mkdir()
    (folder / "tmp123.part").write_bytes(b"half")
    BlobStore(folder)
    assert list(folder.iterdir()) == []


def test_a_blob_that_nothing_names_any_more_is_found(journal: Journal) -> None:
    journal.add_experiment(row(model="1" * 64, best_model="2" * 64), "{}")
    journal.add_result("first", ResultRow(0, "train", "north", 7, "3" * 64, b""))
    named = ["1" * 64, "2" * 64, "3" * 64]
    assert journal.unreferenced([*named, "4" * 64, "4" * 64, ""]) == ["4" * 64]
    assert journal.clear_results("first") == ["3" * 64]
    assert journal.unreferenced(named) == ["3" * 64]


def test_a_blob_that_somebody_holds_stays_though_nothing_names_it_yet(
    tmp_path: Path, journal: Journal
) -> None:
    """Equal bytes are one blob: one experiment may be done with them while another receives them."""
    store = BlobStore(tmp_path / "blobs")
    name = store.put(MODEL)
    with store.held(name):
        discard_unreferenced(journal, store, [name])
        assert store.names() == [name]
        journal.add_experiment(row(model=name), "{}")
    discard_unreferenced(journal, store, [name])
    assert store.names() == [name], "the journal names it now"
    journal.update_experiment("first", model="")
    discard_unreferenced(journal, store, [name])
    assert store.names() == []
