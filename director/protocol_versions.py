"""With which versions of the protocol this director speaks: its own, the one before, and the one after, which adapts to it."""

from __future__ import annotations

from federation.protocol import VERSION


def incompatibility(who: str, theirs: int, ours: int = VERSION) -> str | None:
    """Say, in a line to act on, why a member cannot be spoken with; None if it can.

    Parameters
    ----------
    who
        The member, as the line names it.
    theirs
        The version of the protocol that it tells; 0 if it tells none.
    ours
        This director's.
    """
    if theirs > ours + 1:
        return f"{who} speaks protocol {theirs}, the director {ours}: upgrade the director"
    if theirs < ours - 1:
        return f"{who} speaks protocol {theirs}, the director {ours}: upgrade {who}"
    return None
