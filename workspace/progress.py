"""Rounds as they come: a bar on a terminal or in a notebook, and everywhere a line for each round."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column

from federation.printing import printable
from federation.statistics import is_better
from workspace.amounts import duration
from workspace.metrics import headline, scores

MAX_DESCRIPTION = 200
AGGREGATE = "aggregated_model_validation"
# As plans name their tasks by custom; any other name is shown as it is.
CALLED = {AGGREGATE: "validation", "train": "training", "locally_tuned_model_validation": "tuned locally"}
# Below so many columns of a terminal its bar would leave no room for the words.
ROOM_FOR_A_BAR = 60
# An event that is older than this when it comes is of the past: what was left then is nobody's concern.
RECENT_SECONDS = 60.0


class RoundProgress:
    """Draws a bar of rounds and writes a line for each one that ends: its metrics, seconds, time left, the best so far.

    Parameters
    ----------
    name
        Of the experiment.
    rounds
        How many it has.
    show
        Neither if false.
    decided_by
        The metric that decides what is best and whether more of it is better, as the plan has it; where it is not known, the
        best round is told only if the events say it.
    to_output
        Write the lines to standard output, as what a command was asked for, and not to standard error.
    """

    def __init__(
        self,
        name: str,
        rounds: int,
        show: bool = True,
        decided_by: tuple[str, bool] | None = None,
        to_output: bool = False,
    ) -> None:
        self._progress = _bar(show)
        self._lines = _console_for_lines(self._progress, to_output) if show else None
        self._task = self._progress.add_task(f"{name}: waiting", total=rounds, left="")
        self._name, self._rounds = name, rounds
        self._decided_by = decided_by
        self._validations: dict[int, Mapping[str, float]] = {}
        self._best: int | None = None
        self._pace = Pace(rounds)

    def __enter__(self) -> RoundProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def take(self, kind: str, body: Mapping[str, Any], when: float | None = None) -> None:
        """Show an event; ``when`` it was, as Unix time, by default now."""
        moment = time.time() if when is None else when
        if kind == "round_started":
            self._pace.begin(body["round"], moment)
            self._describe(f"round {body['round']}")
        elif kind == "result" and body["metrics"]:
            self._describe(f"round {body['round']}, {body['envoy']} {body['task']}")
        elif kind == "round_closed":
            self._close(body, moment)
        elif said := _said(kind, body, moment):
            self._print(said)

    def metric_of(self, number: int | None, score: float | None) -> str:
        """Return which metric a round was scored by, as far as the rounds that were seen tell; empty if they do not."""
        seen = self._validations.get(-1 if number is None else number, {})
        found = [name for name, value in seen.items() if value == score]
        return headline(seen) if headline(seen) in found else next(iter(found), "")

    def _close(self, body: Mapping[str, Any], moment: float) -> None:
        number, metrics = body["round"], body["metrics"]
        took = self._pace.end(number, moment)
        left = self._pace.left(number) if time.time() - moment < RECENT_SECONDS else ""
        self._progress.update(self._task, completed=number, left=left)
        if validation := metrics.get(AGGREGATE):
            self._validations[number] = validation
        self._find_best(number, body.get("best_round"))
        parts = [f"round {number:3d} of {self._rounds}"]
        parts += [
            f"{CALLED.get(task, task)}: {told}" for task, found in metrics.items() if (told := scores(found))
        ]
        parts += [", ".join(part for part in (took, left) if part)]
        if self._best is not None:
            best = self._validations.get(self._best, {})
            parts += [", ".join(filter(None, (f"best so far: round {self._best}", _first_score(best))))]
        self._print("  ".join(part for part in parts if part))

    def _find_best(self, number: int, told: object) -> None:
        """Take over what the events say is best, or compare by the plan's metric as the engine does."""
        if isinstance(told, int):
            self._best = told
        elif self._decided_by is not None:
            metric, more_is_better = self._decided_by
            new = self._validations.get(number, {}).get(metric)
            old = None if self._best is None else self._validations.get(self._best, {}).get(metric)
            if new is not None and (old is None or is_better(new, old, more_is_better)):
                self._best = number

    def _describe(self, what: str) -> None:
        self._progress.update(self._task, description=printable(f"{self._name}: {what}", MAX_DESCRIPTION))

    def _print(self, line: str) -> None:
        _print(self._lines, line)


class StepProgress:
    """Draws a bar of the rounds of a training in this process and writes a line for each one that ends.

    Parameters
    ----------
    name
        What is trained.
    rounds
        How many rounds' worth of epochs.
    show
        Neither if false.
    """

    def __init__(self, name: str, rounds: int, show: bool = True) -> None:
        self._progress = _bar(show)
        self._lines = _console_for_lines(self._progress, False) if show else None
        self._task = self._progress.add_task(name, total=rounds, left="")
        self._name, self._rounds = name, rounds
        self._pace = Pace(rounds)

    def __enter__(self) -> StepProgress:
        self._progress.start()
        self._pace.begin(0, time.time())
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def take(self, rounds_done: float, said: str) -> None:
        """Show how far the training is; a whole number of rounds is the end of the last of them, with what it came to."""
        description = printable(f"{self._name}: {said}", MAX_DESCRIPTION)
        self._progress.update(self._task, completed=rounds_done, description=description)
        number = int(rounds_done)
        if number != rounds_done or not number:
            return
        took, left = self._pace.end(number - 1, time.time()), self._pace.left(number - 1)
        self._pace.begin(number, time.time())
        self._progress.update(self._task, left=left)
        times = ", ".join(part for part in (took, left) if part)
        _print(self._lines, f"round {number:3d} of {self._rounds}  {said}  {times}")


class Pace:
    """How long rounds take, and the rest of them will."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._began: dict[int, float] = {}
        self._took: list[float] = []

    def begin(self, number: int, moment: float) -> None:
        """A round, counted from 0, begins, or begins again."""
        self._began[number] = moment

    def end(self, number: int, moment: float) -> str:
        """A round has ended: say how long it has taken."""
        if (began := self._began.get(number)) is None:
            return ""
        if number < self._rounds:
            self._took.append(moment - began)
        return duration(moment - began)

    def left(self, number: int) -> str:
        """Say how long the rounds after this one will take, by what those that were seen have taken."""
        rounds = self._rounds - number - 1
        if rounds <= 0 or not self._took:
            return ""
        return f"about {duration(rounds * sum(self._took) / len(self._took))} left"


def _first_score(metrics: Mapping[str, float]) -> str:
    name = headline(metrics)
    return f"{name} {metrics[name]:.3f}" if name in metrics else ""


def _said(kind: str, body: Mapping[str, Any], moment: float) -> str:
    """Say what has happened besides rounds; nothing of what is for `fed logs` alone."""
    reason, by = body.get("reason") or "", f" by {body['by']}" if body.get("by") else ""
    if kind == "submitted":
        return f"submitted{by} on {dt.datetime.fromtimestamp(moment):%Y-%m-%d %H:%M:%S}"
    if kind == "started":
        return f"begins with {', '.join(map(str, body.get('cohort', [])))}"
    if kind == "waiting":
        return str(reason) if str(reason).startswith("waiting") else f"waiting: {reason}"
    if kind == "stragglers":
        return f"too late in round {body.get('round', '?')}: {', '.join(map(str, body.get('envoys', [])))}"
    if kind in ("finished", "failed", "stopped", "resumed"):
        # Who has watched says himself that it has finished, with the score.
        if kind == "finished" and not reason:
            return ""
        return f"{kind}{by}" + (f": {reason}" if reason else "")
    if kind.startswith("envoy_"):
        happened = kind.removeprefix("envoy_").replace("_", " ")
        return f"envoy {body.get('envoy', '')} {happened}{by}" + (f": {reason}" if reason else "")
    return ""


def _print(console: Console | None, line: str) -> None:
    if console is not None:
        console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


def _console_for_lines(progress: Progress, to_output: bool) -> Console:
    """Return what lines are written to: above a bar if they and it share a terminal."""
    output = Console()
    shares = not progress.disable and (output.is_terminal or output.is_jupyter)
    return progress.console if shares or not to_output else output


def _bar(show: bool) -> Progress:
    console = Console(stderr=True)
    moves = (console.is_terminal and not console.is_dumb_terminal) or console.is_jupyter
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold")),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False, table_column=Column(overflow="fold")),
    ]
    if console.width >= ROOM_FOR_A_BAR:
        columns.insert(1, BarColumn(bar_width=20))
    return Progress(*columns, console=console, disable=not show or not moves)
