"""What is listed of a director: numbers with their names, rows that are told apart at any width, a sentence where is none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from rich.cells import cell_len

from federation.protocol import federation_pb2 as pb
from tests.federation.fake_director import serving
from tests.terminal import Terminal
from tests.workspace.commands.known_director import (
    DAY,
    HOUR,
    LONG,
    NOW,
    KnownDirector,
    ask,
    ended_experiment,
    experiment,
)

EXPERIMENTS = [  # one of them of a director of before, which says no plan
    experiment(
        "first",
        "finished",
        ended=NOW - DAY,
        best_round=1,
        best_score=0.8125,
        exchanged_sha256="ab",
        plan_name="words_tiny",
        best_metric="accuracy",
    ),
    experiment("second", "queued", round=0, reason="waiting for envoys: 2 of 3 match"),
    experiment(LONG, "running", round=1, cohort=["north", "south"], submitted_by="音声研究所"),
]
ENVOYS = [
    pb.Envoy(
        name=LONG,
        announcement=pb.Announcement(
            dataset="speech_commands",
            classes=["yes", "no"],
            samples={"train": 80, "test": 10},
            devices=[pb.Device(name="cpu", model="a processor of many words", memory=8 * 10**9)],
        ),
        experiments=["first"],
    ),
    pb.Envoy(name="south", announcement=pb.Announcement(devices=[pb.Device(name="cpu", model="small")])),
]
AUDITED = [
    pb.AuditEntry(time=NOW - HOUR, member="alice", role="workspace", address="10.0.0.7", what="submit",
                  experiment=LONG, outcome="done"),
    pb.AuditEntry(time=NOW, member="mallory", role="workspace", what="refused", outcome="no right " * 9, count=3),
]  # fmt: skip


@pytest.fixture
def known() -> Iterator[str]:
    """The address of a director that has something to list."""
    with serving(KnownDirector(EXPERIMENTS, ENVOYS, ended_experiment()[1], AUDITED)) as address:
        yield address


@pytest.fixture
def empty() -> Iterator[str]:
    """The address of a director that has nothing."""
    with serving(KnownDirector()) as address:
        yield address


def test_experiments_are_listed_with_score_owner_age_and_duration(
    known: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(known, "list") == 0
    heading, _, first, second, third = (x for x in capsys.readouterr().out.splitlines() if x.strip())
    assert re.split(r"  +", heading.strip())[:8] == [
        "experiment", "plan", "state", "round", "best score", "owner", "age", "took"
    ]  # fmt: skip
    assert re.search(
        r"first +words_tiny +finished +2/2 +accuracy 0\.8125 \(round 1\) +alice +2 d +24 h 5 min", first
    )
    assert re.search(r"second +- +queued +0/2 +- +alice +2 d +- +- +waiting for envoys: 2 of 3 match", second)
    assert re.search(LONG + r" +- +running +1/2 +- +音声研究所 +2 d +- +north, south", third)


@pytest.mark.parametrize("columns", [40, 80, 200])
@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("list", ["first", "second", LONG]),
        ("envoys", [LONG, "south"]),
        ("audit", ["alice", "mallory", LONG]),
    ],
)
def test_no_terminal_is_too_narrow_for_names(
    command: str, named: list[str], columns: int, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Terminal(monkeypatch, columns).shown(lambda: ask(known, command))
    assert max(map(cell_len, text.splitlines())) <= columns
    assert all(name in re.sub(r"\s", "", text) for name in named)
    assert "…" not in text


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("list", r"^no experiments at 127\.0\.0\.1:\d+; `fed submit PLAN` makes one$"),
        ("envoys", r"^no envoy is online at 127\.0\.0\.1:\d+$"),
        ("audit", r"^nothing is in the audit log$"),
        ("audit --member x", r"^nothing is in the audit log of what was asked for$"),
        ("revoke --list", r"^nothing is revoked$"),
    ],
)
def test_an_empty_list_says_so_and_is_an_empty_one_for_programs(
    command: str, said: str, empty: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(empty, *command.split()) == 0
    assert re.fullmatch(said, capsys.readouterr().out.rstrip("\n"))
    assert ask(empty, *command.split(), "--json") == 0
    assert capsys.readouterr().out.strip() in ("[]", "")


def test_logs_in_which_an_envoy_does_not_occur_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    rows, events = ended_experiment()
    with serving(KnownDirector([rows], events=events)) as address:
        assert ask(address, "logs", "rows", "--envoy", "nort") == 0
        assert capsys.readouterr().out == "nothing that concerns the envoy nort has happened in rows\n"
        assert ask(address, "logs", "rows", "--envoy", LONG, "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["kind"] == "envoy_away"


def test_a_device_without_a_known_memory_has_none(known: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(known, "envoys") == 0
    printed = capsys.readouterr().out
    assert "cpu (a processor of many words, 8.0 GB)" in printed
    assert "cpu (small)" in printed
