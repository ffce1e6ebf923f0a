"""What envoys and directors say of themselves reaches no terminal as it was sent."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from federation.errors import InputError
from federation.protocol import federation_pb2 as pb
from federation.tables import print_table
from workspace.commands.event_lines import event_lines
from workspace.infos import Event, event_info
from workspace.metrics import metric_rows
from workspace.progress import RoundProgress

TITLE = "\x1b]0;owned\x07"
FORGED = "its disk is full\n2026-11-25 13:00:00 finished"


def test_a_table_shows_it_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["envoy", "dataset"], [["north", TITLE + FORGED]], "no envoy")
    printed = capsys.readouterr().out
    assert r"\x1b]0;owned\x07its disk is full\n2026" in printed
    assert "\x1b" not in printed


def test_an_event_is_one_line_and_its_traceback_is_set_in() -> None:
    body = {"envoy": "north", "reason": TITLE + FORGED, "traceback": f"Traceback\r{TITLE}\nlast"}
    first, *rest = event_lines(Event(1, 0.0, "envoy_failed", body))
    assert r"reason=\x1b]0;owned\x07its disk is full\n2026" in first
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_progress_shows_it_escaped_and_reads_no_markup_in_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with RoundProgress("rows", 3) as progress:
        progress.take("envoy_failed", {"envoy": "north", "reason": TITLE + FORGED + "[/red]"})
        progress.take("result", {"round": 1, "envoy": "[/]", "task": TITLE, "metrics": {"loss": 1.0}})
    printed = capsys.readouterr().err
    assert r"\x1b]0;owned\x07its disk is full\n2026-11-25 13:00:00 finished[/red]" in printed
    assert "\x1b]" not in printed


def test_a_bar_on_a_terminal_reads_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(stderr=True, force_terminal=True, width=200, record=True)
    monkeypatch.setattr("workspace.progress.Console", lambda **settings: terminal)
    with RoundProgress("rows", 3) as progress:
        progress.take("result", {"round": 1, "envoy": "[/]", "task": TITLE, "metrics": {"loss": 1.0}})
    assert r"round 1, [/] \x1b]0;owned\x07" in terminal.export_text()


def test_rows_of_metrics_show_it_escaped() -> None:
    body = {"round": 1, "task": TITLE, "envoy": FORGED, "metrics": {f"recall/{TITLE}": 0.5}}
    (row,) = metric_rows("result", body)
    assert all(row[key].isprintable() for key in ("task", "origin", "metric"))


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[" * 100_000,
        "[]",
        json.dumps({"round": 1, "metrics": {"loss": "x"}}),
        json.dumps({"round": "1", "metrics": {}}),
        json.dumps({"metrics": {}}),
        json.dumps({"round": 1, "metrics": 3}),
        json.dumps({"round": 1, "metrics": {"train": 0.5}}),
        json.dumps({"round": 1, "metrics": {"train": {"loss": 10**400}}}),
        json.dumps({"round": 10**400, "metrics": {}}),
        json.dumps({"round": 1, "metrics": {}, "cohort": 3}),
        json.dumps({"round": 1, "metrics": {}, "envoys": 3}),
        json.dumps({"round": 1, "metrics": {}, "traceback": 3}),
    ],
)
def test_an_event_that_cannot_be_read_is_an_error_in_one_line(body: str) -> None:
    with pytest.raises(InputError, match="the director has sent an event"):
        event_info(pb.Event(id=1, kind="round_closed", body=body))
