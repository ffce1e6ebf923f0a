"""What ``fed audit --since`` may be given."""

from __future__ import annotations

from datetime import datetime

import click
import pytest

from workspace.commands.audit import moment

NOW = 1_000_000_000.0


def test_a_moment_is_a_date_a_time_or_so_long_ago() -> None:
    assert moment("90m", NOW) == NOW - 5400
    assert moment("7d", NOW) == NOW - 7 * 86400
    assert moment("2026-11-25", NOW) == datetime(2026, 11, 25).timestamp()
    assert moment("2026-11-25T13:00", NOW) == datetime(2026, 11, 25, 13).timestamp()


@pytest.mark.parametrize("text", ["yesterday", "7", "1e9h", "99999999999d", "2026-13-01", ""])
def test_anything_else_is_wrong_usage_and_says_what_to_write(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write it as"):
        moment(text, NOW)
