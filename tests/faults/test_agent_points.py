"""An agent that is killed at any of its messages, or as it starts a worker: it takes its worker along, and both come again."""

from __future__ import annotations

import pytest

from tests.faults.federation import Tiny


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_as_it_starts_a_worker(tiny: Tiny, when: str) -> None:
    assert tiny.until_none_is_left("north", "spawn", when) == 1


def test_killed_at_each_message(tiny: Tiny) -> None:
    assert tiny.until_none_is_left("north", "message", "after") >= 3


@pytest.mark.sweep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", ["unlink", "create", "fsync", "rename"])
def test_killed_at_all_that_it_does_with_files(tiny: Tiny, kind: str, when: str) -> None:
    tiny.until_none_is_left("north", kind, when)
