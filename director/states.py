"""The states of an experiment, and which of them may follow which.

One that was removed is there only so that its name stays taken and its submission known: no listing has it.
"""

from __future__ import annotations

from collections.abc import Mapping

REMOVED = "removed"
FOLLOWING: Mapping[str, frozenset[str]] = {
    "queued": frozenset({"running", "stopped", "failed"}),
    "running": frozenset({"finished", "failed", "stopped"}),
    "finished": frozenset({REMOVED}),
    "failed": frozenset({"queued", REMOVED}),
    "stopped": frozenset({"queued", REMOVED}),
    REMOVED: frozenset(),
}
"""What a state may become; after an end, only what somebody asks for."""

ENDED = ("finished", "failed", "stopped")


class IllegalTransition(Exception):  # noqa: N818
    """An experiment is not in a state that may become the one that was asked for; nothing has been written."""


def preceding(state: str) -> list[str]:
    """Return the states that may become a state."""
    return sorted(before for before, following in FOLLOWING.items() if state in following)
