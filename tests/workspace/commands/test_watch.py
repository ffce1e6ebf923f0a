"""``fed watch``: rounds as they come or as they came, with what each number is, wherever they are printed."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.federation.fake_director import serving
from tests.terminal import Terminal
from tests.workspace.commands.known_director import LONG, KnownDirector, ask, ended_experiment, experiment


@pytest.fixture
def address() -> Iterator[str]:
    """Of a director that has an experiment which ended yesterday."""
    rows, events = ended_experiment()
    with serving(KnownDirector([rows], events=events)) as address:
        yield address


def test_an_ended_experiment_is_shown_from_its_first_event_a_line_for_each_round(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(address, "watch", "rows") == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"submitted by alice on 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d", lines[0])
    assert lines[1:3] == [f"begins with north, {LONG}", f"envoy {LONG} away: its connection broke"]
    assert lines[3:6] == [
        "round   0 of 2  validation: accuracy 0.250, loss 1.500  training: accuracy 0.400, loss 1.250  8.0 s  "
        "best so far: round 0, accuracy 0.250",
        "round   1 of 2  validation: accuracy 0.812, loss 0.750  training: accuracy 0.400, loss 1.000  12 s  "
        "best so far: round 1, accuracy 0.812",
        "round   2 of 2  validation: accuracy 0.750, loss 0.500  1.0 s  best so far: round 1, accuracy 0.812",
    ]


def test_it_ends_with_the_score_and_the_next_command_as_it_must_be_typed(
    address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(address, "watch", "rows", "--quiet") == 0
    assert capsys.readouterr().out.splitlines() == [
        "rows: finished after 2 rounds, 81 s after it was submitted",
        "best: accuracy 0.8125, after round 1 of 2",
        f"take it home: fed model rows -o rows --director {address} --insecure",
    ]


def test_the_lines_go_where_the_output_goes_and_the_bar_stays_on_the_terminal(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(monkeypatch, 80, streams=("stderr",))
    with (tmp_path / "rounds.txt").open("w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        sent = terminal.shown(lambda: ask(address, "watch", "rows"))
    text = (tmp_path / "rounds.txt").read_text()
    assert re.findall(r"^round +\d", text, re.MULTILINE) == ["round   0", "round   1", "round   2"]
    assert "2/2" in sent
    assert "best so far" not in sent


@pytest.mark.parametrize(("columns", "kind"), [(40, "xterm"), (80, "xterm"), (200, "xterm"), (80, "dumb")])
def test_on_a_terminal_a_bar_moves_below_the_same_lines(
    columns: int, kind: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Terminal(monkeypatch, columns, kind=kind).shown(lambda: ask(address, "watch", "rows"))
    assert re.findall(r"(?:^|\r)round +(\d) of 2", text, re.MULTILINE) == ["0", "1", "2"]
    bars = [line for line in text.splitlines() if re.search(r"\d/2 +\d:\d\d:\d\d", line)]
    assert bool(bars) == (kind == "xterm"), "what cannot move the cursor gets no bar"
    assert max(map(cell_len, bars), default=0) <= columns


def test_a_stop_says_how_far_it_was_and_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = experiment("rows", "stopped", round=1, best_round=1, best_score=0.5)
    with serving(KnownDirector([stopped])) as address:
        assert ask(address, "stop", "rows") == 0
    assert capsys.readouterr().out == (
        "rows: stopped after 1 of 2 rounds; best: score 0.5000, after round 1\n"
        f"go on: fed resume rows --director {address} --insecure\n"
    )


def test_a_failure_names_what_says_more(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(KnownDirector([experiment("rows", "failed", reason="diverged at 2 of 2")])) as address:
        assert ask(address, "watch", "rows") == 6
    assert capsys.readouterr().err == (
        "fed: error: experiment rows failed: diverged at 2 of 2; `fed logs rows` says more, "
        "`fed resume rows` goes on from its last closed round\n"
    )
