"""The cohorts of a run that has ended, from its events: a simulation that follows them has its bits.

The file is the output of ``fed watch --json``: each event a line of JSON.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from federation.engine.results import OpenedRound
from federation.errors import InputError
from federation.text_files import read_lines

MAX_BYTES = 1 << 30


def read_cohorts(path: Path, envoys: Collection[str], rounds: int) -> dict[int, OpenedRound]:
    """Read who ran each round and who counted in it.

    Parameters
    ----------
    path
        The file.
    envoys
        Those that the simulation has.
    rounds
        How many the plan trains.

    Returns
    -------
    dict of int to OpenedRound
        By number; ``out`` are those that ran the round and did not count.

    Raises
    ------
    InputError
        If it is no such file, names an envoy that the simulation lacks, or lacks a round.
    """
    started: dict[int, list[str]] = {}
    counted: dict[int, list[str]] = {}
    finished = False
    for number, event in enumerate(_events(path), 1):
        kind, body = event.get("kind"), event.get("body")
        finished |= kind == "finished"
        if kind not in ("round_started", "round_closed"):
            continue
        try:
            round_number, cohort = int(body["round"]), [str(name) for name in body["cohort"]]  # type: ignore[index]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}:{number}: an event {kind} without a round and its cohort") from error
        # A round that began again was run by the envoys of its last beginning.
        (started if kind == "round_started" else counted)[round_number] = cohort
    _check(path, started, counted, envoys, rounds, finished)
    return {
        number: OpenedRound(
            number, tuple(sorted(started[number])), out=frozenset(started[number]) - frozenset(cohort)
        )
        for number, cohort in counted.items()
    }


def _check(
    path: Path,
    started: Mapping[int, list[str]],
    counted: Mapping[int, list[str]],
    envoys: Collection[str],
    rounds: int,
    finished: bool,
) -> None:
    # One that stopped early, since it got no better, has fewer rounds; so has the simulation.
    needed = range(max(counted, default=-1) + 1 if finished else rounds)
    if lacking := [number for number in needed if number not in counted or number not in started]:
        raise InputError(f"{path} lacks round {lacking[0]}: give it all events of a run that has ended")
    if not counted:
        raise InputError(f"{path} holds no round: give it the output of `fed watch --json`")
    named = {name for number in counted for name in (*started[number], *counted[number])}
    if unknown := sorted(named - set(envoys)):
        raise InputError(f"{path} names the envoy {unknown[0]!r}, which the federation file does not have")


def _events(path: Path) -> list[dict[str, Any]]:
    events = []
    for number, line in enumerate(read_lines(path, MAX_BYTES, "give it the output of `fed watch --json`"), 1):
        try:
            event = json.loads(line)
        except ValueError as error:
            raise InputError(
                f"{path}:{number}: not JSON; give it the output of `fed watch --json`"
            ) from error
        if not isinstance(event, dict):
            raise InputError(f"{path}:{number}: not an event; give it the output of `fed watch --json`")
        events.append(event)
    return events
