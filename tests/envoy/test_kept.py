"""What a site keeps: it goes when the director says so, and nothing else does."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from envoy.kept import MOST_ANNOUNCED, Kept
from envoy.room import has_room, what_is_full
from federation.errors import InputError, Refused


def fill(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "0.safetensors").write_bytes(b"x")
    return folder


def test_what_is_kept_is_named_and_forgotten_by_name(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "experiments")
    assert kept.names() == []
    for name in ("birds", "fish"):
        fill(kept.folder_of(name))
    assert kept.names() == ["birds", "fish"]
    kept.forget("birds")
    kept.forget("never-heard-of")
    assert kept.names() == ["fish"]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../data", "/data", "birds/../../data", "birds/", ".birds", "a\0b", "x" * 64, "Ä"]
)
def test_no_name_that_a_director_says_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    data, kept = fill(tmp_path / "data"), Kept(tmp_path / "state" / "experiments")
    fill(kept.folder_of("birds"))
    with pytest.raises(Refused, match="no experiment can be called"):
        kept.folder_of(name)
    kept.forget(name)
    assert list(data.iterdir())
    assert kept.names() == ["birds"]


def test_no_link_is_followed(tmp_path: Path) -> None:
    data, kept = fill(tmp_path / "data"), Kept(tmp_path / "experiments")
    fill(kept.folder_of("fish"))
    (tmp_path / "experiments" / "birds").symlink_to(data)
    (tmp_path / "experiments" / "fish" / "elsewhere").symlink_to(data)
    with pytest.raises(Refused, match="is a link"):
        kept.folder_of("birds")
    kept.forget("birds")
    kept.forget("fish")
    assert list(data.iterdir()), "what a link points at stays"
    assert kept.names() == []


def test_a_small_disk_has_room_until_it_is_full(small_disk: Path) -> None:
    assert has_room(small_disk / "north")
    (small_disk / "big").write_bytes(bytes(3 << 19))
    assert not has_room(small_disk / "north")
    (small_disk / "big").unlink()
    assert has_room(small_disk / "north")


def test_a_full_disk_is_recognised_behind_other_errors() -> None:
    try:
        try:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        except OSError as error:
            raise InputError("the cache cannot be written") from error
    except InputError as error:
        full = what_is_full(error)
    assert full is not None
    assert full.errno == errno.EDQUOT
    assert what_is_full(OSError(errno.EIO, "Input/output error")) is not None, "a failing one likewise"
    assert what_is_full(OSError(errno.EACCES, "Permission denied")) is None
    assert what_is_full(InputError("no space")) is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_each_fault_that_passes_is_recognised_and_so_behind_what_was_raised_because_of_it(
    number: int,
) -> None:
    assert what_is_full(OSError(number, "")) is not None
    for hides in (False, True):
        try:
            try:
                raise OSError(number, "")
            except OSError:
                if hides:
                    raise InputError("the labels are not what they must be") from None
                raise InputError("the cache cannot be written")  # noqa: B904
        except InputError as error:
            assert (what_is_full(error) is None) == hides, "what was hidden has nothing to do with it"


@pytest.mark.parametrize(("number", "has"), [(errno.ENOSPC, False), (errno.EIO, False), (errno.EACCES, True)])
def test_room_is_what_reaches_the_disk_and_another_fault_is_for_whoever_meets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, has: bool
) -> None:
    def fails(_: int) -> None:
        raise OSError(number, "")

    monkeypatch.setattr("envoy.room.os.fsync", fails)
    assert has_room(tmp_path / "north") == has


def test_what_cannot_be_removed_or_listed_now_is_said_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path / "experiments")
    fill(kept.folder_of("birds"))

    def fails(*_: object) -> None:
        raise OSError(errno.EROFS, "read-only")

    with monkeypatch.context() as patched:
        patched.setattr("envoy.kept.remove", fails)
        kept.forget("birds")
    assert kept.names() == ["birds"], "it is announced again, and forgotten later"
    (tmp_path / "file").touch()
    assert Kept(tmp_path / "file").names() == []


def test_no_more_is_announced_than_has_a_place(tmp_path: Path) -> None:
    for number in range(MOST_ANNOUNCED + 1):
        (tmp_path / f"e{number:04}").mkdir()
    kept = Kept(tmp_path)
    assert len(kept.names()) == MOST_ANNOUNCED
    kept.forget("e0000")
    assert kept.names()[-1] == f"e{MOST_ANNOUNCED:04}", "its turn comes"
