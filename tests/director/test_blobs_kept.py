"""What becomes of blobs: compared with their names once, set aside when nothing names them, never lost with a journal."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import numpy as np
import pytest

from director import blobs as store
from director.blobs import BlobStore, DamagedBlob
from director.journal import Journal
from director.record import discard_unreferenced
from director.state import open_state
from federation.errors import InputError
from federation.tensors import pack
from tests.director.in_process import MODEL, director

OTHER = {"weight": np.zeros((2, 3), np.float32)}


def test_a_blob_is_compared_with_its_name_once_in_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = BlobStore(tmp_path).put(MODEL)
    hashed: list[str] = []
    digest = hashlib.file_digest

    def counting(file: object, kind: str) -> object:
        hashed.append(kind)
        return digest(file, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(store.hashlib, "file_digest", counting)  # type: ignore[attr-defined]
    again = BlobStore(tmp_path)
    again.open(name)
    again.open(name)
    assert b"".join(again.stream(name)) == pack(MODEL)
    assert again.size(name) == len(pack(MODEL))
    assert hashed == ["sha256"]
    assert again.open(again.put(OTHER))
    assert hashed == ["sha256"], "what this process wrote has its name from what it wrote"


@pytest.mark.parametrize("use", ["open", "size", "stream"])
def test_a_damaged_blob_is_refused_by_name_and_as_good_as_new_when_it_comes_again(
    tmp_path: Path, use: str
) -> None:
    name = BlobStore(tmp_path).put(MODEL)
    for content in (pack(OTHER), pack(MODEL)[:-1], b"", None):
        (tmp_path / name).unlink(missing_ok=True)
        if content is not None:
            (tmp_path / name).write_bytes(content)
        blobs = BlobStore(tmp_path)
        with pytest.raises(DamagedBlob, match=f"the blob {name} is (damaged|missing)"):
            list(getattr(blobs, use)(name))
        blobs.receive([pack(MODEL)], name, len(pack(MODEL)))
        np.testing.assert_array_equal(blobs.open(name)["weight"], MODEL["weight"])


def test_a_blob_that_is_removed_and_comes_back_is_compared_again(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path)
    name = blobs.put(MODEL)
    blobs.remove(name)
    (tmp_path / name).write_bytes(b"other bytes")
    with pytest.raises(DamagedBlob):
        blobs.open(name)


def test_what_is_stored_is_not_removed_before_the_journal_names_it(tmp_path: Path) -> None:
    """Two experiments may come to the same model at once, and one of them be done with it."""
    journal, blobs, _ = open_state(tmp_path)
    with blobs.stored(MODEL) as name:
        discard_unreferenced(journal, blobs, [name])
        assert blobs.names() == [name]
    discard_unreferenced(journal, blobs, [name])
    assert blobs.names() == []
    journal.close()


def test_what_nothing_names_is_set_aside_for_a_week(tmp_path: Path) -> None:
    with director(tmp_path) as first:
        first.submit()
        named = first.experiments.experiment("rows").model
        unnamed = first.blobs.put(OTHER)
    os.utime(tmp_path / "blobs" / unnamed, (0, 0))
    aside = tmp_path / "blobs" / "aside"
    with director(tmp_path) as second:
        assert second.blobs.names() == [named]
        assert (aside / unnamed).read_bytes() == pack(OTHER), "its week begins when it is set aside"
        assert time.time() - (aside / unnamed).stat().st_mtime < 3600
    six_days, eight_days = (time.time() - days * 24 * 3600 for days in (6, 8))
    os.utime(aside / unnamed, (six_days, six_days))
    with director(tmp_path):
        assert (aside / unnamed).exists()
    os.utime(aside / unnamed, (eight_days, eight_days))
    with director(tmp_path):
        assert list(aside.iterdir()) == []


def test_what_a_journal_names_again_is_taken_back(tmp_path: Path) -> None:
    """An older journal is put in its place, and then the newer one again."""
    with director(tmp_path) as first:
        first.submit("older")
    older = (tmp_path / "journal.sqlite").read_bytes()
    with director(tmp_path) as second:
        second.submit("newer", OTHER)
        name = second.experiments.experiment("newer").model
    newer = (tmp_path / "journal.sqlite").read_bytes()
    (tmp_path / "journal.sqlite").write_bytes(older)
    with director(tmp_path):
        assert (tmp_path / "blobs" / "aside" / name).exists()
    (tmp_path / "journal.sqlite").write_bytes(newer)
    with director(tmp_path) as third:
        assert len(third.blobs.names()) == 2
        np.testing.assert_array_equal(third.blobs.open(name)["weight"], OTHER["weight"])


def test_uploads_and_models_that_are_done_with_are_removed_while_it_runs(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        alive.submit()
        alive.connect("north", "south")
        last = alive.finish("rows", {"north": 1.0, "south": 3.0})
        best = alive.experiments.experiment("rows").best_model
        assert alive.blobs.names() == sorted({last, best})
    assert not (tmp_path / "blobs" / "aside").exists()


@pytest.mark.parametrize("left", [None, b""])
def test_a_new_journal_beside_blobs_is_refused_with_what_to_do(tmp_path: Path, left: bytes | None) -> None:
    with director(tmp_path) as first:
        first.submit()
        name = first.experiments.experiment("rows").model
    for file in tmp_path.glob("journal.sqlite*"):
        file.unlink()
    if left is not None:
        (tmp_path / "journal.sqlite").write_bytes(left)
    for _ in range(2):
        with pytest.raises(InputError) as refused:
            open_state(tmp_path)
        said = str(refused.value)
        assert "\n" not in said
        assert "holds 1 blobs that a journal names" in said
        assert "put the journal back from a backup, or move the folder blobs away" in said
    assert (tmp_path / "blobs" / name).exists()
    (tmp_path / "blobs").rename(tmp_path / "kept")
    journal, blobs, _ = open_state(tmp_path)
    assert journal.experiments() == []
    assert blobs.names() == []
    journal.close()


def test_a_file_that_is_no_journal_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"no journal at all" * 1000)
    with pytest.raises(
        InputError, match=r"journal.sqlite is no journal, or damaged \(.*\); restore it from a backup"
    ):
        Journal(tmp_path / "journal.sqlite")
