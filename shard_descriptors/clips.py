"""Samples before they are read, and the order in which they are drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from shard_descriptors.audio import AudioFile

T = TypeVar("T")


@dataclass(frozen=True)
class Clip:
    """One sample before it is read.

    Attributes
    ----------
    second : int, optional
        Which second of the file, for what is cut from a long recording.
    gain : float
        How loud it is to be.
    """

    id: str
    label: int
    speaker: str
    file: AudioFile
    second: int | None = None
    gain: float = 1.0


def order(seed: int, name: str) -> int:
    """Return a 64-bit number to sort by; it depends on the seed and the name alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big")


def draw(things: Sequence[T], count: int, name: Callable[[T], str], seed: int) -> list[T]:
    """Draw `count` things, or all there are; drawing more keeps those that fewer would have been."""
    return sorted(things, key=lambda thing: order(seed, name(thing)))[:count]
