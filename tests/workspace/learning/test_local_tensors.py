"""A site's own tensors outlive the process that trained them, and a repeated round begins as the first time."""

from __future__ import annotations

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
