"""What an envoy has of frozen parts: fetched once, verified whenever it is read, gone when nothing names it any more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from envoy.frozen import frozen_part, remove_unfinished
from envoy.kept import Kept
from federation.errors import Refused
from federation.tensors import Tensors, chunks, digest

PART: Tensors = {"encoder": np.arange(6, dtype=np.float32)}
SHA256 = digest(PART)


class Director:
    """Brings the part to a file, and counts how often."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, path: Path) -> Tensors:
        self.asked += 1
        path.write_bytes(b"".join(chunks(PART)))
        return PART


def test_it_is_fetched_once_and_read_from_disk_after_that(tmp_path: Path) -> None:
    director = Director()
    for _ in range(3):
        assert np.array_equal(frozen_part(tmp_path / "frozen", SHA256, director)["encoder"], PART["encoder"])
    assert director.asked == 1


@pytest.mark.parametrize("damage", [b"", b"other bytes"])
def test_what_is_damaged_is_fetched_again(tmp_path: Path, damage: bytes) -> None:
    director = Director()
    (tmp_path / SHA256).write_bytes(damage)
    assert np.array_equal(frozen_part(tmp_path, SHA256, director)["encoder"], PART["encoder"])
    assert director.asked == 1


@pytest.mark.parametrize("name", ["", "../data", "/data", "a" * 63, "A" * 64, "a" * 64 + "\n"])
def test_no_name_that_a_director_says_leads_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match="64 hexadecimal digits"):
        frozen_part(tmp_path, name, Director())
    with pytest.raises(Refused, match="64 hexadecimal digits"):
        Kept(tmp_path / "experiments").name_frozen("birds", name)


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"".join(chunks(PART)))
    (tmp_path / "frozen").mkdir()
    (tmp_path / "frozen" / SHA256).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match="is a link"):
        frozen_part(tmp_path / "frozen", SHA256, Director())


def test_it_goes_with_the_last_experiment_that_names_it(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "experiments")
    frozen_part(kept.frozen, SHA256, Director())
    for name in ("birds", "fish"):
        kept.name_frozen(name, SHA256)
    assert kept.names() == ["birds", "fish"], "the director says when they are done with"
    kept.forget("birds")
    assert (kept.frozen / SHA256).exists()
    kept.forget("fish")
    assert not (kept.frozen / SHA256).exists()


def test_another_frozen_part_of_an_experiment_takes_the_place_of_the_first(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "experiments")
    frozen_part(kept.frozen, SHA256, Director())
    kept.name_frozen("birds", SHA256)
    kept.name_frozen("birds", "b" * 64)
    kept.drop_unnamed()
    assert not (kept.frozen / SHA256).exists()


def test_what_a_killed_process_has_left_half_fetched_is_removed(tmp_path: Path) -> None:
    (tmp_path / f".{SHA256}.123").write_bytes(b"half")
    frozen_part(tmp_path, SHA256, Director())
    remove_unfinished(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [SHA256]
    remove_unfinished(tmp_path / "not-there")
