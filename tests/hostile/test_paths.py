"""Names that become paths lead nowhere but below their folder, whoever says them, and what lies elsewhere stays."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from director.blobs import BlobStore
from director.uploads import Announced, Uploads
from envoy.kept import Kept
from federation.errors import FederationError, Refused
from federation.paths import inside, remove
from workspace.learning.local_tensors import LocalTensors
from workspace.simulation.earlier import earlier

OUTSIDE = [
    "",
    ".",
    "..",
    "../data",
    "/data",
    "birds/../../data",
    "birds/",
    "a\0b",
    "x" * 256,
    "ä" * 128,
    "a/b",
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What a site's owner would miss."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "recording.wav").write_bytes(b"years of work")
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state" / "birds").mkdir(parents=True)
    return tmp_path / "state"


@pytest.mark.parametrize("name", OUTSIDE)
def test_no_name_leads_out_of_its_folder_nor_removes_anything(data: Path, state: Path, name: str) -> None:
    for parts in ((name,), ("birds", name), (name, "recording.wav"), (str(data),)):
        with pytest.raises(Refused, match="no name of a file or folder"):
            inside(state, *parts)
        with pytest.raises(Refused, match="no name of a file or folder"):
            remove(state, *parts, missing_ok=True)
    assert (data / "recording.wav").is_file()
    assert (state / "birds").is_dir()


def test_a_folder_itself_is_not_below_itself(state: Path) -> None:
    with pytest.raises(Refused):
        inside(state)
    with pytest.raises(Refused):
        remove(state)
    assert state.is_dir()


def test_a_link_on_the_way_or_at_its_end_is_not_followed(data: Path, state: Path) -> None:
    (state / "fish").symlink_to(data)
    (state / "birds" / "nest").symlink_to(data / "recording.wav")
    (state / "dangling").symlink_to(state / "nowhere")
    for parts in (("fish",), ("fish", "recording.wav"), ("birds", "nest"), ("dangling",)):
        with pytest.raises(Refused, match="is a link"):
            inside(state, *parts)
    with pytest.raises(Refused, match="not followed"):
        remove(state, "fish", "recording.wav")
    assert (data / "recording.wav").read_bytes() == b"years of work"


def test_a_link_is_removed_and_what_it_points_at_stays(data: Path, state: Path) -> None:
    (state / "fish").symlink_to(data)
    (state / "birds" / "deep").mkdir()
    (state / "birds" / "deep" / "elsewhere").symlink_to(data)
    for name in ("fish", "birds"):
        remove(state, name)
    assert list(state.iterdir()) == []
    assert (data / "recording.wav").is_file()


def test_the_folder_itself_may_be_a_link_of_its_owner(state: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(state)
    assert inside(tmp_path / "linked", "birds").samefile(state / "birds")
    remove(tmp_path / "linked", "birds")
    assert not (state / "birds").exists()


def test_what_is_exchanged_for_a_link_between_looking_and_removing_is_not_followed(
    data: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = os.stat

    def exchange(path: str, *, dir_fd: int, follow_symlinks: bool) -> os.stat_result:
        monkeypatch.setattr(os, "stat", seen)
        found = os.stat(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        (state / "birds").rmdir()
        (state / "birds").symlink_to(data)
        return found

    monkeypatch.setattr(os, "stat", exchange)
    with pytest.raises(OSError, match="symbolic link"):
        remove(state, "birds")
    assert (data / "recording.wav").is_file()


def test_nothing_is_missed_where_it_need_not_be_there(state: Path) -> None:
    remove(state, "fish", missing_ok=True)
    remove(state / "nowhere", "fish", missing_ok=True)
    with pytest.raises(FileNotFoundError):
        remove(state, "fish")


def test_a_director_that_orders_an_absolute_path_forgotten_removes_nothing(data: Path, state: Path) -> None:
    kept = Kept(state)
    for name in (str(data), "../data", ".."):
        kept.forget(name)
    assert (data / "recording.wav").is_file()


def test_results_and_blobs_are_not_written_through_links(data: Path, tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "blobs")
    uploads = Uploads(tmp_path / "uploads", blobs)
    (tmp_path / "uploads" / "birds").symlink_to(data)
    (tmp_path / "blobs" / ("a" * 64)).symlink_to(data / "recording.wav")
    with pytest.raises(Refused, match="is a link"):
        uploads.receive(Announced("birds", "north", 0, "train", 4, "b" * 64), 0, [b"evil"])
    with pytest.raises(Refused, match="is a link"):
        blobs.open("a" * 64)
    uploads.keep([])
    assert [path.name for path in data.iterdir()] == ["recording.wav"]


def test_personal_layers_are_not_read_from_elsewhere(data: Path, tmp_path: Path) -> None:
    (tmp_path / "birds").mkdir()
    (tmp_path / "birds" / "3.safetensors").symlink_to(data / "recording.wav")
    with pytest.raises(Refused, match="is a link"):
        LocalTensors(tmp_path / "birds")
    assert not np.any([path.suffix == ".safetensors" for path in data.iterdir()])


@pytest.mark.parametrize("name", ["..", "../data", "/data", "."])
def test_a_plan_that_starts_from_another_folder_than_one_beside_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "exchanged_best.safetensors").write_bytes(b"not for everyone")
    (tmp_path / "runs" / "now").mkdir(parents=True)
    with pytest.raises(FederationError, match="no name of a file or folder"):
        earlier(tmp_path / "runs" / "now", name, "best")
