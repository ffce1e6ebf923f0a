"""What others have sent, as it may be shown: on a terminal, in a log or on a page it must do nothing but be read."""

from __future__ import annotations

MOST = 2_000


def printable(text: object, most: int = MOST) -> str:
    """Return text on one line, in which whatever is not simply seen is escaped as Python would write it.

    Control characters and with them the sequences that move a terminal's cursor or set its title, line breaks of all kinds,
    characters that turn the direction of writing or have no width, and surrogates.

    Parameters
    ----------
    text
        Or anything that has one.
    most
        Characters, of which no more are shown.
    """
    told = str(text)
    shown = told if len(told) <= most else f"{told[:most]}... ({len(told) - most} more characters)"
    if shown.isprintable():
        return shown
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in shown)


def printable_lines(text: str, most: int = MOST, indent: str = "") -> str:
    """Return text of several lines, each as `printable` has it."""
    return "\n".join(indent + printable(line, most) for line in text.splitlines())
