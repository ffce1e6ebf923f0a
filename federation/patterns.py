"""Patterns of texts, and what they are in words: nobody should have to read a regular expression."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

_WORDS: dict[str, str] = {}


def pattern(expression: str, words: str, **more: Any) -> Any:
    """Make the `pydantic.Field` of a text that must match.

    Parameters
    ----------
    expression
        The regular expression.
    words
        What the text must be, as the end of "must be ".
    **more
        Further constraints of the field.
    """
    _WORDS[expression] = words
    return Field(pattern=expression, **more)


def words_of(expression: str) -> str | None:
    """Say what a pattern asks for; None if it was not made by `pattern`."""
    return _WORDS.get(expression)


Address = Annotated[
    str,
    pattern(
        r"^(\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$",
        "host:port, such as localhost:50051 (an IPv6 host in brackets: [::1]:50051)",
    ),
]
"""``host:port``."""
