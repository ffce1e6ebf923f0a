"""Rounds as they come, on a terminal or in a notebook; silent where there is neither."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from federation.printing import printable
from workspace.metrics import headline

MAX_DESCRIPTION = 200
AGGREGATE = "aggregated_model_validation"


class RoundProgress:
    """Draws a bar of rounds and writes a line for each one that ends.

    Parameters
    ----------
    name
        Of the experiment.
    rounds
        How many it has.
    show
        Neither if false.
    lines
        Write the lines where there is no terminal, too; the bar needs one.
    """

    def __init__(self, name: str, rounds: int, show: bool = True, lines: bool = False) -> None:
        self._progress = _bar(show)
        self._lines = show and (lines or not self._progress.disable)
        self._task = self._progress.add_task(f"{name}: waiting", total=rounds)
        self._name = name

    def __enter__(self) -> RoundProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def take(self, kind: str, body: Mapping[str, Any]) -> None:
        """Show an event."""
        if kind == "round_started":
            self._describe(f"round {body['round']}")
        elif kind == "result" and body["metrics"]:
            self._describe(f"round {body['round']}, {body['envoy']} {body['task']}")
        elif kind == "round_closed":
            self._progress.update(self._task, completed=body["round"])
            parts = [
                f"{task} {metrics[headline(metrics)]:.3f}"
                for task, metrics in body["metrics"].items()
                if headline(metrics) in metrics
            ]
            self._print(f"round {body['round']:3d}  {'  '.join(parts)}")
        elif kind in ("waiting", "stragglers", "failed", "stopped", "resumed") or kind.startswith("envoy_"):
            said = body.get("reason") or ", ".join(body.get("envoys", []))
            self._print(f"{kind}: {body.get('envoy', '')} {said}")

    def _describe(self, what: str) -> None:
        self._progress.update(self._task, description=printable(f"{self._name}: {what}", MAX_DESCRIPTION))

    def _print(self, line: str) -> None:
        if self._lines:
            self._progress.console.print(printable(line), highlight=False, markup=False, soft_wrap=True)


class StepProgress:
    """Draws a bar of the rounds of a training in this process.

    Parameters
    ----------
    name
        What is trained.
    rounds
        How many rounds' worth of epochs.
    show
        Draw nothing if false, or if there is no terminal.
    """

    def __init__(self, name: str, rounds: int, show: bool = True) -> None:
        self._progress = _bar(show)
        self._task = self._progress.add_task(name, total=rounds)
        self._name = name

    def __enter__(self) -> StepProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def take(self, rounds_done: float, said: str) -> None:
        """Show how far the training is."""
        self._progress.update(self._task, completed=rounds_done, description=f"{self._name}: {said}")


def _bar(show: bool) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not show or not (console.is_terminal or console.is_jupyter),
    )
