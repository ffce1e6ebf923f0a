"""The cost of a call does not grow with what the director has seen before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from director.answers import listing
from tests.director.in_process import director


@pytest.fixture
def plans_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the plans that have been checked."""
    from federation.plan import plan_from_json

    read: list[str] = []

    def noted(text: str, name: str, *how: Any) -> Any:
        read.append(name)
        return plan_from_json(text, name, *how)

    for module in ("opening", "submissions"):
        monkeypatch.setattr(f"director.{module}.plan_from_json", noted)
    return read


def test_listing_scheduling_and_submitting_read_no_old_plan(tmp_path: Path, plans_read: list[str]) -> None:
    with director(tmp_path) as alive:
        for number in range(5):
            alive.submit(f"number-{number}", envoys=3)
        assert plans_read == [f"number-{number}" for number in range(5)], "each once, when it was taken in"
        plans_read.clear()
        alive.connect("north", "south")
        alive.experiments.schedule()
        found = listing(alive.experiments.experiments())
        assert plans_read == []
        assert [(row.name, row.rounds) for row in found.experiments] == [
            (f"number-{number}", 2) for number in range(5)
        ]
        alive.connect("west")
        assert plans_read == [f"number-{number}" for number in range(5)], "each once, when it was opened"


def test_a_listing_is_small_though_plans_are_large(tmp_path: Path) -> None:
    """A message of more than 64 MiB reaches nobody."""
    with director(tmp_path) as alive:
        for number in range(3):
            alive.submit(f"number-{number}", envoys=3, note="x" * 700_000)
        assert listing(alive.experiments.experiments()).ByteSize() < 1000
        assert (
            len(json.loads(alive.experiments.plan("number-0"))["task_runner"]["settings"]["note"]) == 700_000
        )


def test_numbers_are_added_to_names_that_are_taken(tmp_path: Path) -> None:
    from tests.director.test_state import row

    with director(tmp_path) as alive:
        given = []
        for _ in range(40):
            given.append(alive.journal.free_name("rows"))
            alive.journal.add_experiment(row(given[-1]), "{}")
        assert given == ["rows", *(f"rows-{number}" for number in range(2, 41))]
        questions: list[str] = []
        alive.journal._connection.set_trace_callback(questions.append)
        assert alive.journal.free_name("rows") == "rows-41"
        assert len(questions) <= 15, "not one for each that is taken"


def test_the_same_submission_at_the_same_time_is_one_experiment(tmp_path: Path) -> None:
    with director(tmp_path) as alive:
        receive = alive.blobs.receive

        def meanwhile(*arguments: Any) -> str:
            alive.blobs.receive = receive  # type: ignore[method-assign]
            alive.submit("rows")
            return receive(*arguments)

        alive.blobs.receive = meanwhile  # type: ignore[method-assign]
        alive.submit("rows")
        assert [row.name for row in alive.experiments.experiments()] == ["rows"]
        assert alive.kinds("rows").count("submitted") == 1
