"""A worker that is killed at any of its messages, fsyncs, renames, ...: its agent starts another, with the same result."""

from __future__ import annotations

import pytest

from tests.faults.federation import Tiny

# In a run of two rounds it removes nothing.
FILES = ("fsync", "rename", "create")


@pytest.mark.parametrize("kind", ["fsync", "rename"])
def test_killed_at_each_write_of_what_the_site_keeps(tiny: Tiny, kind: str) -> None:
    assert tiny.until_none_is_left("north-worker", kind) >= 2


def test_killed_at_some_of_its_messages(tiny: Tiny) -> None:
    assert tiny.until_none_is_left("north-worker", "message", every=7) >= 4


@pytest.mark.sweep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", FILES)
def test_killed_at_all_that_it_does_with_files(tiny: Tiny, kind: str, when: str) -> None:
    assert tiny.until_none_is_left("north-worker", kind, when) >= 1


@pytest.mark.sweep
@pytest.mark.timeout(3600)
def test_killed_at_each_message(tiny: Tiny) -> None:
    assert tiny.until_none_is_left("north-worker", "message") >= 20
