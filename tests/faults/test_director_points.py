"""A director that is killed at any of its commits, fsyncs, renames, chunks, ...: the experiment ends as if it had not been.

What `Tiny.run` holds each of them to: the same bits, events without gap or double, nothing orphaned, an end in time.
"""

from __future__ import annotations

import pytest

from tests.faults.federation import Tiny

FILES = ("fsync", "rename", "unlink", "create", "write")


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_each_commit(tiny: Tiny, when: str) -> None:
    assert tiny.until_none_is_left("director", "commit", when) >= 20


@pytest.mark.parametrize("kind", FILES)
def test_killed_at_some_of_what_it_does_with_files(tiny: Tiny, kind: str) -> None:
    assert tiny.until_none_is_left("director", kind, every=5) >= 1


def test_killed_at_some_of_its_messages(tiny: Tiny) -> None:
    assert tiny.until_none_is_left("director", "message", every=20) >= 3


@pytest.mark.sweep
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", FILES)
def test_killed_at_all_that_it_does_with_files(tiny: Tiny, kind: str, when: str) -> None:
    assert tiny.until_none_is_left("director", kind, when) >= 4


@pytest.mark.sweep
@pytest.mark.timeout(3600)
def test_killed_at_each_message(tiny: Tiny) -> None:
    assert tiny.until_none_is_left("director", "message") >= 50
