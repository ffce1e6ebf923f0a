"""The order in which things are drawn: by seed and name alone, so that every site draws the same."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def order(seed: int, name: str) -> int:
    """Return a 64-bit number to sort by; it depends on the seed and the name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")


def draw(things: Sequence[T], count: int, name: Callable[[T], str], seed: int) -> list[T]:
    """Draw `count` things, or all there are; drawing more keeps those that fewer would have been."""
    return sorted(things, key=lambda thing: order(seed, name(thing)))[:count]
