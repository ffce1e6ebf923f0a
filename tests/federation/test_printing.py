"""What others have sent does nothing where it is shown but be read."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import logs
from federation.printing import printable, printable_lines

TITLE = "\x1b]0;owned\x07"
FORGED = "no\n2026-11-25 13:00:00,000 WARNING director.server: workspace eve is an operator"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("grüße, 世界", "grüße, 世界"),
        (TITLE, r"\x1b]0;owned\x07"),
        ("\x1b[2J\x1b[31m", r"\x1b[2J\x1b[31m"),
        ("\x9b31m", r"\x9b31m"),
        ("one\ntwo\rthree\x85four\u2028five", r"one\ntwo\rthree\x85four\u2028five"),
        ("abc\u202edcba\u2066\u200b", r"abc\u202edcba\u2066\u200b"),
        ("\ud800", r"\ud800"),
        (None, "None"),
        (3, "3"),
    ],
)
def test_what_is_not_simply_seen_is_escaped(sent: object, shown: str) -> None:
    assert printable(sent) == shown


def test_of_a_long_text_so_much_is_shown_as_is_asked_for() -> None:
    assert printable("x" * 60_000_000, most=3) == "xxx... (59999997 more characters)"


@given(st.text(st.characters()))
def test_whatever_was_sent_is_one_line_that_can_be_written(sent: str) -> None:
    shown = printable(sent)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode()


def test_lines_stay_lines_and_nothing_else() -> None:
    assert printable_lines(f"a\n{TITLE}", indent="  ") == "  a\n  " + r"\x1b]0;owned\x07"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    handlers, level = logging.root.handlers[:], logging.root.level
    logging.root.handlers.clear()
    logs.configure(file=tmp_path / "log", quiet=True)
    yield tmp_path / "log"
    for handler in logging.root.handlers:
        handler.close()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def test_nobody_forges_a_line_of_the_log(log: Path) -> None:
    """Neither by what is said, nor by what an error says whose traceback follows."""
    try:
        raise ValueError(FORGED + TITLE)
    except ValueError:
        logging.getLogger("director.calls").exception("Connect: %s", FORGED + TITLE)
    lines = log.read_text().splitlines()
    assert [line for line in lines if not line.startswith("    ")] == lines[:1]
    assert "\x1b" not in log.read_text()


def test_no_message_drives_the_others_out_of_the_log(log: Path) -> None:
    logging.getLogger("director.calls").warning("Connect: %s", "x" * 1_000_000)
    assert log.stat().st_size < 10_000
