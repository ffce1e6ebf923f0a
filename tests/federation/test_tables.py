"""Tables are read by people on terminals of any width, and by programs that get them through a pipe."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from federation.tables import print_table
from tests.terminal import Terminal

LONG = "hospital-of-the-north-" + "0123456789" * 4
COLUMNS = ["experiment", "state", "score", "owner", "why"]
ROWS = [
    ["first", "finished", "0.8125", "alice", "-"],
    [
        LONG,
        "queued",
        "-",
        "bob",
        "2 of 3 envoys match; south permits no checkpoint of this name [/red] " + "x" * 90,
    ],
    ["third", "failed", "-", "音声認識研究所" * 3, "diverged"],
]


def shown(rows: list[list[str]] = ROWS) -> None:
    print_table(COLUMNS, rows, "nothing", wraps=["why"], spare=["owner"], right=["score"])


@pytest.mark.parametrize("kind", ["xterm", "dumb"])
@pytest.mark.parametrize("columns", [40, 80, 120, 200])
def test_at_any_width_every_row_is_named_whole_and_no_line_is_wider(
    columns: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Terminal(monkeypatch, columns, kind=kind).shown(shown)
    assert max(map(cell_len, text.splitlines())) <= columns
    assert "…" not in text
    together = re.sub(r"\s", "", text)
    for name in ("first", LONG, "third"):
        assert name in together
    assert "southpermitsnocheckpoint" in re.sub(r"[^a-z]", "", text).replace("bob", "")


def test_where_there_is_no_room_for_all_columns_some_are_put_away_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [
        ["first", "finished", "0.8125", "an-owner-of-a-name", "-"],
        ["second", "stopped", "-", "bob", "-"],
    ]
    assert "an-owner-of-a-name" in Terminal(monkeypatch, 80).shown(lambda: shown(rows))
    narrow = Terminal(monkeypatch, 44).shown(lambda: shown(rows))
    assert re.search(r"first +finished +0\.8125", narrow), "it is a table still"
    assert "an-owner" not in narrow
    assert "too narrow for owner" in narrow.replace("\n", " ")
    assert "why" not in narrow, "a column that says nothing goes first, without a word"


def test_through_a_pipe_each_row_is_one_line_whatever_its_length(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    shown([*ROWS, ["fourth", "failed", "-", "x", "reason " * 200]])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert len(lines) == 2 + 4
    assert lines[-1].count("reason") == 200


def test_what_the_encoding_lacks_is_escaped_and_the_lines_are_drawn_with_what_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = Terminal(monkeypatch, 300, encoding="ascii").shown(shown)
    assert r"\u97f3\u58f0" in text
    assert "third" in text


def test_no_colour_is_sent_where_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal(monkeypatch, 200)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", terminal.sent(shown))


def test_a_table_of_nothing_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    shown([])
    assert capsys.readouterr().out == "nothing\n"


def test_headings_are_no_markup_and_are_escaped_too(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "[/]\x1b[31m"], [["a", "b"]], "nothing")
    assert r"[/]\x1b[31m" in capsys.readouterr().out
