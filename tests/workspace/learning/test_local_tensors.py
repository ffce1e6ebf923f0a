"""A site's own tensors outlive the process that trained them, and a repeated round begins as the first time."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workspace.learning.local_tensors import LocalTensors


def tensors(value: float) -> dict[str, Any]:
    return {"norm.weight": np.full(3, value, np.float32)}


def value_before(local: LocalTensors, round_number: int) -> float | None:
    found = local.before(round_number)
    return None if found is None else float(found["norm.weight"][0])


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_round_begins_with_what_the_last_one_before_it_has_left(tmp_path: Path, on_disk: bool) -> None:
    local = LocalTensors(tmp_path / "state" if on_disk else None)
    assert value_before(local, 0) is None
    local.keep(0, tensors(0.0))
    # The site was no part of round 1.
    local.keep(2, tensors(2.0))
    assert [value_before(local, number) for number in (0, 1, 2, 3)] == [None, 0.0, 0.0, 2.0]


def test_a_worker_that_died_before_sending_trains_its_round_from_the_same_start(tmp_path: Path) -> None:
    local = LocalTensors(tmp_path)
    for number in range(4):
        local.keep(number, tensors(number))

    restarted = LocalTensors(tmp_path)
    assert value_before(restarted, 3) == 2.0
    restarted.keep(3, tensors(3.0))
    assert value_before(LocalTensors(tmp_path), 4) == 3.0
    assert len(list(tmp_path.iterdir())) == 2


def test_what_a_killed_process_had_half_written_is_not_read(tmp_path: Path) -> None:
    LocalTensors(tmp_path).keep(0, tensors(0.0))
    (tmp_path / "1.partial").write_bytes(b"half")
    assert value_before(LocalTensors(tmp_path), 2) == 0.0


def test_what_an_earlier_experiment_of_this_name_has_left_is_dropped(tmp_path: Path) -> None:
    earlier = LocalTensors(tmp_path)
    for number in (18, 19):
        earlier.keep(number, tensors(number))
    local = LocalTensors(tmp_path)
    assert value_before(local, 0) is None
    local.keep(0, tensors(0.5))
    assert value_before(local, 1) == 0.5
    assert [file.name for file in tmp_path.iterdir()] == ["0.safetensors"]


@pytest.mark.parametrize("on_disk", [True, False])
def test_a_round_begins_with_what_the_last_one_that_counted_has_left(tmp_path: Path, on_disk: bool) -> None:
    local = LocalTensors(tmp_path / "state" if on_disk else None)
    for number in (0, 1):
        local.begin(number, counted=number)
        local.keep(number, tensors(number))
    # Round 1 counted; rounds 2 and 3 were too late.
    for number in (2, 3):
        local.begin(number, counted=2)
        assert value_before(local, number) == 1.0
        local.keep(number, tensors(number))
    local.begin(4, counted=2)
    assert value_before(local, 4) == 1.0
    local.keep(4, tensors(4))
    local.begin(5, counted=5)
    assert value_before(local, 5) == 4.0


def test_a_round_that_did_not_count_is_dropped_for_good(tmp_path: Path) -> None:
    """It would otherwise come back when a round has counted in which the site only validated."""
    local = LocalTensors(tmp_path)
    for number in (0, 1):
        local.keep(number, tensors(number))
    local.begin(2, counted=1)
    assert value_before(LocalTensors(tmp_path), 9) == 0.0


def test_the_first_round_that_counts_begins_with_the_initial_tensors(tmp_path: Path) -> None:
    local = LocalTensors(tmp_path)
    local.keep(0, tensors(0))
    local.begin(1, counted=0)
    assert value_before(local, 1) is None
    assert list(tmp_path.iterdir()) == []


def test_what_the_open_round_has_left_is_there_for_its_own_validation(tmp_path: Path) -> None:
    local = LocalTensors(tmp_path)
    for number in (0, 1):
        local.begin(number, counted=number)
        local.keep(number, tensors(number))
        local.begin(number, counted=number)
        assert value_before(local, number + 1) == number


def test_a_director_that_does_not_say_what_counted_is_believed_to_have_counted_all(tmp_path: Path) -> None:
    local = LocalTensors(tmp_path)
    for number in range(3):
        local.begin(number, counted=None)
        local.keep(number, tensors(number))
    local.begin(3, counted=None)
    assert value_before(local, 3) == 2.0


def test_a_director_that_says_what_cannot_be_is_of_no_consequence(tmp_path: Path) -> None:
    local = LocalTensors(tmp_path)
    for number in range(2):
        local.keep(number, tensors(number))
    local.begin(2, counted=1 << 31)
    assert value_before(local, 2) == 1.0


class Killed(BaseException):
    """What a SIGKILL is to the one who gets it."""


@pytest.mark.parametrize("point", ["fsync", "replace", "unlink"])
@pytest.mark.parametrize("nth", range(1, 5))
def test_a_process_that_is_killed_at_any_point_leaves_what_the_round_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, nth: int
) -> None:
    local = LocalTensors(tmp_path)
    for number in (0, 1, 2):  # round 2 did not count
        local.begin(number, counted=number)
        local.keep(number, tensors(number))
    calls = 0

    def dies(original: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == nth:
                raise Killed
            return original(*arguments, **named)

        return call

    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        if point == "fsync":
            patch.setattr(os, "fsync", dies(os.fsync))
        else:
            patch.setattr(Path, point, dies(getattr(Path, point)))
        local.begin(3, counted=2)
        local.keep(3, tensors(3.5))

    restarted = LocalTensors(tmp_path)
    restarted.begin(3, counted=2)
    assert value_before(restarted, 3) == 1.0
    restarted.keep(3, tensors(3.0))
    restarted.begin(4, counted=4)
    assert value_before(restarted, 4) == 3.0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["1.safetensors", "3.safetensors"]


def test_a_full_disk_gets_back_what_was_half_written(small_disk: Path) -> None:
    local = LocalTensors(small_disk / "state")
    local.keep(0, tensors(0.0))
    big = {"norm.weight": np.zeros(1 << 20, np.float32)}
    with pytest.raises(OSError, match="No space left"):
        local.keep(1, big)
    assert [file.name for file in (small_disk / "state").iterdir()] == ["0.safetensors"]
    assert value_before(LocalTensors(small_disk / "state"), 2) == 0.0
