"""Durations and sizes in words, so that a number says what it is."""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def duration(seconds: float) -> str:
    """Say how long something takes, in the two largest units that matter; clocks that differ make nothing negative."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 2 * _MINUTE:
        return f"{whole} s"
    if whole < 2 * _HOUR:
        return _two(whole, _MINUTE, "min", 1, "s")
    if whole < 2 * _DAY:
        return _two(whole, _HOUR, "h", _MINUTE, "min")
    return _two(whole, _DAY, "d", _HOUR, "h")


def _two(whole: int, large: int, name: str, small: int, smaller: str) -> str:
    rest = whole % large // small
    return f"{whole // large} {name}" + (f" {rest} {smaller}" if rest else "")


def size(count: int) -> str:
    """Say how many bytes something has."""
    from rich.filesize import decimal

    return decimal(count)
