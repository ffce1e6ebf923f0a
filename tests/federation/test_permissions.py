"""Keys and state are their owner's; what a command writes is for whoever the umask lets."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from director.state import open_state
from envoy.room import has_room
from federation.certificates import make_authority, make_member
from federation.errors import InputError
from federation.identity import Credentials
from federation.permissions import follow_umask, make_private


@pytest.fixture
def umask() -> Iterator[int]:
    """The umask of a group that works together."""
    before = os.umask(0o007)
    yield 0o007
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def north(tmp_path: Path) -> Credentials:
    make_authority(tmp_path)
    make_member(tmp_path, "north", "envoy")
    return Credentials(tmp_path, "north")


@pytest.mark.parametrize("readable", [0o604, 0o602, 0o666, 0o644])
def test_a_key_that_everybody_can_read_or_write_is_refused(north: Credentials, readable: int) -> None:
    (north.folder / "north.key").chmod(readable)
    with pytest.raises(InputError, match=r"north\.key: .* chmod 600"):
        north.identity()
    with pytest.raises(InputError, match=r"north\.key: .* chmod 600"):
        north.channel("localhost:1")
    (north.folder / "north.key").chmod(0o600)
    assert north.identity().name == "north"


def test_an_authority_whose_key_everybody_can_read_signs_nothing(north: Credentials) -> None:
    (north.folder / "authority.key").chmod(0o644)
    with pytest.raises(InputError, match=r"authority\.key: .* chmod 600"):
        make_member(north.folder, "south", "envoy")
    assert not (north.folder / "south.crt").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="a file is given away: it wants root")
def test_a_group_reads_a_key_only_where_root_owns_it(north: Credentials) -> None:
    key = north.folder / "north.key"
    key.chmod(0o640)
    assert north.identity().name == "north"
    os.chown(key, 1000, 1000)
    with pytest.raises(InputError, match=r"north\.key: .* chmod 600"):
        north.identity()


def test_the_folders_of_a_directors_state_are_its_owners_only(tmp_path: Path, umask: int) -> None:
    state = tmp_path / "state"
    open_state(state)[0].close()
    assert {folder.name: mode(folder) for folder in (state, state / "blobs", state / "uploads")} == {
        "state": 0o700,
        "blobs": 0o700,
        "uploads": 0o700,
    }


def test_a_state_folder_that_others_could_enter_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "north").mkdir(mode=0o755)
    assert has_room(tmp_path / "north")
    assert mode(tmp_path / "north") == 0o700
    (tmp_path / "own").mkdir(mode=0o500)
    make_private(tmp_path / "own")
    assert mode(tmp_path / "own") == 0o500, "what is narrower stays so"


def test_certificates_follow_the_umask_and_keys_do_not(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "certificates"
    make_authority(folder)
    make_member(folder, "north", "envoy")
    assert mode(folder) == 0o777 & ~umask
    assert {mode(file) for file in folder.glob("*.crt")} == {0o666 & ~umask}
    assert {mode(file) for file in folder.glob("*.key")} == {0o600}


def test_the_files_of_an_export_are_all_alike(tmp_path: Path, umask: int) -> None:
    for number, private in enumerate((0o600, 0o644, 0o666)):
        file = tmp_path / f"{number}.json"
        file.touch()
        file.chmod(private)
    (tmp_path / "link").symlink_to("/etc/passwd")
    before = mode(Path("/etc/passwd"))
    follow_umask(tmp_path)
    assert {mode(file) for file in tmp_path.glob("*.json")} == {0o666 & ~umask}
    assert mode(Path("/etc/passwd")) == before
