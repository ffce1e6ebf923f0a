"""What is frozen by value comes with a submission, stays as long as the experiment's models do, and goes to who may read it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from director.submissions import divided
from director.upkeep.backup import back_up
from director.upkeep.check import examine
from director.upkeep.repair import repair
from federation.errors import InputError, Refused, Unreachable
from federation.protocol import federation_pb2 as pb
from federation.tensors import Tensors, chunks, measure
from tests.deployment import TINY_PLAN
from tests.director.in_process import HASH, MODEL, Director, director

FROZEN: Tensors = {"encoder": np.full((3, 3), 0.5, np.float32)}
SHA256, SIZE = measure(FROZEN)


@pytest.fixture
def alive(tmp_path: Path) -> Iterator[Director]:
    with director(tmp_path) as running:
        yield running


def announced(tensors: Tensors) -> pb.Blob:
    sha256, size = measure(tensors)
    return pb.Blob(sha256=sha256, size=size)


def submission(name: str, frozen: pb.Blob) -> pb.Submission:
    plan = json.loads(json.dumps(TINY_PLAN))
    plan["task_runner"]["settings"] = {"experiment": "tabular"}
    return pb.Submission(
        name=name,
        id=f"submission-{name}",
        plan=json.dumps(plan),
        code_hash=HASH,
        blob=announced(MODEL),
        frozen=frozen,
    )


def submit(
    alive: Director, name: str = "rows", frozen: Tensors = FROZEN, said: pb.Blob | None = None
) -> None:
    pieces = [*chunks(MODEL), *chunks(frozen)]
    alive.experiments.submit(submission(name, said or announced(frozen)), pieces, "alice")


def blobs_of(alive: Director) -> set[str]:
    return {file.name for file in alive.blobs.path(SHA256).parent.iterdir() if file.is_file()}


def test_it_is_kept_as_long_as_any_experiment_has_its_models(alive: Director) -> None:
    submit(alive, "one")
    submit(alive, "two")
    frozen = announced(FROZEN)
    assert alive.experiments.experiment("one").frozen == frozen
    for name in ("one", "two"):
        assert frozen.sha256 in blobs_of(alive)
        alive.experiments.stop(name)
        alive.experiments.remove(name, "alice")
    assert blobs_of(alive) == set()


def test_an_order_says_what_is_to_be_fetched(alive: Director) -> None:
    submit(alive)
    orders = alive.connect_as("north")
    alive.connect("south")
    found = []
    while not orders.empty():
        found.append(orders.get())
    [start] = [order.start for order in found if order.HasField("start")]
    assert start.frozen == announced(FROZEN)


@pytest.mark.parametrize(
    ("frozen", "said", "kind", "says"),
    [
        (
            {"encoder": np.full((3, 3), np.nan, np.float32)},
            None,
            Refused,
            "what is frozen has no tensors, or",
        ),
        ({}, None, Refused, "what is frozen has no tensors"),
        (FROZEN, pb.Blob(sha256="a" * 64, size=SIZE), Refused, "were announced"),
        (FROZEN, pb.Blob(sha256=SHA256, size=1), Refused, "more than the 1 bytes"),
        (FROZEN, pb.Blob(sha256=SHA256, size=9999), Unreachable, "of 9999 bytes"),
        (FROZEN, pb.Blob(sha256=SHA256, size=1 << 60), InputError, "max_model_gib"),
        (FROZEN, pb.Blob(sha256="a" * 64), InputError, "a model of 0 bytes"),
    ],
)
def test_what_is_not_what_was_announced_leaves_nothing(
    alive: Director, frozen: Tensors, said: pb.Blob | None, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        submit(alive, frozen=frozen, said=said or announced(frozen))
    assert blobs_of(alive) == set()
    assert alive.experiments.experiments() == []


@pytest.mark.parametrize("size", [1, 5, 7, 16])
def test_one_stream_is_divided_wherever_its_pieces_end(size: int) -> None:
    data = bytes(range(16))
    pieces = [data[start : start + size] for start in range(0, 16, size)]
    first, rest = divided(pieces, 6, in_two=True)
    assert b"".join(first) == data[:6]
    assert b"".join(rest) == data[6:]
    alone, nothing = divided(pieces, 6, in_two=False)
    assert b"".join(alone) == data, "who sends more than was announced is noticed"
    assert list(nothing) == []


def test_upkeep_knows_of_it(alive: Director, tmp_path: Path) -> None:
    submit(alive)
    frozen = announced(FROZEN).sha256
    assert examine(tmp_path).whole
    assert back_up(tmp_path, tmp_path / "copy").blobs == 2
    assert examine(tmp_path / "copy").whole
    alive.journal.close()
    (tmp_path / "blobs" / frozen).unlink()
    [problem] = examine(tmp_path).problems
    assert problem.says == f"experiment rows (queued): its frozen part, the blob {frozen}, is missing"
    assert repair(tmp_path, really=True).hopeless == []
    with director(tmp_path) as again:
        row = again.experiments.experiment("rows")
        assert (row.state, "its frozen part" in row.reason) == ("failed", True)


def test_an_experiment_does_not_start_without_it(alive: Director) -> None:
    submit(alive)
    alive.blobs.remove(announced(FROZEN).sha256)
    alive.connect("north", "south")
    row = alive.experiments.experiment("rows")
    assert (row.state, "it cannot be opened" in row.reason) == ("failed", True)


def test_a_state_of_before_is_looked_at_too(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        alive.submit()
    with closing(sqlite3.connect(tmp_path / "journal.sqlite")) as journal:
        journal.execute("DROP INDEX experiments_by_frozen_model")
        for column in ("frozen_model", "frozen_bytes", "plan_name", "best_metric"):
            journal.execute(f"ALTER TABLE experiments DROP COLUMN {column}")
        journal.execute("PRAGMA user_version = 5")
        journal.commit()
    assert examine(tmp_path).whole
    assert back_up(tmp_path, tmp_path / "copy").blobs == 1
    with director(tmp_path) as again:
        assert again.experiments.experiment("rows").frozen is None
